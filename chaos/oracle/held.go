package oracle

import (
	"container/heap"
	"fmt"
	"math"
	"slices"
	"time"
)

// held judges limits that remember each admission for a while: sliding logs, where it
// counts for a period, and permits, which count until released or for their ttl.
type held struct {
	*history
	possible occupancy // what may count
	certain  occupancy // what certainly counts, each admission from after its answer on
}

func newHeld(h *history) *held {
	o := &held{history: h}
	for i := range h.events {
		e := &h.events[i]
		if e.Allowed || e.Unknown {
			first, last := o.end(e)
			o.possible.span(e.Send, last, e.N)
			if e.Allowed {
				o.certain.span(e.Recv+1, first, e.N)
			}
		}
	}
	o.possible.sort()
	o.certain.sort()
	return o
}

// end returns when an admission stops counting: at the earliest, and at the latest.
func (o *held) end(e *Event) (first, last int64) {
	length, skew := int64(o.limit.Period), int64(o.cfg.Skew)
	if o.limit.Algorithm == Concurrency {
		length = int64(o.limit.TTL)
	}
	first, last = e.Send+length-skew, e.Recv+length+skew
	if e.ReleaseSend != 0 && o.limit.Algorithm == Concurrency {
		first = min(first, e.ReleaseSend)
		if e.ReleaseRecv != 0 {
			last = min(last, max(e.ReleaseRecv, e.Send))
		}
	}
	return first, last
}

func (o *held) decision(i int) (verdict, string) {
	e := &o.events[i]
	if e.Allowed {
		if n := o.certain.least(e.Send, e.Recv); n > o.limit.Count-e.N {
			return wrong, fmt.Sprintf("%d hits allowed where never less than %d of %d were taken", e.N, n, o.limit.Count)
		}
		return right, ""
	}
	if n := o.possible.most(e.Send, e.Recv); n <= o.limit.Count-e.N {
		return wrong, fmt.Sprintf("%d hits denied where never more than %d of %d were taken", e.N, n, o.limit.Count)
	}
	return right, ""
}

func (o *held) excess() (float64, string) {
	var most, at int64
	for _, p := range o.certain.points {
		if p.sum > most {
			most, at = p.sum, p.t
		}
	}
	if most <= o.limit.Count {
		return 0, ""
	}
	return float64(most - o.limit.Count), fmt.Sprintf("%d of %d taken at %s", most, o.limit.Count, time.Unix(0, at).UTC().Format(time.RFC3339Nano))
}

func (o *held) over() float64 {
	sum, _ := o.excess()
	return sum
}

// reachable returns what a sliding log could have admitted of requests of one hit. What
// can be had of permits depends on how long those were held that were not given, and
// logs of several hits have no simple bound.
func (o *held) reachable() Interval {
	if o.limit.Algorithm == Concurrency || o.largest(o.limit.Count) > 1 {
		return unreachable
	}
	return Interval{o.logLeast(), o.logMost()}
}

// logLeast picks requests that fit together wherever in their calls they were decided:
// each is within a period of less than count others that may come before it. A limiter
// that admits whatever fits admits no fewer, since hits all count for equally long.
func (o *held) logLeast() int64 {
	var picked int64
	var open ends
	for i := range o.events {
		e := &o.events[i]
		if e.Unknown {
			continue
		}
		horizon := e.Send - int64(o.limit.Period) - int64(o.cfg.Skew)
		for len(open) > 0 && open[0].t <= horizon {
			heap.Pop(&open)
		}
		if int64(len(open)) < o.limit.Count {
			heap.Push(&open, ending{t: e.Recv, n: e.N})
			picked++
		}
	}
	return picked
}

// offsets is how many ways of cutting time into periods logMost tries.
const offsets = 64

// logMost cuts time into periods: each admits at most the count and at most what may
// have been asked for in it. Every way to cut is a bound; the smallest one counts.
func (o *held) logMost() int64 {
	known := slices.DeleteFunc(slices.Clone(o.events), func(e Event) bool { return e.Unknown })
	if len(known) == 0 {
		return 0
	}
	var best int64 = math.MaxInt64
	for i := range min(offsets, len(known)) {
		best = min(best, o.cutAt(known, known[i*len(known)/min(offsets, len(known))].Send-int64(o.cfg.Skew)))
	}
	return best
}

// cutAt returns the bound by periods that are counted from origin.
func (o *held) cutAt(events []Event, origin int64) int64 {
	period, skew := int64(o.limit.Period), int64(o.cfg.Skew)
	cut := func(t int64) int64 { return int64(math.Floor(float64(t-origin) / float64(period))) }
	asked := map[int64]int64{}
	for i := range events {
		e := &events[i]
		for c := cut(e.Send - skew); c <= cut(e.Recv+skew); c++ {
			asked[c] += e.N
		}
	}
	var sum int64
	for _, n := range asked {
		sum += min(n, o.limit.Count)
	}
	return min(sum, total(events))
}

func total(events []Event) (n int64) {
	for i := range events {
		n += events[i].N
	}
	return n
}

// An ending is hits that matter until t; ends is a heap with the earliest on top.
type ending struct{ t, n int64 }

type ends []ending

func (h ends) Len() int           { return len(h) }
func (h ends) Less(i, j int) bool { return h[i].t < h[j].t }
func (h ends) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *ends) Push(x any)        { *h = append(*h, x.(ending)) }
func (h *ends) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
