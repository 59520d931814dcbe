package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-io/weir/ring"
)

// A throne is a leader's keeper with all it sees and rules faked.
type throne struct {
	*keeper
	mu        sync.Mutex
	leading   bool
	version   uint64
	index     uint64
	table     *ring.Table
	committed []*ring.Table
	fails     error // of CommitTable, AddServer and RemoveServer
	overtake  int   // so many times another change comes first
	servers   []ring.Server
	changes   []string // of servers
	nodes     map[string]*subject
}

// subject is a node as the leader sees it.
type subject struct {
	neighbour
	peerState
	dead bool
}

var errFake = errors.New("fake failure")

// reign makes a keeper at node a, leading and sole voter of cluster c.
func reign(change func(*keeperConfig)) *throne {
	w := &throne{leading: true, table: new(ring.Table), nodes: map[string]*subject{}, servers: []ring.Server{{ID: "a", Addr: "a:1", Voter: true}}}
	for p := range w.table.Rows {
		w.table.Rows[p] = ring.Row{Owner: ring.None, Replica: ring.None, Target: ring.None, State: ring.Steady}
	}
	self := w.meet("a")
	cfg := keeperConfig{
		Self: self.Member, Durable: true, Voters: 1, Log: w, Quorum: w, ClusterID: func() string { return "c" },
		Alive: w.alive, Peer: w.peer, PolicyVersion: func() uint64 { w.mu.Lock(); defer w.mu.Unlock(); return w.version },
	}
	if change != nil {
		change(&cfg)
	}
	w.keeper = newKeeper(cfg)
	return w
}

// meet adds a node that is alive, agrees and is up to date.
func (w *throne) meet(id string) *subject {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &subject{
		neighbour: neighbour{Member: ring.Member{ID: id, Boot: 1, PeerAddr: id + ":1"}, Durable: true, ClusterID: "c"},
		peerState: peerState{Agrees: true, Answers: true, Epoch: 1 << 40, PolicyVersion: 1 << 40},
	}
	w.nodes[id] = s
	return s
}

// subject returns a node that was met, or nil.
func (w *throne) subject(id string) *subject {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes[id]
}

// change changes what the leader sees, and wakes it.
func (w *throne) change(f func()) {
	w.mu.Lock()
	f()
	w.mu.Unlock()
	w.wake()
}

func (w *throne) alive() []neighbour {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []neighbour
	for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
		if !w.nodes[id].dead {
			all = append(all, w.nodes[id].neighbour)
		}
	}
	return all
}

func (w *throne) peer(id string, boot uint64) peerState {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.nodes[id]; s != nil && s.Boot == boot && !s.dead {
		return s.peerState
	}
	return peerState{}
}

func (w *throne) Leading() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leading
}

func (w *throne) Table() *ring.Table {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.table
}

func (w *throne) CommitTable(ctx context.Context, from uint64, t *ring.Table) error {
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("a call without a deadline")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	if w.overtake > 0 {
		w.overtake--
		other := *w.table
		other.Epoch = w.index
		w.table = &other
	}
	if from != w.table.Epoch {
		return errors.New("another change came first")
	}
	if w.fails != nil {
		return w.fails
	}
	applied := *t
	applied.Epoch = w.index
	w.table = &applied
	w.committed = append(w.committed, &applied)
	return nil
}

func (w *throne) Servers() ([]ring.Server, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.servers), nil
}

func (w *throne) AddServer(ctx context.Context, s ring.Server) error {
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("a call without a deadline")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fails != nil {
		return w.fails
	}
	if i := findServer(w.servers, s.ID); i >= 0 {
		w.servers[i] = s
	} else {
		w.servers = append(w.servers, s)
	}
	role := map[bool]string{true: "voter", false: "non-voter"}[s.Voter]
	w.changes = append(w.changes, fmt.Sprintf("%s %s@%s", role, s.ID, s.Addr))
	return nil
}

func (w *throne) RemoveServer(ctx context.Context, id string) error {
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("a call without a deadline")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fails != nil {
		return w.fails
	}
	w.servers = slices.DeleteFunc(w.servers, func(s ring.Server) bool { return s.ID == id })
	w.changes = append(w.changes, "remove "+id)
	return nil
}

