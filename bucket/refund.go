package bucket

// Refund gives back what a Take of c took, named by its receipt, and reports whether
// there was something to give back: nothing is left of what was taken before a reset,
// of a window that is over, or of tokens that have come back by themselves. What was
// taken of the reserve of a full store goes back to the reserve. Buckets and windows
// count hits, not takes: who refunds calls once for each Take, with its rule.
func (s *Store) Refund(now int64, c *Charge, receipt uint64) bool {
	p := s.of(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.giveBack(p, clamp(now), c, &c.Rule.Limit, receipt)
}

// giveBack is Refund with the partition locked. by is the limit of the charge, nil for
// what was taken under the lock that is still held.
func (s *Store) giveBack(p *partition, now int64, c *Charge, by *Limit, receipt uint64) bool {
	if receipt == 0 || c.Hits <= 0 {
		return false
	}
	if receipt&ofReserve == 0 {
		return p.refund(now, c.Bucket(), c.Hits, by, receipt)
	}
	r := &s.reserve
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refund(now, c.Rule.reserve(), c.Hits, by, receipt)
}

// refund gives n hits back to one bucket.
func (p *partition) refund(now int64, name Hash, n int64, by *Limit, receipt uint64) bool {
	i := p.find(name)
	if i < 0 {
		return false
	}
	sl := &p.slots[i]
	l := &p.rules.get(sl.rule).rule.Limit
	if l.shut() || by != nil && by.Algorithm != l.Algorithm {
		return false
	}
	if l.Algorithm != Concurrency && !stampedBy(receipt, sl.gen) {
		return false
	}
	at := max(now, sl.last)
	ok := false
	switch l.Algorithm {
	case TokenBucket, LeakyBucket:
		tat := timeNear(at, receipt)
		// At another pace than it was given, a receipt is good while it is the newest.
		if by == nil || sameShape(by, l) || l.arrival(&sl.state) == tat {
			ok = l.refundGCRA(&sl.state, at, sl.last, n, tat)
		}
	case FixedWindow:
		ok = refundFixed(&sl.state, at, n, receipt)
	case SlidingWindow:
		ok = l.refundSliding(&sl.state, at, n, receipt)
	case SlidingLog:
		ok = refundLog(&sl.state, &p.arena, n, receipt)
	default:
		ok = releasePermits(&sl.state, &p.arena, at, receipt) > 0
	}
	if ok {
		sl.seq++
	}
	return ok
}

// Release frees the permits a Take took and returns how many; 0 when they had
// expired or were released before. c names the bucket; of its rule only Hash is looked
// at.
func (s *Store) Release(now int64, c *Charge, receipt uint64) int64 {
	now = clamp(now)
	if receipt&ofReserve != 0 {
		return s.releaseReserve(now, c.Rule.Hash.Hi, receipt)
	}
	p := s.of(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(c.Bucket())
	if i < 0 {
		return 0
	}
	return p.release(now, &p.slots[i], receipt)
}

// releaseReserve frees permits of the reserve, of one of the limits with the same upper
// half of their own hash. It looks at all slots, which are few: one a limit that was
// short of memory.
func (s *Store) releaseReserve(now int64, hi, receipt uint64) int64 {
	r := &s.reserve
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.slots {
		sl := &r.slots[i]
		if sl.rule == 0 || sl.bucket.Hi != hi {
			continue
		}
		if n := r.release(now, sl, receipt); n > 0 {
			return n
		}
	}
	return 0
}

// release frees permits of one slot.
func (p *partition) release(now int64, sl *slot, receipt uint64) int64 {
	if p.rules.get(sl.rule).rule.Limit.Algorithm != Concurrency {
		return 0
	}
	n := releasePermits(&sl.state, &p.arena, max(now, sl.last), receipt)
	if n > 0 {
		sl.seq++
	}
	return n
}

// Reset returns a bucket to the state of a fresh key and raises its generation, so
// that nothing taken before can be refunded. The reserve, which a key without a slot
// shares with others, stays as it is.
func (s *Store) Reset(now int64, c *Charge) {
	p := s.of(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(c.Bucket())
	if i < 0 {
		return
	}
	sl := &p.slots[i]
	p.rules.get(sl.rule).rule.Limit.clear(&sl.state, &p.arena)
	sl.gen++
	sl.seq++
	sl.last = max(sl.last, clamp(now))
}
