package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/weir-io/weir/ring"
)

// A town is nodes that try to found a cluster, each with its own, maybe stale or
// lopsided, view of the others.
type town struct {
	fail  func(format string, args ...any)
	nodes map[string]*founder
	names map[string]string // cluster id by the voters that founded it
}

type founder struct {
	*founding
	id       string
	town     *town
	told     []neighbour // all it ever told of itself, oldest first
	sees     map[string]int
	lost     map[string]bool // called dead: not seen, but what comes later is still newer
	fresh    bool
	cluster  string
	voters   string // those it was bootstrapped with
	refused  error  // what Ask and Bootstrap return
	asksUpon []string
}

func newTown(t interface{ Fatalf(string, ...any) }) *town {
	return &town{fail: t.Fatalf, nodes: map[string]*founder{}, names: map[string]string{}}
}

// add starts a node that is not seen by anybody yet.
func (w *town) add(id string, change func(*foundingConfig, *neighbour, *founder)) *founder {
	n := &founder{id: id, town: w, sees: map[string]int{}, lost: map[string]bool{}, fresh: true}
	cfg := foundingConfig{
		Self: id, Expect: 3, Voters: 3, Joins: true, Founder: n, Alive: n.alive, Update: n.update, Ask: n.ask,
		Changed: func() <-chan struct{} { return nil },
	}
	self := neighbour{Member: ring.Member{ID: id, Boot: 1, PeerAddr: id + ":1"}, Durable: true, Fresh: true}
	if change != nil {
		change(&cfg, &self, n)
	}
	self.Expect, self.Fresh, self.ClusterID = cfg.Expect, n.fresh, n.cluster
	n.told = []neighbour{self}
	n.founding = newFounding(cfg)
	w.nodes[id] = n
	return n
}

// meet makes everybody see the newest of everybody.
func (w *town) meet() {
	for _, n := range w.nodes {
		for id, other := range w.nodes {
			n.sees[id], n.lost[id] = len(other.told), false
		}
	}
}

// settle lets all look until nothing changes, with everybody in view.
func (w *town) settle() {
	for range 20 {
		w.meet()
		for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
			w.nodes[id].look(context.Background())
		}
	}
}

func (n *founder) Fresh() bool       { return n.fresh }
func (n *founder) ClusterID() string { return n.cluster }

func (n *founder) Bootstrap(voters []ring.Server) error {
	if n.refused != nil {
		return n.refused
	}
	var ids []string
	for _, v := range voters {
		ids = append(ids, v.ID+"@"+v.Addr)
	}
	n.voters = strings.Join(ids, " ")
	for _, other := range n.town.nodes {
		if other.voters != "" && other.voters != n.voters {
			n.town.fail("%s was founded with %s, %s with %s", n.id, n.voters, other.id, other.voters)
		}
	}
	return nil
}

// elect makes a log that was bootstrapped name its cluster.
func (n *founder) elect() {
	if n.voters != "" && n.cluster == "" {
		n.cluster = "cluster of " + n.voters
	}
}

