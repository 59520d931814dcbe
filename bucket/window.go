package bucket

import "time"

// gridWindow returns the window of a grid of periods from the Unix epoch on.
func gridWindow(period time.Duration, now int64) (start, end int64) {
	p := int64(period)
	into := now % p
	if into < 0 {
		into += p
	}
	return now - into, now - into + p
}

// window returns start and end of the fixed window that holds now.
func (l *Limit) window(now int64) (start, end int64) {
	if l.Calendar != 0 {
		return l.Calendar.window(l.Zone, now)
	}
	return gridWindow(l.Period, now)
}

// stepFixed takes n hits of a fixed window. A window once entered is never left for
// an earlier one.
func (l *Limit) stepFixed(st *state, now, n int64, take bool) Status {
	w := *st
	if now >= w.c {
		w.a, w.c = l.window(now)
		w.b = 0
	}
	s := Status{Limit: l.Count, Allowed: n <= max(l.Count-w.b, 0)}
	if s.Allowed {
		if take && n > 0 {
			w.b += n
			*st = w
		}
	} else if n > l.Count {
		s.RetryAfter = Never
	} else {
		s.RetryAfter = micros(w.c - now)
	}
	s.Remaining = max(l.Count-w.b, 0)
	if w.b > 0 {
		s.Reset = micros(w.c - now)
	}
	s.Receipt = uint64(w.a)
	return s
}

// refundFixed gives n hits back to the window they were taken from.
func refundFixed(st *state, now, n int64, window uint64) bool {
	if uint64(st.a) != window || now >= st.c || st.b == 0 {
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

// stepSliding takes n hits of a sliding window: the window before counts with the
// share of it that the last Period still covers. The sum is compared in whole
// numbers, hits × nanoseconds.
func (l *Limit) stepSliding(st *state, now, n int64, take bool) Status {
	w := *st
	l.roll(&w, now)
	period := uint64(l.Period)
	left := uint64(min(w.a+int64(l.Period)-now, int64(l.Period)))
	before := int64(mul(uint64(w.c), left).divUp(period)) // hits, rounded up
	room := max(l.Count-w.b-before, 0)
	s := Status{Limit: l.Count, Allowed: n <= room}
	if s.Allowed {
		if take && n > 0 {
			w.b += n
			room -= n
			*st = w
		}
	} else {
		s.RetryAfter = l.retrySliding(&w, left, n)
	}
	s.Remaining = room
	switch {
	case w.b > 0:
		s.Reset = micros(int64(left + period))
	case w.c > 0:
		s.Reset = micros(int64(left))
	}
	s.Receipt = uint64(w.a)
	return s
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
			return micros(int64(left - min(fits, left)))
		}
	}
	if w.b == 0 {
		return micros(int64(left))
	}
	fits, _ := mul(uint64(l.Count-n), period).div(uint64(w.b))
	return micros(int64(left + period - min(fits, period)))
}

// refundSliding gives n hits back to the window they were taken from, where it still
// counts.
func (l *Limit) refundSliding(st *state, now, n int64, window uint64) bool {
	l.roll(st, now)
	switch {
	case uint64(st.a) == window && st.b > 0:
		st.b = max(st.b-n, 0)
	case uint64(st.a-int64(l.Period)) == window && st.c > 0:
		st.c = max(st.c-n, 0)
	default:
		return false
	}
	return true
}
