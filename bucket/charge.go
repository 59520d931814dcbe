package bucket

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// fullRetry is when to ask again for what found no memory: any moment may free some.
const fullRetry = time.Second

// charge asks the bucket of c, whose partition is locked, for n hits; where memory has
// no room for it, its rule's fail mode answers.
func (s *Store) charge(status *Status, p *partition, now int64, c *Charge, n int64, take bool) {
	if !s.ask(status, p, c.Bucket(), now, c.Rule, n, take) {
		s.full(status, now, c.Rule, n, take)
	}
}

// ask asks one bucket. A bucket gets a slot only by hits that are taken. ok is false
// where the hits fit but memory has no room to remember them.
func (s *Store) ask(status *Status, p *partition, name Hash, now int64, rule *Rule, n int64, take bool) (ok bool) {
	take = take && n > 0
	i := p.find(name)
	if i < 0 {
		return s.askNew(status, p, name, now, rule, n, take)
	}
	sl := &p.slots[i]
	at := max(now, sl.last)
	l := s.limitAt(p, sl, rule, at)
	m := s.memory(p, l, n, take)
	if !l.step(status, &sl.state, &m, at, n, take) {
		return false
	}
	if take && status.Allowed {
		sl.last = at
		sl.seq++
		s.receipt(status, p, l, sl.gen)
	}
	status.round(at - now)
	return true
}

// askNew asks a bucket that has no slot, and gives it one when hits are taken.
func (s *Store) askNew(status *Status, p *partition, name Hash, now int64, rule *Rule, n int64, take bool) (ok bool) {
	l := &rule.Limit
	var st state
	m := s.memory(p, l, n, take)
	at := now
	l.step(status, &st, &m, at, n, false)
	if status.Allowed && n > 0 { // something is to be remembered
		if take {
			p.sweep(now, looks)
		}
		if !p.room(now) {
			return false
		}
	}
	if status.Allowed && take {
		at = max(now, p.freed) // else what was forgotten could be had again
		if !l.step(status, &st, &m, at, n, true) {
			return false
		}
		sl := p.add(name, s.rules.acquire(rule))
		sl.state, sl.last, sl.seq = st, at, 1
		s.receipt(status, p, l, 0)
	}
	status.round(at - now)
	return true
}

// memory returns where l remembers n hits in a partition.
func (s *Store) memory(p *partition, l *Limit, n int64, take bool) memory {
	m := memory{arena: &p.arena, budget: p.budget}
	if take && l.Algorithm == Concurrency {
		m.permit = s.permit(n) | s.reserved(p)
	}
	return m
}

// receipt makes what a step says it took the receipt of a bucket. A permit's is whole.
func (s *Store) receipt(status *Status, p *partition, l *Limit, gen uint32) {
	if l.Algorithm != Concurrency {
		status.Receipt = stamp(status.Receipt, gen) | s.reserved(p)
	}
}

// reserved returns the bit that the receipts of a partition have.
func (s *Store) reserved(p *partition) uint64 {
	if p == &s.reserve {
		return ofReserve
	}
	return 0
}

// limitAt returns the limit to decide a slot by: the newer of the one it was last
// charged under and the one of this charge. A newer one converts the state first;
// where memory has no room for that, the older one decides on.
func (s *Store) limitAt(p *partition, sl *slot, rule *Rule, at int64) *Limit {
	current := p.rules.get(sl.rule)
	if current == rule.known.Load() {
		return &rule.Limit
	}
	if current.rule.Version > rule.Version || current.same(rule) {
		return &current.rule.Limit
	}
	m := memory{arena: &p.arena, budget: p.budget}
	sl.last = at // convert forgets what is over by then
	if !rule.Limit.convert(&current.rule.Limit, &sl.state, &m, at, s.permit) {
		return &current.rule.Limit
	}
	number := p.rules.acquire(rule)
	p.rules.release(sl.rule)
	atomic.StoreUint32(&sl.rule, number)
	sl.seq++
	return &rule.Limit
}

// full decides hits for which memory has no room, by their rule's fail mode.
func (s *Store) full(status *Status, now int64, rule *Rule, n int64, take bool) {
	most := rule.Limit.Most()
	switch rule.FailMode {
	case FailOpen:
		*status = Status{Allowed: true, Degraded: Memory, Limit: most, Remaining: most}
		return
	case FailClosed:
	default:
		r := &s.reserve
		r.mu.Lock()
		defer r.mu.Unlock()
		if s.ask(status, r, rule.reserve(), now, rule, n, take) {
			status.Degraded = Memory
			return
		}
	}
	*status = Status{Degraded: Memory, Limit: most, RetryAfter: fullRetry}
}

// reserve returns the name of a rule's bucket in the reserve. A limit's own hash comes
// from its name alone, which limits of other policies may have too: so the numbers are
// in it. The upper half stays, for Release, which knows no numbers.
func (r *Rule) reserve() Hash {
	const odd = 0x9e3779b97f4a7c15
	l := &r.Limit
	lo := r.Hash.Lo
	for _, v := range [...]int64{int64(l.Algorithm), int64(l.Calendar), l.Count, int64(l.Period), l.Burst, int64(l.MaxWait), int64(l.TTL)} {
		hi, mixed := bits.Mul64(lo^uint64(v), odd)
		lo = hi ^ mixed + odd
	}
	for _, b := range []byte(zoneName(l)) {
		lo = bits.RotateLeft64(lo^uint64(b), 8) * odd
	}
	return Hash{r.Hash.Hi, lo}
}
