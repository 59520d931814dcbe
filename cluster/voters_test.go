package cluster

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-io/weir/ring"
)

func TestVoters(t *testing.T) {
	type event = func(w *throne)
	kill := func(ids string) event {
		return func(w *throne) {
			for id := range strings.FieldsSeq(ids) {
				w.nodes[id].dead = true
			}
		}
	}
	revive := func(id string) event { return func(w *throne) { w.nodes[id].dead = false } }
	for _, c := range []struct {
		name    string
		voters  int
		durable bool     // the leader
		nodes   string   // that come one after the other; small letters keep no data dir
		then    []event  // 11 minutes apart
		want    []string // changes of raft's servers at the start and after each event
	}{
		{"one", 1, true, "B C", nil, []string{"non-voter B, non-voter C"}},
		{"two are no more than one", 3, true, "B", nil, []string{"non-voter B"}},
		{"three", 3, true, "B C D", nil, []string{"non-voter B, non-voter C, voter B, voter C, non-voter D"}},
		{"five", 5, true, "B C D E F", nil, []string{"non-voter B, non-voter C, voter B, voter C, non-voter D, non-voter E, voter D, voter E, non-voter F"}},
		{"only those that keep what they voted", 3, true, "b C d", nil, []string{"non-voter b, non-voter C, non-voter d"}},
		{"the first keeps nothing", 3, false, "B C", nil, []string{"non-voter B, non-voter C"}},
		{"a voter is replaced, and comes back", 3, true, "B C D", []event{kill("B"), revive("B")},
			[]string{"non-voter B, non-voter C, voter B, voter C, non-voter D", "voter D, remove B", "non-voter B"}},
		{"nobody replaces it", 3, true, "B C d", []event{kill("B"), revive("B")},
			[]string{"non-voter B, non-voter C, voter B, voter C, non-voter d", "", ""}},
		{"two replaced", 3, true, "B C D E", []event{kill("B C")},
			[]string{"non-voter B, non-voter C, voter B, voter C, non-voter D, non-voter E", "voter D, remove B, voter E, remove C"}},
		{"a successor where five were wanted", 5, true, "B C D", []event{kill("C")},
			[]string{"non-voter B, non-voter C, voter B, voter C, non-voter D", "voter D, remove C"}},
		{"a non-voter is forgotten, and comes back", 1, true, "B C", []event{kill("B"), revive("B")},
			[]string{"non-voter B, non-voter C", "remove B", "non-voter B"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := reign(func(cfg *keeperConfig) { cfg.Voters, cfg.Durable = c.voters, c.durable })
				w.rule(t)
				check := func(want string) {
					t.Helper()
					got := w.decrees()
					for addr := range strings.FieldsSeq("B C D E F b d") {
						got = strings.ReplaceAll(got, "@"+addr+":1", "")
					}
					if got != want {
						t.Errorf("raft's servers: %q, want %q", got, want)
					}
				}
				for id := range strings.FieldsSeq(c.nodes) {
					n := w.meet(id)
					w.change(func() { n.Durable = id < "a" })
					pass(3 * time.Second)
				}
				check(c.want[0])
				for i, event := range c.then {
					w.change(func() { event(w) })
					pass(11 * time.Minute)
					check(c.want[i+1])
				}
			})
		})
	}
}

// An even number of voters is left only by a change that failed midway.
func TestVotersAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(func(cfg *keeperConfig) { cfg.Voters = 3 })
		w.settle(t, "b", "c", "d")
		w.change(func() {
			for i := range w.servers {
				w.servers[i].Voter = w.servers[i].ID <= "b"
			}
			w.fails, w.changes = errFake, nil
		})
		pass(5 * time.Second)
		w.change(func() { w.fails = nil })
		pass(2 * time.Second)
		if got := w.decrees(); got != "voter c@c:1" {
			t.Errorf("raft's servers: %q, want one voter more", got)
		}
	})
}

func TestAddressesAreBroughtIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(func(cfg *keeperConfig) { cfg.Self.PeerAddr = "a:2" }) // restarted elsewhere
		w.settle(t, "b")
		w.change(func() { w.nodes["b"].PeerAddr, w.nodes["b"].Agrees = "b:2", false })
		pass(3 * time.Second)
		w.change(func() { w.nodes["b"].Agrees = true })
		pass(3 * time.Second)
		if got, want := w.decrees(), "voter a@a:2, non-voter b@b:1, non-voter b@b:2"; got != want {
			t.Errorf("raft's servers: %q, want %q", got, want)
		}
		if got := w.Table().Members[1].PeerAddr; got != "b:2" {
			t.Errorf("the table lists b at %s", got)
		}
	})
}

func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := reign(nil)
		w.servers = append(w.servers, ring.Server{ID: "v", Addr: "v:1", Voter: true})
		for _, s := range []ring.Server{
			{ID: "b", Addr: "b:1", Voter: true}, // nobody joins as a voter
			{ID: "b", Addr: "b:1"},
			{ID: "b", Addr: "b:2"},
			{ID: "v", Addr: "v:2"}, // a voter stays one
		} {
			if err := w.join(t.Context(), s); err != nil {
				t.Errorf("join %+v: %v", s, err)
			}
		}
		if got, want := w.decrees(), "non-voter b@b:1, non-voter b@b:2, voter v@v:2"; got != want {
			t.Errorf("raft's servers: %q, want %q", got, want)
		}
		b := w.meet("b")
		for _, id := range []string{"a", "b"} {
			if err := w.join(t.Context(), ring.Server{ID: id, Addr: "stranger:1"}); !errors.Is(err, errNameTaken) {
				t.Errorf("a namesake of %s joins: %v, want %v", id, err, errNameTaken)
			}
		}
		b.Answers = false // its predecessor, which gossip does not call dead yet
		if err := w.join(t.Context(), ring.Server{ID: "b", Addr: "b:3"}); err != nil {
			t.Errorf("restarted elsewhere: %v", err)
		}
	})
}
