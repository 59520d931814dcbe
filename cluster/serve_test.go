package cluster

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/clock"
	"github.com/weir-io/weir/cluster/wire"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

// A stranger speaks frames to a member over a connection of its own.
type stranger struct {
	t      testing.TB
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	enc    wire.Encoder
	began  time.Time // of its process: a minute ago
}

func dialMember(t testing.TB, m *member) *grpc.ClientConn {
	t.Helper()
	conns, err := dialPeer(m.cfg.Self.PeerAddr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conns.close() })
	return conns.control
}

func meetStranger(t testing.TB, m *member) *stranger {
	t.Helper()
	s := &stranger{t: t, conn: dialMember(t, m), began: time.Now().Add(-time.Minute)}
	s.reopen()
	return s
}

// reopen opens a stream and says who it is.
func (s *stranger) reopen() {
	s.t.Helper()
	s.open()
	s.send(wire.Header{SenderID: "stranger", SenderBoot: 1, Sent: time.Since(s.began)})
}

func (s *stranger) open() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.t.Cleanup(cancel)
	stream, err := s.conn.NewStream(ctx, &weirv1.Peer_ServiceDesc.Streams[0], weirv1.Peer_Frames_FullMethodName)
	if err != nil {
		s.t.Fatal(err)
	}
	s.stream = stream
}

// send sends a frame of takes, each of one charge.
func (s *stranger) send(h wire.Header, charges ...bucket.Charge) {
	s.t.Helper()
	s.enc.Begin()
	for i := range charges {
		s.enc.Add(wire.Take, false, 0, charges[i:i+1], nil)
	}
	if err := s.stream.SendMsg(&raw{s.enc.Append(nil, &h)}); err != nil {
		s.t.Fatal(err)
	}
}

// next returns the next part: outcomes by place, and how many are allowed.
func (s *stranger) next() (number uint64, outcomes map[uint32]wire.Outcome, allowed int) {
	s.t.Helper()
	var in raw
	if err := s.stream.RecvMsg(&in); err != nil {
		s.t.Fatal(err)
	}
	part, err := wire.ReadPart(in.b)
	if err != nil {
		s.t.Fatal(err)
	}
	outcomes = map[uint32]wire.Outcome{}
	var a wire.Answer
	for {
		ok, err := part.Next(&a)
		if err != nil {
			s.t.Fatal(err)
		}
		if !ok {
			return part.Number, outcomes, allowed
		}
		outcomes[a.Place] = a.Outcome
		if a.Allowed {
			allowed++
		}
	}
}

func (s *stranger) header(number uint64) wire.Header {
	return wire.Header{Number: number, Epoch: 1, Hop: time.Second, Sent: time.Since(s.began)}
}

// A frame that comes twice, on the same stream or another, is decided once and answered
// twice.
func TestFramesAreDecidedOnce(t *testing.T) {
	members := startMembers(t, 1)
	route(t, members, tableOf(1, members, func(int) int { return 0 }))
	s := meetStranger(t, members[0])
	one := charge(keyAt(1, 1), window(10, 1, bucket.FailLocal))
	h := s.header(1)
	for i := range 3 {
		if i == 2 {
			s.reopen()
		}
		s.send(h, one)
		if n, outcomes, allowed := s.next(); n != 1 || outcomes[0] != wire.Decided || allowed != 1 {
			t.Errorf("time %d: answer to frame %d: %v, %d allowed", i, n, outcomes, allowed)
		}
	}
	if got := remaining(members[0], one); got != 9 {
		t.Errorf("%d remain, want 9: it was decided more than once", got)
	}
	second := s.header(2)
	second.Done = 1
	s.send(second, one)
	s.next()
	s.send(h, one)
	if _, outcomes, _ := s.next(); outcomes[0] != wire.Stale {
		t.Errorf("a frame that its sender was done with: %v, want stale", outcomes)
	}
	if got := remaining(members[0], one); got != 8 {
		t.Errorf("%d remain, want 8", got)
	}
}

func remaining(m *member, c bucket.Charge) int64 {
	var statuses [1]bucket.Status
	m.store.Peek(m.clock.Now(), []bucket.Charge{c}, statuses[:])
	return statuses[0].Remaining
}

// An item that was long on its way was decided elsewhere by now: it is dropped.
func TestLateItemsAreDropped(t *testing.T) {
	members := startMembers(t, 1)
	route(t, members, tableOf(1, members, func(int) int { return 0 }))
	s := meetStranger(t, members[0])
	one := charge(keyAt(1, 1), window(10, 1, bucket.FailLocal))
	h := s.header(1)
	h.Sent -= 2 * time.Second // it says so itself: sent two seconds ago
	s.send(h, one)
	if _, outcomes, _ := s.next(); outcomes[0] != wire.Late {
		t.Errorf("outcome %v, want late", outcomes)
	}
	if got := remaining(members[0], one); got != 10 {
		t.Errorf("%d remain, want 10", got)
	}
}

