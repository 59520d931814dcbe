package bucket

import (
	"sync"
	"sync/atomic"
)

// rules numbers the rules that slots use: four bytes in a slot instead of a hundred.
// A rule has a number while a slot uses it.
type rules struct {
	mu     sync.Mutex
	number map[ruleKey]uint32                     // guarded by mu
	refs   []int64                                // guarded by mu: slots that use a number
	free   []uint32                               // guarded by mu: numbers no slot uses
	list   atomic.Pointer[[]atomic.Pointer[Rule]] // by number; elements and slice are stored under mu
}

// A ruleKey is a rule by value, its zone by name.
type ruleKey struct {
	limit    Limit
	zone     string
	hash     Hash
	version  uint64
	failMode FailMode
}

func keyOf(r *Rule) ruleKey {
	k := ruleKey{limit: r.Limit, zone: zoneName(&r.Limit), hash: r.Hash, version: r.Version, failMode: r.FailMode}
	k.limit.Zone = nil
	return k
}

func newRules() *rules {
	r := &rules{number: map[ruleKey]uint32{}, refs: make([]int64, 1)}
	r.list.Store(new(make([]atomic.Pointer[Rule], 1))) // number 0 is none
	return r
}

// get returns the rule of a number that some slot uses. The slot's partition is locked,
// so the number cannot be freed meanwhile.
func (r *rules) get(number uint32) *Rule { return (*r.list.Load())[number].Load() }

// acquire returns the number of a rule, for one more slot.
func (r *rules) acquire(rule *Rule) uint32 {
	key := keyOf(rule)
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.number[key]; ok {
		r.refs[n]++
		return n
	}
	n := r.vacant()
	(*r.list.Load())[n].Store(rule)
	r.refs[n], r.number[key] = 1, n
	return n
}

// vacant returns a number that no slot uses. mu is held.
func (r *rules) vacant() uint32 {
	if last := len(r.free) - 1; last >= 0 {
		n := r.free[last]
		r.free = r.free[:last]
		return n
	}
	n := len(r.refs)
	r.refs = append(r.refs, 0)
	if old := *r.list.Load(); n >= len(old) {
		grown := make([]atomic.Pointer[Rule], 2*len(old))
		for i := range old {
			grown[i].Store(old[i].Load())
		}
		r.list.Store(&grown)
	}
	return uint32(n)
}

// release says that one slot less uses a number.
func (r *rules) release(n uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refs[n]--; r.refs[n] == 0 {
		delete(r.number, keyOf(r.get(n)))
		r.free = append(r.free, n)
	}
}

// find returns the rule that slots use for an equal one, nil for none.
func (r *rules) find(rule *Rule) *Rule {
	key := keyOf(rule)
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.number[key]; ok {
		return r.get(n)
	}
	return nil
}

// count returns how many rules are in use.
func (r *rules) count() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.number))
}
