package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weir-io/weir/node"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// readyTime bounds how long a cluster of this process may take to be ready.
const readyTime = time.Minute

// A localCluster is nodes inside this process, on free ports of loopback, with data in
// a temporary folder.
type localCluster struct {
	nodes []*localNode
	dir   string
}

// A localNode is one of them, and a connection to its front door.
type localNode struct {
	*node.Node
	id       string
	conn     *grpc.ClientConn
	registry *prometheus.Registry
}

// startLocal starts n nodes as one cluster and waits until all are ready and the table
// of each names all of them. Close must be called also where it fails.
func startLocal(ctx context.Context, n int, log *slog.Logger) (*localCluster, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "weir-")
	if err != nil {
		return &localCluster{}, fmt.Errorf("temporary folder for data: %w", err)
	}
	c := &localCluster{dir: dir}
	for i := range n {
		if err := c.start(ctx, fmt.Sprintf("node-%d", i+1), n, log); err != nil {
			return c, err
		}
	}
	for _, n := range c.nodes {
		if err := until(ctx, n.id+" to be ready", n.Ready); err != nil {
			return c, err
		}
	}
	return c, until(ctx, "all tables to name all nodes", func() error { return c.complete(ctx) })
}

func (c *localCluster) start(ctx context.Context, id string, n int, log *slog.Logger) error {
	cfg := node.Default()
	cfg.NodeID, cfg.DataDir = id, filepath.Join(c.dir, id)
	cfg.GRPCAddr, cfg.PeerAddr, cfg.HTTPAddr, cfg.GossipAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.BucketMemory = 128 << 20
	cfg.Logger = log.With("node", id)
	cfg.Registry = prometheus.NewRegistry()
	if n > 1 {
		cfg.BootstrapExpect = n
		for _, other := range c.nodes {
			cfg.Join = append(cfg.Join, other.Addresses().Gossip)
		}
		if len(c.nodes) == 0 {
			cfg.Join = []string{"127.0.0.1:1"} // the first has nobody to join: the others join it
		}
	}
	started, err := node.Start(ctx, cfg)
	if err != nil {
		return fmt.Errorf("start %s: %w", id, err)
	}
	l := &localNode{Node: started, id: id, registry: cfg.Registry}
	c.nodes = append(c.nodes, l)
	l.conn, err = dial(started.Addresses().GRPC)
	return err
}

// complete reports which node does not see all nodes yet.
func (c *localCluster) complete(ctx context.Context) error {
	for _, n := range c.nodes {
		r, err := weirv1.NewAdminClient(n.conn).ListMembers(ctx, &weirv1.ListMembersRequest{})
		if err != nil {
			return err
		}
		owners := 0
		for _, m := range r.GetMembers() {
			if m.GetState() == weirv1.Member_STATE_UP && m.GetOwned() > 0 {
				owners++
			}
		}
		if owners != len(c.nodes) {
			return fmt.Errorf("%s sees %d owners of %d", n.id, owners, len(c.nodes))
		}
	}
	return nil
}

// apply applies a document through a node and waits until all nodes have it.
func (c *localCluster) apply(ctx context.Context, through *localNode, doc *weirv1.Document) (version uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	r, err := weirv1.NewAdminClient(through.conn).ApplyPolicies(ctx, &weirv1.ApplyPoliciesRequest{Documents: []*weirv1.Document{doc}, Actor: actor()})
	if err != nil {
		return 0, fmt.Errorf("apply policies through %s: %w", through.id, explain(err, through.Addresses().GRPC))
	}
	version = r.GetPolicyVersion()
	return version, until(ctx, "all nodes to have the policies", func() error {
		for _, n := range c.nodes {
			m, err := weirv1.NewAdminClient(n.conn).ListMembers(ctx, &weirv1.ListMembersRequest{})
			if err != nil {
				return err
			}
			if m.GetPolicyVersion() < version {
				return fmt.Errorf("%s is at policy version %d, not %d", n.id, m.GetPolicyVersion(), version)
			}
		}
		return nil
	})
}

// conns returns a connection to each node.
func (c *localCluster) conns() []*grpc.ClientConn {
	conns := make([]*grpc.ClientConn, len(c.nodes))
	for i, n := range c.nodes {
		conns[i] = n.conn
	}
	return conns
}

// Close ends all nodes at once and removes their data. Nobody else uses them, so nothing
// is drained.
func (c *localCluster) Close() error {
	var wg sync.WaitGroup
	for _, n := range c.nodes {
		wg.Go(func() {
			if n.conn != nil {
				_ = n.conn.Close() // nothing is under way
			}
			n.Kill()
		})
	}
	wg.Wait()
	if c.dir == "" {
		return nil
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove the data of the nodes: %w", err)
	}
	return nil
}

// until polls check until it returns nil or ctx ends.
func until(ctx context.Context, what string, check func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return errors.New("stopped")
			}
			return fmt.Errorf("waited too long for %s: %w", what, err)
		}
	}
}
