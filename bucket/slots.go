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
	last   int64  // latest charge, nanoseconds since the Unix epoch; time does not go back behind it
	rule   uint32 // number of its rule; 0 = the slot is empty; written atomically where touch may see it
	gen    uint32 // raised by a reset
	seq    uint64 // changes so far
}

// slotBytes is the size of a slot.
const slotBytes = 64

// firstSlots is how many slots a partition starts with.
const firstSlots = 8

// How many slots the clock hand passes for each new bucket: with more than one it
// comes round before the slots have doubled; with many, where there is no room left, a
// flood of new keys still costs each of them no more than a microsecond or two.
const (
	looks     = 3
	fullLooks = 128
)

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
	for {
		used := b.used.Load()
		if n > b.most-used {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// A partition is the buckets of one slice of the key space, in open addressing with
// linear probing. Empty slots end a probe, so freeing one moves its followers up.
// All its methods but touch are called with mu held.
type partition struct {
	mu     sync.Mutex
	slots  []slot                 // guarded by mu
	live   int32                  // guarded by mu: slots in use
	hand   int32                  // guarded by mu: the next slot that sweep looks at
	seen   atomic.Pointer[[]slot] // slots, for touch; stored under mu
	rules  *rules
	budget *budget
	arena  arena // guarded by mu
	freed  int64 // guarded by mu: until when buckets were found neutral; no new one begins before

	_ [32]byte // partitions do not share cache lines
}

// home returns where the probe for a bucket begins.
func (p *partition) home(b Hash) int { return homeOf(b, len(p.slots)) }

// homeOf returns where among n slots the probe for a bucket begins. Bits of both halves
// are mixed in, so that names that are no good hashes spread too.
func homeOf(b Hash, n int) int {
	mixed := (b.Hi ^ bits.RotateLeft64(b.Lo, 32)) * 0x9e3779b97f4a7c15
	hi, _ := bits.Mul64(mixed, uint64(n))
	return int(hi)
}

// touch reads the slot where the probe for a bucket begins, to have it in the cache. It
// needs no lock: what it reads it does not use.
func (p *partition) touch(b Hash) {
	if seen := p.seen.Load(); seen != nil {
		slots := *seen
		atomic.LoadUint32(&slots[homeOf(b, len(slots))].rule)
	}
}

// put fills a slot that touch may see.
func (s *slot) put(v *slot) {
	s.bucket, s.state, s.last, s.gen, s.seq = v.bucket, v.state, v.last, v.gen, v.seq
	atomic.StoreUint32(&s.rule, v.rule)
}

// find returns the place of a bucket, -1 where it has none.
func (p *partition) find(b Hash) int {
	slots := p.slots
	if len(slots) == 0 {
		return -1
	}
	for i := p.home(b); ; {
		s := &slots[i]
		if s.bucket == b && s.rule != 0 {
			return i
		}
		if s.rule == 0 {
			return -1
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
}

// room makes sure that one more bucket has a slot. It reports false where memory has
// none and the hand found none to free.
func (p *partition) room(now int64) bool {
	for p.crowded() {
		size := max(firstSlots, len(p.slots)+len(p.slots)/2)
		if p.budget.take(int64(size-len(p.slots)) * slotBytes) {
			p.resize(size)
		} else if p.sweep(now, fullLooks); p.crowded() {
			return false
		}
	}
	return true
}

// crowded reports whether one more bucket would fill more than 7/8 of the slots.
func (p *partition) crowded() bool { return (int(p.live)+1)*8 > len(p.slots)*7 }

// resize moves the buckets to other slots, whose bytes were taken from the budget.
func (p *partition) resize(size int) {
	old, grown := p.slots, make([]slot, size)
	p.slots, p.hand = grown, 0
	for i := range old {
		if old[i].rule != 0 {
			grown[p.vacant(old[i].bucket)] = old[i]
		}
	}
	p.seen.Store(&grown)
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
func (p *partition) add(b Hash, rule uint32) *slot {
	s := &p.slots[p.vacant(b)]
	s.put(&slot{bucket: b, rule: rule})
	p.live++
	return s
}

// remove empties a slot and moves up those whose probe went over it.
func (p *partition) remove(i int) {
	s := &p.slots[i]
	p.rules.get(s.rule).rule.Limit.clear(&s.state, &p.arena)
	p.rules.release(s.rule)
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
			p.slots[i].put(follower)
			i = j
		}
	}
	p.slots[i].put(&slot{})
}

// sweep moves the clock hand over the next slots, at most once round, and frees neutral
// ones. Where it comes round it gives memory back that has become too much. Slots
// move: no place found before is good after it.
func (p *partition) sweep(now int64, looks int) {
	for looks = min(looks, len(p.slots)); looks > 0; looks-- {
		s := &p.slots[p.hand]
		if s.rule != 0 && s.forgettable(&p.rules.get(s.rule).rule.Limit, &p.arena, now) {
			p.freed = max(p.freed, now)
			p.remove(int(p.hand)) // another may have moved here: look again
			continue
		}
		if p.hand++; int(p.hand) == len(p.slots) {
			p.hand = 0
			p.shrink()
		}
	}
}

// shrink gives back what a third of the slots would do without, and an arena that holds
// nothing: else a flood of keys of one kind would keep the room of all others for good.
func (p *partition) shrink() {
	p.arena.trim(p.budget)
	if size := max(firstSlots, 2*int(p.live)); size < len(p.slots)*2/3 {
		p.budget.give(int64(len(p.slots)-size) * slotBytes)
		p.resize(size)
	}
}

// forgettable reports whether a bucket says nothing that a fresh one would not.
func (s *slot) forgettable(l *Limit, a *arena, now int64) bool {
	now = max(now, s.last)
	if s.gen != 0 && now-s.last < resetHold {
		return false
	}
	return l.neutral(&s.state, a, now)
}

// clear empties the partition and gives back its memory.
func (p *partition) clear() {
	for i := range p.slots {
		if number := p.slots[i].rule; number != 0 {
			p.rules.release(number)
		}
	}
	p.budget.give(p.bytes())
	p.slots, p.live, p.hand, p.arena, p.freed = nil, 0, 0, arena{}, 0
	p.seen.Store(nil)
}

// bytes returns what the partition holds.
func (p *partition) bytes() int64 {
	return int64(len(p.slots))*slotBytes + int64(cap(p.arena.cells))*cellBytes
}