// rule runs the keeper in a bubble until the test ends.
func (w *throne) rule(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { w.run(ctx) })
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
	synctest.Wait()
}

// pass lets time go by and the keeper act.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// lists writes the table's members down.
func (w *throne) lists() string { return describe(w.Table().Members) }

// tables returns those that were committed.
func (w *throne) tables() []*ring.Table {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.committed)
}

// decrees returns the changes of raft's servers since the last call.
func (w *throne) decrees() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.changes, ", ")
	w.changes = nil
	return all
}

func (w *throne) expect(t *testing.T, when, want string, tables int) {
	t.Helper()
	if got := w.lists(); got != want {
		t.Errorf("%s: members %q, want %q", when, got, want)
	}
	if got := len(w.tables()); got != tables {
		t.Errorf("%s: %d tables, want %d", when, got, tables)
	}
	for p := range ring.Partitions {
		if o := w.Table().Owner(p); want != "" && (o == nil || o.State != ring.Up) {
			t.Fatalf("%s: row %d is owned by %+v", when, p, o)
		}
	}
}

// settle meets nodes, and lets the first table come.
func (w *throne) settle(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		w.meet(id)
	}
	w.rule(t)
	pass(2 * time.Second)
	if got := len(w.Table().Members); got != len(ids)+1 {
		t.Fatalf("%d members at the start, want %d", got, len(ids)+1)
	}
}

func TestFirstTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.rule(t)
		w.expect(t, "alone, at once", "a#1", 1)
		pass(time.Hour)
		w.expect(t, "an hour later", "a#1", 1)
	})
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.meet("b").Answers = false
		w.rule(t)
		w.expect(t, "while b is silent", "", 0)
		pass(400 * time.Millisecond)
		w.change(func() { w.nodes["b"].Answers = true })
		pass(900 * time.Millisecond) // b is complete: nothing more to wait for
		w.expect(t, "once all are there", "a#1, b#1", 1)
	})
}

func TestJoinerMustBeCurrent(t *testing.T) {
	for name, lag := range map[string]func(*subject){
		"does not agree":     func(s *subject) { s.Agrees = false },
		"does not answer":    func(s *subject) { s.Answers = false },
		"old table":          func(s *subject) { s.Epoch = 0 },
		"old policies":       func(s *subject) { s.PolicyVersion = 6 },
		"another cluster":    func(s *subject) { s.ClusterID = "d" },
		"in no cluster":      func(s *subject) { s.ClusterID = "" },
		"no address for log": func(s *subject) { s.PeerAddr = "" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := reign(nil)
				w.version = 7
				w.settle(t)
				b := w.meet("b")
				w.change(func() { lag(b) })
				pass(time.Minute)
				w.expect(t, "while it lags", "a#1", 1)
				// It need not run after what came since it was first seen.
				w.change(func() {
					w.version = 9
					b.peerState = peerState{Agrees: true, Answers: true, Epoch: 1, PolicyVersion: 7}
					b.ClusterID, b.PeerAddr = "c", "b:1"
					if name == "another cluster" || name == "in no cluster" || name == "no address for log" || name == "does not agree" {
						b.PolicyVersion = 9 // it was not looked at before
					}
				})
				pass(3 * time.Second)
				w.expect(t, "once it does not", "a#1, b#1", 2)
			})
		})
	}
}

func TestDeadMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.settle(t, "b", "c")
		w.change(func() { w.nodes["c"].dead = true })
		pass(999 * time.Millisecond)
		w.expect(t, "before the debounce ends", "a#1, b#1, c#1", 1)
		pass(time.Millisecond)
		w.expect(t, "after it", "a#1, b#1, c#1 silent", 2)
		pass(5 * time.Minute)
		w.change(func() { w.nodes["c"].dead = false })
		pass(2 * time.Second)
		w.expect(t, "back", "a#1, b#1, c#1", 3)
		w.change(func() { w.nodes["c"].dead = true })
		pass(9 * time.Minute)
		w.expect(t, "gone again", "a#1, b#1, c#1 silent", 4)
		pass(time.Minute + 2*time.Second)
		w.expect(t, "forgotten", "a#1, b#1", 5)
	})
}

func TestLeaderAloneKeepsItsRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.settle(t, "b")
		w.change(func() { w.nodes["b"].dead = true })
		pass(2 * time.Second)
		w.expect(t, "alone", "a#1, b#1 silent", 2)
		if _, err := w.leave(t.Context(), "a", 1, false); !errors.Is(err, errLastUp) {
			t.Errorf("the only member up leaves: %v, want %v", err, errLastUp)
		}
		w.expect(t, "it may not leave", "a#1, b#1 silent", 2)
	})
}

func TestRestartedMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.settle(t, "b")
		w.change(func() {
			w.nodes["b"].Boot, w.nodes["b"].PeerAddr = 2, "b:2"
			w.nodes["b"].Epoch = 0 // its log is being replayed
		})
		pass(2 * time.Second)
		w.expect(t, "not current", "a#1, b#1 silent", 2)
		w.change(func() { w.nodes["b"].Epoch = w.index })
		pass(2 * time.Second)
		w.expect(t, "current", "a#1, b#2", 3)
		if got := w.Table().Members[1].PeerAddr; got != "b:2" {
			t.Errorf("listed at %s", got)
		}
		if got, want := w.decrees(), "non-voter b@b:1, non-voter b@b:2"; got != want {
			t.Errorf("raft's servers: %q, want %q", got, want)
		}
	})
}

// What is wanted changes again and again: it is committed once a second passed without
// change, after three at the latest.
func TestDebounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.settle(t)
		began := time.Now()
		for i := range 20 { // b to f come, again and again as another process
			id := string(rune('b' + i%5))
			if n := w.subject(id); n == nil {
				w.meet(id)
			} else {
				w.change(func() { n.Boot++ })
			}
			w.wake()
			pass(500 * time.Millisecond)
			if took := time.Since(began); took < 3*time.Second && len(w.tables()) != 1 {
				t.Fatalf("a table after %v", took)
			}
		}
		if got := len(w.tables()); got < 3 || got > 5 { // every three seconds
			t.Errorf("%d tables in ten seconds of change", got)
		}
		pass(2 * time.Second)
		if got, want := w.lists(), "a#1, b#4, c#4, d#4, e#4, f#4"; got != want {
			t.Errorf("members %q at the end, want %q", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.settle(t, "b")
		for range 10 { // dead and back before it counts
			w.change(func() { w.nodes["b"].dead = true })
			pass(600 * time.Millisecond)
			w.change(func() { w.nodes["b"].dead = false })
			pass(600 * time.Millisecond)
		}
		w.expect(t, "after ten short absences", "a#1, b#1", 1)
	})
}

func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.settle(t, "b", "c")
		leave := func(id string, boot uint64, undo bool) {
			t.Helper()
			epoch, err := w.leave(t.Context(), id, boot, undo)
			if err != nil || epoch != w.Table().Epoch {
				t.Errorf("leave %s: epoch %d of %d, %v", id, epoch, w.Table().Epoch, err)
			}
		}
		leave("b", 9, false) // another boot than the one listed
		leave("x", 1, false)
		leave("b", 1, true)
		w.expect(t, "nothing to leave", "a#1, b#1, c#1", 1)
		leave("b", 1, false)
		leave("b", 1, false)
		w.expect(t, "at once, and once", "a#1, b#1 leaving, c#1", 2)
		pass(time.Hour)
		w.expect(t, "as long as it lives", "a#1, b#1 leaving, c#1", 2)
		leave("b", 0, true)
		w.expect(t, "taken back", "a#1, b#1, c#1", 3)
		leave("b", 0, false)
		w.change(func() { w.nodes["b"].dead = true })
		pass(2 * time.Second)
		w.expect(t, "gone", "a#1, c#1", 5)
		w.change(func() { w.nodes["b"].dead, w.nodes["b"].Boot = false, 2 })
		pass(2 * time.Second)
		w.expect(t, "restarted", "a#1, b#2, c#1", 6)
		leave("c", 1, false)
		w.change(func() { w.nodes["c"].Boot = 2 })
		pass(2 * time.Second)
		w.expect(t, "restarted before it was missed", "a#1, b#2, c#2", 8)
	})
}

func TestLeaveFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.settle(t, "b")
		w.change(func() { w.overtake = 3 })
		if _, err := w.leave(t.Context(), "b", 1, false); err != nil {
			t.Errorf("other changes came first: %v", err)
		}
		w.change(func() { w.fails = errFake })
		if _, err := w.leave(t.Context(), "b", 1, true); !errors.Is(err, errFake) {
			t.Errorf("error %v, want %v", err, errFake)
		}
		w.change(func() { w.leading = false })
		if _, err := w.leave(t.Context(), "b", 1, true); !errors.Is(err, errNotLeading) {
			t.Errorf("error %v, want %v", err, errNotLeading)
		}
		if err := w.join(t.Context(), ring.Server{ID: "x", Addr: "x:1"}); !errors.Is(err, errNotLeading) {
			t.Errorf("error %v, want %v", err, errNotLeading)
		}
	})
}

func TestOnlyALeaderActs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.leading = false
		w.meet("b")
		w.rule(t)
		pass(time.Hour)
		w.expect(t, "not leading", "", 0)
		w.change(func() { w.leading = true })
		pass(2 * time.Second)
		w.expect(t, "leading", "a#1, b#1", 1)
		// Silence is counted anew by every lead.
		w.change(func() { w.nodes["b"].dead = true })
		pass(9 * time.Minute)
		w.change(func() { w.leading = false })
		pass(5 * time.Minute)
		w.change(func() { w.leading = true })
		pass(9 * time.Minute)
		w.expect(t, "leading again", "a#1, b#1 silent", 2)
		pass(2 * time.Minute)
		w.expect(t, "forgotten", "a#1", 3)
	})
}

func TestCommitIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.fails = errFake
		w.rule(t)
		pass(5 * time.Second)
		w.expect(t, "failing", "", 0)
		w.change(func() { w.fails = nil })
		pass(time.Second)
		w.expect(t, "no more", "a#1", 1)
		w.meet("b")
		w.change(func() { w.overtake = 2 })
		pass(1500 * time.Millisecond)
		w.expect(t, "overtaken twice", "a#1, b#1", 2)
	})
}

// Whatever happens, each table is a change, every row has an owner that is up, and in
// the end the table lists whoever is alive.
func TestKeeperAtRandom(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			w := reign(func(c *keeperConfig) { c.Voters = 3 })
			w.rule(t)
			ids := []string{"b", "c", "d", "e"}
			for range 60 {
				id := ids[r.IntN(len(ids))]
				n := w.subject(id)
				if n == nil {
					n = w.meet(id)
				}
				switch r.IntN(8) {
				case 0, 1:
					w.change(func() { n.dead = !n.dead })
				case 2:
					w.change(func() { n.Boot++ })
				case 3:
					w.change(func() { n.Answers = !n.Answers })
				case 4:
					if _, err := w.leave(t.Context(), "abcde"[r.IntN(5):][:1], 0, r.IntN(2) == 0); err != nil && !errors.Is(err, errLastUp) {
						t.Errorf("leave: %v", err)
					}
				case 5:
					w.change(func() { w.overtake = r.IntN(2) })
				case 6:
					w.change(func() { w.leading = !w.leading })
					pass(0)
					w.change(func() { w.leading = true })
				}
				pass(time.Duration(r.IntN(2000)) * time.Millisecond)
			}
			if _, err := w.leave(t.Context(), "a", 0, true); err != nil {
				t.Errorf("leave: %v", err)
			}
			w.change(func() {
				for _, n := range w.nodes {
					n.dead, n.Answers, n.Boot = false, true, n.Boot+1
				}
				w.nodes["a"].Boot = 1
			})
			pass(20 * time.Second)
			var want []string
			for _, n := range w.alive() {
				want = append(want, gossipName(n.ID, n.Boot))
			}
			if got := w.lists(); got != strings.Join(want, ", ") {
				t.Errorf("members %q, want %q", got, want)
			}
			tables := w.tables()
			for i, table := range tables {
				if i > 0 && table.Equal(tables[i-1]) {
					t.Errorf("table %d is the same as the one before", i)
				}
				for p := range ring.Partitions {
					if o := table.Owner(p); o == nil || o.State != ring.Up {
						t.Fatalf("table %d, row %d is owned by %+v", i, p, o)
					}
				}
			}
			voters := 0
			servers, err := w.Servers()
			for _, s := range servers {
				if s.Voter {
					voters++
				}
			}
			if err != nil || voters != 1 && voters != 3 {
				t.Errorf("%d voters: %+v, %v", voters, servers, err)
			}
		})
	}
}
