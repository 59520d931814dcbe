package wire

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-io/weir/bucket"
)

// appendLimit appends what an owner needs to know of a limit, as a field of a frame.
func appendLimit(b []byte, r *bucket.Rule) []byte {
	l := &r.Limit
	var buf [160]byte
	m := buf[:0]
	number := func(tag byte, n uint64) {
		if n != 0 {
			m = protowire.AppendVarint(append(m, tag), n)
		}
	}
	number(varint1, uint64(l.Algorithm))
	number(varint2, uint64(l.Count))
	number(varint3, uint64(l.Period))
	number(varint4, uint64(l.Burst))
	number(varint5, uint64(l.MaxWait+1))
	number(varint6, uint64(l.TTL))
	number(varint7, uint64(l.Calendar))
	if l.Zone != nil {
		m = protowire.AppendString(append(m, bytes8), l.Zone.String())
	}
	m = protowire.AppendFixed64(append(m, fixed9), r.Hash.Hi)
	m = protowire.AppendFixed64(append(m, fixed10), r.Hash.Lo)
	number(11<<3, r.Version)
	number(12<<3, uint64(r.FailMode))
	return protowire.AppendBytes(append(b, bytes5), m)
}

// maxRules is how many limits Rules remembers; more than a cluster has policies for is a
// sender that makes them up.
const maxRules = 1 << 16

// Rules remembers limits by the bytes they came in, so that one that comes again costs a
// look into a map. It belongs to one goroutine at a time.
type Rules struct {
	// Intern returns the rule to use for one that was read; nil = itself.
	Intern func(*bucket.Rule) *bucket.Rule

	known map[string]*bucket.Rule
}

func (r *Rules) read(b []byte) (*bucket.Rule, error) {
	if rule := r.known[string(b)]; rule != nil {
		return rule, nil
	}
	rule, err := readLimit(b)
	if err != nil {
		return nil, err
	}
	if r.Intern != nil {
		rule = r.Intern(rule)
	}
	if r.known == nil || len(r.known) >= maxRules {
		r.known = map[string]*bucket.Rule{}
	}
	r.known[string(b)] = rule
	return rule, nil
}

// readLimit reads a limit that can be decided by.
func readLimit(b []byte) (*bucket.Rule, error) {
	r := &bucket.Rule{}
	l := &r.Limit
	l.MaxWait = -1
	zone := ""
	var bad error
	number := func(n uint64, most uint64) uint64 {
		if n > most {
			bad = fmt.Errorf("%w limit: %d is out of range", errMalformed, n)
		}
		return n
	}
	err := walk(b, func(num protowire.Number, v field) error {
		if num == 8 && v.raw != nil {
			zone = string(v.raw)
			return nil
		}
		switch n := v.n; num {
		case 1:
			l.Algorithm = bucket.Algorithm(number(n, uint64(bucket.Concurrency)))
		case 2:
			l.Count = int64(number(n, math.MaxInt64))
		case 3:
			l.Period = time.Duration(number(n, math.MaxInt64))
		case 4:
			l.Burst = int64(number(n, math.MaxInt64))
		case 5:
			l.MaxWait = time.Duration(number(n, math.MaxInt64)) - 1
		case 6:
			l.TTL = time.Duration(number(n, math.MaxInt64))
		case 7:
			l.Calendar = bucket.Calendar(number(n, uint64(bucket.Year)))
		case 9:
			r.Hash.Hi = n
		case 10:
			r.Hash.Lo = n
		case 11:
			r.Version = n
		case 12:
			r.FailMode = bucket.FailMode(number(n, uint64(bucket.FailClosed)))
		}
		return nil
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	if zone != "" {
		if l.Zone, err = time.LoadLocation(zone); err != nil {
			return nil, fmt.Errorf("%w limit: %w", errMalformed, err)
		}
	}
	if err := l.Validate(); err != nil {
		return nil, fmt.Errorf("%w limit: %w", errMalformed, err)
	}
	return r, nil
}
