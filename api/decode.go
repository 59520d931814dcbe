package api

import (
	"fmt"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
)

// The tags that requests are made of.
const (
	bytes1  = 1<<3 | uint64(protowire.BytesType)
	bytes2  = 2<<3 | uint64(protowire.BytesType)
	varint1 = 1<<3 | uint64(protowire.VarintType)
	varint3 = 3<<3 | uint64(protowire.VarintType)
	varint4 = 4<<3 | uint64(protowire.VarintType)
)

var errMalformed = &limiter.Error{Code: limiter.InvalidArgument, Message: "the message is not valid protobuf: encode it with code generated from weir/v1/limiter.proto"}

func tooLarge(n int) *limiter.Error {
	return &limiter.Error{Code: codeTooLarge, Message: fmt.Sprintf("the message has %d bytes, at most %d are taken: send smaller batches", n, maxLimiterMessage)}
}

// decode walks the message and fills in the batch.
func (f *frame) decode() *limiter.Error {
	if f.kind != checkMessage {
		return f.decodeBatch(f.in)
	}
	f.batch.Requests = append(f.batch.Requests, limiter.Request{})
	if !f.decodeRequest(f.in, &f.batch.Requests[0]) {
		return errMalformed
	}
	return nil
}

// decodeBatch reads a CheckBatchRequest, or a CheckStreamRequest, which has its id first
// and its requests next.
func (f *frame) decodeBatch(b []byte) *limiter.Error {
	requests, id := bytes1, uint64(0) // 0 is no tag
	if f.kind == streamMessage {
		requests, id = bytes2, varint1
	}
	for len(b) > 0 {
		t, rest := next(b)
		switch {
		case t == requests:
			raw, n := protowire.ConsumeBytes(rest)
			if n < 0 {
				return errMalformed
			}
			if len(f.batch.Requests) == limiter.MaxItems {
				return &limiter.Error{Code: limiter.InvalidArgument, Field: "requests", Message: fmt.Sprintf("there are more than %d requests: split the batch", limiter.MaxItems)}
			}
			f.batch.Requests = append(f.batch.Requests, limiter.Request{})
			if !f.decodeRequest(raw, &f.batch.Requests[len(f.batch.Requests)-1]) {
				return errMalformed
			}
			b = rest[n:]
		case t == id && id != 0:
			v, n := protowire.ConsumeVarint(rest)
			if n < 0 {
				return errMalformed
			}
			f.id, b = v, rest[n:]
		default:
			if b = skip(t, rest); b == nil {
				return errMalformed
			}
		}
	}
	return nil
}

// decodeRequest reads a CheckRequest. It reports false for what is no protobuf; what
// the fields mean is judged later, for each request by itself.
func (f *frame) decodeRequest(b []byte, r *limiter.Request) bool {
	first := len(f.attributes)
	for len(b) > 0 {
		t, rest := next(b)
		switch t {
		case bytes1:
			raw, n := protowire.ConsumeBytes(rest)
			if n < 0 {
				return false
			}
			r.Domain, b = view(raw), rest[n:]
		case bytes2:
			raw, n := protowire.ConsumeBytes(rest)
			var a policy.Attribute
			if n < 0 || !decodeAttribute(raw, &a) {
				return false
			}
			if len(f.attributes)-first <= limiter.MaxAttributes { // one too many is enough to refuse it
				f.attributes = append(f.attributes, a)
			}
			b = rest[n:]
		case varint3, varint4:
			v, n := protowire.ConsumeVarint(rest)
			if n < 0 {
				return false
			}
			if t == varint3 {
				r.Hits = int64(uint32(v))
			} else {
				r.Peek = protowire.DecodeBool(v)
			}
			b = rest[n:]
		default:
			if b = skip(t, rest); b == nil {
				return false
			}
		}
	}
	r.Attributes = f.attributes[first:len(f.attributes):len(f.attributes)]
	return true
}

// decodeAttribute reads an Attribute.
func decodeAttribute(b []byte, a *policy.Attribute) bool {
	for len(b) > 0 {
		t, rest := next(b)
		switch t {
		case bytes1, bytes2:
			raw, n := protowire.ConsumeBytes(rest)
			if n < 0 {
				return false
			}
			if t == bytes1 {
				a.Key = view(raw)
			} else {
				a.Value = view(raw)
			}
			b = rest[n:]
		default:
			if b = skip(t, rest); b == nil {
				return false
			}
		}
	}
	return true
}

// next splits b, which is not empty, into a field's tag and what follows it. The tag is 0
// where there is none.
func next(b []byte) (uint64, []byte) {
	if b[0] < 0x80 {
		return uint64(b[0]), b[1:]
	}
	t, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return 0, nil
	}
	return t, b[n:]
}

// skip returns what follows the value of a field that is unknown, or known with another
// type; nil where it is no field.
func skip(t uint64, b []byte) []byte {
	num, typ := t>>3, protowire.Type(t&7)
	if num < uint64(protowire.MinValidNumber) || num > uint64(protowire.MaxValidNumber) || typ == protowire.EndGroupType {
		return nil
	}
	n := protowire.ConsumeFieldValue(protowire.Number(num), typ, b)
	if n < 0 {
		return nil
	}
	return b[n:]
}

// view returns a string of the bytes of b, which must not change while it lives.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
