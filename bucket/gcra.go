package bucket

import "time"

// A state is what one bucket remembers, read by its limit's algorithm. The zero
// state is a fresh key's, for every algorithm.
//
//	algorithm         a               b                      c
//	token, leaky      arrival time    its part below 1 ns    -
//	fixed window      window's start  hits                   window's end
//	sliding window    window's start  hits                   hits of the window before
//	log, concurrency  chunk           its class, first, size sum of hits
//	rate of nothing   end of the use  hits used before it    of how many
//
// Times are nanoseconds since the Unix epoch.
type state struct{ a, b, c int64 }

// The generic cell rate algorithm (ITU-T I.371, virtual scheduling) keeps one number:
// the theoretical arrival time TAT at which the bucket would be full again. With
// emission interval T = Period/Count, tolerance τ = Burst·T and backlog
// V = max(TAT-now, 0), n hits conform when V + n·T <= τ. Everything is computed in
// ticks of 1/Count of a nanosecond, in which T is Period, a whole number: a state is
// TAT in whole nanoseconds (a) and the ticks beyond (b, less than Count).

// backlog returns V in ticks, and in nanoseconds rounded up. A bucket whose burst was
// lowered, or whose clock was ahead, may hold more than τ: it is not cut here, or
// RetryAfter would be a promise that the next look breaks.
func (l *Limit) backlog(st *state, now int64) (v wide, ns int64) {
	if st.a < now || st.a == now && st.b == 0 {
		return wide{}, 0
	}
	ns = st.a - now
	v = mul(uint64(ns), uint64(l.Count)).add(wide{lo: uint64(st.b)})
	if st.b > 0 {
		ns++
	}
	return v, ns
}

// tolerance returns τ in ticks.
func (l *Limit) tolerance() wide { return mul(uint64(l.Burst), uint64(l.Period)) }

// setBacklog makes the state that has backlog v at now, and returns v in nanoseconds
// rounded up.
func (l *Limit) setBacklog(st *state, now int64, v wide) int64 {
	whole, ticks := v.div(uint64(l.Count))
	st.a, st.b = now+int64(whole), int64(ticks)
	if ticks > 0 {
		whole++
	}
	return int64(whole)
}

// arrival returns the arrival time rounded up, as receipts name it.
func (l *Limit) arrival(st *state) int64 {
	if st.b > 0 {
		return st.a + 1
	}
	return st.a
}

// late reports whether who comes to a queue of ns nanoseconds would wait too long.
func (l *Limit) late(ns int64) bool {
	return l.Algorithm == LeakyBucket && l.MaxWait >= 0 && ns > int64(l.MaxWait)
}

// stepGCRA takes n hits of a token or leaky bucket where they conform. Its durations
// are not rounded yet. A leaky bucket is the same arithmetic seen from the other side:
// V is the queue, which drains at the rate, and a request's turn comes when what stood
// before it has drained.
func (l *Limit) stepGCRA(s *Status, st *state, now, n int64, take bool) {
	v, ns := l.backlog(st, now)
	full, after := l.tolerance(), v.add(mul(uint64(n), uint64(l.Period)))
	*s = Status{Limit: l.Burst, Allowed: n == 0 || after.cmp(full) <= 0 && !l.late(ns)}
	if !s.Allowed {
		s.RetryAfter = l.retryGCRA(after, full, n, ns)
	} else {
		if l.Algorithm == LeakyBucket {
			s.Wait = time.Duration(ns)
		}
		if take && n > 0 {
			v, ns = after, l.setBacklog(st, now, after)
			s.Receipt = uint64(now + ns)
		}
	}
	if v.cmp(full) < 0 && !l.late(ns) {
		room, _ := full.sub(v).div(uint64(l.Period))
		s.Remaining = int64(room)
	}
	s.Reset = time.Duration(ns)
}

// retryGCRA returns the time until n hits conform: until τ has room for after, and
// until the queue of ns nanoseconds is short enough.
func (l *Limit) retryGCRA(after, full wide, n, ns int64) time.Duration {
	if n > l.Burst {
		return Never
	}
	var d time.Duration
	if after.cmp(full) > 0 {
		d = time.Duration(after.sub(full).divUp(uint64(l.Count)))
	}
	if l.late(ns) {
		d = max(d, time.Duration(ns)-l.MaxWait)
	}
	return d
}

// refundGCRA gives back n hits whose take left the arrival time at tat. Hits that have
// drained by themselves are not given back once more: had they never been taken, the
// bucket could have stood full meanwhile and gained nothing. How much of them is left
// since then is not known exactly where others took later, at last the last time, but
// it is at least what the bucket would have held then without the others: tat-last, to
// the nanosecond. Where a receipt from before another's refund is given back late, that
// is too much by what has drained between, at most the rate times the hold of a charge.
func (l *Limit) refundGCRA(st *state, now, last, n, tat int64) bool {
	v, _ := l.backlog(st, now)
	back := mul(uint64(n), uint64(l.Period))
	for _, bound := range [...]wide{v, mul(uint64(max(tat-last, 0)), uint64(l.Count))} {
		if back.cmp(bound) > 0 {
			back = bound
		}
	}
	if back == (wide{}) {
		return false
	}
	l.setBacklog(st, now, v.sub(back))
	return true
}
