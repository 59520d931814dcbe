package bucket

import (
	"math"
	"time"
)

// latest is the last moment that is told apart: behind it every sum of a time and a
// duration of a valid limit still fits. Time stands still at it, and before 1970.
const latest = math.MaxInt64 - 3*int64(MaxFull)

// A memory is where logs and permits get room for what they take, and the receipt
// that names it.
type memory struct {
	arena  *arena
	budget *budget
	permit uint64 // receipt of the permits, unused by other limits
	short  bool   // set where hits had to be remembered too long for want of room
}

// step asks one bucket's state for n hits at now, by its limit's algorithm, and takes
// them when they fit and take is set; s is what it says. A refusal changes nothing that could be noticed.
// No hits always fit, except that a rate of nothing denies everything. ok is false
// where the hits fit but memory has no room to remember them. Durations are not
// rounded yet.
func (l *Limit) step(s *Status, st *state, m *memory, now, n int64, take bool) (ok bool) {
	if l.Count == 0 {
		*s = Status{RetryAfter: Never}
		return true
	}
	switch l.Algorithm {
	case TokenBucket, LeakyBucket:
		l.stepGCRA(s, st, now, n, take)
	case FixedWindow:
		l.stepFixed(s, st, now, n, take)
	case SlidingWindow:
		l.stepSliding(s, st, now, n, take)
	default:
		return l.stepHeld(s, st, m, now, n, take)
	}
	return true
}

// round rounds the durations of s up to the microsecond. behind is how far the clock
// that asks stands behind the bucket's: who waits by it must wait that much longer.
func (s *Status) round(behind int64) {
	s.Reset = micros(s.Reset, behind)
	s.RetryAfter = micros(s.RetryAfter, behind)
	s.Wait = micros(s.Wait, behind)
}

// micros rounds d and what is added to it up to whole microseconds. Nothing, and Never,
// stay what they are.
func micros(d time.Duration, more int64) time.Duration {
	if d <= 0 {
		return d
	}
	return time.Duration((uint64(d) + uint64(more) + 999) / 1000 * 1000)
}

// neutral reports whether a state says at now what a fresh key's would say.
func (l *Limit) neutral(st *state, a *arena, now int64) bool {
	if l.shut() {
		return st.a <= now
	}
	switch l.Algorithm {
	case TokenBucket, LeakyBucket:
		return st.a < now || (st.a == now && st.b == 0)
	case FixedWindow:
		return st.b == 0 || now >= st.c
	case SlidingWindow:
		return (st.b == 0 || now >= st.a+2*int64(l.Period)) && (st.c == 0 || now >= st.a+int64(l.Period))
	default:
		h := readHeld(st)
		return h.size == 0 || l.ends(h.at(a, h.size-1)) <= now
	}
}

// shut reports whether l denies everything by a rate of nothing. Its states only keep
// what was used before, for the day when there is a rate again; those of logs and
// permits need no other shape for that.
func (l *Limit) shut() bool { return l.Count == 0 && !l.holds() }

// drains reports whether the states of l are arrival times, unless it is shut.
func (l *Limit) drains() bool { return l.Algorithm == TokenBucket || l.Algorithm == LeakyBucket }

// holds reports whether the states of l are chunks of an arena.
func (l *Limit) holds() bool { return l.Algorithm == SlidingLog || l.Algorithm == Concurrency }

// settle drops what a log or a list of permits need not remember at now.
func (l *Limit) settle(st *state, a *arena, now int64) {
	if !l.holds() || st.a == 0 {
		return
	}
	h := readHeld(st)
	l.expire(&h, a, now)
	if h.size == 0 {
		h.drop(a)
	}
	h.write(st)
}

// clear frees what a state holds in the arena and makes it a fresh key's.
func (l *Limit) clear(st *state, a *arena) {
	if l.holds() {
		h := readHeld(st)
		h.drop(a)
	}
	*st = state{}
}
