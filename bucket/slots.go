package bucket

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// A slot is one bucket: a cache line without pointers.
type slot struct {
	bucket Hash   // H of the key xor the limit's own hash
	state  state  // as the limit's algorithm reads it
	last   int64  // latest charge, nanoseconds since the Unix epoch
	rule   uint32 // number of its rule; 0 = the slot is empty
	gen    uint32 // raised by a reset
	seq    uint64 // changes so far
}

// slotBytes is the size of a slot.
const slotBytes = 64

// firstSlots is how many slots a partition starts with.
const firstSlots = 8

// resetHold is how long a bucket that was reset stays known, so that receipts from
// before the reset are refused: longer than any hold of a charge.
const resetHold = int64(10e9)

// A budget is bytes that several partitions share.
type budget struct {
	used atomic.Int64
	most int64
}

// take reports whether n more bytes were to be had.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) <= b.most {
		return true
	}
	b.used.Add(-n)
	return false
}

// A partition is the buckets of one slice of the key space, in open addressing with
// linear probing. Empty slots end a probe, so freeing one moves its followers up.
type partition struct {
	mu    sync.Mutex
	slots []slot // guarded by mu
	live  int    // guarded by mu: slots in use
	hand  int    // guarded by mu: the next slot that sweep looks at
	arena arena  // guarded by mu

	_ [24]byte // partitions do not share cache lines
}

// home returns where the probe for a bucket begins. The upper half of a hash is
// independent of the partition, which is made from the lower.
func (p *partition) home(b Hash) int {
	hi, _ := bits.Mul64(b.Hi, uint64(len(p.slots)))
	return int(hi)
}

// find returns the place of a bucket, -1 where it has none. mu is held.
func (p *partition) find(b Hash) int {
	if len(p.slots) == 0 {
		return -1
	}
	for i := p.home(b); ; {
		s := &p.slots[i]
		if s.rule == 0 {
			return -1
		}
		if s.bucket == b {
			return i
		}
		if i++; i == len(p.slots) {
			i = 0
		}
	}
}

// room makes sure that n more buckets have a slot. It reports false where memory has
// none and nothing can be freed. mu is held.
func (p *partition) room(n int, now int64, rules *rules, budget *budget) bool {
	for (p.live+n)*8 > len(p.slots)*7 {
		if !p.grow(budget) && !p.sweep(now, rules, len(p.slots), n) {
			return false
		}
	}
	return true
}

// grow makes the slots half as many again.
func (p *partition) grow(budget *budget) bool {
	size := max(firstSlots, len(p.slots)+len(p.slots)/2)
	if !budget.take(int64(size-len(p.slots)) * slotBytes) {
		return false
	}
	old := p.slots
	p.slots, p.hand = make([]slot, size), 0
	for i := range old {
		if old[i].rule != 0 {
			p.slots[p.vacant(old[i].bucket)] = old[i]
		}
	}
	return true
}

// vacant returns the first empty slot of a bucket's probe.
func (p *partition) vacant(b Hash) int {
	i := p.home(b)
	for p.slots[i].rule != 0 {
		if i++; i == len(p.slots) {
			i = 0
		}
	}
	return i
}

// add gives a bucket that has none a slot; room was made before.
func (p *partition) add(b Hash, rule uint32) int {
	i := p.vacant(b)
	p.slots[i] = slot{bucket: b, rule: rule}
	p.live++
	return i
}

// remove empties a slot and moves up those whose probe went over it.
func (p *partition) remove(i int, rules *rules) {
	s := &p.slots[i]
	rule := rules.get(s.rule)
	rule.Limit.clear(&s.state, &p.arena)
	rules.release(s.rule)
	p.live--
	n := len(p.slots)
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		follower := &p.slots[j]
		if follower.rule == 0 {
			break
		}
		// A follower may move to i unless its home lies between the two, past i.
		if home := p.home(follower.bucket); (j-home+n)%n >= (j-i+n)%n {
			p.slots[i] = *follower
			i = j
		}
	}
	p.slots[i] = slot{}
}

// sweep looks at the next slots and frees neutral ones, until enough are free or looks
// run out. It reports whether it freed any. mu is held.
func (p *partition) sweep(now int64, rules *rules, looks, enough int) bool {
	freed := 0
	for ; looks > 0 && freed < enough && p.live > 0; looks-- {
		if p.hand >= len(p.slots) {
			p.hand = 0
		}
		s := &p.slots[p.hand]
		if s.rule != 0 && s.forgettable(rules.get(s.rule), &p.arena, now) {
			p.remove(p.hand, rules) // another may have moved here: look again
			freed++
			continue
		}
		p.hand++
	}
	return freed > 0
}

// forgettable reports whether a bucket says nothing that a fresh one would not.
func (s *slot) forgettable(rule *Rule, a *arena, now int64) bool {
	now = max(now, s.last)
	if s.gen != 0 && now-s.last < resetHold {
		return false
	}
	rule.Limit.settle(&s.state, a, now)
	return rule.Limit.neutral(&s.state, now)
}

// bytes returns what the partition holds.
func (p *partition) bytes() int64 {
	return int64(len(p.slots))*slotBytes + int64(cap(p.arena.cells))*cellBytes
}
