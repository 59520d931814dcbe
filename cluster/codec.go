package cluster

import (
	"fmt"
	"slices"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto" // registers the generated codec
	"google.golang.org/grpc/mem"

	"github.com/weir-io/weir/cluster/wire"
)

// A raw is a message of package wire as it travels: written before gRPC sees it, read
// after.
type raw struct{ b []byte }

// A codec passes raws through and leaves all other messages to the generated code.
type codec struct{ generated encoding.CodecV2 }

var _ encoding.CodecV2 = codec{}

func newCodec() codec { return codec{encoding.GetCodecV2(grpcproto.Name)} }

// Name returns the name of the content subtype.
func (c codec) Name() string { return grpcproto.Name }

// Marshal encodes v. The bytes of a raw must not change any more: gRPC may hold them for
// some time after the call that sends them.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*raw); ok {
		return mem.BufferSlice{mem.SliceBuffer(r.b)}, nil
	}
	return c.generated.Marshal(v)
}

// Unmarshal decodes a message into v. The memory of a raw is reused.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*raw)
	if !ok {
		return c.generated.Unmarshal(data, v)
	}
	n := data.Len()
	if n > wire.MaxBytes {
		return fmt.Errorf("a frame of %d bytes: at most %d are taken", n, wire.MaxBytes)
	}
	r.b = slices.Grow(r.b[:0], n)[:n]
	data.CopyTo(r.b)
	return nil
}
