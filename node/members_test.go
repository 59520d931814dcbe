package node_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-io/weir/client"
	"github.com/weir-io/weir/node/nodetest"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// A fourth node joins and one leaves while clients are at work: every call is
// answered by an owner, and all nodes soon route by the same table.
func TestJoinAndLeaveUnderLoad(t *testing.T) {
	c := nodetest.Start(t, 3)
	c.Apply(c.Nodes[0], threeADay)

	var limiters atomic.Pointer[[]weirv1.LimiterClient]
	use := func() {
		var all []weirv1.LimiterClient
		for _, n := range c.Running() {
			all = append(all, n.Limiter)
		}
		limiters.Store(&all)
	}
	use()
	l := startLoad(t, 16, loadClient{
		pace:     pace,
		limiters: func() []weirv1.LimiterClient { return *limiters.Load() },
		request: func(r *rand.Rand) *weirv1.CheckRequest {
			return &weirv1.CheckRequest{Domain: "shop", Attributes: attributes("client", strconv.Itoa(r.IntN(5000)))}
		},
	})
	l.WaitChecks(t, 500)

	joined := c.Join("n4")
	c.WaitReady()
	c.Agree(2 * time.Second)
	use()
	l.WaitChecks(t, 500)

	// The one that leaves gets no new calls of these clients; those under way when it
	// stops must still be answered.
	leaving := c.Nodes[1]
	all := *limiters.Load()
	without := make([]weirv1.LimiterClient, 0, len(all))
	for _, lim := range all {
		if lim != leaving.Limiter {
			without = append(without, lim)
		}
	}
	limiters.Store(&without)
	c.Leave(leaving)
	c.WaitReady()
	c.Agree(2 * time.Second)
	l.WaitChecks(t, 500)
	l.Stop()

	if n, err := l.Failures(); n != 0 {
		t.Errorf("%d of %d calls failed, the first: %v", n, l.checks.Load(), err)
	}
	if d := l.degraded.Load(); d != 0 {
		t.Errorf("%d of %d answers were degraded", d, l.checks.Load())
	}
	if owned := ownedBy(t, joined); owned["n4"] == 0 || owned["n2"] != 0 {
		t.Errorf("rows by owner: %v, want some at n4, none at n2", owned)
	}
}

// ownedBy counts the rows of each member, as one node sees it.
func ownedBy(t *testing.T, n *nodetest.Node) map[string]int {
	t.Helper()
	table, err := n.Admin.GetTable(t.Context(), &weirv1.GetTableRequest{})
	if err != nil {
		t.Fatal(err)
	}
	owned := map[string]int{}
	for _, row := range table.GetRows() {
		if row.GetOwner() >= 0 {
			owned[table.GetMembers()[row.GetOwner()].GetNodeId()]++
		}
	}
	return owned
}

