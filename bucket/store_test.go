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
	for _, l := range oneOfEach {
		l.Count = min(l.Count, 1000)
		s, r := newStore(), rule(1, l, 1, bucket.FailLocal)
		charges, status := []bucket.Charge{{Hash: key(1), Rule: r, Hits: 1}, {Hash: key(2), Rule: r, Hits: 1}}, make([]bucket.Status, 2)
		if n := testing.AllocsPerRun(100, func() {
			if s.Take(at, charges[:1], status); l.Algorithm == bucket.Concurrency {
				s.Release(at, &charges[0], status[0].Receipt)
			}
			s.Refund(at, &charges[0], status[0].Receipt)
			s.Take(at, charges, status)
			s.Peek(at, charges, status)
			s.Refund(at, &charges[0], status[0].Receipt)
		}); n != 0 {
			t.Errorf("%v: %v allocations a take", l.Algorithm, n)
		}
	}
}

// Time that goes back gives nothing again: neither what a bucket remembers nor what the
// hand forgot meanwhile because it was over.
func TestTimeGoingBackGivesNothing(t *testing.T) {
	for _, a := range everyAlgorithm {
		s, r := newStore(), rule(1, sized(hundred(a), 10), 1, bucket.FailLocal)
		take(s, at, key(1), r, 10)
		if got := take(s, at-int64(30*time.Minute), key(1), r, 1); got.Allowed || got.RetryAfter < 30*time.Minute {
			t.Errorf("%v, half an hour back: %+v, want to wait for the half hour too", a, got)
		}
		p := key(1).Partition()
		passer := rule(2, tenAnHour, 1, bucket.FailLocal)
		for i := range uint64(40) { // new keys of one partition: the hand comes round
			take(s, at+int64(3*time.Hour), bucket.Hash{Hi: (i + 1) << 58, Lo: uint64(p)}, passer, 1)
		}
		if u := s.Usage(); u.Rules != 1 {
			t.Fatalf("%v: %+v, want the first key forgotten", a, u)
		}
		take(s, at, key(1), r, 10)
		if got := take(s, at, key(1), r, 1); got.Allowed || got.RetryAfter < 3*time.Hour {
			t.Errorf("%v, forgotten and back in time: %+v, want to wait for the three hours too", a, got)
		}
	}
}

// A shadow never stands in an enforcing charge's way, wherever it comes.
func TestShadowsComeLast(t *testing.T) {
	s, r := newStore(), rule(1, tenAnHour, 1, bucket.FailLocal)
	charges := []bucket.Charge{{Hash: key(1), Rule: r, Hits: 6, Shadow: true}, {Hash: key(1), Rule: r, Hits: 6}}
	status := make([]bucket.Status, 2)
	if !s.Take(at, charges, status) || !status[1].Allowed || status[0].Allowed {
		t.Errorf("%+v, want the enforcing charge taken and its shadow refused", status)
	}
	if !s.Take(at, charges[:1], status[:1]) || status[0].Allowed || status[0].Remaining != 4 {
		t.Errorf("a shadow alone: %+v, want it refused and nothing denied", status[0])
	}
}

// Two charges of one bucket that fit only one by one wait until both fit.
func TestTwoChargesOfOneBucketWaitTogether(t *testing.T) {
	s, r := newStore(), rule(1, sized(hundred(bucket.TokenBucket), 10), 1, bucket.FailLocal)
	pair := []bucket.Charge{{Hash: key(1), Rule: r, Hits: 4}, {Hash: key(1), Rule: r, Hits: 4}}
	status := make([]bucket.Status, 2)
	take(s, at, key(1), r, 5)
	if s.Take(at, pair, status) || !status[0].Allowed || status[1].Allowed || status[1].RetryAfter != 3*36*time.Second {
		t.Fatalf("8 of 5: %+v, want to wait for 3", status)
	}
	if !s.Take(at+int64(status[1].RetryAfter), pair, status) || status[1].Remaining != 0 {
		t.Errorf("waited as told: %+v", status)
	}
	pair[0].Hits, pair[1].Hits = 6, 6
	if s.Take(at, pair, status) || status[1].RetryAfter != bucket.Never {
		t.Errorf("12 of at most 10: %+v, want never", status)
	}
}

