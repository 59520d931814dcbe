package bucket_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
)

func rule(id uint64, l bucket.Limit, version uint64, fail bucket.FailMode) *bucket.Rule {
	return &bucket.Rule{Limit: l, Hash: bucket.Hash{Hi: id * 0x9e3779b97f4a7c15, Lo: id}, Version: version, FailMode: fail}
}

// key spreads numbers like the keyed hash does.
func key(i uint64) bucket.Hash {
	r := rand.NewPCG(i, 42)
	return bucket.Hash{Hi: r.Uint64(), Lo: r.Uint64()}
}

func take(s *bucket.Store, now int64, k bucket.Hash, r *bucket.Rule, hits int64) bucket.Status {
	status := make([]bucket.Status, 1)
	s.Take(now, []bucket.Charge{{Hash: k, Rule: r, Hits: hits}}, status)
	return status[0]
}

func peek(s *bucket.Store, now int64, k bucket.Hash, r *bucket.Rule) bucket.Status {
	status := make([]bucket.Status, 1)
	s.Peek(now, []bucket.Charge{{Hash: k, Rule: r, Hits: 1}}, status)
	return status[0]
}

var tenAnHour = bucket.Limit{Algorithm: bucket.FixedWindow, Count: 10, Period: time.Hour}

func TestParallelTakesAdmitExactly(t *testing.T) {
	for _, l := range []bucket.Limit{
		tenAnHour,
		{Algorithm: bucket.TokenBucket, Count: 1, Period: time.Hour, Burst: 10},
		{Algorithm: bucket.SlidingLog, Count: 10, Period: time.Hour},
		{Algorithm: bucket.Concurrency, Count: 10, TTL: time.Hour},
	} {
		s, r := newStore(), rule(1, l, 1, bucket.FailLocal)
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range 500 {
					if take(s, at, key(uint64(i%50)), r, 1).Allowed {
						admitted.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if got := admitted.Load(); got != 50*10 {
			t.Errorf("%v: admitted %d, want %d", l.Algorithm, got, 50*10)
		}
	}
}

func TestAllOrNothing(t *testing.T) {
	s := newStore()
	wide, narrow := rule(1, tenAnHour, 1, bucket.FailLocal), rule(2, bucket.Limit{Algorithm: bucket.SlidingLog, Count: 2, Period: time.Hour}, 1, bucket.FailLocal)
	watched := rule(3, bucket.Limit{Algorithm: bucket.FixedWindow, Count: 1, Period: time.Hour}, 1, bucket.FailLocal)
	charges := []bucket.Charge{
		{Hash: key(1), Rule: wide, Hits: 1},
		{Hash: key(2), Rule: narrow, Hits: 1},
		{Hash: key(3), Rule: watched, Hits: 1, Shadow: true},
	}
	status := make([]bucket.Status, 3)
	for i, want := range []struct {
		allowed          bool
		wide, narrow     int64
		shadowWouldAllow bool
	}{{true, 9, 1, true}, {true, 8, 0, false}, {false, 8, 0, false}} {
		if got := s.Take(at, charges, status); got != want.allowed {
			t.Errorf("take %d = %v, want %v", i, got, want.allowed)
		}
		if status[0].Remaining != want.wide || status[1].Remaining != want.narrow || status[2].Allowed != want.shadowWouldAllow {
			t.Errorf("take %d: %+v, want %+v", i, status, want)
		}
	}
}

func TestTwoChargesOfOneBucketAddUp(t *testing.T) {
	s, r := newStore(), rule(1, tenAnHour, 1, bucket.FailLocal)
	twice := []bucket.Charge{{Hash: key(1), Rule: r, Hits: 6}, {Hash: key(1), Rule: r, Hits: 6}}
	if s.Take(at, twice, make([]bucket.Status, 2)) {
		t.Error("6 and 6 of 10 were admitted")
	}
	if got := peek(s, at, key(1), r).Remaining; got != 10 {
		t.Errorf("%d remain after the refusal, want 10", got)
	}
}

func TestRefundAndReset(t *testing.T) {
	for _, l := range []bucket.Limit{
		tenAnHour,
		{Algorithm: bucket.SlidingWindow, Count: 10, Period: time.Hour},
		{Algorithm: bucket.TokenBucket, Count: 1, Period: time.Hour, Burst: 10},
		{Algorithm: bucket.SlidingLog, Count: 10, Period: time.Hour},
		{Algorithm: bucket.Concurrency, Count: 10, TTL: time.Hour},
	} {
		s, r := newStore(), rule(1, l, 1, bucket.FailLocal)
		c := bucket.Charge{Hash: key(1), Rule: r, Hits: 4}
		first := take(s, at, key(1), r, 4)
		take(s, at, key(1), r, 3)
		if !s.Refund(at, &c, first.Receipt) {
			t.Errorf("%v: nothing to refund", l.Algorithm)
		}
		if got := peek(s, at, key(1), r).Remaining; got != 7 {
			t.Errorf("%v: %d remain after the refund, want 7", l.Algorithm, got)
		}
		second := take(s, at, key(1), r, 4)
		s.Reset(at, &c)
		if got := peek(s, at, key(1), r).Remaining; got != 10 {
			t.Errorf("%v: %d remain after the reset, want 10", l.Algorithm, got)
		}
		take(s, at+1, key(1), r, 5)
		if s.Refund(at+1, &c, second.Receipt) {
			t.Errorf("%v: gave back what was taken before the reset", l.Algorithm)
		}
	}
}

func TestReleaseOncePerPermit(t *testing.T) {
	s, r := newStore(), rule(1, bucket.Limit{Algorithm: bucket.Concurrency, Count: 3, TTL: time.Minute}, 1, bucket.FailLocal)
	c := bucket.Charge{Hash: key(1), Rule: r}
	two, one := take(s, at, key(1), r, 2), take(s, at, key(1), r, 1)
	if got := s.Release(at, &c, two.Receipt); got != 2 {
		t.Errorf("released %d, want 2", got)
	}
	if got := s.Release(at, &c, two.Receipt); got != 0 {
		t.Errorf("released %d the second time, want 0", got)
	}
	if got := s.Release(at+int64(time.Minute), &c, one.Receipt); got != 0 {
		t.Errorf("released %d after the ttl, want 0", got)
	}
}

func TestEditKeepsConsumption(t *testing.T) {
	hundred := func(a bucket.Algorithm) bucket.Limit {
		return bucket.Limit{Algorithm: a, Count: 100, Period: time.Hour, Burst: 100}
	}
	sized := func(l bucket.Limit, n int64) bucket.Limit {
		if l.Algorithm == bucket.TokenBucket {
			l.Burst = n
		} else {
			l.Count = n
		}
		return l
	}
	for _, l := range []bucket.Limit{hundred(bucket.TokenBucket), hundred(bucket.FixedWindow), hundred(bucket.SlidingWindow), hundred(bucket.SlidingLog)} {
		for _, tt := range []struct{ most, want int64 }{{200, 140}, {20, 0}, {100, 40}} {
			s := newStore()
			take(s, at, key(1), rule(1, l, 1, bucket.FailLocal), 60)
			if got := peek(s, at, key(1), rule(1, sized(l, tt.most), 2, bucket.FailLocal)).Remaining; got != tt.want {
				t.Errorf("%v: 60 of 100 used, then %d: %d remain, want %d", l.Algorithm, tt.most, got, tt.want)
			}
		}
	}
	s := newStore()
	take(s, at, key(1), rule(1, hundred(bucket.FixedWindow), 1, bucket.FailLocal), 60)
	for v, other := range []bucket.Limit{
		{Algorithm: bucket.TokenBucket, Count: 50, Period: time.Hour, Burst: 50},
		{Algorithm: bucket.SlidingLog, Count: 50, Period: time.Hour},
		{Algorithm: bucket.SlidingWindow, Count: 50, Period: time.Hour},
		{Algorithm: bucket.Concurrency, Count: 50, TTL: time.Hour},
	} {
		if got := peek(s, at, key(1), rule(1, other, uint64(2+v), bucket.FailLocal)).Remaining; got != 20 {
			t.Errorf("fraction 0.6 taken over by %v of 50: %d remain, want 20", other.Algorithm, got)
		}
	}
}

func TestNewerVersionDecides(t *testing.T) {
	s := newStore()
	old, newer := rule(1, tenAnHour, 1, bucket.FailLocal), rule(1, bucket.Limit{Algorithm: bucket.FixedWindow, Count: 3, Period: time.Hour}, 2, bucket.FailLocal)
	take(s, at, key(1), newer, 3)
	if got := take(s, at, key(1), old, 1); got.Allowed || got.Limit != 3 {
		t.Errorf("a charge by older numbers: %+v, want denied by the newer limit of 3", got)
	}
}

// A store without room gives new keys what fail_mode says and keeps every old one.
func TestFullStore(t *testing.T) {
	for _, tt := range []struct {
		mode bucket.FailMode
		want int64 // admitted of 1,000 new keys when full
	}{{bucket.FailOpen, 1000}, {bucket.FailClosed, 0}, {bucket.FailLocal, 10}} {
		const memory = 1 << 20
		s := bucket.NewStore(bucket.Config{Memory: memory})
		r := rule(1, tenAnHour, 1, tt.mode)
		known := uint64(0)
		for ; ; known++ {
			if take(s, at, key(known), r, 10).Degraded == bucket.Memory {
				break
			}
		}
		if known < memory/128 {
			t.Errorf("full after %d keys in %d bytes", known, memory)
		}
		if u := s.Usage(); u.Bytes > memory {
			t.Errorf("%d bytes used, more than the %d that it may", u.Bytes, memory)
		}
		// Each partition fills by itself: only keys that find theirs full count.
		var full, admitted int64
		for i := known + 1; full < 1000; i++ {
			switch status := take(s, at, key(i), r, 1); {
			case status.Degraded != bucket.Memory:
				continue
			case status.Allowed:
				admitted++
			}
			full++
		}
		if tt.mode == bucket.FailLocal { // the key that first found no room took all 10
			tt.want = 0
		}
		if admitted != tt.want {
			t.Errorf("mode %v: %d of 1000 new keys admitted, want %d", tt.mode, admitted, tt.want)
		}
		for i := range known {
			if status := take(s, at, key(i), r, 1); status.Allowed || status.Degraded != 0 {
				t.Fatalf("old key %d lost its state: %+v", i, status)
			}
		}
		if take(s, at+int64(time.Hour), key(1<<40), r, 1).Degraded != 0 {
			t.Error("neutral buckets make no room for new keys")
		}
	}
}

func TestNeutralBucketsAreForgotten(t *testing.T) {
	s := newStore()
	r := rule(1, bucket.Limit{Algorithm: bucket.SlidingLog, Count: 5, Period: time.Second}, 1, bucket.FailLocal)
	for i := range uint64(200_000) {
		take(s, at+int64(i)*int64(100*time.Microsecond), key(i), r, 1)
	}
	// 10,000 keys a second live a second each; the hand keeps the rest from piling up.
	if u := s.Usage(); u.Buckets > 40_000 || u.Rules != 1 {
		t.Errorf("%d buckets and %d rules after 200,000 keys of which 10,000 count", u.Buckets, u.Rules)
	}
}

func TestClear(t *testing.T) {
	s, r := newStore(), rule(1, tenAnHour, 1, bucket.FailLocal)
	for i := range uint64(3000) {
		take(s, at, key(i), r, 1)
	}
	for p := range bucket.Partitions {
		s.Clear(p)
	}
	if u := s.Usage(); u != (bucket.Usage{}) {
		t.Errorf("after clearing all: %+v, want nothing", u)
	}
}

func TestWarmTakeAllocatesNothing(t *testing.T) {
	for _, l := range []bucket.Limit{
		{Algorithm: bucket.TokenBucket, Count: 1e9, Period: time.Second, Burst: 1e9},
		{Algorithm: bucket.FixedWindow, Count: 1e9, Period: time.Hour},
		{Algorithm: bucket.SlidingWindow, Count: 1e9, Period: time.Hour},
		{Algorithm: bucket.SlidingLog, Count: 1e4, Period: time.Hour},
	} {
		s, r := newStore(), rule(1, l, 1, bucket.FailLocal)
		charges, status := []bucket.Charge{{Hash: key(1), Rule: r, Hits: 1}, {Hash: key(2), Rule: r, Hits: 1}}, make([]bucket.Status, 2)
		if n := testing.AllocsPerRun(100, func() { s.Take(at, charges[:1], status); s.Take(at, charges, status) }); n != 0 {
			t.Errorf("%v: %v allocations a take", l.Algorithm, n)
		}
	}
}
