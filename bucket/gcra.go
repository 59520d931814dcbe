package bucket

import (
	"math"
	"time"
)

// A state is what one bucket remembers, read by its limit's algorithm. The zero
// state is a fresh key's, for every algorithm.
//
//	algorithm         a               b                      c
//	token, leaky      arrival time    its part below 1 ns    -
//	fixed window      window's start  hits                   window's end
//	sliding window    window's start  hits                   hits of the window before
//	log, concurrency  chunk, capacity first and length       sum of hits
//
// Times are nanoseconds since the Unix epoch.
type state struct{ a, b, c int64 }

// The generic cell rate algorithm (ITU-T I.371, virtual scheduling) keeps one number:
// the theoretical arrival time TAT at which the bucket would be full again. With
// emission interval T = Period/Count and tolerance τ = Burst·T, n hits conform when
// max(TAT-now, 0) + n·T <= τ. Everything is computed in ticks of 1/Count of a
// nanosecond, in which T is Period, a whole number: a state is TAT in whole
// nanoseconds (a) and the ticks beyond (b, less than Count).

// backlog returns max(TAT-now, 0) in ticks, never more than τ.
func (l *Limit) backlog(st *state, now int64) wide {
	if st.a < now || (st.a == now && st.b == 0) {
		return wide{}
	}
	v := mul(uint64(st.a-now), uint64(l.Count)).add(wide{0, uint64(st.b)})
	if full := l.tolerance(); v.cmp(full) > 0 {
		return full
	}
	return v
}

// tolerance returns τ in ticks.
func (l *Limit) tolerance() wide { return mul(uint64(l.Burst), uint64(l.Period)) }

// setBacklog makes the state that has backlog v at now.
func (l *Limit) setBacklog(st *state, now int64, v wide) {
	ns, ticks := v.div(uint64(l.Count))
	st.a, st.b = now+int64(ns), int64(ticks)
}

// stepGCRA takes n hits of a token or leaky bucket where they conform.
func (l *Limit) stepGCRA(st *state, now, n int64, take bool) Status {
	v, full := l.backlog(st, now), l.tolerance()
	cost := mul(uint64(n), uint64(l.Period))
	after := v.add(cost)
	s := Status{Limit: l.Burst, Allowed: after.cmp(full) <= 0}
	late := l.Algorithm == LeakyBucket && l.MaxWait >= 0 && v.cmp(l.longestWait()) > 0
	if late {
		s.Allowed = false
	}
	if s.Allowed && l.Algorithm == LeakyBucket {
		s.Wait = micros(ticksToNanos(v, l.Count))
	}
	if !s.Allowed {
		s.RetryAfter = l.retryGCRA(v, after, full, n, late)
	} else if take {
		l.setBacklog(st, now, after)
		v = after
	}
	room, _ := full.sub(v).div(uint64(l.Period))
	s.Remaining = int64(room)
	if late && !s.Allowed {
		s.Remaining = 0
	}
	if l.Algorithm == LeakyBucket && l.MaxWait >= 0 && v.cmp(l.longestWait()) > 0 {
		s.Remaining = 0
	}
	s.Reset = micros(ticksToNanos(v, l.Count))
	return s
}

// longestWait returns MaxWait in ticks.
func (l *Limit) longestWait() wide { return mul(uint64(l.MaxWait), uint64(l.Count)) }

// retryGCRA returns the time until n hits conform.
func (l *Limit) retryGCRA(v, after, full wide, n int64, late bool) (d time.Duration) {
	if n > l.Burst {
		return Never
	}
	if after.cmp(full) > 0 {
		d = micros(ticksToNanos(after.sub(full), l.Count))
	}
	if late {
		d = max(d, micros(ticksToNanos(v.sub(l.longestWait()), l.Count)))
	}
	return d
}

// ticksToNanos rounds ticks up to nanoseconds.
func ticksToNanos(v wide, count int64) int64 {
	return int64(min(v.divUp(uint64(count)), math.MaxInt64-1000))
}

// refundGCRA gives n hits back.
func (l *Limit) refundGCRA(st *state, now, n int64) bool {
	v := l.backlog(st, now)
	if v == (wide{}) {
		return false
	}
	back := mul(uint64(n), uint64(l.Period))
	if back.cmp(v) > 0 {
		back = v
	}
	l.setBacklog(st, now, v.sub(back))
	return true
}
