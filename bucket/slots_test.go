package bucket

import (
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

func TestSlotIsACacheLineWithoutPointers(t *testing.T) {
	if got := unsafe.Sizeof(slot{}); got != slotBytes {
		t.Errorf("a slot has %d bytes, want %d", got, slotBytes)
	}
	if got := unsafe.Sizeof(cell{}); got != cellBytes {
		t.Errorf("a cell has %d bytes, want %d", got, cellBytes)
	}
	if got := unsafe.Sizeof(partition{}); got%64 != 0 {
		t.Errorf("a partition has %d bytes, want whole cache lines", got)
	}
	if got := unsafe.Offsetof(partition{}.arena); got != 64 {
		t.Errorf("what a warm charge needs of a partition has %d bytes, want one cache line", got)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[slot](), reflect.TypeFor[cell]()} {
		if holdsPointer(typ) {
			t.Errorf("a %v has pointers", typ)
		}
	}
}

func holdsPointer(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.Struct:
		for f := range typ.Fields() {
			if holdsPointer(f.Type) {
				return true
			}
		}
		return false
	case reflect.Int64, reflect.Uint64, reflect.Uint32:
		return false
	}
	return true
}

func newPartition(most int64) *partition {
	return &partition{rules: newRules(), budget: &budget{most: most}}
}

// The table finds what a map finds, however buckets come, go and share a home.
func TestSlotsAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, want := newPartition(1<<20), map[Hash]uint64{}
		rule := &Rule{Limit: Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 1}}
		name := rapid.Custom(func(t *rapid.T) Hash {
			return Hash{uint64(rapid.IntRange(0, 5).Draw(t, "hi")) << 61, uint64(rapid.IntRange(0, 20).Draw(t, "lo"))}
		})
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			h := name.Draw(t, "bucket")
			i := p.find(h)
			if _, ok := want[h]; ok != (i >= 0) || ok && p.slots[i].seq != want[h] {
				t.Fatalf("bucket %v at %d, the map says %v", h, i, ok)
			}
			if i >= 0 {
				p.remove(i)
				delete(want, h)
				continue
			}
			if !p.room(0) {
				t.Fatal("no room")
			}
			want[h] = rapid.Uint64().Draw(t, "value")
			p.add(h, p.rules.acquire(rule)).seq = want[h]
		}
		got := map[Hash]uint64{}
		for i := range p.slots {
			if p.slots[i].rule != 0 {
				got[p.slots[i].bucket] = p.slots[i].seq
			}
		}
		if !maps.Equal(got, want) || int(p.live) != len(want) || p.budget.used.Load() != p.bytes() {
			t.Fatalf("%d live, %v, want %v; budget %d of %d", p.live, got, want, p.budget.used.Load(), p.bytes())
		}
		if n := p.rules.count(); n > 1 || n == 0 && len(want) > 0 {
			t.Fatalf("%d rules in use by %d buckets", n, len(want))
		}
	})
}

// The hand frees what is neutral and nothing else.
func TestSweepFreesNeutralOnly(t *testing.T) {
	for _, l := range []Limit{
		{Algorithm: TokenBucket, Count: 10, Period: time.Second, Burst: 10},
		{Algorithm: FixedWindow, Count: 10, Period: time.Second},
		{Algorithm: SlidingWindow, Count: 10, Period: time.Second},
		{Algorithm: SlidingLog, Count: 10, Period: time.Second},
		{Algorithm: Concurrency, Count: 10, TTL: time.Second},
	} {
		s := NewStore(Config{Memory: 16 << 20})
		p := &s.partitions[0]
		r := &Rule{Limit: l}
		const start = int64(1e18)
		for i := range int64(100) {
			c := []Charge{{Hash: Hash{Hi: rand.Uint64()}, Rule: r, Hits: 5}}
			s.Take(start+i*int64(10*time.Millisecond), c, make([]Status, 1))
		}
		for _, after := range []time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond, 3 * time.Second} {
			now := start + int64(after)
			var want []Hash
			for _, sl := range p.slots {
				if sl.rule == 0 {
					continue
				}
				fresh := Status{}
				m := memory{arena: &p.arena, budget: p.budget}
				l.step(&fresh, &sl.state, &m, max(now, sl.last), 1, false)
				if fresh.Remaining != 10 || fresh.Reset != 0 {
					want = append(want, sl.bucket)
				}
			}
			for range 8 { // what it frees counts as looked at too, and it shrinks the slots
				p.sweep(now, math.MaxInt)
			}
			var got []Hash
			for _, sl := range p.slots {
				if sl.rule != 0 {
					got = append(got, sl.bucket)
				}
			}
			byHi := func(a, b Hash) int { return new(big.Int).SetUint64(a.Hi).Cmp(new(big.Int).SetUint64(b.Hi)) }
			slices.SortFunc(got, byHi)
			slices.SortFunc(want, byHi)
			if !slices.Equal(got, want) {
				t.Errorf("%v after %v: %d buckets left, want %d", l.Algorithm, after, len(got), len(want))
			}
		}
		if p.live != 0 || len(p.slots) > firstSlots*3/2 || cap(p.arena.cells) != 0 {
			t.Errorf("%v: %d buckets, %d slots, %d cells in an idle partition", l.Algorithm, p.live, len(p.slots), cap(p.arena.cells))
		}
	}
}