func (n *founder) alive() []neighbour {
	var all []neighbour
	for id, other := range n.town.nodes {
		switch seen := n.sees[id]; {
		case id == n.id:
			all = append(all, n.told[len(n.told)-1])
		case seen > 0 && !n.lost[id]:
			all = append(all, other.told[seen-1])
		}
	}
	slices.SortFunc(all, func(a, b neighbour) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (n *founder) update(change func(*neighbour)) {
	self := n.told[len(n.told)-1]
	change(&self)
	n.told = append(n.told, self)
}

func (n *founder) ask(_ context.Context, via neighbour) error {
	n.asksUpon = append(n.asksUpon, via.ID)
	if n.refused != nil {
		return n.refused
	}
	n.cluster = via.ClusterID
	return nil
}

func TestThreeFoundOneCluster(t *testing.T) {
	for _, c := range []struct {
		name   string
		expect int
		voters int
		nodes  []string
		want   string // voters
	}{
		{"three", 3, 3, []string{"c", "a", "b"}, "a@a:1 b@b:1 c@c:1"},
		{"one voter", 3, 1, []string{"a", "b", "c"}, "a@a:1"},
		{"two of three vote as one", 2, 3, []string{"a", "b"}, "a@a:1"},
		{"four, and three vote", 4, 3, []string{"a", "b", "c", "d"}, "a@a:1 b@b:1 c@c:1"},
		{"five of six", 5, 5, []string{"a", "b", "c", "d", "e", "f"}, "a@a:1 b@b:1 c@c:1 d@d:1 e@e:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTown(t)
			for _, id := range c.nodes {
				w.add(id, func(cfg *foundingConfig, _ *neighbour, _ *founder) { cfg.Expect, cfg.Voters = c.expect, c.voters })
			}
			w.settle()
			for id, n := range w.nodes {
				if isVoter := strings.Contains(c.want, id+"@"); isVoter != (n.voters != "") || isVoter && n.voters != c.want {
					t.Errorf("%s was bootstrapped with %q, want %q", id, n.voters, c.want)
				}
				n.elect()
			}
			w.settle()
			for id, n := range w.nodes {
				told := n.told[len(n.told)-1]
				if n.cluster != "cluster of "+c.want || told.ClusterID != n.cluster || told.Fresh {
					t.Errorf("%s is in %q and tells %+v", id, n.cluster, told)
				}
				if waits := n.missing(); waits != "" {
					t.Errorf("%s waits: %s", id, waits)
				}
			}
		})
	}
}

func TestWhatANodeWaitsFor(t *testing.T) {
	type setup = func(cfg *foundingConfig, self *neighbour, n *founder)
	seen := func(change func(*neighbour)) neighbour {
		n := neighbour{Member: ring.Member{ID: "b", Boot: 1, PeerAddr: "b:1"}, Durable: true, Fresh: true, Expect: 3}
		change(&n)
		return n
	}
	for _, c := range []struct {
		name  string
		setup setup
		other *neighbour
		want  string
	}{
		{"alone", nil, nil, "no address of --join answers: 1 of 3 expected nodes seen"},
		{"alone, joins", func(cfg *foundingConfig, _ *neighbour, _ *founder) { cfg.Expect = 0 }, nil, "no address of --join answers: give the gossip address of a member"},
		{"two", nil, new(seen(func(*neighbour) {})), "2 of 3 expected nodes seen"},
		{"nobody founds", func(cfg *foundingConfig, _ *neighbour, _ *founder) { cfg.Expect = 0 }, new(seen(func(*neighbour) {})), "no node that answers has a cluster: give --bootstrap-expect to found one"},
		{"another number", nil, new(seen(func(n *neighbour) { n.Expect = 5 })), "1 of 3 expected nodes seen; b expects 5: give all the same --bootstrap-expect"},
		{"nobody votes", func(cfg *foundingConfig, self *neighbour, _ *founder) { cfg.Expect, self.Durable = 2, false }, new(seen(func(n *neighbour) { n.Expect, n.Durable = 2, false })), "none of the 2 expected nodes can vote: give --data-dir"},
		{"agreement", func(cfg *foundingConfig, _ *neighbour, _ *founder) { cfg.Expect = 2 }, new(seen(func(n *neighbour) { n.Expect = 2 })), "all 2 expected nodes seen, agreement awaited from b"},
		{"not its turn", func(cfg *foundingConfig, _ *neighbour, _ *founder) { cfg.Expect = 1 }, new(seen(func(n *neighbour) { n.ID, n.Expect = "0", 1 })), "it looks for a cluster before it founds one"},
		{"refused", func(_ *foundingConfig, _ *neighbour, n *founder) { n.refused = errors.New("no") }, new(seen(func(n *neighbour) { n.ClusterID = "x" })), "asked b to join: no"},
		{"a log without a name", nil, new(seen(func(n *neighbour) { n.Fresh = false })), "b has a log that does not name its cluster yet"},
		{"its own log", func(_ *foundingConfig, _ *neighbour, n *founder) { n.fresh = false }, nil, "its log does not name its cluster yet: a majority of its voters must be up"},
		{"a lost log", func(_ *foundingConfig, _ *neighbour, n *founder) { n.cluster = "mine" }, new(seen(func(n *neighbour) { n.ClusterID = "other" })), "no member of its cluster mine answers, and its data dir has lost the log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTown(t)
			n := w.add("a", c.setup)
			if c.other != nil {
				w.nodes[c.other.ID] = &founder{id: c.other.ID, town: w, told: []neighbour{*c.other}}
				n.sees[c.other.ID] = 1
			}
			if n.look(t.Context()) {
				t.Error("the node is in a log")
			}
			if got := n.missing(); got != c.want {
				t.Errorf("waits for %q, want %q", got, c.want)
			}
		})
	}
}

