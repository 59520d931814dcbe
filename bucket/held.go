package bucket

import "time"

// held reads the state of a log or a concurrency limit: a ring of cells in a chunk,
// sorted by time, and the sum of their hits.
//
//	a  place of the chunk, 0 for none
//	b  class of the chunk (8 bits), first cell (20 bits), number of cells (20 bits)
//	c  sum of hits
type held struct {
	place       int64
	class       int
	first, size int
	sum         int64
}

func readHeld(st *state) held {
	b := uint64(st.b)
	return held{place: st.a, class: int(b >> 40), first: int(b >> 20 & 0xfffff), size: int(b & 0xfffff), sum: st.c}
}

func (h *held) write(st *state) {
	st.a, st.b, st.c = h.place, int64(h.class)<<40|int64(h.first)<<20|int64(h.size), h.sum
}

// cells returns the cells of the chunk.
func (h *held) cells(a *arena) []cell {
	if h.place == 0 {
		return nil
	}
	return a.cells[h.place-1 : h.place-1+1<<h.class]
}

// at returns the i-th cell in order of time.
func (h *held) at(a *arena, i int) *cell {
	return &h.cells(a)[(h.first+i)&(1<<h.class-1)]
}

// hitBits of a permit's value are its number of permits; the rest tells it from others.
const hitBits = 14

// hits returns what a cell counts.
func (l *Limit) hits(c *cell) int64 {
	if l.Algorithm == Concurrency {
		return int64(c.val & (1<<hitBits - 1))
	}
	return int64(c.val)
}

// ends returns when a cell stops counting.
func (l *Limit) ends(c *cell) int64 {
	if l.Algorithm == Concurrency {
		return c.at
	}
	return c.at + int64(l.Period)
}

// expire drops the cells that count no longer at now.
func (l *Limit) expire(h *held, a *arena, now int64) {
	for h.size > 0 {
		c := h.at(a, 0)
		if l.ends(c) > now {
			return
		}
		h.sum -= l.hits(c)
		h.first = (h.first + 1) & (1<<h.class - 1)
		h.size--
	}
}

// drop frees the chunk.
func (h *held) drop(a *arena) {
	if h.place != 0 {
		a.release(h.place, h.class)
	}
	*h = held{}
}

// room makes place for one more cell; it reports false where memory has none.
func (h *held) room(a *arena, budget *budget) bool {
	if h.place != 0 && h.size < 1<<h.class {
		return true
	}
	class := max(minClass, h.class+1)
	if h.place == 0 {
		class = minClass
	}
	if class > maxClass {
		return false
	}
	place := a.alloc(class, budget)
	if place == 0 {
		return false
	}
	for i := range h.size {
		a.cells[place-1+int64(i)] = *h.at(a, i)
	}
	size, sum := h.size, h.sum
	h.drop(a)
	*h = held{place: place, class: class, size: size, sum: sum}
	return true
}

// insert puts a cell where its time belongs; room was made before.
func (h *held) insert(a *arena, c cell, hits int64) {
	i := h.size
	h.size++
	for ; i > 0 && h.at(a, i-1).at > c.at; i-- {
		*h.at(a, i) = *h.at(a, i-1)
	}
	*h.at(a, i) = c
	h.sum += hits
}

// remove takes the i-th cell out.
func (h *held) remove(a *arena, i int, hits int64) {
	for ; i < h.size-1; i++ {
		*h.at(a, i) = *h.at(a, i+1)
	}
	h.size--
	h.sum -= hits
	if h.size == 0 {
		h.drop(a)
	}
}

// stepHeld takes n hits of a sliding log, or n permits. receipt names the permits. ok
// is false where they fit but memory has no room to remember them.
func (l *Limit) stepHeld(st *state, a *arena, budget *budget, now, n int64, take bool, receipt uint64) (s Status, ok bool) {
	h := readHeld(st)
	l.expire(&h, a, now)
	ok = true
	s = Status{Limit: l.Count, Allowed: n <= max(l.Count-h.sum, 0)}
	switch {
	case !s.Allowed:
		s.RetryAfter = l.retryHeld(&h, a, now, n)
	case take && n > 0:
		s.Receipt, ok = l.hold(&h, a, budget, now, n, receipt)
		h.write(st)
	}
	s.Remaining = max(l.Count-h.sum, 0)
	if h.size > 0 {
		s.Reset = micros(l.ends(h.at(a, h.size-1)) - now)
	}
	return s, ok
}

// hold remembers n hits and returns their receipt.
func (l *Limit) hold(h *held, a *arena, budget *budget, now, n int64, receipt uint64) (uint64, bool) {
	if l.Algorithm == SlidingLog {
		if h.size > 0 {
			if last := h.at(a, h.size-1); last.at == now {
				last.val += uint64(n)
				h.sum += n
				return uint64(now), true
			}
		}
		if !h.room(a, budget) {
			return 0, false
		}
		h.insert(a, cell{now, uint64(n)}, n)
		return uint64(now), true
	}
	if !h.room(a, budget) {
		return 0, false
	}
	receipt = receipt<<hitBits | uint64(n)
	h.insert(a, cell{now + int64(l.TTL), receipt}, n)
	return receipt, true
}

// retryHeld returns when enough of the cells have ended for n hits to fit.
func (l *Limit) retryHeld(h *held, a *arena, now, n int64) time.Duration {
	if n > l.Count {
		return Never
	}
	sum := h.sum
	for i := range h.size {
		c := h.at(a, i)
		if sum -= l.hits(c); sum <= l.Count-n {
			return micros(l.ends(c) - now)
		}
	}
	return 0
}

// refundLog gives back hits taken at a time.
func refundLog(st *state, a *arena, n int64, at uint64) bool {
	h := readHeld(st)
	for i := h.size - 1; i >= 0; i-- {
		c := h.at(a, i)
		if uint64(c.at) != at {
			continue
		}
		back := min(n, int64(c.val))
		if c.val -= uint64(back); c.val == 0 {
			h.remove(a, i, back)
		} else {
			h.sum -= back
		}
		h.write(st)
		return back > 0
	}
	return false
}

// releasePermits frees the permits of a receipt that are still held at now.
func releasePermits(st *state, a *arena, now int64, receipt uint64) int64 {
	h := readHeld(st)
	for i := range h.size {
		c := h.at(a, i)
		if c.val != receipt {
			continue
		}
		n := int64(c.val & (1<<hitBits - 1))
		live := c.at > now
		h.remove(a, i, n)
		h.write(st)
		if !live {
			return 0
		}
		return n
	}
	return 0
}
