package cluster

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/clock"
	"github.com/weir-io/weir/cluster/wire"
)

// The log goes on with its tables while and after the node closes, and checks may still be
// under way.
func TestTableAppliedAfterClose(t *testing.T) {
	members := startMembers(t, 2)
	route(t, members, tableOf(1, members, func(int) int { return 1 }))
	now, cancel := context.WithCancel(t.Context())
	cancel()
	_ = members[0].Close(now)
	members[0].TableApplied(tableOf(2, members, func(int) int { return 1 }))
	b := decide(members[0], aWhile, false, []bucket.Charge{charge(keyAt(1, 1), window(9, 1, bucket.FailLocal))})
	if b.Items[0].Err != nil || !b.Items[0].Allowed || b.Statuses[0].Degraded != bucket.OwnRight {
		t.Errorf("%+v %+v, want the own right", b.Items[0], b.Statuses[0])
	}
}

// What is admitted as soon as a row has come stays counted: it is emptied before anybody
// decides by the table that brings it.
func TestRowsAreEmptyWhenTheyCome(t *testing.T) {
	members := startMembers(t, 2)
	rule := window(1, 1, bucket.FailClosed)
	item := []bucket.Charge{charge(keyAt(bucket.Partitions-1, 1), rule)}
	var admitted, stop atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		statuses := make([]bucket.Status, 1)
		for stop.Load() == 0 {
			v := members[0].view.Load()
			// What a table overtakes is as if it had been admitted before the move.
			if v.owns(item) && members[0].store.Take(members[0].clock.Now(), item, statuses) && members[0].view.Load().table == v.table {
				admitted.Add(1)
			}
		}
	})
	const rounds = 500
	for epoch := uint64(1); epoch <= 2*rounds; epoch += 2 {
		members[0].TableApplied(tableOf(epoch, members, func(int) int { return 0 }))
		was := admitted.Load()
		for began := time.Now(); admitted.Load() == was && time.Since(began) < time.Millisecond; {
			runtime.Gosched()
		}
		members[0].TableApplied(tableOf(epoch+1, members, func(int) int { return 1 }))
	}
	stop.Store(1)
	wg.Wait()
	if got := admitted.Load(); got > rounds {
		t.Errorf("%d admitted of a limit of 1 while the row was here %d times", got, rounds)
	}
}

// An owner whose queue is full holds up its own items: those of others are decided
// exactly, and nobody thinks that these owners do not answer.
func TestFullQueueHoldsUpNobodyElse(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(p int) int { return 1 + p%2 }))
	full := members[0].peer("n2").out
	if !full.room.TryAcquire(maxQueued) {
		t.Fatal("no room in an empty queue")
	}
	defer full.room.Release(maxQueued)
	rule := window(100, 1, bucket.FailLocal)
	for range 2 * breakerRow {
		b := decide(members[0], 200*time.Millisecond, false, []bucket.Charge{charge(keyAt(0, 1), rule)}, []bucket.Charge{charge(keyAt(1, 1), rule)})
		if !errors.Is(b.Items[0].Err, ErrShed) {
			t.Fatalf("the item of the full queue: %+v, want %v", b.Items[0], ErrShed)
		}
		if it := &b.Items[1]; it.Err != nil || !it.Allowed || b.Statuses[1].Degraded != 0 {
			t.Fatalf("its neighbour: %+v %+v, want its owner's answer", it, b.Statuses[1])
		}
	}
}

// Who is refused hears of it in time, although an owner that took does not say that it
// gave back.
func TestRefundIsNotWaitedForToTheEnd(t *testing.T) {
	stuck := &testClock{Clock: clock.NewSystem()}
	members := []*member{startMember(t, "n1", "c1", clock.NewSystem()), startMember(t, "n2", "c1", stuck), startMember(t, "n3", "c1", clock.NewSystem())}
	route(t, members, tableOf(1, members, func(p int) int { return p % 3 }))
	took := []bucket.Charge{charge(keyAt(1, 1), window(9, 1, bucket.FailLocal))}
	statuses := make([]bucket.Status, 1)
	members[1].store.Take(members[1].clock.Now(), took, statuses)
	defer stuck.hold()()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	f := &forwarding{node: members[0].Node, ctx: ctx, view: members[0].view.Load(), charges: took, order: []int32{0}}
	f.parts = []part{{end: 1, owner: 1, kind: wire.Take, state: decided, allowed: true, peer: members[0].peer("n2"), statuses: statuses}}
	f.refund([]int{0})
	if ctx.Err() != nil {
		t.Error("the refund was waited for until the caller had gone")
	}
}