// The table is the leader's: every node routes by the same rows at the same epoch.
func TestOneTableForAll(t *testing.T) {
	c := nodetest.Start(t, 3)
	c.Agree(2 * time.Second)
	first, err := c.Nodes[0].Admin.GetTable(t.Context(), &weirv1.GetTableRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(first.GetRows()) != 1024 || first.GetEpoch() == 0 {
		t.Fatalf("%d rows at epoch %d, want 1024 at an index of the log", len(first.GetRows()), first.GetEpoch())
	}
	for _, n := range c.Nodes[1:] {
		other, err := n.Admin.GetTable(t.Context(), &weirv1.GetTableRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for p, row := range other.GetRows() {
			if row.GetOwner() != first.GetRows()[p].GetOwner() || row.GetReplica() != first.GetRows()[p].GetReplica() {
				t.Fatalf("row %d at %s: %v, at n1: %v", p, n.Config.NodeID, row, first.GetRows()[p])
			}
		}
	}
}

// An owner dies: every call is still answered, by fail_mode until the table moves its
// rows, and then by their new owners.
func TestOwnerKilled(t *testing.T) {
	c := nodetest.Start(t, 3)
	c.Apply(c.Nodes[0], threeADay)
	client := loadClient{
		pace:     pace,
		limiters: func() []weirv1.LimiterClient { return []weirv1.LimiterClient{c.Nodes[0].Limiter, c.Nodes[1].Limiter} },
		request: func(r *rand.Rand) *weirv1.CheckRequest {
			return &weirv1.CheckRequest{Domain: "shop", Attributes: attributes("client", strconv.Itoa(r.IntN(5000)))}
		},
	}
	meanwhile := startLoad(t, 16, client)
	meanwhile.WaitChecks(t, 200)
	killed := time.Now()
	c.Kill(c.Nodes[2])
	c.WaitReady() // the table names the two that live
	t.Logf("the table is without the dead owner after %v", time.Since(killed))
	meanwhile.Stop()
	t.Logf("%d of %d answers were degraded meanwhile, the slowest took %v", meanwhile.degraded.Load(), meanwhile.checks.Load(), time.Duration(meanwhile.slowest.Load()))
	afterwards := startLoad(t, 16, client)
	afterwards.WaitChecks(t, 500)
	afterwards.Stop()
	for _, l := range []*load{meanwhile, afterwards} {
		if n, err := l.Failures(); n != 0 {
			t.Errorf("%d of %d calls failed, the first: %v", n, l.checks.Load(), err)
		}
	}
	if meanwhile.degraded.Load() == 0 {
		t.Errorf("none of %d answers was degraded while an owner was dead", meanwhile.checks.Load())
	}
	if d := afterwards.degraded.Load(); d != 0 {
		t.Errorf("%d of %d answers were degraded although the rows had moved", d, afterwards.checks.Load())
	}
}

// The last node that is up has nobody to leave to: it stops at once, and finds its rows
// again when it comes back.
func TestTheLastOneLeaves(t *testing.T) {
	c := nodetest.Start(t, 1)
	first := c.Nodes[0]
	second := c.Join("n2")
	c.WaitReady()
	c.Kill(second)
	c.WaitReady() // the table gives all rows to the first
	began := time.Now()
	c.Leave(first)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	again := c.Restart(first)
	nodetest.Eventually(t, "it owns all rows again", func() error {
		if owned := ownedBy(t, again); owned["n1"] != 1024 {
			return fmt.Errorf("rows by owner: %v", owned)
		}
		return nil
	})
}

// A whole cluster that is stopped at once stops soon: the last ones have no quorum to
// leave the table by, and nobody to leave to.
func TestAllLeaveAtOnce(t *testing.T) {
	c := nodetest.Start(t, 3)
	began := time.Now()
	var wg sync.WaitGroup
	for _, n := range c.Nodes {
		wg.Go(func() { c.Leave(n) })
	}
	wg.Wait()
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	// And all together come back.
	for _, n := range c.Nodes[:3] {
		c.StartAgain(n)
	}
	c.WaitReady()
}

// Without a quorum policies and table stand still: a change fails soon and says who is
// missing, and checks are answered as before.
func TestWithoutAQuorum(t *testing.T) {
	c := nodetest.Start(t, 3)
	c.Apply(c.Nodes[0], threeADay)
	left := c.Nodes[0]
	c.Kill(c.Nodes[1])
	c.Kill(c.Nodes[2])
	nodetest.Eventually(t, "the one that is left leads no more", func() error {
		began := time.Now()
		_, err := left.Admin.ApplyPolicies(t.Context(), &weirv1.ApplyPoliciesRequest{Documents: []*weirv1.Document{{Text: threeADay}}})
		took := time.Since(began)
		switch {
		case status.Code(err) != codes.Unavailable:
			return fmt.Errorf("a change without a quorum: %w", err)
		case !strings.Contains(err.Error(), "n2") || !strings.Contains(err.Error(), "n3"):
			return fmt.Errorf("it does not name the missing: %w", err)
		case took > 3*time.Second:
			return fmt.Errorf("it took %v", took)
		}
		return nil
	})
	for i := range 50 {
		r := check(t, left, "shop", "client", strconv.Itoa(i))
		if r.GetPolicy() != "per-client" {
			t.Errorf("client %d: %v", i, r)
		}
	}
}

// Clients that ask the very node that leaves are answered by it until the end and then by
// the others: they see no error and no degraded answer.
func TestClientsOfALeavingNode(t *testing.T) {
	c := nodetest.Start(t, 3)
	c.Apply(c.Nodes[0], threeADay)
	leaving := c.Nodes[0]
	addrs := []string{leaving.Addresses().GRPC, c.Nodes[1].Addresses().GRPC, c.Nodes[2].Addresses().GRPC}
	stop := make(chan struct{})
	var asked, degraded atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		weir, err := client.New(addrs, client.WithTimeout(5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer func() { _ = weir.Close() }()
			tick := time.NewTicker(pace)
			defer tick.Stop()
			r := rand.New(rand.NewPCG(2, uint64(i)))
			for {
				v, err := weir.Check(context.Background(), client.Request{Domain: "shop", Attributes: []client.Attribute{client.Attr("client", strconv.Itoa(r.IntN(5000)))}})
				asked.Add(1)
				switch {
				case err != nil:
					t.Errorf("check: %v", err)
				case v.Degraded:
					degraded.Add(1)
				}
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		})
	}
	waitFor := func(more int64) {
		want := asked.Load() + more
		nodetest.Eventually(t, "more checks", func() error {
			if asked.Load() < want {
				return context.DeadlineExceeded
			}
			return nil
		})
	}
	waitFor(300)
	c.Leave(leaving)
	waitFor(300)
	close(stop)
	wg.Wait()
	if d := degraded.Load(); d != 0 {
		t.Errorf("%d of %d answers were degraded", d, asked.Load())
	}
}

// A node that comes back to a cluster without a quorum answers by its right, and says that
// it is not ready.
func TestBackWithoutAQuorum(t *testing.T) {
	c := nodetest.Start(t, 3)
	c.Apply(c.Nodes[0], threeADay)
	for _, n := range c.Nodes {
		c.Kill(n)
	}
	n := c.StartAgain(c.Nodes[1])
	admitted := 0
	for i := range 3 {
		var r *weirv1.CheckResponse
		nodetest.Eventually(t, "it answers", func() (err error) {
			r, err = n.Limiter.Check(t.Context(), &weirv1.CheckRequest{Domain: "shop", Attributes: attributes("client", "a")})
			return err
		})
		if r.GetPolicy() != "per-client" || !r.GetDegraded() || r.GetDegradedReason() != weirv1.DegradedReason_DEGRADED_REASON_OWN_RIGHT {
			t.Errorf("check %d: %v, want one by per-client on its own right", i, r)
		}
		if r.GetAllowed() {
			admitted++
		}
	}
	if admitted != 1 {
		t.Errorf("%d admitted, want its right: 1 of 3 a day, as one of three", admitted)
	}
	if err := n.Ready(); err == nil {
		t.Error("it is ready without a leader to give it its rows")
	}
	c.StartAgain(c.Nodes[0])
	c.StartAgain(c.Nodes[2])
	c.WaitReady()
	if r := check(t, n, "shop", "client", "b"); r.GetDegraded() {
		t.Errorf("with the others back: %v", r)
	}
}
