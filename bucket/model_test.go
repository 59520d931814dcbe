package bucket_test

import (
	"math/big"
	"slices"

	"github.com/weir-io/weir/bucket"
)

// A model is the slow twin of one bucket: it remembers every admitted charge and works
// in fractions of any size.
type model struct {
	limit   bucket.Limit
	admits  []admit
	backlog *big.Rat // token and leaky bucket, in nanoseconds
	last    int64    // the latest admission; time does not go back behind it
}

type admit struct{ at, hits int64 }

func (m *model) drains() bool {
	return m.limit.Algorithm == bucket.TokenBucket || m.limit.Algorithm == bucket.LeakyBucket
}

func (m *model) fits(now, n int64) bool {
	now = max(now, m.last, 0)
	if m.limit.Count == 0 {
		return false
	}
	if n == 0 {
		return true
	}
	if m.drains() {
		if m.late(now) {
			return false
		}
		v := m.drained(now)
		return v.Add(v, m.cost(n)).Cmp(m.cost(m.limit.Burst)) <= 0
	}
	sum := m.used(now)
	return sum.Add(sum, new(big.Rat).SetInt64(n)).Cmp(new(big.Rat).SetInt64(m.limit.Count)) <= 0
}

// remaining returns the hits that fit, from nothing but the definition: used is cut off
// the most there is and rounded down.
func (m *model) remaining(now int64) int64 {
	now = max(now, m.last, 0)
	if m.limit.Count == 0 {
		return 0
	}
	room := new(big.Rat)
	if m.drains() {
		if m.late(now) {
			return 0
		}
		room.Sub(m.cost(m.limit.Burst), m.drained(now))
		room.Quo(room, m.cost(1))
	} else {
		room.Sub(new(big.Rat).SetInt64(m.limit.Count), m.used(now))
	}
	if room.Sign() < 0 {
		return 0
	}
	return new(big.Int).Quo(room.Num(), room.Denom()).Int64()
}

// used returns what counts at now of windows, logs and permits.
func (m *model) used(now int64) *big.Rat {
	sum, p := new(big.Rat), int64(m.limit.Period)
	for _, a := range m.admits {
		hits := new(big.Rat).SetInt64(a.hits)
		counts := false
		switch m.limit.Algorithm {
		case bucket.FixedWindow:
			counts = a.at/p == now/p
		case bucket.SlidingWindow:
			start := now - now%p
			if counts = a.at >= start-p; a.at < start {
				hits.Mul(hits, big.NewRat(start+p-now, p))
			}
		case bucket.SlidingLog:
			counts = now-a.at < p
		case bucket.Concurrency:
			counts = now-a.at < int64(m.limit.TTL)
		}
		if counts {
			sum.Add(sum, hits)
		}
	}
	return sum
}

// cost returns n emission intervals.
func (m *model) cost(n int64) *big.Rat {
	t := big.NewRat(int64(m.limit.Period), m.limit.Count)
	return t.Mul(t, new(big.Rat).SetInt64(n))
}

func (m *model) drained(now int64) *big.Rat {
	v := new(big.Rat)
	if m.backlog != nil {
		v.Sub(m.backlog, big.NewRat(now-m.last, 1))
	}
	if v.Sign() < 0 {
		return new(big.Rat)
	}
	return v
}

// late reports whether the queue is longer than anyone would wait.
func (m *model) late(now int64) bool {
	l := &m.limit
	return l.Algorithm == bucket.LeakyBucket && l.MaxWait >= 0 && m.drained(now).Cmp(new(big.Rat).SetInt64(int64(l.MaxWait))) > 0
}

func (m *model) take(now, n int64) {
	now = max(now, m.last, 0)
	if n == 0 {
		return
	}
	if m.drains() {
		v := m.drained(now)
		m.backlog = v.Add(v, m.cost(n))
	}
	m.admits = append(m.admits, admit{now, n})
	m.last = now
}

// giveBack forgets hits that were taken at a time and still count.
func (m *model) giveBack(now, at, n int64) {
	if m.drains() {
		v := m.drained(max(now, m.last))
		if v.Sub(v, m.cost(n)).Sign() < 0 {
			v = new(big.Rat)
		}
		m.backlog = v.Add(v, big.NewRat(max(now-m.last, 0), 1))
		return
	}
	if i := slices.Index(m.admits, admit{at, n}); i >= 0 {
		m.admits = slices.Delete(m.admits, i, i+1)
	}
}
