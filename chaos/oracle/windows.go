package oracle

import (
	"fmt"
	"math/big"
	"slices"
	"time"
)

// windows judges fixed windows and sliding windows, which count by the same grid.
type windows struct {
	*history
	grid   grid
	byTime map[int64]*window // by start
	order  []*window         // by start
}

// A window holds what may have been decided in one window of the grid. Events too
// close to its edge to tell are possible here and in the window beside it.
type window struct {
	start, end int64
	sent       series // admissions possible here, by the time they were sent
	received   series // admissions certain here, by the time they were answered

	offered   Interval // hits asked for, certain and possible
	admitted  Interval // hits admitted, certain and possible
	unknown   int64    // hits of calls that failed, possible here
	firstSend []*Event // events certain here, by Send
	latest    int64    // latest moment at which something may have been decided here

}

func newWindows(h *history) *windows {
	w := &windows{history: h, grid: grid{limit: h.limit}, byTime: map[int64]*window{}}
	for i := range h.events {
		w.place(&h.events[i])
	}
	for _, win := range w.byTime {
		win.sent.sort()
		win.received.sort()
		w.order = append(w.order, win)
	}
	slices.SortFunc(w.order, func(a, b *window) int { return int(min(max(a.start-b.start, -1), 1)) })
	return w
}

// span returns the first and the last window that an event may belong to.
func (w *windows) span(e *Event) (first, last int64) {
	first, _ = w.grid.window(e.Send - int64(w.cfg.Skew))
	last, _ = w.grid.window(e.Recv + int64(w.cfg.Skew))
	return first, last
}

// place adds an event to the windows that it may belong to.
func (w *windows) place(e *Event) {
	first, last := w.span(e)
	for at := first; at <= last; {
		win := w.byTime[at]
		if win == nil {
			start, end := w.grid.window(at)
			win = &window{start: start, end: end}
			w.byTime[at] = win
		}
		win.add(e, first == last, w.limit.Count, w.cfg.Skew)
		at = win.end
	}
}

func (win *window) add(e *Event, certain bool, most int64, skew time.Duration) {
	if e.Allowed || e.Unknown {
		win.sent.add(e.Send, e.N)
	}
	if e.Unknown {
		win.unknown += e.N
		return
	}
	win.latest = max(win.latest, min(e.Recv+int64(skew), win.end))
	if e.N <= most {
		win.offered.Hi += e.N
	}
	if e.Allowed {
		win.admitted.Hi += e.N
	}
	if !certain {
		return
	}
	if e.N <= most {
		win.offered.Lo += e.N
		win.firstSend = append(win.firstSend, e)
	}
	if e.Allowed {
		win.admitted.Lo += e.N
		win.received.add(e.Recv, e.N)
	}
}

func (w *windows) decision(i int) (verdict, string) {
	e := &w.events[i]
	first, last := w.span(e)
	if first != last {
		return ambiguous, ""
	}
	win := w.byTime[first]
	if e.Allowed {
		taken := win.received.before(e.Send) // not the event itself: it was not answered yet
		if weight := w.weight(win, e.Recv+int64(w.cfg.Skew), true); !w.fits(taken, e.N, weight) {
			return wrong, fmt.Sprintf("%d hits allowed where at least %d of %d were taken%s", e.N, taken, w.limit.Count, w.carried(weight))
		}
		return right, ""
	}
	taken := win.sent.upTo(e.Recv)
	if weight := w.weight(win, e.Send-int64(w.cfg.Skew), false); w.fits(taken, e.N, weight) {
		return wrong, fmt.Sprintf("%d hits denied where at most %d of %d were taken%s", e.N, taken, w.limit.Count, w.carried(weight))
	}
	return right, ""
}

func (w *windows) carried(weight *big.Int) string {
	if weight.Sign() == 0 {
		return ""
	}
	carried, _ := new(big.Rat).SetFrac(weight, big.NewInt(int64(w.limit.Period))).Float64()
	return fmt.Sprintf(" and %.3f carried over", carried)
}

// weight returns how much of the window before counts at t, in hits × nanoseconds: its
// certain or its possible admissions times what is left of this window. Fixed windows
// carry nothing over.
func (w *windows) weight(win *window, t int64, certain bool) *big.Int {
	if w.limit.Algorithm != SlidingWindow {
		return new(big.Int)
	}
	prev := w.byTime[win.start-int64(w.limit.Period)]
	if prev == nil {
		return new(big.Int)
	}
	hits := prev.admitted.Hi + prev.unknown
	if certain {
		hits = prev.admitted.Lo
	}
	left := min(max(win.end-t, 0), int64(w.limit.Period))
	return new(big.Int).Mul(big.NewInt(hits), big.NewInt(left))
}

// fits reports whether n more hits fit a window in which taken are, beside what is
// carried over.
func (w *windows) fits(taken, n int64, weight *big.Int) bool {
	if weight.Sign() == 0 {
		return taken+n <= w.limit.Count
	}
	period := big.NewInt(int64(w.limit.Period))
	sum := new(big.Int).Mul(big.NewInt(taken+n), period)
	sum.Add(sum, weight)
	return sum.Cmp(new(big.Int).Mul(big.NewInt(w.limit.Count), period)) <= 0
}

// reachable: a fixed window admits all or fills up; see slidingReach for the other.
func (w *windows) reachable() Interval {
	if w.limit.Algorithm == SlidingWindow {
		return w.slidingReach()
	}
	var sum Interval
	for _, win := range w.order {
		sum = sum.plus(Interval{win.least(w.limit.Count), min(win.offered.Hi, w.limit.Count)})
	}
	return sum
}

// least returns the fewest hits that an exact limiter of most admits in the window. It
// denies n hits only where less than n are left, so that fewer than the largest request
// are left in the end.
func (win *window) least(most int64) int64 {
	var largest int64 = 1
	for _, e := range win.firstSend {
		largest = max(largest, e.N)
	}
	return max(min(win.offered.Lo, most-largest+1), 0)
}

func (w *windows) excess() (sum float64, where string) {
	for _, win := range w.order {
		if over := win.admitted.Lo - w.limit.Count; over > 0 {
			sum += float64(over)
			where = fmt.Sprintf("%d of %d admitted in the window from %s", win.admitted.Lo, w.limit.Count, time.Unix(0, win.start).UTC().Format(time.RFC3339Nano))
		}
	}
	return sum, where
}

func (w *windows) over() float64 {
	sum, _ := w.excess()
	return sum
}
