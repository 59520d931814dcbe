package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// ErrNoNode is wrapped by the error of a call that no node answered by its deadline:
// none could be reached, those reached were starting or overloaded, or one kept
// silent. Whether the request was counted is not known; it is safe to ask again.
var ErrNoNode = errors.New("client: no node answered")

// noAnswer is an ErrNoNode that says what happened at each address.
type noAnswer struct {
	op       string
	attempts []error
}

func (e *noAnswer) Error() string {
	var b strings.Builder
	b.WriteString(ErrNoNode.Error())
	b.WriteString(": ")
	b.WriteString(e.op)
	for i, err := range e.attempts {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		b.WriteString(err.Error())
	}
	return b.String()
}

func (e *noAnswer) Is(target error) bool { return target == ErrNoNode }

func (e *noAnswer) Unwrap() []error { return e.attempts }

// do has one node answer call. Addresses are tried in their order, beginning with the
// one that answered last, each once.
func (c *Client) do(ctx context.Context, op string, call func(context.Context, weirv1.LimiterClient) error) error {
	if _, ok := ctx.Deadline(); !ok {
		bounded, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		ctx = bounded
	}
	first := c.prefer.Load()
	var failed *noAnswer
	for i := range len(c.nodes) {
		place := (int(first) + i) % len(c.nodes)
		n := c.nodes[place]
		var err error
		if i < len(c.nodes)-1 {
			err = n.connect(ctx)
		}
		if err == nil {
			err = call(ctx, n.limiter)
		}
		switch code := status.Code(err); {
		case err == nil:
			if i > 0 {
				c.prefer.CompareAndSwap(first, int64(place))
			}
			return nil
		case errors.Is(ctx.Err(), context.Canceled):
			return fmt.Errorf("%s at %s: %w", op, n.addr, ctx.Err())
		case code == codes.Unavailable || code == codes.DeadlineExceeded:
			if failed == nil {
				failed = &noAnswer{op: op}
			}
			failed.attempts = append(failed.attempts, fmt.Errorf("%s: %w", n.addr, err))
			if code == codes.DeadlineExceeded {
				// The time is over. A node that is connected but silent must not cost
				// the next call its time too.
				c.prefer.CompareAndSwap(first, int64(place+1)%int64(len(c.nodes)))
				return failed
			}
		default:
			return fmt.Errorf("%s at %s: %w", op, n.addr, err)
		}
	}
	return failed
}

// connect waits until the connection can be used, for at most half of the time that is
// left: the other addresses need the rest. Its errors are statuses.
func (n *node) connect(ctx context.Context) error {
	state := n.conn.GetState()
	if state == connectivity.Ready {
		return nil
	}
	deadline, _ := ctx.Deadline() // do has set one
	wait, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
	defer cancel()
	for {
		switch state {
		case connectivity.Ready, connectivity.TransientFailure, connectivity.Shutdown:
			return nil // a call succeeds, or fails at once and says why
		case connectivity.Idle:
			n.conn.Connect()
		}
		if !n.conn.WaitForStateChange(wait, state) {
			return status.Error(codes.Unavailable, "no connection within half of the time left")
		}
		state = n.conn.GetState()
	}
}
