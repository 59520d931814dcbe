package bucket_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-io/weir/bucket"
)

// limits draws limits of every algorithm with awkward numbers.
func limits() *rapid.Generator[bucket.Limit] {
	return rapid.Custom(func(t *rapid.T) bucket.Limit {
		l := bucket.Limit{Algorithm: bucket.Algorithm(rapid.IntRange(1, 6).Draw(t, "algorithm"))}
		l.Count = rapid.OneOf(rapid.Int64Range(0, 12), rapid.Int64Range(1, bucket.MaxCount)).Draw(t, "count")
		l.Period = time.Duration(rapid.OneOf(rapid.Int64Range(1000, 20_000), rapid.Int64Range(1000, int64(bucket.MaxPeriod)/1000)).Draw(t, "period")) * time.Microsecond
		l.MaxWait = -1
		switch l.Algorithm {
		case bucket.TokenBucket, bucket.LeakyBucket:
			l.Burst = rapid.OneOf(rapid.Int64Range(1, 12), rapid.Int64Range(1, bucket.MaxCount)).Draw(t, "burst")
			if l.Algorithm == bucket.LeakyBucket {
				l.MaxWait = time.Duration(rapid.Int64Range(-1, int64(l.Period)).Draw(t, "max_wait"))
			}
		case bucket.SlidingLog:
			l.Count = min(l.Count, bucket.MaxHeld)
		case bucket.Concurrency:
			l.Count, l.TTL, l.Period = min(l.Count, bucket.MaxHeld), l.Period, 0
		}
		if l.Validate() != nil {
			t.Skip("numbers that validation refuses")
		}
		return l
	})
}

// length returns the time scale of a limit.
func length(l bucket.Limit) int64 { return max(int64(l.Period), int64(l.TTL)) }

// A pair drives a bucket and its twin.
type pair struct {
	store  *bucket.Store
	model  model
	status [1]bucket.Status
}

func newPair(l bucket.Limit) *pair { return &pair{store: newStore(), model: model{limit: l}} }

// step asks both for n hits at now and holds every word of the one against the other.
func (p *pair) step(t fataler, now, n int64) bucket.Status {
	t.Helper()
	want := p.model.fits(now, n)
	if got := p.store.Peek(now, charge(p.model.limit, n), p.status[:]); got != want {
		t.Fatalf("peek of %d at %d = %v, the model says %v: %+v", n, now, got, want, p.status[0])
	}
	before := p.status[0]
	p.check(t, now, n, before)
	if got := p.store.Take(now, charge(p.model.limit, n), p.status[:]); got != want {
		t.Fatalf("take of %d at %d = %v, the model says %v: %+v", n, now, got, want, p.status[0])
	}
	after := p.status[0]
	if want {
		p.model.take(now, n)
		if got := p.model.remaining(now); after.Remaining != got {
			t.Fatalf("%d remain after %d were taken at %d, the model says %d", after.Remaining, n, now, got)
		}
	} else if after != before {
		t.Fatalf("a refusal of %d changed %+v to %+v", n, before, after)
	}
	return after
}

// A fataler is what tests and rapid have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// check holds what a bucket says of the future against the model.
func (p *pair) check(t fataler, now, n int64, said bucket.Status) {
	t.Helper()
	m := &p.model
	if want := m.remaining(now); said.Remaining != want {
		t.Fatalf("%d remain at %d, the model says %d", said.Remaining, now, want)
	}
	most := m.limit.Most()
	switch {
	case said.Limit != most:
		t.Fatalf("limit %d, want %d", said.Limit, most)
	case said.Allowed && said.RetryAfter != 0:
		t.Fatalf("allowed, but retry after %v", said.RetryAfter)
	case !said.Allowed && said.RetryAfter == bucket.Never:
		if n <= most && most > 0 {
			t.Fatalf("never, but %d of %d would fit some day", n, most)
		}
	case !said.Allowed:
		if said.RetryAfter <= 0 || !m.fits(now+int64(said.RetryAfter), n) {
			t.Fatalf("retry after %v is too early for %d at %d", said.RetryAfter, n, now)
		}
		if m.fits(now+int64(said.RetryAfter)-1000, n) {
			t.Fatalf("retry after %v is later than needed for %d at %d", said.RetryAfter, n, now)
		}
	}
	if said.Reset < 0 || m.remaining(now+int64(said.Reset)) != most {
		t.Fatalf("after reset %v remain %d, want all %d", said.Reset, m.remaining(now+int64(said.Reset)), most)
	}
	if early := now + int64(said.Reset) - 1000; said.Reset > 0 && m.remaining(early) == most {
		t.Fatalf("reset %v is later than needed at %d", said.Reset, now)
	}
}

