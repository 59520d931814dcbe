package node

import (
	"sync"

	"github.com/weir-io/weir/cluster"
	"github.com/weir-io/weir/ring"
)

// A tableRelay hands tables from the log to the cluster. The log may replay tables
// while it opens, before there is a cluster to take them: the newest is kept. By those
// before it nobody can have decided.
type tableRelay struct {
	mu      sync.Mutex
	cluster *cluster.Node // guarded by mu; nil before connect
	early   *ring.Table   // guarded by mu; the newest table that came before connect
}

// apply passes t on. The lock keeps the order of the log.
func (r *tableRelay) apply(t *ring.Table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cluster == nil {
		r.early = t
		return
	}
	r.cluster.TableApplied(t)
}

// connect gives c the newest table so far and every later one.
func (r *tableRelay) connect(c *cluster.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.early != nil {
		c.TableApplied(r.early)
	}
	r.cluster, r.early = c, nil
}
