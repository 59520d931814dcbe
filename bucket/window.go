package bucket

import "time"

// gridWindow returns the window of a grid of periods from the Unix epoch on. now is not
// negative.
func gridWindow(period time.Duration, now int64) (start, end int64) {
	start = now - now%int64(period)
	return start, start + int64(period)
}

// window returns start and end of the fixed window that holds now.
func (l *Limit) window(now int64) (start, end int64) {
	if l.Calendar != 0 {
		return l.Calendar.window(l.Zone, now)
	}
	return gridWindow(l.Period, now)
}

// stepFixed takes n hits of a fixed window. A window once entered is never left for
// an earlier one. Durations are not rounded yet.
func (l *Limit) stepFixed(s *Status, st *state, now, n int64, take bool) {
	w := *st
	if now >= w.c {
		w.a, w.c = l.window(now)
		w.b = 0
	}
	room := max(l.Count-w.b, 0)
	*s = Status{Limit: l.Count, Allowed: n <= room}
	switch {
	case s.Allowed && take && n > 0:
		w.b += n
		room -= n
		*st = w
		s.Receipt = uint64(w.a)
	case !s.Allowed && n > l.Count:
		s.RetryAfter = Never
	case !s.Allowed:
		s.RetryAfter = time.Duration(w.c - now)
	}
	s.Remaining = room
	if w.b > 0 {
		s.Reset = time.Duration(w.c - now)
	}
}

// refundFixed gives n hits back to the window of a receipt, while it lasts.
func refundFixed(st *state, now, n int64, receipt uint64) bool {
	if !sameTime(st.a, receipt) || now >= st.c || st.b == 0 {
		return false
	}
	st.b = max(st.b-n, 0)
	return true
}

// roll brings a sliding window's state to the window that holds now.
func (l *Limit) roll(st *state, now int64) {
	start, _ := gridWindow(l.Period, now)
	switch {
	case start <= st.a:
	case start == st.a+int64(l.Period):
		st.a, st.b, st.c = start, 0, st.b
	default:
		st.a, st.b, st.c = start, 0, 0
	}
}

// share returns what of the last Period lies in the window before, in nanoseconds, and
// the hits that this part counts, rounded up: a sum of whole numbers stays at or below
// a whole number exactly when the broken one does.
func (l *Limit) share(w *state, now int64) (left, before int64) {
	left = min(w.a+int64(l.Period)-now, int64(l.Period))
	return left, int64(mul(uint64(w.c), uint64(left)).divUp(uint64(l.Period)))
}

// stepSliding takes n hits of a sliding window: the window before counts with the
// share of it that the last Period still covers. The sum is compared in whole
// numbers, hits × nanoseconds. Durations are not rounded yet.
func (l *Limit) stepSliding(s *Status, st *state, now, n int64, take bool) {
	w := *st
	l.roll(&w, now)
	left, before := l.share(&w, now)
	room := max(l.Count-w.b-before, 0)
	*s = Status{Limit: l.Count, Allowed: n <= room}
	switch {
	case s.Allowed && take && n > 0:
		w.b += n
		room -= n
		*st = w
		s.Receipt = uint64(w.a)
	case !s.Allowed:
		s.RetryAfter = l.retrySliding(&w, uint64(left), n)
	}
	s.Remaining = room
	switch {
	case w.b > 0:
		s.Reset = time.Duration(left) + l.Period
	case w.c > 0:
		s.Reset = time.Duration(left)
	}
}

// retrySliding returns the time until n hits fit: in this window, where less of the
// one before counts, or in the next, where this one is the one before.
func (l *Limit) retrySliding(w *state, left uint64, n int64) time.Duration {
	period := uint64(l.Period)
	if n > l.Count {
		return Never
	}
	if room := l.Count - w.b - n; room >= 0 && w.c > 0 {
		if fits, _ := mul(uint64(room), period).div(uint64(w.c)); fits > 0 {
			return time.Duration(left - min(fits, left))
		}
	}
	if w.b == 0 {
		return time.Duration(left)
	}
	fits, _ := mul(uint64(l.Count-n), period).div(uint64(w.b))
	return time.Duration(left + period - min(fits, period))
}

// refundSliding gives n hits back to the window of a receipt, while it counts.
func (l *Limit) refundSliding(st *state, now, n int64, receipt uint64) bool {
	l.roll(st, now)
	switch {
	case sameTime(st.a, receipt) && st.b > 0:
		st.b = max(st.b-n, 0)
	case sameTime(st.a-int64(l.Period), receipt) && st.c > 0:
		st.c = max(st.c-n, 0)
	default:
		return false
	}
	return true
}
