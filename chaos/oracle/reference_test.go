package oracle

import (
	"math/big"
	"math/rand/v2"
	"slices"
	"time"
)

// A model is the slow, obvious limiter: it remembers every admission of a key and works
// each answer out from all of them. It decides one request after the other.
type model struct {
	limit Limit
	taken map[string][]taking
}

type taking struct {
	at    int64
	n     int64
	id    uint64
	ended int64 // released then; 0 = not
}

func newModel(l Limit) *model { return &model{limit: l, taken: map[string][]taking{}} }

// fits reports whether n hits fit at now.
func (m *model) fits(now int64, key string, n int64) bool {
	history := m.taken[key]
	switch l := m.limit; l.Algorithm {
	case FixedWindow:
		return sumOf(history, func(t taking) bool { return m.window(t.at) == m.window(now) })+n <= l.Count
	case SlidingWindow:
		p := int64(l.Period)
		current := sumOf(history, func(t taking) bool { return t.at/p == now/p })
		before := sumOf(history, func(t taking) bool { return t.at/p == now/p-1 })
		weighed := big.NewRat(before*(p-now%p), p)
		return weighed.Add(weighed, big.NewRat(current+n, 1)).Cmp(big.NewRat(l.Count, 1)) <= 0
	case SlidingLog:
		return sumOf(history, func(t taking) bool { return t.at > now-int64(l.Period) })+n <= l.Count
	case Concurrency:
		return sumOf(history, func(t taking) bool { return t.at > now-int64(l.TTL) && t.ended == 0 })+n <= l.Count
	default:
		level := m.level(now, history)
		if l.Algorithm == LeakyBucket && l.MaxWait >= 0 && level > l.Count*int64(l.MaxWait) {
			return false
		}
		return level+n*int64(l.Period) <= l.Burst*int64(l.Period)
	}
}

func (m *model) window(t int64) string {
	if m.limit.Calendar == "month" {
		return time.Unix(0, t).In(m.limit.Zone).Format("2006-01")
	}
	return big.NewInt(t / int64(m.limit.Period)).String()
}

// level drains and fills the bucket through its whole history, in hits × the period, of
// which whole numbers drain in whole nanoseconds.
func (m *model) level(now int64, history []taking) int64 {
	var level, last int64
	for i, t := range history {
		if i > 0 {
			level = max(level-m.limit.Count*(t.at-last), 0)
		}
		level += t.n * int64(m.limit.Period)
		last = t.at
	}
	if len(history) == 0 {
		return 0
	}
	return max(level-m.limit.Count*(now-last), 0)
}

func sumOf(history []taking, counts func(taking) bool) (sum int64) {
	for _, t := range history {
		if counts(t) {
			sum += t.n
		}
	}
	return sum
}

func (m *model) take(now int64, key string, n int64, id uint64) bool {
	if !m.fits(now, key, n) {
		return false
	}
	m.taken[key] = append(m.taken[key], taking{at: now, n: n, id: id})
	return true
}

func (m *model) release(now int64, key string, id uint64) {
	for i := range m.taken[key] {
		if t := &m.taken[key][i]; t.id == id {
			t.ended = now
		}
	}
}

// A limiter is a model or one with a fault.
type limiter interface {
	take(now int64, key string, n int64, id uint64) bool
	release(now int64, key string, id uint64)
}

// mutants are limiters with the faults that a cluster is most likely to have.
var mutants = map[string]func(l Limit, r *rand.Rand) limiter{
	"one too many": func(l Limit, _ *rand.Rand) limiter {
		l.Count, l.Burst = l.Count+1, l.Burst+1
		return newModel(l)
	},
	"one too few": func(l Limit, _ *rand.Rand) limiter {
		l.Count, l.Burst = l.Count-1, l.Burst-1
		return newModel(l)
	},
	"lost update": func(l Limit, _ *rand.Rand) limiter { return &lostUpdate{model: newModel(l)} },
	"two owners":  func(l Limit, r *rand.Rand) limiter { return &twoOwners{newModel(l), newModel(l), r} },
	"merge by minimum": func(l Limit, r *rand.Rand) limiter {
		return &minMerge{twoOwners: twoOwners{newModel(l), newModel(l), r}}
	},
	"reset on eviction": func(l Limit, r *rand.Rand) limiter { return &evicting{newModel(l), r} },
}

