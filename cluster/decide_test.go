package cluster

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/clock"
	"github.com/weir-io/weir/ring"
)

const aWhile = 5 * time.Second

// wantDecided reports items that were not decided exactly by their owners.
func wantDecided(t testing.TB, b *Batch) {
	t.Helper()
	for i := range b.Items {
		if err := b.Items[i].Err; err != nil {
			t.Errorf("item %d: %v", i, err)
		}
	}
	for i := range b.Statuses {
		if d := b.Statuses[i].Degraded; d != 0 {
			t.Errorf("charge %d is degraded: %d", i, d)
		}
	}
}

// Whoever is asked, every key has one count: its owner's.
func TestOneCountForEveryKey(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(p int) int { return p % 3 }))
	const keys, limit = 64, 5
	rule := window(limit, 1, bucket.FailLocal)
	var admitted [keys]atomic.Int64
	var wg sync.WaitGroup
	for _, m := range members {
		for range 4 {
			wg.Go(func() {
				for range limit {
					items := make([][]bucket.Charge, keys)
					for k := range items {
						items[k] = []bucket.Charge{charge(keyAt(k*7, k), rule)}
					}
					b := decide(m, aWhile, false, items...)
					wantDecided(t, b)
					for k := range items {
						if b.Items[k].Allowed {
							admitted[k].Add(1)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	for k := range admitted {
		if got := admitted[k].Load(); got != limit {
			t.Errorf("key %d: %d admitted, want %d", k, got, limit)
		}
	}
}

// Charges of one request at three owners are taken all or none, whoever refuses, and what
// a peek says is what a take would meet.
func TestAllOrNothingAcrossOwners(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(p int) int { return p % 3 }))
	loose, tight := window(10, 1, bucket.FailLocal), window(2, 2, bucket.FailLocal)
	for refuser := range 3 {
		for _, asked := range members {
			base := 3 * (1 + refuser) * 10
			h := func(owner int) bucket.Hash { return keyAt(base+owner, int(asked.began.UnixNano()%1e6)+1) }
			item := []bucket.Charge{charge(h(0), loose), charge(h(1), loose), charge(h(2), loose)}
			item[refuser].Rule = tight
			item[refuser].Hits = 2
			for round := range 2 {
				b := decide(asked, aWhile, false, item)
				wantDecided(t, b)
				if b.Items[0].Allowed != (round == 0) {
					t.Fatalf("refuser %d, %s, round %d: allowed %t", refuser, asked.cfg.Self.ID, round, b.Items[0].Allowed)
				}
				for i := range item {
					want := int64(9)
					if i == refuser {
						want = 0
					}
					if got := b.Statuses[i].Remaining; got != want {
						t.Errorf("refuser %d, %s, round %d: charge %d has %d remaining, want %d", refuser, asked.cfg.Self.ID, round, i, got, want)
					}
				}
			}
			b := decide(asked, aWhile, true, item)
			for i := range item {
				if want := i != refuser; b.Statuses[i].Allowed != want {
					t.Errorf("peek: charge %d allowed %t, want %t", i, b.Statuses[i].Allowed, want)
				}
			}
		}
	}
}

// A shadow charge elsewhere stands in nobody's way, and is taken only with the verdict:
// it is not even touched by requests that are refused.
func TestShadowAcrossOwners(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(p int) int { return p % 3 }))
	enforce, shadow := window(1, 1, bucket.FailLocal), window(3, 2, bucket.FailLocal)
	for name, charges := range map[string][]bucket.Charge{
		"one owner enforces":           {charge(keyAt(0, 1), enforce), charge(keyAt(1, 1), shadow)},
		"that is not the asked one":    {charge(keyAt(1, 2), enforce), charge(keyAt(0, 2), shadow)},
		"two owners enforce":           {charge(keyAt(0, 3), enforce), charge(keyAt(1, 3), enforce), charge(keyAt(2, 3), shadow)},
		"one of them has the shadow's": {charge(keyAt(0, 4), enforce), charge(keyAt(1, 4), enforce), charge(keyAt(1, 4), shadow)},
		"the same owner has both":      {charge(keyAt(1, 5), enforce), charge(keyAt(1, 5), shadow)},
	} {
		last := len(charges) - 1
		charges[last].Shadow = true
		for round := range 4 {
			b := decide(members[0], aWhile, false, charges)
			wantDecided(t, b)
			if b.Items[0].Allowed != (round == 0) {
				t.Errorf("%s, round %d: allowed %t", name, round, b.Items[0].Allowed)
			}
			if got := b.Statuses[last].Remaining; got != 2 {
				t.Errorf("%s, round %d: the shadow has %d remaining, want 2", name, round, got)
			}
		}
		// A shadow that has no room changes no verdict.
		charges[last].Hits = 5
		charges[0].Rule, charges[max(0, last-1)].Rule = window(9, 3, bucket.FailLocal), window(9, 3, bucket.FailLocal)
		if b := decide(members[0], aWhile, false, charges); !b.Items[0].Allowed || b.Statuses[last].Allowed {
			t.Errorf("%s: allowed %t, the shadow %t; want true and false", name, b.Items[0].Allowed, b.Statuses[last].Allowed)
		}
	}
	// Shadows alone are taken, each where it lies.
	alone := []bucket.Charge{charge(keyAt(0, 9), shadow), charge(keyAt(1, 9), shadow)}
	alone[0].Shadow, alone[1].Shadow = true, true
	for round := range 2 {
		b := decide(members[0], aWhile, false, alone)
		if want := int64(2 - round); !b.Items[0].Allowed || b.Statuses[0].Remaining != want || b.Statuses[1].Remaining != want {
			t.Errorf("shadows alone, round %d: %+v", round, b.Statuses)
		}
	}
}

// A node whose table is old is told by the one it asks where the row is now.
func TestRedirect(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(int) int { return 1 }))
	newer := tableOf(2, members, func(int) int { return 2 })
	members[1].TableApplied(newer)
	members[2].TableApplied(newer)
	b := decide(members[0], aWhile, false, []bucket.Charge{charge(keyAt(5, 1), window(2, 1, bucket.FailClosed))})
	wantDecided(t, b)
	if !b.Items[0].Allowed || members[2].store.Usage().Buckets != 1 {
		t.Errorf("allowed %t, %d buckets at the new owner, want one", b.Items[0].Allowed, members[2].store.Usage().Buckets)
	}
	// Told that it is the owner itself, it waits for the table that says so.
	newest := tableOf(3, members, func(int) int { return 0 })
	members[1].TableApplied(newest)
	go members[0].TableApplied(newest)
	b = decide(members[0], aWhile, false, []bucket.Charge{charge(keyAt(5, 1), window(2, 1, bucket.FailClosed))})
	wantDecided(t, b)
}

