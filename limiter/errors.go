package limiter

import (
	"context"
	"errors"

	"github.com/weir-io/weir/cluster"
)

// A Code classes an Error. The numbers are those of google.rpc.Code.
type Code uint8

// The codes.
const (
	InvalidArgument  Code = 3
	DeadlineExceeded Code = 4
	NotFound         Code = 5
	Internal         Code = 13
	Shed             Code = 14 // UNAVAILABLE: overload, starting or out of reach; safe to retry
)

// An Error says why a request could not be decided: what was wrong, where, and
// what to do.
type Error struct {
	Code    Code
	Message string
	Field   string // the field that was wrong, as "attributes[2].value"; may be empty
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// undecided classes what the cluster says of an item it could not decide.
func undecided(err error) *Error {
	switch {
	case errors.Is(err, cluster.ErrShed), errors.Is(err, cluster.ErrStarting):
		return &Error{Code: Shed, Message: err.Error() + ": try again soon, or ask another node"}
	case errors.Is(err, cluster.ErrTooMany):
		return &Error{Code: InvalidArgument, Message: err.Error() + ": have fewer policies apply to one request"}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: DeadlineExceeded, Message: "the deadline of the check was over before its owner answered: give it more time, or retry"}
	case errors.Is(err, context.Canceled):
		return &Error{Code: DeadlineExceeded, Message: "the caller gave up before the check was decided"}
	}
	return &Error{Code: Internal, Message: "decide: " + err.Error()}
}

// unreached classes what the cluster says when it cannot reach a bucket for its keeper.
func unreached(what string, err error) *Error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &Error{Code: DeadlineExceeded, Message: what + ": the deadline was over before the owner answered: retry"}
	}
	return &Error{Code: Shed, Message: what + ": " + err.Error() + ": try again soon"}
}
