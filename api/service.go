package api

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// limiterService is weir.v1.Limiter as clients know it, with handlers that read frames.
// Its handlers are methods of a *GRPC.
var limiterService = grpc.ServiceDesc{
	ServiceName: weirv1.Limiter_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Check", Handler: unary(checkMessage)},
		{MethodName: "CheckBatch", Handler: unary(batchMessage)},
		{MethodName: "Reset", Handler: handleReset},
		{MethodName: "Release", Handler: handleRelease},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "CheckStream", Handler: handleStream, ServerStreams: true, ClientStreams: true},
	},
	Metadata: weirv1.Limiter_ServiceDesc.Metadata,
}

// unary returns the handler of Check or CheckBatch.
func unary(kind message) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		g := srv.(*GRPC)
		f := newFrame(kind)
		if err := decode(f); err != nil {
			f.release()
			return nil, err
		}
		if err := g.answer(ctx, f); err != nil {
			f.release()
			return nil, statusOf(err)
		}
		return f, nil
	}
}

// answer decides a frame and encodes its answer. An error is the whole call's.
func (g *GRPC) answer(ctx context.Context, f *frame) *limiter.Error {
	if f.err != nil {
		return f.err
	}
	if err := g.gate.check(); err != nil {
		return err
	}
	g.limiter.Check(ctx, &f.batch)
	if f.kind == checkMessage {
		if err := f.batch.Verdicts[0].Err; err != nil {
			return err
		}
	}
	return f.encode()
}

//nolint:revive // the order of parameters is gRPC's
func handleReset(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	g := srv.(*GRPC)
	var in weirv1.ResetRequest
	if err := g.take(&in, decode); err != nil {
		return nil, err
	}
	limits, err := g.limiter.Reset(ctx, limiter.Request{Domain: in.GetDomain(), Attributes: attributesOf(in.GetAttributes())}, in.GetPolicy())
	if err != nil {
		return nil, statusOf(errorOf(err))
	}
	out := &weirv1.ResetResponse{}
	for i := range limits {
		out.Limits = append(out.Limits, &weirv1.LimitName{Policy: limits[i].Policy.Name, LimitName: limits[i].Limit.Name})
	}
	return out, nil
}

//nolint:revive // the order of parameters is gRPC's
func handleRelease(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	g := srv.(*GRPC)
	var in weirv1.ReleaseRequest
	if err := g.take(&in, decode); err != nil {
		return nil, err
	}
	n, err := g.limiter.Release(ctx, in.GetPermits())
	if err != nil {
		return nil, statusOf(errorOf(err))
	}
	return &weirv1.ReleaseResponse{Released: uint32(n)}, nil
}

// take decodes a generated message of Limiter.
func (g *GRPC) take(in proto.Message, decode func(any) error) error {
	m := &bounded{Message: in}
	if err := decode(m); err != nil {
		return err
	}
	if m.err != nil {
		return statusOf(m.err)
	}
	if err := g.gate.check(); err != nil {
		return statusOf(err)
	}
	return nil
}

// attributesOf returns generated attributes as the limiter has them.
func attributesOf(in []*weirv1.Attribute) []policy.Attribute {
	out := make([]policy.Attribute, len(in))
	for i, a := range in {
		out[i] = policy.Attribute{Key: a.GetKey(), Value: a.GetValue()}
	}
	return out
}
