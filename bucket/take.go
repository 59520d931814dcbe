package bucket

import (
	"math"
	"slices"
)

// Take decides charges together: all enforcing ones are taken or none, and
// reports whether they were. statuses[i] says what charges[i] met. Shadow charges are
// taken, each for itself, only where the enforcing ones were. It does not allocate
// while the buckets exist.
func (s *Store) Take(now int64, charges []Charge, statuses []Status) bool {
	if len(charges) == 1 {
		return s.decideOne(now, &charges[0], &statuses[0], true)
	}
	return s.decide(now, charges, statuses, true)
}

// Peek is Take without taking anything.
func (s *Store) Peek(now int64, charges []Charge, statuses []Status) bool {
	if len(charges) == 1 {
		return s.decideOne(now, &charges[0], &statuses[0], false)
	}
	return s.decide(now, charges, statuses, false)
}

// Abreast is how many charges are best touched at once: so many cache misses a
// processor has under way.
const Abreast = 16

// nearBytes is how many slots lie near enough by themselves: what a core has as a cache of its own.
const nearBytes = 1 << 20

// Touch brings what Take of these charges will look at into the cache. Their misses
// overlap, where Take waits for one after the other. Nothing changes by it.
func (s *Store) Touch(charges []Charge) {
	if len(charges) < 2 || s.budget.used.Load() <= nearBytes {
		return
	}
	for i := range charges {
		c := &charges[i]
		s.of(c).touch(c.Bucket())
	}
}

func (s *Store) decideOne(now int64, c *Charge, status *Status, take bool) bool {
	p := s.of(c)
	p.mu.Lock()
	s.charge(status, p, clamp(now), c, c.Hits, take)
	p.mu.Unlock()
	return status.Allowed || c.Shadow
}

// decide looks at all charges under the locks of all their partitions, and takes them
// when every enforcing one fits.
func (s *Store) decide(now int64, charges []Charge, statuses []Status, take bool) bool {
	var buf [8]int
	locked := s.lock(charges, buf[:0])
	defer s.unlock(locked)
	now = clamp(now)
	allowed, shadows := true, false
	for i := range charges {
		c := &charges[i]
		s.charge(&statuses[i], s.of(c), now, c, together(charges[:i], c), false)
		allowed = allowed && (statuses[i].Allowed || c.Shadow)
		shadows = shadows || c.Shadow
	}
	if !allowed || !take {
		return allowed
	}
	if !s.takeAll(now, charges, statuses, false) {
		return false
	}
	if shadows {
		s.takeAll(now, charges, statuses, true)
	}
	return true
}

// together returns the hits that the bucket of an enforcing charge must have room for:
// its own and those of the charges before it that ask the same bucket.
func together(before []Charge, c *Charge) int64 {
	n := c.Hits
	if c.Shadow {
		return n
	}
	for i := range before {
		b := &before[i]
		if !b.Shadow && b.Hash.Partition() == c.Hash.Partition() && b.Bucket() == c.Bucket() {
			n += min(b.Hits, math.MaxInt64-n)
		}
	}
	return n
}

// takeAll takes the shadow charges, or all others. It reports whether they were to be
// had; of the enforcing ones none is taken where one is not: several may have found
// room for one new bucket, or charge the reserve together.
func (s *Store) takeAll(now int64, charges []Charge, statuses []Status, shadow bool) bool {
	for i := range charges {
		c := &charges[i]
		if c.Shadow != shadow {
			continue
		}
		s.charge(&statuses[i], s.of(c), now, c, c.Hits, true)
		if !shadow && !statuses[i].Allowed {
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
		if c.Shadow {
			continue
		}
		s.giveBack(s.of(c), now, c, nil, statuses[i].Receipt)
		s.charge(&statuses[i], s.of(c), now, c, c.Hits, false)
	}
}

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
