package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

// Limits of a peer's connection.
const (
	maxPeerMessage = 6 << 20 // a change of policies carries documents of up to 4 MiB
	maxPeerStreams = 256
	maxPeerHeader  = 16 << 10
	peerHandshake  = 5 * time.Second
	minPeerPing    = 10 * time.Second
	peerIdle       = 10 * time.Second // a connection silent for so long is pinged
	peerPingTime   = 5 * time.Second  // without an answer it is closed, and its streams end
)

// A server answers peers. It is never registered where clients come in.
type server struct {
	weirv1.UnimplementedPeerServer
	node    *Node
	refused refusals
}

var _ weirv1.PeerServer = (*server)(nil)

// newServer returns the server of the peer listener.
func newServer(n *Node) *grpc.Server {
	g := grpc.NewServer(
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxPeerMessage), grpc.MaxConcurrentStreams(maxPeerStreams), grpc.MaxHeaderListSize(maxPeerHeader),
		grpc.ConnectionTimeout(peerHandshake),
		grpc.InitialWindowSize(maxWindow), grpc.InitialConnWindowSize(maxWindow),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPeerPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: peerIdle, Timeout: peerPingTime}),
		grpc.WaitForHandlers(true),
	)
	desc := weirv1.Peer_ServiceDesc
	desc.Streams = slices.Clone(desc.Streams)
	desc.Streams[0] = framesDesc
	g.RegisterService(&desc, &server{node: n})
	return g
}

// stopServer ends what peers have open and waits for it. Their streams to a node that goes
// would never end by themselves.
func (n *Node) stopServer(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.server.GracefulStop()
	}()
	late := time.NewTimer(min(timeLeft(ctx), finishTime))
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
	n.server.Stop()
	<-done
}

// finishTime is how long peers may take to end their streams.
const finishTime = 250 * time.Millisecond

// Hello compares what two nodes must agree on.
func (s *server) Hello(_ context.Context, in *weirv1.HelloRequest) (*weirv1.HelloResponse, error) {
	n := s.node
	mine := n.hello()
	sender := in.GetSender().GetNodeId()
	var why string
	switch {
	case in.GetProtocol() != mine.GetProtocol():
		why = fmt.Sprintf("%s speaks peer protocol %d, %s speaks %d: run versions that follow each other", sender, in.GetProtocol(), n.cfg.Self.ID, mine.GetProtocol())
	case in.GetRingHash() != mine.GetRingHash():
		why = fmt.Sprintf("%s places rows by other ring settings than %s: run the same build", sender, n.cfg.Self.ID)
	case in.GetClusterId() != "" && mine.GetClusterId() != "" && in.GetClusterId() != mine.GetClusterId():
		why = fmt.Sprintf("%s is of cluster %s, %s of cluster %s: check --join, or give the node an empty --data-dir", sender, in.GetClusterId(), n.cfg.Self.ID, mine.GetClusterId())
	}
	if why != "" {
		if s.refused.news(why, time.Now()) {
			n.log.Warn("peer refused", "peer", sender, "reason", why)
		}
		return nil, status.Error(codes.FailedPrecondition, why)
	}
	return &weirv1.HelloResponse{Receiver: mine.GetSender(), ClusterId: mine.GetClusterId()}, nil
}

// A node that is refused greets again several times a second: it is said once a minute.
const (
	refusedAgain = time.Minute
	maxRefusals  = 64 // reasons to remember
)

// refusals are when peers were refused and why, lately.
type refusals struct {
	mu   sync.Mutex
	said map[string]time.Time // guarded by mu
}

// news reports whether a reason is to be said at now, and remembers that it was.
func (r *refusals) news(why string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if said, ok := r.said[why]; ok && now.Sub(said) < refusedAgain {
		return false
	}
	if r.said == nil || len(r.said) >= maxRefusals {
		r.said = map[string]time.Time{}
	}
	r.said[why] = now
	return true
}

// Ping tells that this node lives.
func (s *server) Ping(context.Context, *weirv1.PingRequest) (*weirv1.PingResponse, error) {
	n := s.node
	return &weirv1.PingResponse{
		Receiver: n.nodeBoot(), Epoch: n.Table().Epoch, WallNanos: n.clock.Now(), PolicyVersion: n.cfg.Policies(),
	}, nil
}

