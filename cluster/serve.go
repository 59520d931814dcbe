package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster/wire"
)

// How long an item whose sender's table is newer waits for that table here: at most
// catchUpTime, and this share of its hop's time.
const (
	catchUpTime  = 100 * time.Millisecond
	catchUpShare = 0.4
)

// maxWaiting is how many frames of one stream may wait for a table at once.
const maxWaiting = maxFlying

// framesDesc is the stream that carries checks, with a handler that reads frames.
var framesDesc = grpc.StreamDesc{StreamName: "Frames", Handler: handleFrames, ServerStreams: true, ClientStreams: true}

func handleFrames(srv any, stream grpc.ServerStream) error {
	return srv.(*server).node.serveFrames(stream)
}

// serveFrames answers the frames of one stream until it ends.
func (n *Node) serveFrames(stream grpc.ServerStream) error {
	var in raw
	s := &frameServer{node: n, rules: wire.Rules{Intern: n.store.Intern}, out: &outlet{stream: stream}}
	s.ctx, s.stop = context.WithCancel(stream.Context())
	defer s.waiting.Wait()
	defer s.stop()
	if err := stream.RecvMsg(&in); err != nil {
		return err
	}
	var first wire.Frame
	if err := first.Read(in.b, &s.rules); err != nil || first.SenderID == "" || len(first.Items) > 0 {
		return status.Error(codes.InvalidArgument, "a stream begins with an empty frame that names its sender")
	}
	box := n.inboxes.open(first.SenderID, first.SenderBoot)
	if box == nil {
		return status.Errorf(codes.FailedPrecondition, "a newer process of %s is known", first.SenderID)
	}
	defer n.inboxes.close(box)
	s.box = &box.inbox
	s.box.age(first.Sent, time.Since(n.began))
	f := new(wire.Frame)
	for {
		if err := stream.RecvMsg(&in); err != nil {
			return nil // the sender has gone, or will come on another stream
		}
		if err := f.Read(in.b, &s.rules); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		kept, err := s.serve(f)
		if err != nil {
			return nil
		}
		if kept {
			f = new(wire.Frame)
		}
	}
}

// A frameServer answers the frames of one stream. One goroutine uses it, but for the
// frames that wait.
type frameServer struct {
	node  *Node
	rules wire.Rules
	box   *inbox
	out   *outlet

	statuses []bucket.Status // of the item at hand
	places   []uint32        // of the items that wait

	ctx     context.Context // of the stream
	stop    context.CancelFunc
	waiting sync.WaitGroup // frames that wait for a table
	count   sem
}

// sem counts what runs at once.
type sem struct {
	mu sync.Mutex
	n  int
}

func (s *sem) enter(most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= most {
		return false
	}
	s.n++
	return true
}

func (s *sem) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n--
}

// serve answers a frame: what can be decided now in one part, what must wait for a newer
// table in another. kept says that f still waits and must not be reused.
func (s *frameServer) serve(f *wire.Frame) (kept bool, err error) {
	n := s.node
	now := time.Since(n.began)
	age := s.box.age(f.Sent, now)
	r, fate, parts := s.box.begin(f.Number, f.Done, now, now+f.Hop, s.out)
	v := n.view.Load()
	switch fate {
	case isStale:
		return false, s.out.send(all(f, v.table.Epoch, wire.Stale))
	case isKnown:
		for _, part := range parts {
			if err := s.out.send(part); err != nil {
				return false, err
			}
		}
		return false, nil
	}
	part := wire.AppendPart(make([]byte, 0, 16+32*len(f.Charges)), f.Number, v.table.Epoch)
	s.places = s.places[:0]
	at := n.clock.Now()
	touched := 0 // charges
	for i := range f.Items {
		if first := int(f.Items[i].First); first >= touched {
			touched = min(first+bucket.Abreast, len(f.Charges))
			n.store.Touch(f.Charges[first:touched])
		}
		a, wait := s.answer(v, at, f, &f.Items[i], age)
		if wait {
			s.places = append(s.places, uint32(i))
			continue
		}
		a.Place = uint32(i)
		part = wire.AppendAnswer(part, &a)
	}
	if len(s.places) > 0 {
		kept = s.count.enter(maxWaiting)
		if !kept {
			for _, p := range s.places {
				part = wire.AppendAnswer(part, &wire.Answer{Place: p, Outcome: wire.Behind})
			}
		}
	}
	if kept {
		waiting := &frameServer{node: n, box: s.box, ctx: s.ctx, places: slices.Clone(s.places)}
		s.waiting.Go(func() {
			defer s.count.leave()
			waiting.serveLater(f, r, age, now)
		})
	}
	// A part without answers tells the sender, too, that the next frame may come: it may
	// be of items that need not wait.
	return kept, s.box.add(r, part).send(part)
}

