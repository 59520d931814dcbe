package wire

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-io/weir/bucket"
)

// An Outcome is what a receiver did with an item. The numbers are those of the wire
// protocol.
type Outcome uint8

// The outcomes.
const (
	Decided  Outcome = iota + 1
	NotOwner         // the partition is another node's
	Behind           // the receiver's table is older and did not catch up in time
	NoRight          // it has no right of its own to decide on
	Silent           // it could not decide: act as on silence
	Shed             // its queues are full
	Late             // the item was too old and was dropped unapplied
	Stale            // the answer was forgotten: whether it was applied is not known
)

// AppendPart begins a part of a frame's answer; AppendAnswer follows for each item.
func AppendPart(b []byte, number, epoch uint64) []byte {
	b = protowire.AppendVarint(append(b, varint1), number)
	return protowire.AppendVarint(append(b, varint2), epoch)
}

// An Answer is what became of one item. Statuses of an answer that was read are fetched
// with ReadStatuses.
type Answer struct {
	Place    uint32 // of the item in its frame
	Outcome  Outcome
	Owner    string          // of NotOwner: id of the node to go to
	Allowed  bool            // of takes and peeks
	Released uint64          // of releases
	Statuses []bucket.Status // of takes, peeks and refunds, one for each charge

	raw []byte
}

// AppendAnswer appends an answer to a part.
func AppendAnswer(b []byte, a *Answer) []byte {
	size := 2
	if a.Place != 0 {
		size += 1 + protowire.SizeVarint(uint64(a.Place))
	}
	if a.Owner != "" {
		size += 1 + protowire.SizeBytes(len(a.Owner))
	}
	for i := range a.Statuses {
		size += 1 + protowire.SizeBytes(sizeStatus(&a.Statuses[i]))
	}
	if a.Allowed {
		size += 2
	}
	if a.Released != 0 {
		size += 1 + protowire.SizeVarint(a.Released)
	}
	b = protowire.AppendVarint(append(b, bytes3), uint64(size))
	if a.Place != 0 {
		b = protowire.AppendVarint(append(b, varint1), uint64(a.Place))
	}
	b = append(b, varint2, byte(a.Outcome))
	if a.Owner != "" {
		b = protowire.AppendString(append(b, bytes3), a.Owner)
	}
	for i := range a.Statuses {
		b = appendStatus(append(b, bytes4), &a.Statuses[i])
	}
	if a.Allowed {
		b = append(b, varint5, 1)
	}
	if a.Released != 0 {
		b = protowire.AppendVarint(append(b, varint6), a.Released)
	}
	return b
}

// numbers returns the varints of a status, by field; fields that are 0 are not written.
func numbers(s *bucket.Status) [8]uint64 {
	n := [8]uint64{1: uint64(s.Limit), 2: uint64(s.Remaining), 3: micros(s.Reset), 4: micros(s.RetryAfter) + 1, 5: micros(s.Wait), 7: uint64(s.Degraded)}
	if s.Allowed {
		n[0] = 1
	}
	if s.RetryAfter < 0 {
		n[4] = 0
	}
	return n
}

func sizeStatus(s *bucket.Status) int {
	size := 0
	for _, n := range numbers(s) {
		if n != 0 {
			size += 1 + protowire.SizeVarint(n)
		}
	}
	if s.Receipt != 0 {
		size += 9
	}
	return size
}

func appendStatus(b []byte, s *bucket.Status) []byte {
	b = protowire.AppendVarint(b, uint64(sizeStatus(s)))
	for i, n := range numbers(s) {
		if i == 7 && s.Receipt != 0 {
			b = protowire.AppendFixed64(append(b, fixed7), s.Receipt)
		}
		if n != 0 {
			b = protowire.AppendVarint(append(b, byte(i+1)<<3), n)
		}
	}
	return b
}

// A Part is some of the answers to a frame, as they were read.
type Part struct {
	Number uint64 // of the frame
	Epoch  uint64 // of the receiver's table
	rest   []byte
}

// ReadPart reads what a part says of itself. It and its answers are views of b.
func ReadPart(b []byte) (Part, error) {
	p := Part{rest: b}
	if len(b) > MaxBytes {
		return p, fmt.Errorf("%w part: %d bytes are more than %d", errMalformed, len(b), MaxBytes)
	}
	err := walk(b, func(num protowire.Number, v field) error {
		switch {
		case v.raw != nil:
		case num == 1:
			p.Number = v.n
		case num == 2:
			p.Epoch = v.n
		}
		return nil
	})
	if err != nil {
		return p, fmt.Errorf("part: %w", err)
	}
	return p, nil
}

// Next reads the next answer and reports whether there was one. Statuses are read by
// ReadStatuses.
func (p *Part) Next(a *Answer) (bool, error) {
	for len(p.rest) > 0 {
		num, v, n := next(p.rest)
		if n < 0 {
			return false, errMalformed
		}
		p.rest = p.rest[n:]
		if num == 3 && v.raw != nil {
			return true, a.read(v.raw)
		}
	}
	return false, nil
}

func (a *Answer) read(b []byte) error {
	*a = Answer{raw: b}
	err := walk(b, func(num protowire.Number, v field) error {
		switch {
		case num == 3 && v.raw != nil:
			a.Owner = string(v.raw)
		case v.raw != nil:
		case num == 1:
			a.Place = uint32(min(v.n, math.MaxUint32))
		case num == 2:
			a.Outcome = Outcome(min(v.n, math.MaxUint8))
		case num == 5:
			a.Allowed = v.n != 0
		case num == 6:
			a.Released = v.n
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if a.Outcome < Decided || a.Outcome > Stale {
		return fmt.Errorf("%w answer: outcome %d", errMalformed, a.Outcome)
	}
	return nil
}

// ReadStatuses fills in dst, one for each charge of the item. It is an error where the
// answer has another number of them.
func (a *Answer) ReadStatuses(dst []bucket.Status) error {
	i := 0
	b := a.raw
	for len(b) > 0 {
		num, v, n := next(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		if num != 4 || v.raw == nil {
			continue
		}
		if i == len(dst) {
			return fmt.Errorf("%w answer: more than %d statuses", errMalformed, len(dst))
		}
		if err := readStatus(v.raw, &dst[i]); err != nil {
			return err
		}
		i++
	}
	if i != len(dst) {
		return fmt.Errorf("%w answer: %d statuses for %d charges", errMalformed, i, len(dst))
	}
	return nil
}

func readStatus(b []byte, s *bucket.Status) error {
	*s = bucket.Status{RetryAfter: bucket.Never}
	for len(b) > 0 {
		num, v, n := next(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		if v.raw != nil {
			continue
		}
		switch num {
		case 1:
			s.Allowed = v.n != 0
		case 2:
			s.Limit = int64(min(v.n, math.MaxInt64))
		case 3:
			s.Remaining = int64(min(v.n, math.MaxInt64))
		case 4:
			s.Reset = duration(v.n)
		case 5:
			if v.n > 0 {
				s.RetryAfter = duration(v.n - 1)
			}
		case 6:
			s.Wait = duration(v.n)
		case 7:
			s.Receipt = v.n
		case 8:
			s.Degraded = bucket.Degraded(min(v.n, uint64(bucket.Memory)))
		}
	}
	return nil
}