// Propose hands a command to this node's log, where it leads.
func (s *server) Propose(ctx context.Context, in *weirv1.ProposeRequest) (*weirv1.ProposeResponse, error) {
	result, err := s.node.cfg.Proposer.ProposeLocal(ctx, in.GetCommand())
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &weirv1.ProposeResponse{Result: result}, nil
}

// relayedKey marks a call that was passed on to the leader once: it is not passed on
// again.
const relayedKey = "weir-relayed"

// atLeader calls here where this node leads, else there at the leader.
func (n *Node) atLeader(ctx context.Context, here func() error, there func(context.Context, weirv1.PeerClient) error) error {
	if n.cfg.Log.Leading() {
		return here()
	}
	id, _ := n.cfg.Proposer.Leader()
	p := n.peer(id)
	if md, ok := metadata.FromIncomingContext(ctx); p == nil || ok && len(md.Get(relayedKey)) > 0 {
		return status.Errorf(codes.Unavailable, "%s does not lead; it takes %q for the leader", n.cfg.Self.ID, id)
	}
	return there(metadata.AppendToOutgoingContext(ctx, relayedKey, "1"), p.control())
}

// Join lets a node follow the log.
func (s *server) Join(ctx context.Context, in *weirv1.JoinRequest) (*weirv1.JoinResponse, error) {
	n := s.node
	if in.GetProtocol() != protocolVersion || in.GetRingHash() != ring.SettingsHash() {
		return nil, status.Errorf(codes.FailedPrecondition, "%s differs from %s in peer protocol or ring settings: run the same version", in.GetNode().GetNodeId(), n.cfg.Self.ID)
	}
	out := &weirv1.JoinResponse{}
	err := n.atLeader(ctx, func() error {
		out.ClusterId = n.cfg.Founder.ClusterID()
		return n.keeper.join(ctx, ring.Server{ID: in.GetNode().GetNodeId(), Addr: in.GetPeerAddr()})
	}, func(ctx context.Context, leader weirv1.PeerClient) (err error) {
		out, err = leader.Join(ctx, in)
		return err
	})
	if err != nil {
		return nil, statusOf(err)
	}
	return out, nil
}

// Leave takes a node out of the table, or back in.
func (s *server) Leave(ctx context.Context, in *weirv1.LeaveRequest) (*weirv1.LeaveResponse, error) {
	epoch, err := s.node.leave(ctx, in)
	if err != nil {
		return nil, statusOf(err)
	}
	return &weirv1.LeaveResponse{Epoch: epoch}, nil
}

// statusOf makes an error one of gRPC's, which it may be already. FAILED_PRECONDITION says
// that no leader would do it; all else is worth another try.
func statusOf(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := codes.Unavailable
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, errLastUp), errors.Is(err, errNameTaken):
		code = codes.FailedPrecondition
	}
	return status.Error(code, err.Error())
}

// askJoin asks a member of a cluster to let this node follow its log.
func (n *Node) askJoin(ctx context.Context, via neighbour) error {
	if err := n.gossip.Load().conflict(); err != nil {
		return err
	}
	p := n.peer(via.ID)
	if p == nil {
		return fmt.Errorf("ask %s to join: it cannot be dialled", via.ID)
	}
	_, err := p.control().Join(ctx, &weirv1.JoinRequest{
		Node: n.nodeBoot(), PeerAddr: n.cfg.Self.PeerAddr, Durable: n.cfg.Durable, Protocol: protocolVersion, RingHash: ring.SettingsHash(),
	})
	if err != nil {
		return fmt.Errorf("ask %s to join: %w", via.ID, err)
	}
	return nil
}

// Propose hands an encoded command to the leader at an address and returns its encoded
// result.
func (n *Node) Propose(ctx context.Context, leaderAddr string, command []byte) ([]byte, error) {
	id, _ := n.cfg.Proposer.Leader()
	p := n.peer(id)
	if p == nil {
		return nil, fmt.Errorf("propose to the leader at %s: no connection to it", leaderAddr)
	}
	res, err := p.control().Propose(ctx, &weirv1.ProposeRequest{Command: command})
	if err != nil {
		return nil, fmt.Errorf("propose to %s at %s: %w", p.id, p.addr, err)
	}
	return res.GetResult(), nil
}
