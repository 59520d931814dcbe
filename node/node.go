package node

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-io/weir/api"
	"github.com/weir-io/weir/clock"
	"github.com/weir-io/weir/cluster"
	"github.com/weir-io/weir/policystore"
	"github.com/weir-io/weir/ring"
)

// How long the steps of Close may take; together less than the 30 s after which a
// supervisor loses patience.
const (
	drainTime  = 20 * time.Second
	finishTime = 5 * time.Second
)

// How often documents that are to seed the cluster are offered to it, and how long one
// try may take.
const (
	seedRetry   = 200 * time.Millisecond
	seedTimeout = 5 * time.Second
)

// A Node is one running node of weir.
type Node struct {
	cfg  Config
	log  *slog.Logger
	addr Addresses
	self ring.Member

	dir       *policystore.Dir // nil in memory
	transport *cluster.Transport
	store     *policystore.Store
	tables    tableRelay // from store to cluster
	cluster   *cluster.Node
	reach     atomic.Pointer[cluster.Node] // cluster, for the log, which begins before it
	grpc      *api.GRPC
	http      *api.HTTP

	stop    context.CancelFunc // ends the goroutines of Start
	wg      sync.WaitGroup     // the goroutines of Start
	closing sync.Once
	done    chan struct{} // closed when nothing of the node runs any more

	draining atomic.Bool   // Close has begun
	settled  atomic.Bool   // policies were in force once
	seeded   atomic.Bool   // the log has taken or refused the documents that were to seed it
	broken   chan struct{} // closed when a front door stopped by itself

	mu  sync.Mutex
	err error // guarded by mu: why it did
}

// Start starts a node. It returns once all listeners are bound and the node answers,
// maybe "starting": [Node.Ready] tells when it decides. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	seed, err := seedDocuments(&cfg)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Logger, done: make(chan struct{}), broken: make(chan struct{})}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if n.cfg.Clock == nil {
		n.cfg.Clock = clock.NewSystem()
	}
	if n.cfg.Registry == nil {
		n.cfg.Registry = prometheus.NewRegistry()
	}
	run, stop := context.WithCancel(context.Background())
	n.stop = stop
	if err := n.start(ctx); err != nil {
		n.Kill()
		return nil, err
	}
	n.seeded.Store(len(seed) == 0)
	if len(seed) > 0 {
		n.wg.Go(func() { n.seed(run, seed) })
	}
	return n, nil
}