// Everything at once from many goroutines: what it comes to is judged by the race
// detector, by what stays admitted and by what is left when all is cleared.
func TestEverythingInParallel(t *testing.T) {
	s := bucket.NewStore(bucket.Config{Memory: 1 << 20, Seed: 3})
	guarded := rule(99, tenAnHour, 1, bucket.FailClosed)
	take(s, at, key(0), guarded, 1)
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 1))
			status := make([]bucket.Status, 3)
			for i := range int64(1500) {
				l := sized(hundred(everyAlgorithm[rng.IntN(6)]), 1+rng.Int64N(20))
				charges := []bucket.Charge{
					{Hash: key(rng.Uint64N(5000)), Rule: rule(1, l, rng.Uint64N(3), bucket.FailLocal), Hits: rng.Int64N(4)},
					{Hash: key(0), Rule: guarded, Hits: 1},
					{Hash: key(rng.Uint64N(50)), Rule: rule(2, l, rng.Uint64N(3), bucket.FailMode(1+rng.IntN(3))), Hits: 1, Shadow: true},
				}
				now := at + i*int64(time.Millisecond) - rng.Int64N(int64(time.Second))
				if s.Take(now, charges, status) {
					admitted.Add(1)
				}
				s.Peek(now, charges, status)
				s.Release(now, &charges[0], status[0].Receipt)
				switch rng.IntN(8) {
				case 0:
					s.Refund(now, &charges[0], status[0].Receipt)
				case 1:
					s.Reset(now, &charges[0])
				case 2:
					s.Usage()
				case 3:
					s.Intern(charges[0].Rule)
				case 4:
					if p := rng.IntN(bucket.Partitions); p != key(0).Partition() {
						s.Clear(p)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := admitted.Load(); got != 9 {
		t.Errorf("admitted %d of the 9 that were left", got)
	}
	for p := range bucket.Partitions {
		s.Clear(p)
	}
	if u := s.Usage(); u.Buckets != 0 || u.Bytes > 1<<20/100 {
		t.Errorf("after clearing all: %+v, want the reserve alone", u)
	}
}

// Touch needs no lock and changes nothing, whatever becomes of the slots meanwhile.
func TestTouch(t *testing.T) {
	s := newStore()
	r := rule(1, bucket.Limit{Algorithm: bucket.TokenBucket, Count: 20, Period: time.Second, Burst: 10}, 1, bucket.FailLocal)
	charges := make([]bucket.Charge, 40_000)
	for i := range charges {
		charges[i] = bucket.Charge{Hash: key(uint64(i)), Rule: r, Hits: 1}
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			status := make([]bucket.Status, 1)
			for i := range charges {
				// Each bucket is soon neutral, and its slot another's.
				if !s.Take(at+int64(i)*int64(2*time.Microsecond), charges[i:i+1], status) {
					t.Errorf("charge %d was refused", i)
				}
			}
		})
		wg.Go(func() {
			for range 4 {
				for i := range len(charges) / bucket.Abreast {
					s.Touch(charges[i*bucket.Abreast : (i+1)*bucket.Abreast])
				}
			}
		})
	}
	wg.Wait()
	before := s.Usage()
	if before.Bytes <= 1<<20 {
		t.Fatalf("%d bytes are too few to touch", before.Bytes)
	}
	s.Touch(charges)
	if after := s.Usage(); after != before {
		t.Errorf("%+v after touching, %+v before", after, before)
	}
	for p := range bucket.Partitions {
		s.Clear(p)
	}
	s.Touch(charges)
}