func TestFreshNodeJoinsWhatItSees(t *testing.T) {
	w := newTown(t)
	for _, id := range []string{"x", "y"} {
		w.add(id, func(_ *foundingConfig, _ *neighbour, n *founder) { n.fresh, n.cluster = false, "one" })
	}
	for _, id := range []string{"a", "b", "c"} { // expect each other, and may not found
		w.add(id, nil)
	}
	w.settle()
	for id, n := range w.nodes {
		if n.cluster != "one" || n.voters != "" {
			t.Errorf("%s is in cluster %q, bootstrapped %q", id, n.cluster, n.voters)
		}
	}
	w.add("z", func(_ *foundingConfig, _ *neighbour, n *founder) { n.fresh, n.cluster = false, "two" })
	lost := w.add("d", func(_ *foundingConfig, _ *neighbour, n *founder) { n.cluster = "two" }) // and lost its log
	torn := w.add("e", nil)
	w.settle()
	if !slices.Equal(lost.asksUpon, []string{"z"}) {
		t.Errorf("d asked %v, want z of its own cluster", lost.asksUpon)
	}
	if got, want := torn.missing(), "nodes of several clusters answer, one and two: give seeds of one only"; got != want {
		t.Errorf("e waits for %q, want %q", got, want)
	}
}

func TestFoundedAlone(t *testing.T) {
	w := newTown(t)
	n := w.add("a", func(cfg *foundingConfig, self *neighbour, _ *founder) {
		cfg.Expect, cfg.Joins, self.Durable = 1, false, false
	})
	n.look(t.Context())
	if n.voters != "a@a:1" {
		t.Errorf("bootstrapped with %q, want itself", n.voters)
	}
	n.elect()
	if !n.look(t.Context()) {
		t.Errorf("not in its log: %s", n.missing())
	}
}

func TestReachedByRaftBeforeItBootstraps(t *testing.T) {
	w := newTown(t)
	n := w.add("a", func(cfg *foundingConfig, _ *neighbour, n *founder) {
		cfg.Expect, cfg.Joins = 1, false
		n.refused = fmt.Errorf("bootstrap: %w", raft.ErrCantBootstrap)
	})
	n.look(t.Context())
	n.cluster = "theirs"
	if !n.look(t.Context()) {
		t.Errorf("not in the log: %s", n.missing())
	}
}

// run asks one member after the other, more and more slowly, until one lets it in.
func TestRunJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		for _, id := range []string{"x", "y"} {
			w.add(id, func(_ *foundingConfig, _ *neighbour, n *founder) { n.fresh, n.cluster = false, "one" })
		}
		n := w.add("a", func(cfg *foundingConfig, _ *neighbour, n *founder) {
			n.refused = errors.New("no leader")
			cfg.Ask = func(ctx context.Context, via neighbour) error {
				if _, bounded := ctx.Deadline(); !bounded {
					t.Error("a call without a deadline")
				}
				if len(n.asksUpon) == 9 {
					n.refused = nil
				}
				return n.ask(ctx, via)
			}
		})
		w.meet()
		began := time.Now()
		n.run(t.Context())
		if got, want := strings.Join(n.asksUpon, ""), "xyxyxyxyxy"; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
		// 50, 100, 200, 400, 800 ms and four seconds.
		if took := time.Since(began).Round(time.Millisecond); took != 5550*time.Millisecond+foundingPoll {
			t.Errorf("joined after %v", took)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTown(t).add("a", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n.run(ctx)
		if n.missing() == "" {
			t.Error("a node without a log waits for nothing")
		}
	})
}

