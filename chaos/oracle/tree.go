package oracle

import "math"

// A maxTree keeps numbers by place and answers for the greatest of the first few, while
// all numbers up to a place grow together.
type maxTree struct {
	size  int
	top   []float64 // greatest below a node, without what is pending above it
	extra []float64 // pending for all below a node
}

func newMaxTree(values []float64) *maxTree {
	size := 1
	for size < len(values) {
		size *= 2
	}
	t := &maxTree{size: size, top: make([]float64, 2*size), extra: make([]float64, 2*size)}
	for i := range t.top {
		t.top[i] = math.Inf(-1)
	}
	copy(t.top[size:], values)
	for i := size - 1; i > 0; i-- {
		t.top[i] = max(t.top[2*i], t.top[2*i+1])
	}
	return t
}

// addUpTo adds v to the numbers at places 0 to i.
func (t *maxTree) addUpTo(i int, v float64) { t.add(1, 0, t.size, i+1, v) }

// add adds v to the places below end of the node that holds [from, to).
func (t *maxTree) add(node, from, to, end int, v float64) {
	if end <= from {
		return
	}
	if to <= end {
		t.top[node] += v
		t.extra[node] += v
		return
	}
	mid := (from + to) / 2
	t.add(2*node, from, mid, end, v)
	t.add(2*node+1, mid, to, end, v)
	t.top[node] = max(t.top[2*node], t.top[2*node+1]) + t.extra[node]
}

// max returns the greatest number at places before n, or minus infinity for none.
func (t *maxTree) max(n int) float64 { return t.find(1, 0, t.size, n) }

func (t *maxTree) find(node, from, to, end int) float64 {
	if end <= from {
		return math.Inf(-1)
	}
	if to <= end {
		return t.top[node]
	}
	mid := (from + to) / 2
	return max(t.find(2*node, from, mid, end), t.find(2*node+1, mid, to, end)) + t.extra[node]
}
