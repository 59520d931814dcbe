package api

import (
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto" // registers the generated codec
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/weir-io/weir/limiter"
)

// A codec reads and writes frames by hand and leaves all other messages to the
// generated code.
type codec struct{ generated encoding.CodecV2 }

var _ encoding.CodecV2 = codec{}

func newCodec() codec { return codec{encoding.GetCodecV2(grpcproto.Name)} }

// A bounded is a generated message of Limiter: too large a one is refused before it is
// decoded.
type bounded struct {
	proto.Message
	err *limiter.Error // why it was refused
}

// Name returns the name of the content subtype.
func (c codec) Name() string { return grpcproto.Name }

// Unmarshal decodes a message into v.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *frame:
		v.read(data)
		return nil
	case *bounded:
		if n := data.Len(); n > maxLimiterMessage {
			v.err = tooLarge(n)
		} else if err := c.generated.Unmarshal(data, v.Message); err != nil {
			v.err = errMalformed
		}
		return nil
	}
	return c.generated.Unmarshal(data, v)
}

// Marshal encodes v. A frame has been encoded before; it is given back to the pool.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return c.generated.Marshal(v)
	}
	out := f.out
	f.release()
	return mem.BufferSlice{mem.NewBuffer(out, &answers)}, nil
}
