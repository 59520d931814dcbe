package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weir-io/weir/broadcast"
	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/clock"
	"github.com/weir-io/weir/cluster/wire"
	"github.com/weir-io/weir/ring"
)

var (
	// ErrStarting is set on items while no table was applied. It is safe to retry.
	ErrStarting = errors.New("cluster: no table yet: the node is starting")
	// ErrShed is set on items for which a queue had no room. It is safe to retry.
	ErrShed = errors.New("cluster: overloaded: the queue to the owner is full")
	// ErrTooMany is set on items of which one owner elsewhere is to decide more charges than
	// a frame has room for limits.
	ErrTooMany = fmt.Errorf("cluster: more than %d charges of one request are another node's", wire.MaxLimits)
	// ErrUnreached is returned by Reset and Release when an owner is out of reach. It is
	// safe to retry.
	ErrUnreached = errors.New("cluster: the owner of the key does not answer")
)

// Config is what a Node is made of.
type Config struct {
	Self       ring.Member // ID, Boot, Zone and addresses of this node
	Durable    bool        // keeps a data dir, and so may vote
	GossipAddr string      // host:port to bind, tcp and udp
	Advertise  string      // host that others dial for gossip; "" = the bound one
	Join       []string    // gossip addresses of seeds
	Expect     int         // nodes to wait for before a log is bootstrapped; 0 = never bootstrap
	Voters     int         // 1, 3 or 5
	// ForwardTimeout bounds one hop of a check: min of it and half of what is left
	// of the deadline. Too low, and exact answers turn degraded. Default 250ms.
	ForwardTimeout time.Duration

	Store *bucket.Store // buckets of the rows this node owns
	// Rights keeps what this node admits on its rights while owners are out of reach.
	Rights    *bucket.Store
	Clock     clock.Clock
	Transport *Transport // the peer listener; its owner closes it after the log
	Log       Log
	Quorum    Quorum
	Founder   Founder
	Proposer  Proposer
	Policies  func() (version uint64) // policy version this node applies
	Metrics   prometheus.Registerer   // nil = none
	Logger    *slog.Logger
}

// A Node is one member of a cluster.
type Node struct {
	cfg            Config
	log            *slog.Logger
	clock          clock.Clock
	store, rights  *bucket.Store
	forwardTimeout time.Duration
	began          time.Time // what frames count their time from
	metrics        *metrics
	inboxes        inboxes
	led            atomic.Int64 // when CanAnswer saw a leader last, nanoseconds since began

	view   atomic.Pointer[view] // stored under mu
	tables broadcast.Broadcast  // a newer view is stored
	gossip atomic.Pointer[gossip]

	mu     sync.Mutex
	peers  map[string]*peer // guarded by mu, by id
	closed bool             // guarded by mu: no peer is begun any more

	changes  broadcast.Broadcast // gossip, table or what is known of a peer
	keeper   *keeper
	founding *founding
	server   *grpc.Server
	stop     context.CancelFunc // ends the goroutines of Start
	wg       sync.WaitGroup     // the goroutines of Start, and peers that are being closed
}

// New returns a node that is not started.
func New(cfg Config) (*Node, error) {
	if cfg.ForwardTimeout <= 0 {
		cfg.ForwardTimeout = 250 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger, clock: cfg.Clock, store: cfg.Store, rights: cfg.Rights, forwardTimeout: cfg.ForwardTimeout,
		began: time.Now(), peers: map[string]*peer{},
	}
	n.view.Store(&view{table: &ring.Table{}, self: ring.None, named: ring.None})
	n.metrics = newMetrics(n)
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(n.metrics); err != nil {
			return nil, fmt.Errorf("register metrics of the cluster: %w", err)
		}
	}
	n.keeper = newKeeper(keeperConfig{
		Self: cfg.Self, Durable: cfg.Durable, Voters: cfg.Voters, Log: cfg.Log, Quorum: cfg.Quorum, ClusterID: cfg.Founder.ClusterID,
		Alive: n.alive, Peer: n.peerState, PolicyVersion: cfg.Policies, Logger: cfg.Logger,
	})
	return n, nil
}

