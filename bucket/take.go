package bucket

import "slices"

// Take decides charges together: all enforcing ones are taken or none, and
// reports whether they were. statuses[i] says what charges[i] met. Shadow charges are
// taken, each for itself, only where the enforcing ones were. It does not allocate
// while the buckets exist.
func (s *Store) Take(now int64, charges []Charge, statuses []Status) bool {
	if len(charges) == 1 {
		c := &charges[0]
		p := &s.partitions[c.Hash.Partition()]
		p.mu.Lock()
		statuses[0] = s.charge(p, now, c, true)
		p.mu.Unlock()
		return statuses[0].Allowed || c.Shadow
	}
	return s.decide(now, charges, statuses, true)
}

// Peek is Take without taking anything.
func (s *Store) Peek(now int64, charges []Charge, statuses []Status) bool {
	return s.decide(now, charges, statuses, false)
}

// decide looks at all charges under the locks of all their partitions, and takes them
// when every enforcing one fits.
func (s *Store) decide(now int64, charges []Charge, statuses []Status, take bool) bool {
	var buf [8]int
	locked := s.lock(charges, buf[:0])
	defer s.unlock(locked)
	allowed := true
	for i := range charges {
		c := &charges[i]
		statuses[i] = s.charge(s.of(c), now, c, false)
		allowed = allowed && (statuses[i].Allowed || c.Shadow)
	}
	if !allowed || !take {
		return allowed
	}
	for i := range charges {
		c := &charges[i]
		statuses[i] = s.charge(s.of(c), now, c, true)
		if !statuses[i].Allowed && !c.Shadow {
			// Two charges of one bucket, each of which fits without the other.
			s.undo(now, charges[:i], statuses)
			return false
		}
	}
	return true
}

// undo gives back what was taken of charges whose neighbour was refused. Their
// partitions are locked.
func (s *Store) undo(now int64, charges []Charge, statuses []Status) {
	for i := range charges {
		c := &charges[i]
		if statuses[i].Allowed && statuses[i].Degraded == 0 {
			s.giveBack(s.of(c), now, c, statuses[i].Receipt)
		}
		statuses[i] = s.charge(s.of(c), now, c, false)
	}
}

func (s *Store) of(c *Charge) *partition { return &s.partitions[c.Hash.Partition()] }

// lock takes the locks of the charges' partitions in partition order and returns which.
func (s *Store) lock(charges []Charge, which []int) []int {
	for i := range charges {
		if p := charges[i].Hash.Partition(); !slices.Contains(which, p) {
			which = append(which, p)
		}
	}
	slices.Sort(which)
	for _, p := range which {
		s.partitions[p].mu.Lock()
	}
	return which
}

func (s *Store) unlock(which []int) {
	for _, p := range which {
		s.partitions[p].mu.Unlock()
	}
}

// charge asks one bucket, whose partition is locked. A bucket gets a slot only by a
// charge that is taken.
func (s *Store) charge(p *partition, now int64, c *Charge, take bool) Status {
	name := c.Bucket()
	i := p.find(name)
	if i < 0 {
		return s.chargeNew(p, name, now, c, take)
	}
	sl := &p.slots[i]
	rule := s.ruleAt(p, sl, c.Rule, now)
	now = max(now, sl.last)
	take = take && c.Hits > 0
	var receipt uint64
	if take && rule.Limit.Algorithm == Concurrency {
		receipt = s.receipt()
	}
	status, ok := rule.Limit.step(&sl.state, &p.arena, &s.budget, now, c.Hits, take, receipt)
	if !ok {
		return s.full(c, now, take)
	}
	if take && status.Allowed {
		sl.last = now
		sl.seq++
		status.Receipt = stamp(rule, status.Receipt, sl.gen)
	}
	return status
}

// chargeNew asks a bucket that has no slot, and gives it one when hits are taken.
func (s *Store) chargeNew(p *partition, name Hash, now int64, c *Charge, take bool) Status {
	if !p.room(1, now, s.rules, &s.budget) {
		return s.full(c, now, take)
	}
	var st state
	take = take && c.Hits > 0
	var receipt uint64
	if take && c.Rule.Limit.Algorithm == Concurrency {
		receipt = s.receipt()
	}
	status, ok := c.Rule.Limit.step(&st, &p.arena, &s.budget, now, c.Hits, take, receipt)
	if !ok {
		return s.full(c, now, take)
	}
	if !take || !status.Allowed {
		return status
	}
	p.sweep(now, s.rules, sweepLooks, sweepLooks)
	i := p.add(name, s.rules.acquire(c.Rule))
	sl := &p.slots[i]
	sl.state, sl.last, sl.seq = st, now, 1
	status.Receipt = stamp(c.Rule, status.Receipt, 0)
	return status
}

// sweepLooks is how many slots the clock hand passes for each new bucket: with more
// than one, it comes round before the slots have doubled.
const sweepLooks = 3

// ruleAt returns the rule to decide a slot by: the newer of the one it was last charged
// under and the one of this charge. A newer one converts the state first.
func (s *Store) ruleAt(p *partition, sl *slot, rule *Rule, now int64) *Rule {
	current := s.rules.get(sl.rule)
	if current == rule {
		return rule
	}
	if current.Version > rule.Version || keyOf(current) == keyOf(rule) {
		return current
	}
	rule.Limit.convert(&current.Limit, &sl.state, &p.arena, &s.budget, max(now, sl.last), s.receipt()<<hitBits)
	number := s.rules.acquire(rule)
	s.rules.release(sl.rule)
	sl.rule = number
	sl.seq++
	return rule
}

// stamp puts a bucket's generation into the receipts that do not name what they took by
// themselves, so that a reset makes them void.
func stamp(rule *Rule, receipt uint64, gen uint32) uint64 {
	switch rule.Limit.Algorithm {
	case SlidingLog, Concurrency:
		return receipt
	case TokenBucket, LeakyBucket:
		return uint64(gen)
	}
	return receipt/1000 | uint64(gen)<<genShift // windows start at whole microseconds
}

// genShift leaves 52 bits for microseconds since the Unix epoch: until the year 2112.
const genShift = 52

// full decides a charge for which memory has no room, by its rule's fail mode.
func (s *Store) full(c *Charge, now int64, take bool) Status {
	most := c.Rule.Limit.Most()
	switch c.Rule.FailMode {
	case FailOpen:
		return Status{Allowed: true, Degraded: Memory, Limit: most, Remaining: most}
	case FailClosed:
		return Status{Degraded: Memory, Limit: most, RetryAfter: micros(int64(c.Rule.Limit.Period))}
	}
	r := &s.reserve
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(c.Rule.Hash)
	if i < 0 {
		if !r.room(1, now, s.rules, &s.reserveBudget) {
			return Status{Degraded: Memory, Limit: most, RetryAfter: micros(int64(c.Rule.Limit.Period))}
		}
		i = r.add(c.Rule.Hash, s.rules.acquire(c.Rule))
	}
	sl := &r.slots[i]
	rule := s.ruleAt(r, sl, c.Rule, now)
	now = max(now, sl.last)
	status, ok := rule.Limit.step(&sl.state, &r.arena, &s.reserveBudget, now, c.Hits, take, s.receipt())
	if !ok {
		status = Status{Limit: most, RetryAfter: micros(int64(c.Rule.Limit.Period))}
	}
	sl.last = now
	status.Degraded = Memory
	return status
}