// Chunks in use never overlap, and their budget is what they take.
func TestArena(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a arena
		b := &budget{most: 4096 * cellBytes}
		type chunk struct {
			place int64
			class int
		}
		var held []chunk
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if len(held) > 0 && rapid.Bool().Draw(t, "free") {
				i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				for j := range int64(1) << held[i].class {
					if got := a.cells[held[i].place-1+j].val; got != uint64(held[i].place) {
						t.Fatalf("chunk at %d was written over by the one at %d", held[i].place, got)
					}
				}
				a.release(held[i].place, held[i].class)
				held = slices.Delete(held, i, i+1)
				continue
			}
			class := rapid.IntRange(minClass, 8).Draw(t, "class")
			place := a.alloc(class, b)
			if place == 0 {
				continue
			}
			for j := range int64(1) << class {
				a.cells[place-1+j].val = uint64(place)
			}
			held = append(held, chunk{place, class})
		}
		if used := b.used.Load(); used != int64(cap(a.cells))*cellBytes || used > b.most {
			t.Fatalf("budget says %d, the arena has %d, at most %d", used, int64(cap(a.cells))*cellBytes, b.most)
		}
	})
}

// Wide numbers agree with numbers of any size.
func TestWide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 3), rapid.Uint64Range(math.MaxUint64-3, math.MaxUint64))
		a, b := wide{word.Draw(t, "a.hi") >> 1, word.Draw(t, "a.lo")}, wide{word.Draw(t, "b.hi") >> 1, word.Draw(t, "b.lo")}
		if got, want := a.add(b).big(), new(big.Int).Add(a.big(), b.big()); got.Cmp(want) != 0 {
			t.Fatalf("%v + %v = %v, want %v", a, b, got, want)
		}
		if got, want := a.cmp(b), a.big().Cmp(b.big()); got != want {
			t.Fatalf("%v against %v = %d, want %d", a, b, got, want)
		}
		if a.cmp(b) >= 0 {
			if got, want := a.sub(b).big(), new(big.Int).Sub(a.big(), b.big()); got.Cmp(want) != 0 {
				t.Fatalf("%v - %v = %v, want %v", a, b, got, want)
			}
		}
		if got := toWide(a.big()); got != a {
			t.Fatalf("%v there and back = %v", a, got)
		}
		d := max(word.Draw(t, "d"), 1)
		q, r := a.div(d)
		wantQ, wantR := new(big.Int).QuoRem(a.big(), new(big.Int).SetUint64(d), new(big.Int))
		if wantQ.IsUint64() && (q != wantQ.Uint64() || r != wantR.Uint64()) || !wantQ.IsUint64() && q != math.MaxUint64 {
			t.Fatalf("%v / %d = %d rest %d, want %v rest %v", a, d, q, r, wantQ, wantR)
		}
	})
}

// The rules' numbers are counted right while many goroutines share them.
func TestRulesInParallel(t *testing.T) {
	r := newRules()
	done := make(chan struct{})
	for g := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range 2000 {
				rule := &Rule{Version: uint64((i + g) % 7)} // equal to those of others by value
				n := r.acquire(rule)
				if got := r.get(n).rule; got.Version != rule.Version {
					t.Errorf("number %d is version %d, want %d", n, got.Version, rule.Version)
				}
				if again := r.acquire(rule); again != n {
					t.Errorf("numbers %d and %d for one rule", n, again)
				} else {
					r.release(again)
				}
				r.release(n)
			}
		}()
	}
	for range 4 {
		<-done
	}
	if n := r.count(); n != 0 || len(*r.list.Load()) > 64 {
		t.Errorf("%d rules in use, %d numbers", n, len(*r.list.Load()))
	}
}

// A bucket that was reset stays known while receipts from before may come.
func TestResetIsRemembered(t *testing.T) {
	s := NewStore(Config{Memory: 1 << 20})
	c := []Charge{{Rule: &Rule{Limit: Limit{Algorithm: TokenBucket, Count: 10, Period: time.Second, Burst: 10}}, Hits: 1}}
	const start = int64(1e18)
	s.Take(start, c, make([]Status, 1))
	s.Reset(start, &c[0])
	p := s.of(&c[0])
	if p.sweep(start+resetHold-1, math.MaxInt); p.live != 1 {
		t.Error("forgotten at once")
	}
	if p.sweep(start+resetHold, math.MaxInt); p.live != 0 {
		t.Error("never forgotten")
	}
}
