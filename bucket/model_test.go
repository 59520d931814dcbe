package bucket_test

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-io/weir/bucket"
)

// A model is the slow twin of one bucket: it remembers every admitted charge and works
// in fractions of any size.
type model struct {
	limit   bucket.Limit
	admits  []admit
	backlog *big.Rat // token and leaky bucket, in nanoseconds
	asOf    int64
}

type admit struct{ at, hits int64 }

func (m *model) fits(now, n int64) bool {
	if m.limit.Count == 0 {
		return false
	}
	switch m.limit.Algorithm {
	case bucket.TokenBucket, bucket.LeakyBucket:
		v := m.drained(now)
		tau := m.cost(m.limit.Burst)
		if m.limit.Algorithm == bucket.LeakyBucket && m.limit.MaxWait >= 0 && v.Cmp(big.NewRat(int64(m.limit.MaxWait), 1)) > 0 {
			return false
		}
		return v.Add(v, m.cost(n)).Cmp(tau) <= 0
	case bucket.SlidingWindow:
		p := int64(m.limit.Period)
		start := now - now%p
		sum := new(big.Rat)
		for _, a := range m.admits {
			switch {
			case a.at >= start:
				sum.Add(sum, big.NewRat(a.hits, 1))
			case a.at >= start-p:
				weight := big.NewRat(start+p-now, p)
				sum.Add(sum, weight.Mul(weight, big.NewRat(a.hits, 1)))
			}
		}
		return sum.Add(sum, big.NewRat(n, 1)).Cmp(big.NewRat(m.limit.Count, 1)) <= 0
	}
	sum := big.NewInt(n)
	for _, a := range m.admits {
		if m.counts(a, now) {
			sum.Add(sum, big.NewInt(a.hits))
		}
	}
	return sum.Cmp(big.NewInt(m.limit.Count)) <= 0
}

func (m *model) counts(a admit, now int64) bool {
	switch m.limit.Algorithm {
	case bucket.FixedWindow:
		return a.at/int64(m.limit.Period) == now/int64(m.limit.Period)
	case bucket.SlidingLog:
		return now-a.at < int64(m.limit.Period)
	default:
		return now-a.at < int64(m.limit.TTL)
	}
}

func (m *model) cost(n int64) *big.Rat {
	t := big.NewRat(int64(m.limit.Period), m.limit.Count)
	return t.Mul(t, big.NewRat(n, 1))
}

func (m *model) drained(now int64) *big.Rat {
	v := new(big.Rat)
	if m.backlog != nil {
		v.Sub(m.backlog, big.NewRat(now-m.asOf, 1))
	}
	if v.Sign() < 0 {
		return new(big.Rat)
	}
	return v
}

func (m *model) take(now, n int64) {
	if b := m.limit.Algorithm; (b == bucket.TokenBucket || b == bucket.LeakyBucket) && m.limit.Count > 0 {
		v := m.drained(now)
		m.backlog, m.asOf = v.Add(v, m.cost(n)), now
	}
	m.admits = append(m.admits, admit{now, n})
}

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

// Every algorithm agrees with its twin on every decision, says truly how much remains
// and when to come back, and a refusal consumes nothing.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := limits().Draw(t, "limit")
		s, m, status := newStore(), &model{limit: l}, make([]bucket.Status, 1)
		now := at + rapid.Int64Range(0, length(l)).Draw(t, "start")
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now += rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, length(l)/4), rapid.Int64Range(0, 3*length(l))).Draw(t, "wait")
			most := l.Most()
			n := rapid.OneOf(rapid.Int64Range(1, 3), rapid.Int64Range(1, max(most, 1)), rapid.Int64Range(1, 1<<62)).Draw(t, "hits")
			want := m.fits(now, n)
			if got := s.Peek(now, charge(l, n), status); got != want {
				t.Fatalf("peek of %d at %d = %v, the model says %v: %+v", n, now, got, want, status[0])
			}
			before := status[0]
			check(t, s, m, now, n, before)
			if got := s.Take(now, charge(l, n), status); got != want {
				t.Fatalf("take of %d at %d = %v, the model says %v: %+v", n, now, got, want, status[0])
			}
			if want {
				m.take(now, n)
			} else if after := status[0]; after.Remaining != before.Remaining || after.Reset != before.Reset {
				t.Fatalf("a refusal of %d changed %+v to %+v", n, before, after)
			}
		}
	})
}

// check holds what a bucket says of the future against the model.
func check(t *rapid.T, s *bucket.Store, m *model, now, n int64, said bucket.Status) {
	if r := said.Remaining; r > 0 && !m.fits(now, r) || r < m.limit.Most() && m.fits(now, r+1) && !maxWaited(m, now) {
		t.Fatalf("remaining %d at %d is not what fits", r, now)
	}
	switch {
	case said.Allowed && said.RetryAfter != 0:
		t.Fatalf("allowed, but retry after %v", said.RetryAfter)
	case !said.Allowed && said.RetryAfter == bucket.Never:
		if n <= m.limit.Most() {
			t.Fatalf("never, but %d of %d would fit some day", n, m.limit.Most())
		}
	case !said.Allowed:
		if !m.fits(now+int64(said.RetryAfter), n) {
			t.Fatalf("retry after %v is too early for %d at %d", said.RetryAfter, n, now)
		}
		if early := now + int64(said.RetryAfter) - 1000; early > now && m.fits(early, n) {
			t.Fatalf("retry after %v is later than needed for %d at %d", said.RetryAfter, n, now)
		}
	}
	later := make([]bucket.Status, 1)
	s.Peek(now+int64(said.Reset), charge(m.limit, 1), later)
	if later[0].Remaining != m.limit.Most() {
		t.Fatalf("after reset %v remains %d, want all %d", said.Reset, later[0].Remaining, m.limit.Most())
	}
}

func maxWaited(m *model, now int64) bool {
	return m.limit.Algorithm == bucket.LeakyBucket && m.limit.MaxWait >= 0 && m.drained(now).Cmp(big.NewRat(int64(m.limit.MaxWait), 1)) > 0
}

// FuzzTake drives a bucket through anything at all: it must not panic, never say more
// than there is, and never let time that goes back admit more.
func FuzzTake(f *testing.F) {
	f.Add(uint8(1), int64(5), int64(1e9), int64(5), int64(0), int64(1), int64(-5e9), int64(3))
	f.Add(uint8(4), int64(10), int64(1e9), int64(0), int64(1e9), int64(10), int64(2e9), int64(1)<<62)
	f.Add(uint8(6), int64(2), int64(1e9), int64(0), int64(1e9), int64(1), int64(-1)<<62, int64(2))
	f.Fuzz(func(t *testing.T, algorithm uint8, count, period, burst, wait, n1, step, n2 int64) {
		l := bucket.Limit{Algorithm: bucket.Algorithm(algorithm), Count: count, Period: time.Duration(period), Burst: burst, MaxWait: time.Duration(wait), TTL: time.Duration(period)}
		if l.Validate() != nil || n1 < 0 || n2 < 0 {
			t.Skip()
		}
		s, status := newStore(), make([]bucket.Status, 1)
		now := at
		for i, n := range []int64{n1, n2, n1, 0, n2} {
			s.Take(now, charge(l, n), status)
			got := status[0]
			if got.Remaining < 0 || got.Remaining > l.Most() || got.Reset < 0 || got.RetryAfter < bucket.Never || got.Allowed && n > l.Most() {
				t.Fatalf("step %d: %d hits of %+v: %+v", i, n, l, got)
			}
			if next := now + step/8; next > 0 {
				now = next
			}
		}
	})
}
