package bucket

// step asks one bucket's state for n hits at now, by its limit's algorithm, and takes
// them when they fit and take is set. A refusal changes nothing that could be noticed.
// ok is false where the hits fit but memory has no room to remember them.
func (l *Limit) step(st *state, a *arena, budget *budget, now, n int64, take bool, receipt uint64) (s Status, ok bool) {
	if l.Count == 0 {
		return Status{RetryAfter: Never}, true
	}
	switch l.Algorithm {
	case TokenBucket, LeakyBucket:
		return l.stepGCRA(st, now, n, take), true
	case FixedWindow:
		return l.stepFixed(st, now, n, take), true
	case SlidingWindow:
		return l.stepSliding(st, now, n, take), true
	default:
		return l.stepHeld(st, a, budget, now, n, take, receipt)
	}
}

// neutral reports whether a state says at now what a fresh key's would say.
func (l *Limit) neutral(st *state, now int64) bool {
	switch l.Algorithm {
	case TokenBucket, LeakyBucket:
		return st.a < now || (st.a == now && st.b == 0)
	case FixedWindow:
		return st.b == 0 || now >= st.c
	case SlidingWindow:
		return (st.b == 0 || now >= st.a+2*int64(l.Period)) && (st.c == 0 || now >= st.a+int64(l.Period))
	default:
		return st.a == 0
	}
}

// settle drops what a log or a list of permits need not remember at now, so that
// neutral sees it.
func (l *Limit) settle(st *state, a *arena, now int64) {
	if l.Algorithm != SlidingLog && l.Algorithm != Concurrency || st.a == 0 {
		return
	}
	h := readHeld(st)
	l.expire(&h, a, now)
	if h.size == 0 {
		h.drop(a)
	}
	h.write(st)
}

// refund gives back n hits of a receipt.
func (l *Limit) refund(st *state, a *arena, now, n int64, receipt uint64) bool {
	switch l.Algorithm {
	case TokenBucket, LeakyBucket:
		return l.Count > 0 && l.refundGCRA(st, now, n)
	case FixedWindow:
		return refundFixed(st, now, n, receipt)
	case SlidingWindow:
		return l.refundSliding(st, now, n, receipt)
	case SlidingLog:
		return refundLog(st, a, n, receipt)
	default:
		return releasePermits(st, a, now, receipt) > 0
	}
}

// clear frees what a state holds in the arena and makes it a fresh key's.
func (l *Limit) clear(st *state, a *arena) {
	if l.Algorithm == SlidingLog || l.Algorithm == Concurrency {
		h := readHeld(st)
		h.drop(a)
	}
	*st = state{}
}
