package oracle

import (
	"container/heap"
	"math"
)

// fewest picks hits that fit together wherever in their calls they were decided, in the
// order of sending. A limiter that admits requests of one hit whenever they fit admits
// no fewer. One that takes requests of several hits whole denies only above the brim
// for the largest, so its level, and what drained from it, is never below that of a
// limiter of that brim which takes requests in parts.
func (g *gcra) fewest() int64 {
	brim := g.brim(1) + 1
	if n := g.largest(g.limit.Burst); n > 1 {
		brim = max(g.brim(n), 0)
	}
	var open ends // picked, and maybe decided up to t
	var fed, added float64
	var picked int64
	last := g.origin
	for i := range g.events {
		e := &g.events[i]
		if e.Unknown || e.N > g.limit.Burst {
			continue
		}
		sent := e.Send - int64(g.cfg.Skew)
		for len(open) > 0 && open[0].t <= sent {
			o := heap.Pop(&open).(ending)
			fed = g.drain(fed, o.t-last) + float64(o.n)
			added -= float64(o.n)
			last = o.t
		}
		level := g.drain(fed, max(sent-last, 0)) + added
		if n := min(int64(math.Floor(brim-level+tiny)), e.N); n > 0 {
			heap.Push(&open, ending{e.Recv, n})
			added += float64(n)
			picked += n
		}
	}
	return picked
}

// greatest serves what was asked for as a bucket could at best: at any moment the call
// that ends first of those under way. Hits of requests of several are served in parts
// of any size, which is never worse.
func (g *gcra) greatest() int64 {
	skew := int64(g.cfg.Skew)
	s := server{g: g, last: g.origin - skew}
	serve := s.whole
	if g.largest(g.limit.Burst) > 1 {
		serve = s.parts
	}
	for i := range g.events {
		e := &g.events[i]
		if e.Unknown || e.N > g.limit.Burst {
			continue
		}
		from := e.Send - skew
		serve(from)
		s.advance(from)
		heap.Push(&s.open, call{e.Recv + skew, float64(e.N)})
	}
	serve(math.MaxInt64)
	return int64(math.Floor(s.served + tiny))
}

// A server serves calls under way from a bucket.
type server struct {
	g      *gcra
	open   calls
	level  float64 // at last
	last   int64
	served float64
}

// A call asks for hits until t; calls is a heap with the one that ends first on top.
type call struct {
	t    int64
	hits float64
}

type calls []call

func (h calls) Len() int           { return len(h) }
func (h calls) Less(i, j int) bool { return h[i].t < h[j].t }
func (h calls) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *calls) Push(x any)        { *h = append(*h, x.(call)) }
func (h *calls) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// advance lets the bucket drain until t.
func (s *server) advance(t int64) {
	if t > s.last {
		s.level, s.last = s.g.drain(s.level, t-s.last), t
	}
}

// whole serves calls of one hit each, until a time.
func (s *server) whole(until int64) {
	for len(s.open) > 0 {
		turn := s.last
		if short := s.level + 1 - s.g.full; short > tiny {
			turn += int64(math.Ceil(short / s.g.rate))
		}
		switch {
		case turn > s.open[0].t:
			heap.Pop(&s.open) // it ends before its turn
		case turn > until:
			return
		default:
			s.advance(turn)
			s.level++
			s.served++
			heap.Pop(&s.open)
		}
	}
}

// parts serves calls of any number of hits, until a time, as a stream.
func (s *server) parts(until int64) {
	for len(s.open) > 0 {
		c := &s.open[0]
		if c.t < s.last {
			heap.Pop(&s.open)
			continue
		}
		n := min(c.hits, max(s.g.full-s.level, 0))
		s.level += n
		end := min(c.t, until)
		if c.hits > n { // the bucket is full: the rest flows as it drains
			flow := min(c.hits-n, s.g.rate*float64(end-s.last))
			s.last += int64(math.Ceil(flow / s.g.rate))
			n += flow
		}
		s.served += n
		c.hits -= n
		switch {
		case c.hits < tiny || s.last >= c.t:
			heap.Pop(&s.open)
		case s.last >= until:
			return
		}
	}
}