// An item whose charges were one node's parts when their rows went to two.
func TestRedirectOfScatteredCharges(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(int) int { return 1 }))
	newer := tableOf(2, members, func(p int) int { return p % 3 })
	rule := window(2, 1, bucket.FailClosed)
	item := []bucket.Charge{charge(keyAt(0, 1), rule), charge(keyAt(1, 1), rule), charge(keyAt(2, 1), rule), charge(keyAt(5, 1), rule)}
	members[1].TableApplied(newer)
	members[2].TableApplied(newer)
	go members[0].TableApplied(newer)
	for range 2 {
		b := decide(members[0], aWhile, false, item)
		wantDecided(t, b)
		if !b.Items[0].Allowed {
			t.Fatalf("refused: %+v", b.Statuses)
		}
	}
	if b := decide(members[2], aWhile, false, item); b.Items[0].Allowed {
		t.Error("a third time it was allowed, the limit is 2")
	}
}

// A receiver whose table is older than the sender's waits for the sender's.
func TestReceiverIsBehind(t *testing.T) {
	members := startMembers(t, 2)
	older, newer := tableOf(1, members, func(int) int { return 0 }), tableOf(2, members, func(int) int { return 1 })
	route(t, members, older)
	members[0].TableApplied(newer)
	rule := window(4, 1, bucket.FailLocal)
	began := time.Now()
	b := decide(members[0], aWhile, false, []bucket.Charge{charge(keyAt(3, 1), rule)})
	if b.Items[0].Err != nil || b.Statuses[0].Degraded != bucket.OwnRight {
		t.Errorf("while the owner is behind: %+v %+v, want own right", b.Items[0], b.Statuses[0])
	}
	if took := time.Since(began); took < 2*catchUpTime*9/10 {
		t.Errorf("it took %v: the owner is asked twice, and waits %v each time", took, catchUpTime)
	}
	done := make(chan *Batch)
	go func() { done <- decide(members[0], aWhile, false, []bucket.Charge{charge(keyAt(3, 1), rule)}) }()
	members[1].TableApplied(newer)
	wantDecided(t, <-done)
}

