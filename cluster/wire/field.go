package wire

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The tags that messages are made of: field number and type.
const (
	varint1 = 1 << 3
	varint2 = 2 << 3
	varint3 = 3 << 3
	varint4 = 4 << 3
	varint5 = 5 << 3
	varint6 = 6 << 3
	varint7 = 7 << 3
	varint8 = 8 << 3
	fixed1  = 1<<3 | byte(protowire.Fixed64Type)
	fixed2  = 2<<3 | byte(protowire.Fixed64Type)
	fixed6  = 6<<3 | byte(protowire.Fixed64Type)
	fixed7  = 7<<3 | byte(protowire.Fixed64Type)
	fixed9  = 9<<3 | byte(protowire.Fixed64Type)
	fixed10 = 10<<3 | byte(protowire.Fixed64Type)
	bytes1  = 1<<3 | byte(protowire.BytesType)
	bytes2  = 2<<3 | byte(protowire.BytesType)
	bytes3  = 3<<3 | byte(protowire.BytesType)
	bytes4  = 4<<3 | byte(protowire.BytesType)
	bytes5  = 5<<3 | byte(protowire.BytesType)
	bytes6  = 6<<3 | byte(protowire.BytesType)
	bytes8  = 8<<3 | byte(protowire.BytesType)
)

// A field is the value of one: a number, or bytes, which are not nil then.
type field struct {
	n   uint64
	raw []byte
}

// next reads one field and returns its length, negative where it cannot be read. Fields
// of types that no message here has come as number 0.
func next(b []byte) (num protowire.Number, v field, n int) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, v, n
	}
	var m int
	switch typ {
	case protowire.VarintType:
		v.n, m = protowire.ConsumeVarint(b[n:])
	case protowire.Fixed64Type:
		v.n, m = protowire.ConsumeFixed64(b[n:])
	case protowire.BytesType:
		if v.raw, m = protowire.ConsumeBytes(b[n:]); v.raw == nil {
			v.raw = []byte{}
		}
	default:
		m = protowire.ConsumeFieldValue(num, typ, b[n:])
		num = 0
	}
	if m < 0 {
		return 0, v, m
	}
	return num, v, n + m
}

// walk calls each for every field of a message.
func walk(b []byte, each func(num protowire.Number, v field) error) error {
	for len(b) > 0 {
		num, v, n := next(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", errMalformed, protowire.ParseError(n))
		}
		b = b[n:]
		if err := each(num, v); err != nil {
			return err
		}
	}
	return nil
}

// micros returns a duration as it travels: whole microseconds, rounded up.
func micros(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return (uint64(d) + 999) / 1000
}

// duration is the other way of micros; what no duration holds becomes the longest.
func duration(micros uint64) time.Duration {
	return time.Duration(min(micros, math.MaxInt64/1000)) * time.Microsecond
}
