package cluster

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/clock"
	"github.com/weir-io/weir/ring"
)

var (
	// ErrStarting is set on items while no table was applied. It is safe to retry.
	ErrStarting = errors.New("cluster: no table yet: the node is starting")
	// ErrShed is set on items for which a queue had no room. It is safe to retry.
	ErrShed = errors.New("cluster: overloaded: the queue to the owner is full")
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

	Store     *bucket.Store
	Clock     clock.Clock
	Transport *Transport // the peer listener, closed by Node.Close
	Log       Log
	Quorum    Quorum
	Founder   Founder
	Proposer  Proposer
	Policies  func() (version uint64) // policy version this node applies
	Metrics   prometheus.Registerer   // nil = none
	Logger    *slog.Logger
}

// A Node is one member of a cluster.
type Node struct{}

// New returns a node that is not started.
func New(cfg Config) (*Node, error) { panic("unwritten") }

// Start joins gossip and starts answering peers.
func (n *Node) Start() error { panic("unwritten") }

// TableApplied makes t the table the node routes by. The log calls it with every
// table in its order; rows gained and lost start empty. It does not block.
func (n *Node) TableApplied(t *ring.Table) { panic("unwritten") }

// Table returns the table the node routes by, never nil.
func (n *Node) Table() *ring.Table { panic("unwritten") }

// Decide decides every item of b by ctx's deadline, each all or nothing, and fills
// in Allowed, Err and the statuses. Charges this node owns are decided here, on one
// reading of the clock; the others travel to their owners.
func (n *Node) Decide(ctx context.Context, b *Batch) { panic("unwritten") }

// Reset resets buckets at their owners.
func (n *Node) Reset(ctx context.Context, charges []bucket.Charge) error { panic("unwritten") }

// A Permit names what a concurrency limit handed out.
type Permit struct {
	Hash    bucket.Hash // H of the key
	Limit   bucket.Hash // the limit's own hash
	Receipt uint64
}

// Release frees permits at their owners and returns how many were held.
func (n *Node) Release(ctx context.Context, permits []Permit) (int, error) { panic("unwritten") }

// Leave drains the node: the table stops naming it, what it took is answered and
// late comers are sent on. It returns when nothing is in flight or ctx ends.
func (n *Node) Leave(ctx context.Context) error { panic("unwritten") }

// Ready returns nil once a table that names this node is applied, else what is missing.
func (n *Node) Ready() error { panic("unwritten") }

// Close stops all the node started and waits for it.
func (n *Node) Close(ctx context.Context) error { panic("unwritten") }