// Every algorithm agrees with its twin on every decision, says truly how much remains
// and when to come back, and a refusal changes nothing. Time goes back now and then.
func TestAlgorithmsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := limits().Draw(t, "limit")
		p := newPair(l)
		now := at + rapid.Int64Range(0, length(l)).Draw(t, "start")
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now += rapid.OneOf(
				rapid.Just(int64(0)), rapid.Int64Range(0, length(l)/4), rapid.Int64Range(0, 3*length(l)), rapid.Int64Range(-length(l), 0),
			).Draw(t, "wait")
			now = max(now, 0)
			n := rapid.OneOf(
				rapid.Int64Range(0, 3), rapid.Int64Range(1, max(l.Most(), 1)), rapid.Int64Range(1, math.MaxInt64),
				rapid.Just(p.model.remaining(now)), rapid.Just(p.model.remaining(now)+1),
			).Draw(t, "hits")
			said := p.step(t, now, n)
			if said.Allowed && n > 0 && rapid.IntRange(0, 4).Draw(t, "refund") == 0 {
				if !p.store.Refund(now, &charge(l, n)[0], said.Receipt) {
					t.Fatalf("nothing to refund of %d taken at %d", n, now)
				}
				p.model.giveBack(now, p.model.last, n)
			}
		}
	})
}

// FuzzAlgorithms drives a bucket and its twin through anything at all.
func FuzzAlgorithms(f *testing.F) {
	const second = int64(time.Second)
	f.Add(uint8(1), int64(5), second, int64(5), int64(0), at, int64(1), int64(6), int64(0), int64(5), -second)
	f.Add(uint8(2), int64(3), second, int64(7), second/2, at, int64(2), int64(2), second/3, int64(2), second/3+1)
	f.Add(uint8(3), int64(2), second, int64(0), int64(0), int64(0), int64(1), int64(math.MaxInt64), second, int64(2), -2*second)
	f.Add(uint8(4), int64(10), second, int64(0), int64(0), int64(math.MaxInt64), int64(10), int64(1), 3*second/2, int64(4), second/7)
	f.Add(uint8(5), int64(10_000), second, int64(0), int64(0), at, int64(9_999), int64(2), second-1, int64(1), int64(1))
	f.Add(uint8(6), int64(2), second, int64(0), int64(0), at, int64(1), int64(1), int64(math.MinInt64), int64(2), second)
	f.Fuzz(func(t *testing.T, algorithm uint8, count, period, burst, wait, start, n1, n2, step1, n3, step2 int64) {
		l := bucket.Limit{Algorithm: bucket.Algorithm(algorithm), Count: count, Period: time.Duration(period), Burst: burst, MaxWait: time.Duration(wait), TTL: time.Duration(period)}
		if l.Validate() != nil || min(n1, n2, n3) < 0 {
			t.Skip()
		}
		// What the model would say at the ends of time is not what is asked here.
		p, now := newPair(l), min(max(start, 0), 4*at)
		for i, n := range []int64{n1, n2, n3, 0, n1, n3, n2, 1} {
			p.step(t, now, n)
			step := step1
			if i%2 == 1 {
				step = step2
			}
			now = min(max(now+step/8, 0), 4*at)
		}
	})
}

// At the ends of int64 nothing overflows: what is said stays within what there is.
func TestEndsOfTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := limits().Draw(t, "limit")
		s, status := newStore(), make([]bucket.Status, 1)
		ends := rapid.OneOf(rapid.Just(int64(math.MinInt64)), rapid.Just(int64(math.MaxInt64)), rapid.Int64(), rapid.Just(at))
		for range 8 {
			now, n := ends.Draw(t, "now"), rapid.Int64Range(0, math.MaxInt64).Draw(t, "hits")
			if rapid.Bool().Draw(t, "fits") {
				n = min(n, max(l.Most(), 1))
			}
			s.Take(now, charge(l, n), status)
			got := status[0]
			if got.Remaining < 0 || got.Remaining > l.Most() || got.Reset < 0 || got.Wait < 0 || got.RetryAfter < bucket.Never || got.Allowed && n > l.Most() {
				t.Fatalf("%d hits at %d of %+v: %+v", n, now, l, got)
			}
			s.Refund(now, &charge(l, n)[0], got.Receipt)
			s.Refund(now, &charge(l, n)[0], rapid.Uint64().Draw(t, "receipt"))
			if s.Peek(now, charge(l, 0), status); status[0].Remaining < 0 || status[0].Remaining > l.Most() {
				t.Fatalf("after refunds: %+v", status[0])
			}
		}
	})
}
