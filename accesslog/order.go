package accesslog

import (
	"container/heap"
	"errors"
	"io"
	"time"
)

// Window is how many lines late a record may stand and still be brought into order.
const Window = 100_000

// A Source gives records one after the other, and io.EOF after the last.
type Source interface {
	Next() (Record, error)
}

// An Orderer gives the records of a source in the order of their timestamps; those
// with the same one keep theirs. It holds one record more than its window has lines.
type Orderer struct {
	src    Source
	window int
	held   records
	seq    int
	end    error // what the source ended with
	newest time.Time
	late   int
}

var (
	_ Source = (*Orderer)(nil)
	_ Source = (*Reader)(nil)
	_ Source = (*Generator)(nil)
)

// NewOrderer returns an Orderer that brings records into order that stand at most
// window lines from their place; [Window] is the usual one.
func NewOrderer(src Source, window int) *Orderer {
	return &Orderer{src: src, window: max(window, 0)}
}

// Next returns the next record in order, or what the source ended with when all
// records before were given.
func (o *Orderer) Next() (Record, error) {
	for o.end == nil && len(o.held) <= o.window { // one more than may come before it
		rec, err := o.src.Next()
		if err != nil {
			o.end = err
			break
		}
		heap.Push(&o.held, numbered{rec, o.seq})
		o.seq++
	}
	if len(o.held) == 0 {
		return Record{}, o.end
	}
	rec := heap.Pop(&o.held).(numbered).Record
	if rec.Time.Before(o.newest) {
		o.late++
	} else {
		o.newest = rec.Time
	}
	return rec, nil
}

// Late returns how many records stood further than the window from their place, and
// came out of order therefore.
func (o *Orderer) Late() int { return o.late }

// A numbered record keeps its place among those of the same time.
type numbered struct {
	Record
	seq int
}

// records is a heap with the oldest record on top.
type records []numbered

func (h records) Len() int { return len(h) }
func (h records) Less(i, j int) bool {
	if c := h[i].Time.Compare(h[j].Time); c != 0 {
		return c < 0
	}
	return h[i].seq < h[j].seq
}
func (h records) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *records) Push(x any)   { *h = append(*h, x.(numbered)) }
func (h *records) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = numbered{}
	*h = old[:len(old)-1]
	return last
}

// All returns the records left in a source, up to its end.
func All(src Source) ([]Record, error) {
	var all []Record
	for {
		rec, err := src.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, rec)
	}
}
