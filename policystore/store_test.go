package policystore

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

func TestAloneInMemory(t *testing.T) {
	t.Parallel()
	n := newTestCluster(t).start("n1", "")
	if _, err := n.Apply(within(t, long), change(document("shop", "a"))); !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), "follows no log") {
		t.Errorf("apply before bootstrap: %v", err)
	}
	if err := n.Bootstrap([]ring.Server{{ID: n.id, Addr: n.addr, Voter: true}}); err != nil {
		t.Fatal(err)
	}
	n.c.leader(n)
	if len(n.ClusterID()) != 16 {
		t.Errorf("cluster id %q, want 16 hex digits", n.ClusterID())
	}
	if got := n.mustApply(change(document("shop", "a"))); got != 1 {
		t.Errorf("version %d, want 1", got)
	}
	if err := n.Bootstrap([]ring.Server{{ID: n.id, Addr: n.addr, Voter: true}}); err == nil {
		t.Error("bootstrapped twice")
	}
	if st := n.Status(); st.State != "leader" || st.PolicyVersion != 1 || st.Leader != "n1" || st.Failure != "" || st.Err != nil {
		t.Errorf("status %+v", st)
	}
}

func TestEveryNodeAppliesAndAgrees(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := c.voters(3)
	follower := c.start("n4", "")
	if err := nodes[1].AddServer(within(t, long), ring.Server{ID: "n4", Addr: follower.addr}); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a follower adds a server: %v, want ErrNotLeader", err)
	}
	if err := nodes[0].AddServer(within(t, long), ring.Server{ID: "n4", Addr: follower.addr}); err != nil {
		t.Fatal(err)
	}
	all := append(nodes, follower)
	for i, n := range all {
		eventually(t, n.id+" knows the leader", func() bool { id, _ := n.Leader(); return id != "" })
		if got, want := n.mustApply(change(document("shop", "a"), document(n.id, "b"))), uint64(i+1); got != want {
			t.Errorf("apply at %s: version %d, want %d", n.id, got, want)
		}
	}
	agree(t, all...)
	if docs := follower.Documents(); len(docs) != 5 || docs[4].Domain != "shop" || docs[4].Version != 1 || docs[3].Version != 4 {
		t.Errorf("documents %v", docs)
	}
	if err := nodes[0].AddServer(within(t, long), ring.Server{ID: "n4", Addr: follower.addr, Voter: true}); err != nil {
		t.Fatalf("promote: %v", err)
	}
	if servers, err := nodes[0].Servers(); err != nil || len(servers) != 4 || !servers[3].Voter {
		t.Errorf("servers %v, %v", servers, err)
	}
	if err := nodes[0].RemoveServer(within(t, long), "n4"); err != nil {
		t.Errorf("remove: %v", err)
	}
}

func TestLeaderDies(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := c.voters(3)
	nodes[1].mustApply(change(document("shop", "a")))
	nodes[0].stop()
	died := time.Now()
	if got := nodes[2].mustApply(change(document("shop", "b"))); got != 2 {
		t.Errorf("version %d, want 2", got)
	}
	t.Logf("written %v after the leader died", time.Since(died))
	agree(t, nodes[1:]...)
}

func TestLeadIsHandedOn(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := c.voters(3)
	if err := nodes[0].TransferLead(within(t, long)); err != nil {
		t.Fatal(err)
	}
	if nodes[0].Leading() {
		t.Error("leads after it handed the lead on")
	}
	nodes[0].mustApply(change(document("shop", "a")))
	agree(t, nodes...)
	if err := nodes[0].CommitTable(within(t, long), 0, ring.Place(nil, nil)); !errors.Is(err, ErrNotLeader) {
		t.Errorf("commit a table at a follower: %v, want ErrNotLeader", err)
	}
}

func TestNoQuorumNamesTheMissing(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := c.voters(3)
	nodes[1].stop()
	nodes[2].stop()
	for range 2 { // as a leader that does not know yet, then as a follower that does
		began := time.Now()
		_, err := nodes[0].Apply(within(t, long), change(document("shop", "a")))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("failed after %v, want 2 s at most", took)
		}
		if !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), nodes[1].id) || !strings.Contains(err.Error(), nodes[2].id) || strings.Contains(err.Error(), nodes[0].id) {
			t.Errorf("error %v, want one that names %s and %s", err, nodes[1].id, nodes[2].id)
		}
	}
}