// A promise is kept while its proposer is out of sight: it may just have founded.
func TestPromiseIsKept(t *testing.T) {
	w := newTown(t)
	for _, id := range []string{"a", "b", "c", "d"} {
		w.add(id, nil)
	}
	a, b := w.nodes["a"], w.nodes["b"]
	w.meet()
	a.look(t.Context())
	w.meet()
	b.look(t.Context())
	if b.pact.leader != "a" || b.pact.hash != a.pact.hash {
		t.Fatalf("b has promised %+v, a proposes %+v", b.pact, a.pact)
	}
	for _, id := range []string{"b", "c", "d"} {
		w.nodes[id].lost["a"] = true
	}
	for range 5 {
		for _, id := range []string{"b", "c", "d"} {
			w.nodes[id].look(t.Context())
			w.nodes[id].sees = map[string]int{"b": len(b.told), "c": len(w.nodes["c"].told), "d": len(w.nodes["d"].told)}
		}
	}
	for id, n := range w.nodes {
		if n.voters != "" {
			t.Errorf("%s founded with %s while b's promise to a stands", id, n.voters)
		}
	}
	if b.pact.leader != "a" {
		t.Errorf("b has broken its promise for %+v", b.pact)
	}
	// a comes back as a new process that holds nothing: b is free.
	again := a.told[0]
	again.Boot = 2
	a.told = append(a.told, again)
	w.settle()
	if b.voters == "" {
		t.Errorf("b waits for %q after a came back", b.missing())
	}
}

// However late and lopsided the news, at most one cluster is founded and nobody that it
// counts on joins another; once all see all there is one and all are in it.
func TestNeverTwoClusters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Drawn evenly: what goes wrong takes many steps, and rapid prefers few.
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		w := newTown(t)
		expect := 3 + r.IntN(4)/3
		ids := []string{"a", "b", "c", "d"}
		for _, id := range ids {
			w.add(id, func(cfg *foundingConfig, _ *neighbour, _ *founder) { cfg.Expect = expect })
		}
		old := r.IntN(4) == 0 // a cluster is near, and seldom seen
		if old {
			w.add("x", func(_ *foundingConfig, _ *neighbour, n *founder) { n.fresh, n.cluster = false, "old" })
		}
		all := slices.Sorted(maps.Keys(w.nodes))
		deaf := map[string]int{} // who does not hear of whom for a while: 1 keeps what it saw, 2 calls it dead
		for range r.IntN(300) {
			n := w.nodes[ids[r.IntN(len(ids))]]
			if r.IntN(12) == 0 {
				for _, id := range ids {
					for _, other := range all {
						deaf[id+other] = max(0, r.IntN(4)-1)
						if other == "x" && r.IntN(4) > 0 {
							deaf[id+other] = 2
						}
					}
				}
			}
			if r.IntN(20) == 0 {
				n.elect()
			}
			for _, id := range all {
				news := len(w.nodes[id].told)
				switch what := r.IntN(4); {
				case deaf[n.id+id] == 2:
					n.lost[id] = true
				case deaf[n.id+id] == 1 || what == 0:
				case what == 1: // something newer, not always the newest
					n.sees[id], n.lost[id] = n.sees[id]+r.IntN(news-n.sees[id]+1), false
				default:
					n.sees[id], n.lost[id] = news, false
				}
			}
			n.look(context.Background())
		}
		for _, n := range w.nodes {
			for _, id := range ids {
				if strings.Contains(n.voters, id+"@") && w.nodes[id].cluster == "old" {
					t.Fatalf("%s counts on %s, which has joined the old cluster", n.id, id)
				}
			}
		}
		if old {
			return
		}
		w.settle()
		for _, n := range w.nodes {
			n.elect()
		}
		w.settle()
		for id, n := range w.nodes {
			if n.cluster == "" || n.cluster != w.nodes["a"].cluster {
				t.Fatalf("%s is in %q, a in %q; %s waits for %q", id, n.cluster, w.nodes["a"].cluster, id, n.missing())
			}
		}
	})
}