// Start joins gossip and starts answering peers.
func (n *Node) Start() error {
	self := neighbour{Member: n.cfg.Self, Durable: n.cfg.Durable, Fresh: n.cfg.Founder.Fresh(), Expect: n.cfg.Expect, ClusterID: n.cfg.Founder.ClusterID()}
	g, err := startGossip(gossipConfig{
		Self: self, Bind: n.cfg.GossipAddr, Advertise: n.cfg.Advertise, Join: n.cfg.Join, Changed: n.changed, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.gossip.Store(g)
	n.founding = newFounding(foundingConfig{
		Self: n.cfg.Self.ID, Expect: n.cfg.Expect, Voters: n.cfg.Voters, Joins: len(n.cfg.Join) > 0, Founder: n.cfg.Founder,
		Alive: n.alive, Update: g.update, Ask: n.askJoin, Changed: n.changes.Next, Logger: n.log,
	})
	n.server = newServer(n)
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.wg.Go(func() { n.serve() })
	n.wg.Go(func() { n.keeper.run(ctx) })
	n.wg.Go(func() { n.founding.run(ctx) })
	n.wg.Go(func() { n.followGossip(ctx) })
	n.changed()
	return nil
}

func (n *Node) serve() {
	if err := n.server.Serve(n.cfg.Transport.Peers()); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		n.log.Error("peers are not served any more", "err", err)
	}
}

// GossipAddr returns where gossip is bound.
func (n *Node) GossipAddr() string { return n.gossip.Load().addr() }

// changed tells all that look after the cluster that there is something new. It does not
// block.
func (n *Node) changed() {
	n.changes.Send()
	n.keeper.wake()
}

// Ready returns nil once a table that names this node is applied, else what is missing.
func (n *Node) Ready() error {
	if g := n.gossip.Load(); g != nil {
		if err := g.conflict(); err != nil {
			return err
		}
	}
	switch v := n.view.Load(); {
	case v.self != ring.None:
		return nil
	case n.founding == nil:
		return errors.New("the node is starting")
	case n.cfg.Founder.ClusterID() == "":
		return errors.New(n.founding.missing())
	case len(v.table.Members) == 0:
		return errors.New("the cluster has no table yet")
	}
	leader := n.leader()
	if leader == "" {
		return errors.New("the table does not name this start of the node yet, and there is no leader to change it: start the other voters")
	}
	return fmt.Errorf("the table does not name this node yet: its log may be behind, or the leader %q does not see it", leader)
}

// CanAnswer returns nil where checks are better answered than refused, else what is
// missing: when the node is ready, and when it came back to a cluster that has had no
// leader since. The last table lists it then, and it decides on its right, degraded, until
// a leader gives it its rows again.
func (n *Node) CanAnswer() error {
	err := n.Ready()
	if err == nil {
		return nil
	}
	if n.leader() != "" {
		n.led.Store(int64(time.Since(n.began)))
		return err
	}
	if g := n.gossip.Load(); g == nil || g.conflict() != nil || n.view.Load().named == ring.None {
		return err
	}
	if time.Since(n.began)-time.Duration(n.led.Load()) < leaderless {
		return err
	}
	return nil
}

func (n *Node) leader() string {
	id, _ := n.cfg.Proposer.Leader()
	return id
}

// Close stops all the node started and waits for it. Calls of peers may finish until ctx
// ends.
func (n *Node) Close(ctx context.Context) error {
	if g := n.gossip.Load(); g != nil {
		if left := timeLeft(ctx); left > 0 {
			if err := g.leave(min(left, leaveTime)); err != nil { // those who miss it will call this node dead
				n.log.Info("nobody heard the farewell", "err", err)
			}
		}
	}
	n.mu.Lock()
	n.closed = true
	peers := n.peers
	n.peers = map[string]*peer{}
	n.mu.Unlock()
	if n.stop != nil {
		n.stop()
	}
	for _, p := range peers {
		p.close() // streams to this node's peers end, so that theirs to it can
	}
	if n.server != nil {
		n.stopServer(ctx)
	}
	if g := n.gossip.Load(); g != nil {
		g.close()
	}
	n.wg.Wait()
	if n.cfg.Metrics != nil {
		n.cfg.Metrics.Unregister(n.metrics)
	}
	return nil
}

// leaveTime bounds the farewell in gossip.
const leaveTime = time.Second

// timeLeft returns how long ctx goes on: a long time where it has no end.
func timeLeft(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	if end, ok := ctx.Deadline(); ok {
		return time.Until(end)
	}
	return time.Hour
}
