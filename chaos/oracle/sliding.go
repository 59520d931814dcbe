package oracle

import "math/big"

// slidingReach bounds what a sliding window admits, window by window. The capacity at t,
// count − admitted before × what is left of the window, only grows within a window: so
// the most that is admitted is the capacity at the latest decision, and the fewest is
// what still fits when every decision comes as early as it can, after as much as can
// have been admitted before.
func (w *windows) slidingReach() Interval {
	var sum, before Interval
	var last int64
	for _, win := range w.order {
		if win.start != last {
			before = Interval{} // the window before had no request
		}
		now := Interval{
			Lo: w.slidingLeast(win, before.Hi),
			Hi: min(win.offered.Hi, w.capacity(win, before.Lo, win.latest)),
		}
		now.Lo = max(min(now.Lo, now.Hi)-win.unknown, 0)
		sum = sum.plus(now)
		before, last = Interval{now.Lo, now.Hi + win.unknown}, win.end
	}
	return sum
}

// capacity returns the hits a window may hold at t after that many in the one before.
func (w *windows) capacity(win *window, before, t int64) int64 {
	left := big.NewInt(min(max(win.end-t, 0), int64(w.limit.Period)))
	period := big.NewInt(int64(w.limit.Period))
	room := new(big.Int).Mul(big.NewInt(w.limit.Count), period)
	room.Sub(room, left.Mul(left, big.NewInt(before)))
	if room.Sign() < 0 {
		return 0
	}
	return room.Quo(room, period).Int64()
}

// slidingLeast returns the fewest hits admitted in a window after before in the one
// before. Requests of several hits are taken hit by hit, from a capacity that is
// smaller by the largest of them: a limiter that decides them whole admits no less.
func (w *windows) slidingLeast(win *window, before int64) int64 {
	var largest int64 = 1
	for _, e := range win.firstSend {
		largest = max(largest, e.N)
	}
	slack := largest
	if largest == 1 {
		slack = 0
	}
	var taken int64
	for _, e := range win.firstSend {
		room := w.capacity(win, before, e.Send-int64(w.cfg.Skew)) - slack - taken
		taken += min(max(room, 0), e.N)
	}
	return taken
}
