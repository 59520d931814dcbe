package cluster

import (
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster/wire"
	"github.com/weir-io/weir/ring"
)

// A table that does not come is waited for once, not once for every item: those behind
// still have time to be decided.
func TestLateTableIsWaitedForOnce(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(int) int { return 1 }))
	newer := tableOf(2, members, func(p int) int { return 2 * (p % 2) }) // even rows go to n1, who asks
	members[1].TableApplied(newer)
	members[2].TableApplied(newer)
	rule := window(9, 1, bucket.FailLocal)
	var items [][]bucket.Charge
	for i := range 20 {
		items = append(items, []bucket.Charge{charge(keyAt(2*i, 1), rule)})
	}
	items = append(items, []bucket.Charge{charge(keyAt(1, 1), rule)})
	b := decide(members[0], time.Second, false, items...)
	for i := range b.Items {
		if err := b.Items[i].Err; err != nil {
			t.Errorf("item %d: %v", i, err)
		}
	}
	if s := &b.Statuses[20]; s.Degraded != 0 {
		t.Errorf("the item that n3 owns: %+v, want n3's answer", s)
	}
}

// Charges that part while one of their rows has no owner: nobody decides that one.
func TestRedirectToNobody(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(int) int { return 1 }))
	newer := tableOf(2, members, func(int) int { return 2 })
	newer.Rows[1].Owner = ring.None
	for _, m := range members[1:] {
		m.TableApplied(newer)
	}
	go members[0].TableApplied(newer)
	rule := window(9, 1, bucket.FailClosed)
	b := decide(members[0], aWhile, false, []bucket.Charge{charge(keyAt(0, 1), rule), charge(keyAt(1, 1), rule)})
	if b.Items[0].Err != nil || b.Items[0].Allowed || b.Statuses[1].Degraded != bucket.Closed {
		t.Errorf("%+v %+v, want it denied: a row has no owner", b.Items[0], b.Statuses)
	}
	if got := remaining(members[2], charge(keyAt(0, 1), rule)); got != 9 {
		t.Errorf("%d remain at the other's owner, want 9", got)
	}
}

// An owner that lost its row and has it again, by a table that it has not applied yet, is
// asked once more by that table.
func TestRedirectToTheOneThatWasAsked(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(int) int { return 1 }))
	old := members[0].view.Load()
	members[1].TableApplied(tableOf(2, members, func(int) int { return 2 }))
	newest := tableOf(3, members, func(int) int { return 1 })
	members[0].TableApplied(newest)
	soon := time.AfterFunc(catchUpTime/4, func() { members[1].TableApplied(newest) })
	defer soon.Stop()
	item := charge(keyAt(1, 1), window(9, 1, bucket.FailLocal))
	f := &forwarding{node: members[0].Node, ctx: t.Context(), view: old, charges: []bucket.Charge{item}, order: []int32{0}}
	f.parts = []part{{end: 1, owner: 1, kind: wire.Take}}
	f.route()
	if p := &f.parts[0]; p.state != decided || !p.allowed {
		t.Errorf("%+v, want it decided by its owner", p)
	}
}

// Permits that a node gave on its own right go back to it, whether or not their owner
// answers.
func TestReleaseOfOwnRight(t *testing.T) {
	members := startMembers(t, 2)
	route(t, members, tableOf(1, members, func(int) int { return 1 }))
	permits := &bucket.Rule{Limit: bucket.Limit{Algorithm: bucket.Concurrency, Count: 2, TTL: time.Hour}, Hash: bucket.Hash{Hi: 1}, Version: 1, FailMode: bucket.FailLocal}
	members[1].kill()
	eventually(t, "the owner is silent", func() error {
		if !members[0].peer("n2").silent() {
			return errNoLog
		}
		return nil
	})
	b := decide(members[0], aWhile, false, []bucket.Charge{charge(keyAt(1, 1), permits)})
	if !b.Items[0].Allowed || b.Statuses[0].Degraded != bucket.OwnRight {
		t.Fatalf("%+v %+v, want a permit on the own right", b.Items[0], b.Statuses[0])
	}
	n, err := members[0].Release(t.Context(), []Permit{{Hash: keyAt(1, 1), Limit: permits.Hash, Receipt: b.Statuses[0].Receipt}})
	if n != 1 || err != nil {
		t.Errorf("released %d, %v, want 1", n, err)
	}
}

// What was taken on another member's right goes back when another owner refuses.
func TestRefundOfAnothersRight(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(p int) int { return 2 - p%2 })) // even rows n3, odd rows n2
	members[2].kill()
	eventually(t, "the owner is silent", func() error {
		if !members[0].peer("n3").silent() {
			return errNoLog
		}
		return nil
	})
	key := keyAt(0, 1)
	for ring.RightFirst(3, key.Hi) != 1 {
		key = keyAt(0, int(key.Hi)+1)
	}
	scarce, shut := window(1, 1, bucket.FailLocal), window(0, 2, bucket.FailLocal)
	if b := decide(members[0], aWhile, false, []bucket.Charge{charge(key, scarce), charge(keyAt(1, 1), shut)}); b.Items[0].Err != nil || b.Items[0].Allowed {
		t.Fatalf("%+v, want it refused by n2", b.Items[0])
	}
	if b := decide(members[0], aWhile, false, []bucket.Charge{charge(key, scarce)}); b.Items[0].Err != nil || !b.Items[0].Allowed {
		t.Errorf("%+v %+v: the refusal before consumed the right", b.Items[0], b.Statuses[0])
	}
}