// An item that must wait does not hold back its neighbours.
func TestAnswersComeInParts(t *testing.T) {
	members := startMembers(t, 2)
	route(t, members, tableOf(1, members, func(p int) int { return p % 2 }))
	s := meetStranger(t, members[0])
	rule := window(10, 1, bucket.FailLocal)
	h := s.header(1)
	h.Epoch = 2
	s.send(h, charge(keyAt(0, 1), rule), charge(keyAt(1, 1), rule))
	if _, outcomes, _ := s.next(); len(outcomes) != 1 || outcomes[0] != wire.Decided {
		t.Errorf("the first part: %v, want item 0 decided", outcomes)
	}
	members[0].TableApplied(tableOf(2, members, func(int) int { return 0 }))
	if _, outcomes, _ := s.next(); len(outcomes) != 1 || outcomes[1] != wire.Decided {
		t.Errorf("the second part: %v, want item 1 decided", outcomes)
	}
	h = s.header(2)
	h.Epoch = 3
	s.send(h, charge(keyAt(0, 1), rule))
	if _, outcomes, _ := s.next(); outcomes[0] != wire.Decided {
		t.Errorf("an owner that is behind decides: %v", outcomes)
	}
	members[0].TableApplied(tableOf(3, members, func(int) int { return 1 }))
	h = s.header(3)
	h.Epoch = 3
	s.send(h, charge(keyAt(0, 1), rule))
	if _, outcomes, _ := s.next(); outcomes[0] != wire.NotOwner {
		t.Errorf("at a node that owns nothing: %v, want not owner", outcomes)
	}
}

// A frame of which every item waits makes way for the next one at once; an item whose own
// time is over when the table comes is not decided any more.
func TestFrameOfItemsThatWait(t *testing.T) {
	members := startMembers(t, 1)
	route(t, members, tableOf(1, members, func(int) int { return int(ring.None) }))
	s := meetStranger(t, members[0])
	one := charge(keyAt(1, 1), window(10, 1, bucket.FailLocal))
	h := s.header(1)
	h.Epoch = 2
	const own = 20 * time.Millisecond
	s.enc.Begin()
	s.enc.Add(wire.Take, false, own, []bucket.Charge{one}, nil)
	if err := s.stream.SendMsg(&raw{s.enc.Append(nil, &h)}); err != nil {
		t.Fatal(err)
	}
	if n, outcomes, _ := s.next(); n != 1 || len(outcomes) != 0 {
		t.Errorf("the first part is of frame %d: %v, want none of frame 1", n, outcomes)
	}
	over := time.NewTimer(2 * own)
	defer over.Stop()
	<-over.C
	members[0].TableApplied(tableOf(2, members, func(int) int { return 0 }))
	if _, outcomes, _ := s.next(); outcomes[0] != wire.Late && outcomes[0] != wire.Behind {
		t.Errorf("the item that nobody waits for: %v, want late", outcomes)
	}
	if got := remaining(members[0], one); got != 10 {
		t.Errorf("%d remain, want 10", got)
	}
}

// Streams that do not begin as they must, and frames that cannot be read, end the stream
// and change nothing.
func TestBrokenStreams(t *testing.T) {
	members := startMembers(t, 1)
	route(t, members, tableOf(1, members, func(int) int { return 0 }))
	one := charge(keyAt(1, 1), window(10, 1, bucket.FailLocal))
	wantEnd := func(s *stranger, code codes.Code) {
		t.Helper()
		for {
			var in raw
			if err := s.stream.RecvMsg(&in); err != nil {
				if status.Code(err) != code {
					t.Errorf("the stream ends with %v, want %v", err, code)
				}
				return
			}
		}
	}
	t.Run("without a name", func(t *testing.T) {
		s := &stranger{t: t, conn: dialMember(t, members[0]), began: time.Now().Add(-time.Minute)}
		s.open()
		s.send(wire.Header{Number: 1, Epoch: 1, Hop: time.Second}, one)
		wantEnd(s, codes.InvalidArgument)
	})
	t.Run("not a message", func(t *testing.T) {
		s := meetStranger(t, members[0])
		if err := s.stream.SendMsg(&raw{[]byte{0xff, 0xff}}); err != nil {
			t.Fatal(err)
		}
		wantEnd(s, codes.InvalidArgument)
	})
	t.Run("too large", func(t *testing.T) {
		s := meetStranger(t, members[0])
		if err := s.stream.SendMsg(&raw{make([]byte, wire.MaxBytes+1)}); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		wantEnd(s, codes.Internal)
	})
	t.Run("an older process", func(t *testing.T) {
		newer := meetStranger(t, members[0])
		newer.send(newer.header(1), charge(keyAt(1, 2), one.Rule))
		newer.next() // it is known now
		older := &stranger{t: t, conn: newer.conn, began: time.Now().Add(-time.Minute)}
		older.open()
		older.send(wire.Header{SenderID: "stranger"})
		wantEnd(older, codes.FailedPrecondition)
	})
	if got := remaining(members[0], one); got != 10 {
		t.Errorf("%d remain, want 10", got)
	}
}

// Nodes that do not belong together part by name.
func TestHello(t *testing.T) {
	m := startMember(t, "n1", "c1", clock.NewSystem())
	client := weirv1.NewPeerClient(dialMember(t, m))
	good := func() *weirv1.HelloRequest {
		return &weirv1.HelloRequest{Sender: &weirv1.NodeBoot{NodeId: "n2", Boot: 1}, ClusterId: "c1", Protocol: protocolVersion, RingHash: ring.SettingsHash()}
	}
	res, err := client.Hello(t.Context(), good())
	if err != nil || res.GetReceiver().GetNodeId() != "n1" || res.GetClusterId() != "c1" {
		t.Fatalf("%v, %v", res, err)
	}
	fresh := good()
	fresh.ClusterId = ""
	if _, err := client.Hello(t.Context(), fresh); err != nil {
		t.Errorf("a node without a cluster: %v", err)
	}
	for want, set := range map[string]func(*weirv1.HelloRequest){
		"cluster c2":    func(h *weirv1.HelloRequest) { h.ClusterId = "c2" },
		"protocol 99":   func(h *weirv1.HelloRequest) { h.Protocol = 99 },
		"ring settings": func(h *weirv1.HelloRequest) { h.RingHash++ },
	} {
		h := good()
		set(h)
		if _, err := client.Hello(t.Context(), h); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "n2") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