// serveLater answers the items at s.places once the table of their sender is here, or its
// time is over. age is that of the frame when it came.
func (s *frameServer) serveLater(f *wire.Frame, r *received, age, came time.Duration) {
	n := s.node
	ctx, cancel := context.WithTimeout(s.ctx, min(catchUpTime, time.Duration(catchUpShare*float64(f.Hop))))
	defer cancel()
	n.awaitEpoch(ctx, f.Epoch)
	v := n.view.Load()
	part := wire.AppendPart(nil, f.Number, v.table.Epoch)
	at := n.clock.Now()
	age += time.Since(n.began) - came // some may have had less time than the frame
	for _, p := range s.places {
		a, wait := s.answer(v, at, f, &f.Items[p], age)
		if wait {
			a = wire.Answer{Outcome: wire.Behind}
		}
		a.Place = p
		part = wire.AppendAnswer(part, &a)
	}
	_ = s.box.add(r, part).send(part) // the stream's end is its reader's to see
}

// all answers every item of a frame alike.
func all(f *wire.Frame, epoch uint64, outcome wire.Outcome) []byte {
	part := wire.AppendPart(nil, f.Number, epoch)
	for i := range f.Items {
		part = wire.AppendAnswer(part, &wire.Answer{Place: uint32(i), Outcome: outcome})
	}
	return part
}

// answer decides one item of a frame, or says that it must wait for the sender's table.
// The answer's statuses are good until the next call.
func (s *frameServer) answer(v *view, now int64, f *wire.Frame, it *wire.Item, age time.Duration) (a wire.Answer, wait bool) {
	if age > it.Hop {
		return wire.Answer{Outcome: wire.Late}, false
	}
	charges, receipts := f.Charges[it.First:it.End], f.Receipts[it.First:it.End]
	if cap(s.statuses) < len(charges) {
		s.statuses = make([]bucket.Status, len(charges))
	}
	statuses := s.statuses[:len(charges)]
	if it.OnYourRight {
		return s.node.answerOnRight(v, now, it.Kind, charges, receipts, statuses), false
	}
	for i := range charges {
		p := charges[i].Hash.Partition()
		if v.ownsPartition(p) {
			continue
		}
		if v.table.Epoch < f.Epoch {
			return a, true
		}
		if owner := v.table.Owner(p); owner != nil {
			return wire.Answer{Outcome: wire.NotOwner, Owner: owner.ID}, false
		}
		return wire.Answer{Outcome: wire.Silent}, false
	}
	return decideItem(s.node.store, now, it.Kind, charges, receipts, statuses), false
}

// decideItem does what an item asks in a store.
func decideItem(store *bucket.Store, now int64, kind wire.Kind, charges []bucket.Charge, receipts []uint64, statuses []bucket.Status) wire.Answer {
	a := wire.Answer{Outcome: wire.Decided}
	switch kind {
	case wire.Take:
		a.Allowed, a.Statuses = store.Take(now, charges, statuses), statuses
	case wire.Peek:
		a.Allowed, a.Statuses = store.Peek(now, charges, statuses), statuses
	case wire.Refund:
		for i := range charges {
			if receipts[i] != 0 {
				store.Refund(now, &charges[i], receipts[i])
			}
		}
		store.Peek(now, charges, statuses)
		a.Statuses = statuses
	case wire.Reset:
		for i := range charges {
			store.Reset(now, &charges[i])
		}
	case wire.Release:
		for i := range charges {
			a.Released += uint64(store.Release(now, &charges[i], receipts[i]))
		}
	}
	return a
}
