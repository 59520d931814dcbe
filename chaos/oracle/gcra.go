package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// gcra judges token and leaky buckets by their level: the hits admitted that did not
// drain yet. The level is computed in floating point; times count from the first event,
// so that the error stays far below what drains within the skew.
type gcra struct {
	*history
	origin int64
	rate   float64 // hits that drain in a nanosecond
	full   float64 // highest level that an exact limiter reaches

	highest []level   // level after each change if all that may have come had come as late as it can
	lowest  []float64 // of every event: level at the end of its call if only what certainly came before had, as early as it can
	spill   float64   // most that certainly was above the brim
	spillAt int64
}

// A level holds at t and drains from then on.
type level struct {
	t     int64
	fed   float64 // drains
	added float64 // of calls that are under way, does not drain yet
}

func newGCRA(h *history) *gcra {
	g := &gcra{history: h, rate: float64(h.limit.Count) / float64(h.limit.Period)}
	if h.limit.Count == 0 {
		g.limit.Burst = 0
	}
	g.origin = h.events[0].Send
	for i := range h.events {
		if n := h.events[i].N; g.brim(n) >= 0 {
			g.full = max(g.full, g.brim(n)+float64(n))
		}
	}
	g.traceHighest()
	g.traceLowest()
	return g
}

// brim returns the level up to which n hits are admitted.
func (g *gcra) brim(n int64) float64 {
	room := float64(g.limit.Burst - n)
	if g.limit.Algorithm == LeakyBucket && g.limit.MaxWait >= 0 {
		room = min(room, g.rate*float64(g.limit.MaxWait))
	}
	return room
}

// tiny is more hits than any error of rounding makes.
const tiny = 1e-6

// margin is what drains within the skew.
func (g *gcra) margin() float64 { return g.rate*float64(g.cfg.Skew) + tiny }

// drain returns what is left of a level after a time.
func (g *gcra) drain(v float64, ns int64) float64 {
	return max(v-g.rate*float64(ns), 0)
}

// traceHighest follows the level that is reached when every admission comes at the end
// of its call: until then it is added without draining.
func (g *gcra) traceHighest() {
	type change struct {
		t, n int64
		ends bool
	}
	var changes []change
	for i := range g.events {
		if e := &g.events[i]; e.Allowed || e.Unknown {
			changes = append(changes, change{e.Send, e.N, false}, change{e.Recv, e.N, true})
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(a.t, b.t) })
	now := level{t: g.origin}
	for _, c := range changes {
		now.fed = g.drain(now.fed, c.t-now.t)
		now.t = c.t
		if c.ends {
			now.fed += float64(c.n)
			now.added -= float64(c.n)
		} else {
			now.added += float64(c.n)
		}
		g.highest = append(g.highest, now)
	}
}

// most returns the highest level at a moment in [from, to].
func (g *gcra) most(from, to int64) float64 {
	i := sort.Search(len(g.highest), func(i int) bool { return g.highest[i].t > from })
	high := 0.0
	if i > 0 {
		l := g.highest[i-1]
		high = g.drain(l.fed, from-l.t) + l.added
	}
	for ; i < len(g.highest) && g.highest[i].t <= to; i++ {
		high = max(high, g.highest[i].fed+g.highest[i].added)
	}
	return high
}

// traceLowest computes for every event the level that certainly is left when its call
// ends: of what was answered before it was sent, fed when that was sent. An admission
// known later was fed earlier, so the level is a maximum over all possible beginnings:
// the hits fed since, less what drained since.
func (g *gcra) traceLowest() {
	g.lowest = make([]float64, len(g.events))
	starts := make([]float64, len(g.events))
	byRecv := make([]int, len(g.events))
	for i := range g.events {
		starts[i] = g.rate * float64(g.events[i].Send-g.origin)
		byRecv[i] = i
	}
	slices.SortFunc(byRecv, func(a, b int) int { return cmp.Compare(g.events[a].Recv, g.events[b].Recv) })
	known := newMaxTree(starts)
	next := 0
	for i := range g.events {
		e := &g.events[i]
		for ; next < len(byRecv) && g.events[byRecv[next]].Recv < e.Send; next++ {
			g.learn(known, byRecv[next])
		}
		g.lowest[i] = known.max(i) - g.rate*float64(e.Recv+int64(g.cfg.Skew)-g.origin)
	}
	for ; next < len(byRecv); next++ {
		g.learn(known, byRecv[next])
	}
}

// learn feeds an event that was answered now, and notes whether that spills.
func (g *gcra) learn(known *maxTree, i int) {
	e := &g.events[i]
	if !e.Allowed {
		return
	}
	known.addUpTo(i, float64(e.N))
	sent := sort.Search(len(g.events), func(i int) bool { return g.events[i].Send > e.Recv })
	v := known.max(sent) - g.rate*float64(e.Recv+int64(g.cfg.Skew)-g.origin)
	if over := v - g.full; over > max(g.spill, tiny) {
		g.spill, g.spillAt = over, e.Recv
	}
}

func (g *gcra) decision(i int) (verdict, string) {
	e := &g.events[i]
	brim := g.brim(e.N)
	if e.Allowed {
		if low := max(g.lowest[i], 0); low > brim+tiny {
			return wrong, fmt.Sprintf("%d hits allowed where the level was never below %.3f; they fit up to %.3f", e.N, low, brim)
		}
		return right, ""
	}
	if high := g.most(e.Send, e.Recv); high <= brim-g.margin() || high == 0 && brim >= 0 {
		return wrong, fmt.Sprintf("%d hits denied where the level was never above %.3f; they fit up to %.3f", e.N, high, brim)
	}
	return right, ""
}

func (g *gcra) excess() (float64, string) {
	if g.spill == 0 {
		return 0, ""
	}
	return g.spill, fmt.Sprintf("%.3f hits above the brim of %.3f", g.spill, g.full)
}

// over feeds the bucket at the times of sending, and at those of receiving.
func (g *gcra) over() float64 {
	overflow := func(at func(e *Event) int64) float64 {
		var feed []ending
		for i := range g.events {
			if e := &g.events[i]; e.Allowed {
				feed = append(feed, ending{at(e), e.N})
			}
		}
		slices.SortFunc(feed, func(a, b ending) int { return cmp.Compare(a.t, b.t) })
		var v, over float64
		last := g.origin
		for _, f := range feed {
			v = g.drain(v, f.t-last) + float64(f.n)
			last = f.t
			over = max(over, v-g.full)
		}
		return over
	}
	return min(overflow(func(e *Event) int64 { return e.Send }), overflow(func(e *Event) int64 { return e.Recv }))
}

func (g *gcra) reachable() Interval {
	if g.limit.Count == 0 {
		return Interval{}
	}
	return Interval{g.fewest(), g.greatest()}
}