func TestRestartKeepsAll(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := c.voters(3)
	nodes[0].mustApply(change(document("shop", "a")))
	if err := nodes[0].CommitTable(within(t, long), 0, ring.Place(nil, members("n1", "n2", "n3"))); err != nil {
		t.Fatal(err)
	}
	agree(t, nodes...)
	id, epoch, hash := nodes[0].ClusterID(), nodes[0].Table().Epoch, nodes[0].Policies().Hash
	for _, n := range nodes {
		n.stop()
	}
	// One alone has no quorum and serves what was in force last.
	lone := c.start(nodes[0].id, nodes[0].path)
	if lone.Fresh() || lone.dir.Boot() != 2 || lone.dir.ClusterID() != id {
		t.Errorf("fresh %t, boot %d, cluster %q of %q", lone.Fresh(), lone.dir.Boot(), lone.dir.ClusterID(), id)
	}
	if lone.ClusterID() != id || lone.Table().Epoch != epoch || lone.Policies().Hash != hash || lone.Policies().Version != 1 || len(lone.Documents()) != 1 {
		t.Errorf("without quorum: cluster %q epoch %d policies %+v", lone.ClusterID(), lone.Table().Epoch, lone.Policies())
	}
	again := []*testNode{lone, c.start(nodes[1].id, nodes[1].path), c.start(nodes[2].id, nodes[2].path)}
	leader := c.leader(again...)
	if got := leader.mustApply(change(document("shop", "b"))); got != 2 {
		t.Errorf("version %d after the restart, want 2", got)
	}
	agree(t, again...)
	if got := len(leader.history()); got != 2 {
		t.Errorf("%d changes in the history, want 2", got)
	}
}

func TestOneTableOfMany(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := c.voters(3)
	const racers = 8
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() { errs[i] = nodes[0].CommitTable(within(t, long), 0, ring.Place(nil, members("n1"))) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, ErrStale):
			t.Errorf("a loser got %v, want ErrStale", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d tables made of epoch 0 were committed, want 1", won, racers)
	}
	first := nodes[0].Table()
	if err := nodes[0].CommitTable(within(t, long), first.Epoch, ring.Place(first, members("n1", "n2"))); err != nil {
		t.Fatal(err)
	}
	second := nodes[0].Table()
	for p, row := range second.Rows {
		want := first.Epoch
		if second.Owner(p).ID == "n2" {
			want = second.Epoch
		}
		if row.Since != want {
			t.Fatalf("row %d of %s: since %d, want %d", p, second.Owner(p).ID, row.Since, want)
		}
	}
	agree(t, nodes...)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := c.voters(3)
	at := nodes[1]
	at.mustApply(change(document("shop", "a")))
	stale := change(document("shop", "b"))
	stale.IfVersion = new(uint64(7))
	seed := change(document("shop", "c"))
	seed.Seed = true
	for _, tt := range []struct {
		name   string
		change *weirv1.ChangePolicies
		code   codes.Code
		says   string
	}{
		{"stale", stale, codes.Aborted, "version 1, not 7"},
		{"seed", seed, codes.FailedPrecondition, "policies already"},
		{"bad document", change(&weirv1.Document{Text: "nonsense: 1\n", File: "x.yaml"}), codes.InvalidArgument, "x.yaml"},
		{"a domain twice", change(document("shop", "a"), document("shop", "b")), codes.InvalidArgument, "shop"},
		{"another domain", change(&weirv1.Document{Domain: "other", Text: document("shop", "a").GetText()}), codes.InvalidArgument, "other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, err := at.Apply(within(t, long), tt.change)
			if err != nil || res.GetCode() != int32(tt.code) || !strings.Contains(res.GetRefused(), tt.says) || res.GetPolicyVersion() != 1 {
				t.Errorf("got %v, %v; want code %v saying %q", res, err, tt.code, tt.says)
			}
		})
	}
	if got := at.mustApply(change(document("shop", "a"))); got != 1 {
		t.Errorf("the same again: version %d, want 1", got)
	}
	if got := at.mustApply(change(document("shop"))); got != 2 || len(at.Documents()) != 0 {
		t.Errorf("emptied: version %d, documents %v", got, at.Documents())
	}
	if raw, err := nodes[0].ProposeLocal(within(t, long), []byte("\x0a\x02zz")); err == nil && len(raw) == 0 {
		t.Error("nonsense was taken")
	}
}

func members(ids ...string) []ring.Member {
	var ms []ring.Member
	for _, id := range ids {
		ms = append(ms, ring.Member{ID: id, Boot: 1, State: ring.Up, PeerAddr: id + ":1"})
	}
	return ms
}
