package cluster

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
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