// While its owner is dead a key has its fail mode: the rights of those who live, once
// each; everything; nothing.
func TestFailModes(t *testing.T) {
	const limit = 7
	members := startMembers(t, 3)
	table := tableOf(1, members, func(int) int { return 2 })
	route(t, members, table)
	members[2].kill()
	eventually(t, "the dead owner is silent", func() error {
		for _, m := range members[:2] {
			if !m.peer("n3").silent() {
				return errors.New(m.cfg.Self.ID + " hears it")
			}
		}
		return nil
	})
	ask := func(m *member, key bucket.Hash, rule *bucket.Rule, times int) (admitted int64, last bucket.Status) {
		for range times {
			b := decide(m, aWhile, false, []bucket.Charge{charge(key, rule)})
			if b.Items[0].Err != nil {
				t.Fatal(b.Items[0].Err)
			}
			if b.Items[0].Allowed {
				admitted++
			}
			last = b.Statuses[0]
		}
		return admitted, last
	}
	t.Run("local", func(t *testing.T) {
		for k := range 6 {
			key := keyAt(1, k)
			for i, m := range members[:2] {
				got, last := ask(m, key, window(limit, 1, bucket.FailLocal), limit)
				if want := ring.Right(3, i, key.Hi, limit); got != want {
					t.Errorf("key %d at %s: %d admitted, want its right %d", k, m.cfg.Self.ID, got, want)
				}
				if last.Degraded != bucket.OwnRight || last.Limit != limit || last.RetryAfter <= 0 {
					t.Errorf("key %d: the last answer says %+v", k, last)
				}
			}
		}
	})
	t.Run("local, a limit that not all have a right of", func(t *testing.T) {
		for k := range 6 {
			key := keyAt(2, k)
			var total int64
			for _, m := range members[:2] {
				got, _ := ask(m, key, window(1, 1, bucket.FailLocal), 3)
				total += got
			}
			want := int64(1)
			if ring.RightFirst(3, key.Hi) == 2 {
				want = 0 // the dead one has it
			}
			if total != want {
				t.Errorf("key %d: %d admitted, want %d: one member has the right", k, total, want)
			}
		}
	})
	t.Run("open", func(t *testing.T) {
		got, last := ask(members[0], keyAt(3, 1), window(1, 1, bucket.FailOpen), 5)
		if got != 5 || last.Degraded != bucket.Open {
			t.Errorf("%d of 5 admitted, the last says %+v", got, last)
		}
	})
	t.Run("closed", func(t *testing.T) {
		got, last := ask(members[0], keyAt(4, 1), window(1, 1, bucket.FailClosed), 5)
		if got != 0 || last.Degraded != bucket.Closed || last.RetryAfter <= 0 {
			t.Errorf("%d of 5 admitted, the last says %+v", got, last)
		}
	})
	t.Run("several limits", func(t *testing.T) {
		b := decide(members[0], aWhile, false, []bucket.Charge{
			charge(keyAt(5, 3), window(30, 1, bucket.FailLocal)), charge(keyAt(5, 3), window(30, 2, bucket.FailClosed)),
		})
		if b.Items[0].Allowed {
			t.Error("a closed limit does not deny beside a local one")
		}
		b = decide(members[0], aWhile, true, []bucket.Charge{charge(keyAt(5, 3), window(30, 1, bucket.FailLocal))})
		if got := b.Statuses[0].Remaining; got != 10 {
			t.Errorf("%d of the right remain, want 10: a refusal consumes nothing", got)
		}
	})
	t.Run("keys", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), aWhile)
		defer cancel()
		if err := members[0].Reset(ctx, []bucket.Charge{charge(keyAt(1, 1), window(1, 1, bucket.FailOpen))}); !errors.Is(err, ErrUnreached) {
			t.Errorf("reset without an owner: %v, want %v", err, ErrUnreached)
		}
	})
}

