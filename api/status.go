package api

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-io/weir/limiter"
)

// codeTooLarge is RESOURCE_EXHAUSTED: only ever of a message's size.
const codeTooLarge = limiter.Code(codes.ResourceExhausted)

// statusOf returns e as the status of a call.
func statusOf(e *limiter.Error) error {
	return status.Error(codes.Code(e.Code), e.Error())
}

// errorOf returns what err says as the error of a call: one of the limiter's as it is,
// the end of a deadline, or something that is broken.
func errorOf(err error) *limiter.Error {
	if e, ok := errors.AsType[*limiter.Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &limiter.Error{Code: limiter.DeadlineExceeded, Message: err.Error()}
	}
	return &limiter.Error{Code: limiter.Internal, Message: err.Error()}
}
