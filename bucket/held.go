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

// hits returns what a cell counts.
func (l *Limit) hits(c *cell) int64 {
	if l.Algorithm == Concurrency {
		return int64(c.val & permitMask)
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
	class := minClass
	if h.place != 0 {
		if h.size < 1<<h.class {
			return true
		}
		class = h.class + 1
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

// remove takes the i-th cell out, moving the fewer of those before and behind it.
func (h *held) remove(a *arena, i int, hits int64) {
	cells, mask := h.cells(a), 1<<h.class-1
	if i < h.size/2 {
		for ; i > 0; i-- {
			cells[(h.first+i)&mask] = cells[(h.first+i-1)&mask]
		}
		h.first = (h.first + 1) & mask
	} else {
		for ; i < h.size-1; i++ {
			cells[(h.first+i)&mask] = cells[(h.first+i+1)&mask]
		}
	}
	h.size--
	h.sum -= hits
	if h.size == 0 {
		h.drop(a)
	}
}

// stepHeld takes n hits of a sliding log, or n permits. ok is false where they fit but
// memory has no room to remember them. Durations are not rounded yet.
func (l *Limit) stepHeld(s *Status, st *state, m *memory, now, n int64, take bool) bool {
	h := readHeld(st)
	l.expire(&h, m.arena, now)
	room := max(l.Count-h.sum, 0)
	*s = Status{Limit: l.Count, Allowed: n <= room}
	switch {
	case !s.Allowed:
		s.RetryAfter = l.retryHeld(&h, m.arena, now, n)
	case take && n > 0:
		receipt, ok := l.hold(&h, m, now, n)
		if !ok {
			return false
		}
		s.Receipt = receipt
		if m.short {
			s.Degraded = Memory
		}
		h.write(st)
		room -= n
	}
	s.Remaining = room
	if h.size > 0 {
		s.Reset = time.Duration(l.ends(h.at(m.arena, h.size-1)) - now)
	}
	return true
}

// hold remembers n hits and returns their receipt. A log that may not grow puts them to
// its newest, whose time becomes theirs: counted too long, but never forgotten.
func (l *Limit) hold(h *held, m *memory, now, n int64) (receipt uint64, ok bool) {
	c := cell{now, uint64(n)}
	if l.Algorithm == Concurrency {
		c = cell{now + int64(l.TTL), m.permit}
	} else if h.size > 0 {
		last := h.at(m.arena, h.size-1)
		if m.short = last.at != now && !h.room(m.arena, m.budget); m.short || last.at == now {
			last.at = now
			last.val += uint64(n)
			h.sum += n
			return uint64(now), true
		}
	}
	if !h.room(m.arena, m.budget) {
		return 0, false
	}
	h.insert(m.arena, c, n)
	if l.Algorithm == Concurrency {
		return m.permit, true
	}
	return uint64(now), true
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
			return time.Duration(l.ends(c) - now)
		}
	}
	return 0
}

// refundLog gives back hits taken at the time of a receipt.
func refundLog(st *state, a *arena, n int64, receipt uint64) bool {
	h := readHeld(st)
	for i := h.size - 1; i >= 0; i-- {
		c := h.at(a, i)
		if !sameTime(c.at, receipt) {
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

// releasePermits frees the permits of a receipt and returns how many were still held at
// now.
func releasePermits(st *state, a *arena, now int64, receipt uint64) int64 {
	h := readHeld(st)
	for i := range h.size {
		c := h.at(a, i)
		if c.val != receipt {
			continue
		}
		n := int64(c.val & permitMask)
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
