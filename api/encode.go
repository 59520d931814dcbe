package api

import (
	"encoding/binary"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/limiter"
)

// encode appends the answer to the frame's requests to a pooled buffer, f.out. It
// returns an error where the answer is too large to be sent.
func (f *frame) encode() *limiter.Error {
	out := answers.Get(0)
	*out = f.appendAnswer((*out)[:0])
	if len(*out) > maxAnswer {
		answers.Put(out)
		return &limiter.Error{Code: codeTooLarge, Message: "the checks were decided, but their answer is larger than 8 MiB: send smaller batches"}
	}
	f.out = out
	return nil
}

func (f *frame) appendAnswer(b []byte) []byte {
	verdicts := f.batch.Verdicts
	if f.kind == checkMessage {
		return appendVerdict(b, &verdicts[0], f.batch.Version)
	}
	responses := byte(bytes1)
	if f.kind == streamMessage {
		responses = byte(bytes2)
		b = appendVarint(b, byte(varint1), f.id)
		if f.err != nil {
			return appendError(b, tagStreamError, f.err)
		}
	}
	for i := 0; i < len(verdicts) && len(b) <= maxAnswer; i++ { // one that is too large is not made whole
		var at int
		b, at = open(b, responses)
		b = appendVerdict(b, &verdicts[i], f.batch.Version)
		b = closed(b, at)
	}
	return b
}

// Tags of CheckResponse and LimitStatus.
const (
	tagAllowed    = 1<<3 | byte(protowire.VarintType)
	tagReason     = 2<<3 | byte(protowire.VarintType)
	tagLimit      = 6<<3 | byte(protowire.VarintType)
	tagRemaining  = 7<<3 | byte(protowire.VarintType)
	tagReset      = 8<<3 | byte(protowire.Fixed64Type)
	tagRetryAfter = 9<<3 | byte(protowire.Fixed64Type)
	tagWait       = 10<<3 | byte(protowire.Fixed64Type)
	tagDegraded   = 11<<3 | byte(protowire.VarintType)
	tagVersion    = 12<<3 | byte(protowire.VarintType)
	tagOthers     = 13<<3 | byte(protowire.BytesType)
	tagDegradedBy = 14<<3 | byte(protowire.VarintType)
	tagPermit     = 15<<3 | byte(protowire.BytesType)

	// Number 16 is the first whose tag has two bytes: these, and tag16.
	tagError = 0x80 | byte(protowire.BytesType)
	tagMode  = 0x80 | byte(protowire.VarintType)
	tag16    = 1

	tagStreamError = 3<<3 | byte(protowire.BytesType) // of CheckStreamResponse
)

// appendVerdict appends a CheckResponse.
func appendVerdict(b []byte, v *limiter.Verdict, version uint64) []byte {
	if v.Err != nil {
		return appendError(append(b, tagError), tag16, v.Err)
	}
	if v.Allowed {
		b = append(b, tagAllowed, 1)
	}
	b = append(b, tagReason, byte(v.Reason))
	var deciding *limiter.LimitStatus
	if v.Deciding >= 0 {
		deciding = &v.Limits[v.Deciding]
		b = appendNumbers(b, deciding)
	}
	b = appendSeconds(b, tagWait, v.Wait)
	if v.Degraded != 0 {
		b = append(b, tagDegraded, 1)
	}
	b = appendVarint(b, tagVersion, version)
	if len(v.Limits) > 1 || deciding == nil {
		b = appendOthers(b, v)
	}
	if v.Degraded != 0 {
		b = append(b, tagDegradedBy, byte(v.Degraded))
	}
	if deciding != nil && deciding.HasPermit() {
		b = appendPermit(b, deciding)
	}
	return b
}

// appendOthers appends the limits beside the deciding one.
func appendOthers(b []byte, v *limiter.Verdict) []byte {
	for i := range v.Limits {
		if i == v.Deciding {
			continue
		}
		var at int
		b, at = open(b, tagOthers)
		b = appendLimitStatus(b, &v.Limits[i])
		b = closed(b, at)
	}
	return b
}

// appendLimitStatus appends a LimitStatus.
func appendLimitStatus(b []byte, s *limiter.LimitStatus) []byte {
	if s.Allowed {
		b = append(b, tagAllowed, 1)
	}
	b = appendNumbers(b, s)
	b = appendSeconds(b, tagWait, s.Wait)
	if s.Degraded != 0 {
		b = append(b, tagDegraded, 1, tagDegradedBy, byte(s.Degraded))
	}
	if s.HasPermit() {
		b = appendPermit(b, s)
	}
	return append(b, tagMode, tag16, byte(s.Policy.Mode))
}

// appendNumbers appends the fields that CheckResponse and LimitStatus have alike: 3 to 9.
func appendNumbers(b []byte, s *limiter.LimitStatus) []byte {
	b = append(b, s.Limit.Wire...)
	if s.Status.Limit != s.Limit.Rule.Limit.Most() {
		b = append(b, tagLimit) // a newer version's number decided: the last one counts
		b = binary.AppendUvarint(b, uint64(s.Status.Limit))
	}
	b = appendVarint(b, tagRemaining, uint64(s.Remaining))
	b = appendSeconds(b, tagReset, s.Reset)
	return appendSeconds(b, tagRetryAfter, s.RetryAfter)
}

func appendPermit(b []byte, s *limiter.LimitStatus) []byte {
	b, at := open(b, tagPermit)
	return closed(s.AppendPermit(b), at)
}

// appendError appends an ItemError as the field of a tag.
func appendError(b []byte, tag byte, e *limiter.Error) []byte {
	b, at := open(b, tag)
	b = appendVarint(b, 1<<3|byte(protowire.VarintType), uint64(e.Code))
	b = append(b, 2<<3|byte(protowire.BytesType))
	b = protowire.AppendString(b, e.Message)
	if e.Field != "" {
		b = append(b, 3<<3|byte(protowire.BytesType))
		b = protowire.AppendString(b, e.Field)
	}
	return closed(b, at)
}

func appendVarint(b []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = append(b, tag)
	return binary.AppendUvarint(b, v)
}

// appendSeconds appends a time as a double.
func appendSeconds(b []byte, tag byte, d time.Duration) []byte {
	if d == 0 {
		return b
	}
	b = append(b, tag)
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(seconds(d)))
}

// seconds is d in seconds, -1 for never.
func seconds(d time.Duration) float64 {
	if d == bucket.Never {
		return -1
	}
	return d.Seconds()
}

// open appends a tag and room for a length below 128, and returns where the field
// begins.
func open(b []byte, tag byte) ([]byte, int) {
	b = append(b, tag, 0)
	return b, len(b)
}

// closed writes the length of what was appended since open, and makes room for it where
// one byte is not enough.
func closed(b []byte, at int) []byte {
	n := len(b) - at
	if n < 0x80 {
		b[at-1] = byte(n)
		return b
	}
	size := protowire.SizeVarint(uint64(n))
	for range size - 1 {
		b = append(b, 0)
	}
	copy(b[at+size-1:], b[at:at+n])
	binary.PutUvarint(b[at-1:], uint64(n))
	return b
}
