package oracle

import (
	"cmp"
	"slices"
	"sort"
)

// A series is hits at times, summed up from the first on.
type series struct {
	points []point
}

type point struct{ t, sum int64 }

// add adds hits; sort makes the sums.
func (s *series) add(t, n int64) { s.points = append(s.points, point{t, n}) }

func (s *series) sort() {
	slices.SortStableFunc(s.points, func(a, b point) int { return cmp.Compare(a.t, b.t) })
	var sum int64
	for i := range s.points {
		sum += s.points[i].sum
		s.points[i].sum = sum
	}
}

// before returns the hits at times before t.
func (s *series) before(t int64) int64 {
	return s.sumOf(sort.Search(len(s.points), func(i int) bool { return s.points[i].t >= t }))
}

// upTo returns the hits at times up to t.
func (s *series) upTo(t int64) int64 {
	return s.sumOf(sort.Search(len(s.points), func(i int) bool { return s.points[i].t > t }))
}

func (s *series) sumOf(n int) int64 {
	if n == 0 {
		return 0
	}
	return s.points[n-1].sum
}

// An occupancy is how many hits count at each moment, made of spans.
type occupancy struct{ series }

// span adds n hits that count from the moment from on and no longer at end.
func (o *occupancy) span(from, end, n int64) {
	if end > from {
		o.add(from, n)
		o.add(end, -n)
	}
}

// least returns the fewest hits that count at a moment in [from, to].
func (o *occupancy) least(from, to int64) int64 {
	low := o.upTo(from)
	o.within(from, to, func(v int64) { low = min(low, v) })
	return low
}

// most returns the most hits that count at a moment in [from, to].
func (o *occupancy) most(from, to int64) int64 {
	high := o.upTo(from)
	o.within(from, to, func(v int64) { high = max(high, v) })
	return high
}

// within calls f with the hits at every moment in (from, to] at which they change.
func (o *occupancy) within(from, to int64, f func(hits int64)) {
	i := sort.Search(len(o.points), func(i int) bool { return o.points[i].t > from })
	for ; i < len(o.points) && o.points[i].t <= to; i++ {
		if i+1 == len(o.points) || o.points[i+1].t != o.points[i].t {
			f(o.points[i].sum)
		}
	}
}
