package bucket

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// An Algorithm is a way to count. The numbers are those of the wire protocol.
type Algorithm uint8

// The algorithms.
const (
	TokenBucket Algorithm = iota + 1
	LeakyBucket
	FixedWindow
	SlidingWindow
	SlidingLog
	Concurrency
)

var algorithmNames = [...]string{"", "token_bucket", "leaky_bucket", "fixed_window", "sliding_window", "sliding_log", "concurrency"}

// String returns the name that documents use, as "token_bucket".
func (a Algorithm) String() string {
	if int(a) < len(algorithmNames) {
		return algorithmNames[a]
	}
	return fmt.Sprintf("algorithm %d", uint8(a))
}

// A FailMode says what decides when neither the owner nor anyone acting for it
// can. The numbers are those of the wire protocol.
type FailMode uint8

// The fail modes.
const (
	FailLocal  FailMode = iota + 1 // the asked node's share of the limit
	FailOpen                       // allow and count nothing
	FailClosed                     // deny
)

// Bounds of the numbers of a Limit.
const (
	MaxCount  = 1_000_000_000_000 // of a rate
	MaxHeld   = 10_000            // entries of a sliding log, permits of a concurrency limit
	MinPeriod = time.Millisecond
	MaxPeriod = 366 * 24 * time.Hour
	MaxFull   = 10 * 366 * 24 * time.Hour // from empty to a full burst
)

// A Limit is one algorithm with its numbers. Two limits whose fields are equal, zones
// by name, count alike. Fields that an algorithm does not use are zero.
type Limit struct {
	Algorithm Algorithm
	Calendar  Calendar       // fixed window only; Period is 0 then
	Count     int64          // COUNT of the rate, or permits; 0 denies everything
	Period    time.Duration  // PERIOD of the rate
	Burst     int64          // token and leaky bucket
	MaxWait   time.Duration  // leaky bucket; -1 = no bound
	TTL       time.Duration  // concurrency
	Zone      *time.Location // set where Calendar is
}

// Most returns the most that can be had of l at once: burst, count or permits.
func (l *Limit) Most() int64 {
	switch {
	case l.Count == 0:
		return 0
	case l.Algorithm == TokenBucket || l.Algorithm == LeakyBucket:
		return l.Burst
	default:
		return l.Count
	}
}

// Validate reports what is wrong with the numbers of l, nil when they can be
// decided by.
func (l *Limit) Validate() error {
	if l.Count < 0 || l.Count > MaxCount {
		return fmt.Errorf("count %d is not in 0 to %d", l.Count, int64(MaxCount))
	}
	switch l.Algorithm {
	case TokenBucket, LeakyBucket:
		return errors.Join(l.validPeriod(), l.validBurst())
	case FixedWindow:
		if l.Calendar == 0 {
			return l.validPeriod()
		}
		if l.Calendar > Year || l.Zone == nil || l.Period != 0 {
			return errors.New("a calendar window needs a unit from minute to year and a zone, and has no period of its own")
		}
		return nil
	case SlidingWindow:
		return l.validPeriod()
	case SlidingLog:
		if l.Count > MaxHeld {
			return fmt.Errorf("count %d: a sliding_log remembers at most %d hits; take sliding_window for more", l.Count, MaxHeld)
		}
		return l.validPeriod()
	case Concurrency:
		if l.Count > MaxHeld {
			return fmt.Errorf("%d permits are too many: at most %d", l.Count, MaxHeld)
		}
		if l.TTL < MinPeriod || l.TTL > MaxPeriod {
			return fmt.Errorf("ttl %v is not in 1ms to 366d", l.TTL)
		}
		return nil
	}
	return fmt.Errorf("unknown algorithm %d", l.Algorithm)
}

func (l *Limit) validPeriod() error {
	if l.Period < MinPeriod || l.Period > MaxPeriod {
		return fmt.Errorf("period %v is not in 1ms to 366d", l.Period)
	}
	if l.Period%time.Microsecond != 0 {
		return fmt.Errorf("period %v is not a whole number of microseconds", l.Period)
	}
	return nil
}

func (l *Limit) validBurst() error {
	if l.Count == 0 {
		return nil
	}
	if l.Burst < 1 || l.Burst > MaxCount {
		return fmt.Errorf("burst %d is not in 1 to %d", l.Burst, int64(MaxCount))
	}
	if l.Period > 0 && mul(uint64(l.Burst), uint64(l.Period)).cmp(mul(uint64(l.Count), uint64(MaxFull))) >= 0 {
		return fmt.Errorf("burst %d takes ten years or more to fill at %d per %v: lower it", l.Burst, l.Count, l.Period)
	}
	if l.MaxWait < -1 {
		return fmt.Errorf("max_wait %v is negative", l.MaxWait)
	}
	return nil
}

// A Rule is a Limit as charges name it. Its exported fields never change once a charge
// has named it, and it is used by pointer only.
type Rule struct {
	Limit    Limit
	Hash     Hash   // the limit's own hash: a bucket is its key's hash xor this
	Version  uint64 // policy version that gave the numbers; the newer one wins at a bucket
	FailMode FailMode

	known atomic.Pointer[numbered] // the number a store last knew the rule by
}

// A Charge asks one bucket for hits.
type Charge struct {
	Hash   Hash  // H of the key; its partition is the bucket's partition
	Rule   *Rule // never nil
	Hits   int64 // >= 0; 0 peeks
	Shadow bool  // denies nothing, taken only where the enforcing charges are
}

// Bucket returns the name of the bucket that c charges.
func (c *Charge) Bucket() Hash { return c.Hash.Xor(c.Rule.Hash) }

// Never is the RetryAfter of hits that fit at no time.
const Never time.Duration = -1

// Degraded says by what a charge was decided when its full owner did not decide
// it. The zero value is: the owner did. The numbers are those of the wire protocol.
type Degraded uint8

// The ways to decide without the full owner.
const (
	Unleased Degraded = iota + 1 // the owner, without a node lease
	Replica                      // the replica
	OwnRight                     // the asked node, on its share of the limit
	Open                         // fail_mode open, counting nothing
	Closed                       // fail_mode closed, or nobody in reach has a right
	Memory                       // no room for a new bucket
)

// A Status is what a bucket says to a charge. Durations are rounded up to the
// microsecond: who waits that long finds what was promised.
type Status struct {
	Allowed    bool
	Degraded   Degraded
	Limit      int64         // the most that can be had at once
	Remaining  int64         // hits that would fit now
	Reset      time.Duration // until Remaining = Limit, if nothing more comes
	RetryAfter time.Duration // until the hits would fit; 0 when allowed, or Never
	Wait       time.Duration // leaky bucket: until the request's turn
	Receipt    uint64        // what Refund and Release need to find what was taken; 0 = nothing was
}
