package bucket

// Refund gives back what a Take of c took, named by its receipt, and reports whether
// there was something to give back. What was taken before a reset, in a window that is
// over or on the reserve of a full store is not given back. Buckets and windows count
// hits, not takes: who refunds calls once for each Take.
func (s *Store) Refund(now int64, c *Charge, receipt uint64) bool {
	p := s.of(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.giveBack(p, now, c, receipt)
}

// giveBack is Refund with the partition locked.
func (s *Store) giveBack(p *partition, now int64, c *Charge, receipt uint64) bool {
	i := p.find(c.Bucket())
	if i < 0 {
		return false
	}
	sl := &p.slots[i]
	rule := s.rules.get(sl.rule)
	switch rule.Limit.Algorithm {
	case TokenBucket, LeakyBucket:
		if receipt != uint64(sl.gen) {
			return false
		}
	case FixedWindow, SlidingWindow:
		if receipt>>genShift != uint64(sl.gen)&(1<<(64-genShift)-1) {
			return false
		}
		receipt = receipt & (1<<genShift - 1) * 1000
	}
	if !rule.Limit.refund(&sl.state, &p.arena, max(now, sl.last), c.Hits, receipt) {
		return false
	}
	sl.seq++
	return true
}

// Release frees the permits a Take took and returns how many; 0 when they had
// expired or were released before. c names the bucket; its Limit is not looked at.
func (s *Store) Release(now int64, c *Charge, receipt uint64) int64 {
	p := s.of(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(c.Bucket())
	if i < 0 {
		return 0
	}
	sl := &p.slots[i]
	if s.rules.get(sl.rule).Limit.Algorithm != Concurrency {
		return 0
	}
	n := releasePermits(&sl.state, &p.arena, max(now, sl.last), receipt)
	if n > 0 {
		sl.seq++
	}
	return n
}

// Reset returns a bucket to the state of a fresh key and raises its generation, so
// that nothing taken before can be refunded.
func (s *Store) Reset(now int64, c *Charge) {
	p := s.of(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(c.Bucket())
	if i < 0 {
		return
	}
	sl := &p.slots[i]
	s.rules.get(sl.rule).Limit.clear(&sl.state, &p.arena)
	sl.gen++
	sl.seq++
	sl.last = max(sl.last, now)
}
