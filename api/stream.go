package api

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-io/weir/limiter"
)

// maxInFlight is how many batches of one stream are decided at a time. A client that
// sends more waits; one that does not read its answers holds up nobody else.
const maxInFlight = 16

// A checkStream is one CheckStream call.
type checkStream struct {
	door   *GRPC
	stream grpc.ServerStream
	ctx    context.Context
	slots  chan struct{} // one for each batch in flight

	mu  sync.Mutex // guards sending and err
	err error      // the first answer that could not be sent
}

// handleStream answers the batches of a stream until the client ends it or the node
// leaves: then what was read is answered, and the client sent on.
func handleStream(srv any, stream grpc.ServerStream) error {
	g := srv.(*GRPC)
	s := &checkStream{door: g, stream: stream, ctx: noDeadline{stream.Context()}, slots: make(chan struct{}, maxInFlight)}
	end := make(chan error, 1)
	g.wg.Go(func() { end <- s.read() }) // ends with the call: RecvMsg returns when the handler has
	var err error
	select {
	case err = <-end:
	case <-g.draining:
		err = statusOf(&limiter.Error{Code: limiter.Shed, Message: "the node is leaving: go on at another; what has no answer yet was not decided"})
	}
	for range maxInFlight {
		s.slots <- struct{}{} // kept for good: nothing is begun any more
	}
	if err == nil {
		err = s.err
	}
	return err
}

// read takes batches in. Each is answered by a goroutine of its own, which holds a slot.
func (s *checkStream) read() error {
	for {
		f := newFrame(streamMessage)
		if err := s.stream.RecvMsg(f); err != nil {
			f.release()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			f.release()
			return s.ctx.Err()
		}
		go s.answer(f)
	}
}

// answer decides a batch and sends its answer, or why there is none.
func (s *checkStream) answer(f *frame) {
	defer func() { <-s.slots }()
	if err := s.door.answer(s.ctx, f); err != nil {
		f.err = err
		if err := f.encode(); err != nil {
			f.release()
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stream.SendMsg(f); err != nil && s.err == nil {
		s.err = err
	}
}

// noDeadline is the context of a stream, whose deadline is no batch's.
type noDeadline struct{ context.Context }

func (noDeadline) Deadline() (time.Time, bool) { return time.Time{}, false }
