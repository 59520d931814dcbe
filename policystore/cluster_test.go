package policystore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const long = 20 * time.Second // bounds every wait; a test that runs into it has failed

// layer is raft over plain TCP.
type layer struct{ net.Listener }

func (l layer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(addr), timeout)
}

// testCluster is stores that find each other's ProposeLocal by peer address.
type testCluster struct {
	t      testing.TB
	mu     sync.Mutex
	byAddr map[string]*testNode // guarded by mu; those that run
}

type testNode struct {
	*Store
	id, addr, path string
	c              *testCluster
	dir            *Dir
	mu             sync.Mutex
	epochs         []uint64 // guarded by mu; of the tables delivered
	ahead          bool     // guarded by mu; Table returned a table before OnTable saw it
	versions       []uint64 // guarded by mu; of the policies that came into force
}

func newTestCluster(t testing.TB) *testCluster {
	return &testCluster{t: t, byAddr: map[string]*testNode{}}
}

// start opens a store; path "" keeps it in memory.
func (c *testCluster) start(id, path string) *testNode {
	c.t.Helper()
	n, err := c.tryStart(id, path)
	if err != nil {
		c.t.Fatalf("start %s: %v", id, err)
	}
	c.t.Cleanup(n.stop)
	return n
}

func (c *testCluster) tryStart(id, path string) (*testNode, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &testNode{id: id, addr: l.Addr().String(), path: path, c: c}
	if path != "" {
		if n.dir, err = OpenDir(path, id); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	opened, err := Open(Config{
		NodeID: id, Dir: n.dir, Layer: layer{l}, Forward: c.forward, Address: c.address,
		OnTable: n.onTable, OnPolicies: n.onPolicies,
		Log: slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", id),
	})
	if err != nil {
		if n.dir != nil {
			err = errors.Join(err, n.dir.Close())
		}
		return nil, err
	}
	n.mu.Lock()
	n.Store = opened
	n.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byAddr[n.addr] = n
	return n, nil
}

func (c *testCluster) forward(ctx context.Context, addr string, command []byte) ([]byte, error) {
	c.mu.Lock()
	n := c.byAddr[addr]
	c.mu.Unlock()
	if n == nil {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	return n.ProposeLocal(ctx, command)
}

func (c *testCluster) address(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for addr, n := range c.byAddr {
		if n.id == id {
			return addr
		}
	}
	return ""
}

func (n *testNode) onTable(t *ring.Table) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.epochs = append(n.epochs, t.Epoch)
	if n.Store != nil && n.Table().Epoch >= t.Epoch {
		n.ahead = true
	}
}

func (n *testNode) onPolicies(s *policy.Snapshot) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.versions = append(n.versions, s.Version)
}

// stop closes the store; it may be called again.
func (n *testNode) stop() {
	n.c.mu.Lock()
	running := n.c.byAddr[n.addr] == n
	delete(n.c.byAddr, n.addr)
	n.c.mu.Unlock()
	if !running {
		return
	}
	if err := n.Close(); err != nil {
		n.c.t.Errorf("close %s: %v", n.id, err)
	}
	if n.dir != nil {
		if err := n.dir.Close(); err != nil {
			n.c.t.Errorf("close dir of %s: %v", n.id, err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.IsSorted(n.epochs) || !slices.IsSorted(n.versions) || n.ahead {
		n.c.t.Errorf("%s: tables %v (ahead of OnTable: %t) or policies %v went backwards", n.id, n.epochs, n.ahead, n.versions)
	}
}

// voters starts n voters with directories as one cluster and returns its leader first.
func (c *testCluster) voters(n int) []*testNode {
	c.t.Helper()
	var nodes []*testNode
	var servers []ring.Server
	for i := range n {
		node := c.start(fmt.Sprintf("n%d", i+1), c.t.TempDir())
		nodes = append(nodes, node)
		servers = append(servers, ring.Server{ID: node.id, Addr: node.addr, Voter: true})
	}
	for _, node := range nodes {
		if !node.Fresh() {
			c.t.Fatalf("%s is not fresh", node.id)
		}
		if err := node.Bootstrap(servers); err != nil {
			c.t.Fatal(err)
		}
	}
	leader := c.leader(nodes...)
	slices.SortFunc(nodes, func(a, b *testNode) int {
		switch {
		case a == leader:
			return -1
		case b == leader:
			return 1
		}
		return 0
	})
	return nodes
}

// leader waits until one of nodes leads and all of them know the cluster.
func (c *testCluster) leader(nodes ...*testNode) *testNode {
	c.t.Helper()
	var leader *testNode
	eventually(c.t, "a leader", func() bool {
		for _, n := range nodes {
			if n.Leading() {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(long)
	defer late.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("waited %v for %s", long, what)
		}
	}
}

// within returns a context that ends before the test has failed.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// document is a valid document of a domain with policies of these names.
func document(domain string, names ...string) *weirv1.Document {
	text := "domain: " + domain + "\npolicies:\n"
	if len(names) == 0 {
		text = "domain: " + domain + "\npolicies: []\n"
	}
	for _, name := range names {
		text += "  - name: " + name + "\n    key: [user]\n    limits: [{algorithm: token_bucket, rate: 10/s}]\n"
	}
	return &weirv1.Document{Text: text}
}

func change(docs ...*weirv1.Document) *weirv1.ChangePolicies {
	return &weirv1.ChangePolicies{Documents: docs, Actor: "ann", ChangeReason: "test"}
}

// mustApply applies a change that is not to be refused and returns the version.
func (n *testNode) mustApply(c *weirv1.ChangePolicies) uint64 {
	n.c.t.Helper()
	res, err := n.Apply(within(n.c.t, long), c)
	if err != nil || res.GetRefused() != "" {
		n.c.t.Fatalf("apply at %s: %v, %v", n.id, res, err)
	}
	if v := n.Policies().Version; v < res.GetPolicyVersion() {
		n.c.t.Fatalf("apply at %s returned version %d while %d is in force", n.id, res.GetPolicyVersion(), v)
	}
	return res.GetPolicyVersion()
}

// agree waits until all nodes have the same policies and table.
func agree(t testing.TB, nodes ...*testNode) {
	t.Helper()
	eventually(t, "all nodes agree", func() bool {
		for _, n := range nodes {
			if n.Policies().Version != nodes[0].Policies().Version || n.Policies().Hash != nodes[0].Policies().Hash || n.Table().Epoch != nodes[0].Table().Epoch || n.ClusterID() != nodes[0].ClusterID() || n.ClusterID() == "" {
				return false
			}
		}
		return true
	})
}