// Permits go back and buckets are reset through any node.
func TestKeysThroughAnyNode(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(p int) int { return p % 3 }))
	permits := &bucket.Rule{Limit: bucket.Limit{Algorithm: bucket.Concurrency, Count: 1, TTL: time.Hour}, Hash: bucket.Hash{Hi: 1}, Version: 1, FailMode: bucket.FailLocal}
	rule := window(1, 2, bucket.FailLocal)
	for p := range 3 {
		h := keyAt(p, 9)
		for i, m := range members {
			other := members[(i+1)%3]
			b := decide(m, aWhile, false, []bucket.Charge{charge(h, permits)})
			wantDecided(t, b)
			if !b.Items[0].Allowed {
				t.Fatalf("partition %d: no permit at %s", p, m.cfg.Self.ID)
			}
			if b := decide(other, aWhile, false, []bucket.Charge{charge(h, permits)}); b.Items[0].Allowed {
				t.Errorf("partition %d: two permits of one", p)
			}
			permit := Permit{Hash: h, Limit: permits.Hash, Receipt: b.Statuses[0].Receipt}
			for _, want := range []int{1, 0} {
				if n, err := other.Release(t.Context(), []Permit{permit}); err != nil || n != want {
					t.Errorf("released %d, %v, want %d", n, err, want)
				}
			}
			if b := decide(m, aWhile, false, []bucket.Charge{charge(h, rule)}); !b.Items[0].Allowed {
				t.Errorf("partition %d: refused at %s after a reset", p, m.cfg.Self.ID)
			}
			if err := other.Reset(t.Context(), []bucket.Charge{charge(h, rule)}); err != nil {
				t.Error(err)
			}
		}
	}
}

// Nothing is decided before there is a table.
func TestWithoutTable(t *testing.T) {
	members := startMembers(t, 1)
	b := decide(members[0], aWhile, false, []bucket.Charge{charge(keyAt(1, 1), window(1, 1, bucket.FailOpen))})
	if !errors.Is(b.Items[0].Err, ErrStarting) {
		t.Errorf("error %v, want %v", b.Items[0].Err, ErrStarting)
	}
	if err := members[0].Ready(); err == nil {
		t.Error("ready without a table")
	}
	if _, err := members[0].Release(t.Context(), []Permit{{}}); !errors.Is(err, ErrStarting) {
		t.Errorf("release: %v, want %v", err, ErrStarting)
	}
}

// A row that changes its owner starts empty, and so does one that comes back.
func TestRowsThatMoveStartEmpty(t *testing.T) {
	members := startMembers(t, 2)
	route(t, members, tableOf(1, members, func(int) int { return 0 }))
	item := []bucket.Charge{charge(keyAt(1, 1), window(1, 1, bucket.FailLocal))}
	for epoch := uint64(2); epoch < 5; epoch++ {
		if b := decide(members[0], aWhile, false, item); !b.Items[0].Allowed {
			t.Errorf("epoch %d: refused", epoch-1)
		}
		if b := decide(members[1], aWhile, false, item); b.Items[0].Allowed {
			t.Errorf("epoch %d: allowed twice", epoch-1)
		}
		route(t, members, tableOf(epoch, members, func(int) int { return int(epoch+1) % 2 }))
	}
}

// Every check ends by its deadline, whatever the owner does.
func TestDeadlineWithAnOwnerThatHangs(t *testing.T) {
	stuck := &testClock{Clock: clock.NewSystem()}
	members := []*member{startMember(t, "n1", "c1", clock.NewSystem()), startMember(t, "n2", "c1", stuck)}
	route(t, members, tableOf(1, members, func(int) int { return 1 }))
	defer stuck.hold()()
	item := []bucket.Charge{charge(keyAt(1, 1), window(2, 1, bucket.FailLocal))}
	began := time.Now()
	b := decide(members[0], 400*time.Millisecond, false, item)
	if took := time.Since(began); took > 390*time.Millisecond {
		t.Errorf("it took %v of 400ms", took)
	}
	if b.Items[0].Err != nil || b.Statuses[0].Degraded != bucket.OwnRight {
		t.Errorf("%+v %+v, want the own right", b.Items[0], b.Statuses[0])
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone := &Batch{Items: []Item{{End: 1}}, Charges: item, Statuses: make([]bucket.Status, 1)}
	members[0].Decide(ctx, gone)
	if !errors.Is(gone.Items[0].Err, context.Canceled) {
		t.Errorf("the caller has gone: %v, want %v", gone.Items[0].Err, context.Canceled)
	}
}
