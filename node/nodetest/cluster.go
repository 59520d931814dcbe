// Package nodetest runs clusters of real nodes inside a test: real sockets on
// loopback, real data directories, nothing replaced.
//
// All functions fail the test instead of returning errors, and everything they
// start is stopped when the test ends.
package nodetest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weir-io/weir/node"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// patience bounds every wait; a test that runs into it has failed.
const patience = 60 * time.Second

// A Cluster is nodes that know each other.
type Cluster struct {
	t     testing.TB
	Nodes []*Node // in order of their start; stopped ones stay
}

// A Node is one running node and a connection to its front door.
type Node struct {
	*node.Node
	Config  node.Config
	Conn    *grpc.ClientConn
	Limiter weirv1.LimiterClient
	Admin   weirv1.AdminClient
	stopped bool
}

// Config returns the settings of a node that listens on free loopback ports and keeps
// its data in a folder of the test.
func Config(t testing.TB, id string) node.Config {
	cfg := node.Default()
	cfg.NodeID = id
	cfg.GRPCAddr, cfg.PeerAddr, cfg.HTTPAddr, cfg.GossipAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.DataDir = t.TempDir()
	cfg.BucketMemory = 64 << 20
	// All nodes of a test share one process, and the machine with other tests: an owner
	// that gets no CPU for a quarter of a second is not what they are about.
	cfg.ForwardTimeout = 2 * time.Second
	cfg.Logger = slog.New(slog.NewTextHandler(writer{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return cfg
}

// writer sends log lines to the test's own log, which is shown when it fails.
type writer struct{ t testing.TB }

func (w writer) Write(p []byte) (int, error) {
	_, err := w.t.Output().Write(p)
	return len(p), err
}

// Start starts n nodes as one cluster and waits until all are ready and agree.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i := range n {
		cfg := Config(t, fmt.Sprintf("n%d", i+1))
		if n > 1 {
			cfg.BootstrapExpect = n
			cfg.Join = c.seeds()
			if len(cfg.Join) == 0 {
				cfg.Join = []string{"127.0.0.1:1"} // the first has nobody to join yet
			}
		}
		c.start(cfg)
	}
	c.WaitReady()
	return c
}

// Join starts one more node that joins the cluster, and waits until it is ready.
func (c *Cluster) Join(id string) *Node {
	c.t.Helper()
	cfg := Config(c.t, id)
	cfg.Join = c.seeds()
	n := c.start(cfg)
	c.waitReady(n)
	return n
}

// Restart starts a stopped node again with its data directory and waits until it is
// ready.
func (c *Cluster) Restart(old *Node) *Node {
	c.t.Helper()
	n := c.StartAgain(old)
	c.waitReady(n)
	return n
}

// StartAgain starts a stopped node again with its data directory. It may have to wait for
// others to be ready.
func (c *Cluster) StartAgain(old *Node) *Node {
	c.t.Helper()
	cfg := old.Config
	cfg.Join = c.seeds()
	if len(cfg.Join) == 0 {
		cfg.Join = old.Config.Join
	}
	return c.start(cfg)
}

// seeds returns the gossip addresses of the running nodes.
func (c *Cluster) seeds() []string {
	var seeds []string
	for _, n := range c.Running() {
		seeds = append(seeds, n.Addresses().Gossip)
	}
	return seeds
}

func (c *Cluster) start(cfg node.Config) *Node {
	c.t.Helper()
	started, err := node.Start(c.t.Context(), cfg)
	if err != nil {
		c.t.Fatalf("start %s: %v", cfg.NodeID, err)
	}
	n := &Node{Node: started, Config: cfg}
	c.t.Cleanup(func() {
		if !n.stopped {
			started.Kill()
		}
	})
	n.Conn = Dial(c.t, started.Addresses().GRPC)
	n.Limiter, n.Admin = weirv1.NewLimiterClient(n.Conn), weirv1.NewAdminClient(n.Conn)
	c.Nodes = append(c.Nodes, n)
	return n
}

// Dial connects to a node's gRPC front door until the test ends.
func Dial(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatalf("dial %s: %v", addr, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Running returns the nodes that were not stopped.
func (c *Cluster) Running() []*Node {
	var running []*Node
	for _, n := range c.Nodes {
		if !n.stopped {
			running = append(running, n)
		}
	}
	return running
}

// Leave stops a node the graceful way.
func (c *Cluster) Leave(n *Node) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n.stopped = true
	if err := n.Close(ctx); err != nil {
		c.t.Errorf("%s leaves: %v", n.Config.NodeID, err)
	}
}

// Kill stops a node as a crash would.
func (c *Cluster) Kill(n *Node) {
	n.stopped = true
	n.Kill()
}

// WaitReady waits until every running node is ready and the table of each names all
// of them.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	for _, n := range c.Running() {
		c.waitReady(n)
	}
	Eventually(c.t, "every table names every running node", func() error {
		running := c.Running()
		for _, n := range running {
			m, err := n.Admin.ListMembers(c.t.Context(), &weirv1.ListMembersRequest{})
			if err != nil {
				return err
			}
			up := 0
			for _, member := range m.GetMembers() {
				if member.GetState() == weirv1.Member_STATE_UP && member.GetOwned() > 0 {
					up++
				}
			}
			if up != len(running) {
				return fmt.Errorf("%s: %d members own rows, want %d", n.Config.NodeID, up, len(running))
			}
		}
		return nil
	})
}

func (c *Cluster) waitReady(n *Node) {
	c.t.Helper()
	Eventually(c.t, n.Config.NodeID+" is ready", n.Ready)
}

// Agree waits, at most within, until all running nodes report the same table epoch,
// policy version and policy hash.
func (c *Cluster) Agree(within time.Duration) {
	c.t.Helper()
	EventuallyWithin(c.t, within, "all nodes agree on table and policies", func() error {
		var first *weirv1.ListMembersResponse
		for _, n := range c.Running() {
			m, err := n.Admin.ListMembers(c.t.Context(), &weirv1.ListMembersRequest{})
			if err != nil {
				return err
			}
			if first == nil {
				first = m
			}
			if m.GetTableEpoch() != first.GetTableEpoch() || m.GetPolicyVersion() != first.GetPolicyVersion() || m.GetPolicyHash() != first.GetPolicyHash() {
				return fmt.Errorf("%s: epoch %d version %d hash %s; %s: epoch %d version %d hash %s",
					first.GetNodeId(), first.GetTableEpoch(), first.GetPolicyVersion(), first.GetPolicyHash(),
					m.GetNodeId(), m.GetTableEpoch(), m.GetPolicyVersion(), m.GetPolicyHash())
			}
		}
		return nil
	})
}

// Apply applies a policy document through a node and waits until all nodes have it.
func (c *Cluster) Apply(n *Node, document string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	_, err := n.Admin.ApplyPolicies(ctx, &weirv1.ApplyPoliciesRequest{
		Documents: []*weirv1.Document{{Text: document, File: "test.yaml"}}, Actor: "test",
	})
	if err != nil {
		c.t.Fatalf("apply policies at %s: %v", n.Config.NodeID, err)
	}
	c.Agree(patience)
}

// Eventually waits until check returns nil.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	EventuallyWithin(t, patience, what, check)
}

// EventuallyWithin waits until check returns nil, and fails the test when it does
// not in time.
func EventuallyWithin(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v until %s: %v", within, what, err)
		}
	}
}