// lostUpdate forgets every fifth admission, as where two writers read the same state.
type lostUpdate struct {
	*model
	n int
}

func (m *lostUpdate) take(now int64, key string, n int64, id uint64) bool {
	ok := m.model.take(now, key, n, id)
	if ok {
		if m.n++; m.n%5 == 0 {
			m.taken[key] = m.taken[key][:len(m.taken[key])-1]
		}
	}
	return ok
}

// twoOwners believe both to own every key.
type twoOwners struct {
	a, b *model
	rng  *rand.Rand
}

func (m *twoOwners) take(now int64, key string, n int64, id uint64) bool {
	if m.rng.IntN(2) == 0 {
		return m.a.take(now, key, n, id)
	}
	return m.b.take(now, key, n, id)
}

func (m *twoOwners) release(now int64, key string, id uint64) {
	m.a.release(now, key, id)
	m.b.release(now, key, id)
}

// minMerge are two owners who take over each other's state where it counts less.
type minMerge struct {
	twoOwners
	n int
}

func (m *minMerge) take(now int64, key string, n int64, id uint64) bool {
	ok := m.twoOwners.take(now, key, n, id)
	if m.n++; m.n%16 == 0 {
		fewer := m.a.taken[key]
		if len(m.b.taken[key]) < len(fewer) {
			fewer = m.b.taken[key]
		}
		m.a.taken[key], m.b.taken[key] = slices.Clone(fewer), slices.Clone(fewer)
	}
	return ok
}

// evicting forgets a key now and then, though it is not neutral.
type evicting struct {
	*model
	rng *rand.Rand
}

func (m *evicting) take(now int64, key string, n int64, id uint64) bool {
	if m.rng.IntN(60) == 0 {
		delete(m.taken, key)
	}
	return m.model.take(now, key, n, id)
}

// A traffic is how clients ask.
type traffic struct {
	keys     int
	requests int
	span     time.Duration // in which all are decided
	latency  time.Duration // longest way of a request, and of its answer
	largest  int64         // hits of a request at most
	hold     time.Duration // longest time a permit is held
}

// start of all traffic: a moment like any other, some way into windows of any length.
var start = time.Date(2026, time.March, 28, 22, 59, 58, 123456789, time.UTC).UnixNano()

// run sends traffic to a limiter and returns what its clients saw.
func (tr traffic) run(l Limit, lim limiter, rng *rand.Rand) []Event {
	type step struct {
		at      int64
		event   int
		release bool
	}
	var steps []step
	for i := range tr.requests {
		steps = append(steps, step{at: start + rng.Int64N(int64(tr.span)), event: i})
	}
	events := make([]Event, tr.requests)
	before := func(a, b step) int { return int(min(max(a.at-b.at, -1), 1)) }
	slices.SortFunc(steps, before)
	way := func() int64 { return rng.Int64N(int64(tr.latency)) }
	for len(steps) > 0 {
		s := steps[0]
		steps = steps[1:]
		e := &events[s.event]
		if s.release {
			lim.release(s.at, e.Key, e.ID)
			e.ReleaseSend, e.ReleaseRecv = max(s.at-way(), e.Recv), s.at+way()
			continue
		}
		// Half of all requests are for one key.
		key := "hot"
		if rng.IntN(2) == 0 {
			key = string(rune('a' + rng.IntN(tr.keys)))
		}
		n := 1 + rng.Int64N(tr.largest)
		*e = Event{ID: uint64(s.event + 1), Limit: "l", Key: key, N: n, Send: s.at - way(), Recv: s.at + way()}
		e.Allowed = lim.take(s.at, key, n, e.ID)
		if e.Allowed && l.Algorithm == Concurrency && rng.IntN(10) > 0 {
			r := step{at: e.Recv + 1 + rng.Int64N(int64(tr.hold)), event: s.event, release: true}
			i, _ := slices.BinarySearchFunc(steps, r, before)
			steps = slices.Insert(steps, i, r)
		}
	}
	return events
}
