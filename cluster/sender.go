package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-io/weir/cluster/wire"
)

// openTimeout bounds how long a stream may take to open.
const openTimeout = 500 * time.Millisecond

// A sender carries the frames of an outbox over a peer's stream, one stream after the
// other. It opens the first when there is something to send.
type sender struct {
	out   *outbox
	self  wire.Header // names this node
	since time.Time   // when this process began, by its monotonic clock
	// dial opens a stream that lives as long as ctx.
	dial    func(ctx context.Context) (grpc.ClientStream, error)
	observe func(items int) // called with the size of each frame
	log     *slog.Logger

	enc   wire.Encoder
	timer *time.Timer // of pause
}

// run sends until ctx ends; what is not answered then is given up.
func (s *sender) run(ctx context.Context) {
	defer s.out.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.out.wake:
		}
		s.connected(ctx)
	}
}

// connected sends over one stream after the other as long as they open. A frame whose
// stream broke is sent once more, under its number: the owner knows whether it has
// decided it.
func (s *sender) connected(ctx context.Context) {
	var again []*flight
	for ctx.Err() == nil {
		stream, end, err := s.open(ctx)
		if err != nil {
			s.log.Debug("stream to peer does not open", "err", err)
			s.out.giveUp()
			return
		}
		err = s.converse(ctx, stream, end, again)
		if ctx.Err() == nil {
			s.log.Info("stream to peer broke", "err", err)
		}
		again = s.out.again(time.Now())
		if len(again) == 0 && s.out.size() == 0 {
			return
		}
	}
}

// open opens a stream. end ends it.
func (s *sender) open(ctx context.Context) (stream grpc.ClientStream, end context.CancelFunc, err error) {
	ctx, end = context.WithCancel(ctx)
	late := time.AfterFunc(openTimeout, end)
	stream, err = s.dial(ctx)
	if err == nil && !late.Stop() {
		err = context.DeadlineExceeded
	}
	late.Stop()
	if err != nil {
		end()
		return nil, nil, fmt.Errorf("open a stream: %w", err)
	}
	return stream, end, nil
}

// converse sends what must be sent again and then what waits, until the stream breaks or
// ctx ends, and returns why. end ends the stream; nobody reads it any more then.
func (s *sender) converse(ctx context.Context, stream grpc.ClientStream, end context.CancelFunc, again []*flight) error {
	ctx, cancel := context.WithCancelCause(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		cancel(s.read(stream))
	}()
	err := s.introduce(stream)
	for _, f := range again {
		if err == nil {
			err = stream.SendMsg(&raw{f.raw})
		}
	}
	for err == nil && ctx.Err() == nil {
		var wait time.Duration
		if wait, err = s.sendNext(stream); err == nil {
			s.pause(ctx, wait)
		}
	}
	if err == nil || errors.Is(err, io.EOF) { // the reader knows why
		select {
		case <-read:
		case <-time.After(openTimeout):
		}
	}
	end()
	<-read
	cancel(err)
	return context.Cause(ctx)
}

// introduce names this node in an empty frame, the first of every stream.
func (s *sender) introduce(stream grpc.ClientStream) error {
	s.enc.Begin()
	h := s.self
	h.Sent = time.Since(s.since)
	return stream.SendMsg(&raw{s.enc.Append(nil, &h)})
}

// sendNext sends the next frame, if there is one, and returns how long to wait for the
// next look: 0 = until woken.
func (s *sender) sendNext(stream grpc.ClientStream) (wait time.Duration, err error) {
	now := time.Now()
	f, epoch, hop, wait := s.out.take(&s.enc, now)
	if f == nil {
		return wait, nil
	}
	f.raw = s.enc.Append(make([]byte, 0, s.enc.Size()), &wire.Header{Number: f.number, Done: s.out.done(), Epoch: epoch, Hop: hop, Sent: now.Sub(s.since)})
	s.observe(len(f.refs))
	return max(f.until.Sub(now), time.Millisecond), stream.SendMsg(&raw{f.raw})
}

// pause waits until woken, at most wait where it is not 0.
func (s *sender) pause(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		select {
		case <-s.out.wake:
		case <-ctx.Done():
		}
		return
	}
	if s.timer == nil {
		s.timer = time.NewTimer(wait)
	} else {
		s.timer.Reset(wait)
	}
	defer s.timer.Stop()
	select {
	case <-s.out.wake:
	case <-s.timer.C:
	case <-ctx.Done():
	}
}

// read takes in answers until the stream ends, and returns why it did.
func (s *sender) read(stream grpc.ClientStream) error {
	var in raw
	for {
		if err := stream.RecvMsg(&in); err != nil {
			return err
		}
		if _, err := s.out.answer(in.b); err != nil {
			return fmt.Errorf("read answers: %w", err)
		}
	}
}
