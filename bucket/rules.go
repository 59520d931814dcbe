package bucket

import (
	"sync"
	"sync/atomic"
)

// rules numbers the rules that a store's slots use: four bytes in a slot instead of a
// hundred. A rule has a number while a slot uses it.
type rules struct {
	mu      sync.Mutex
	byValue map[ruleKey]*numbered                      // guarded by mu
	free    []uint32                                   // guarded by mu: numbers no slot uses
	next    uint32                                     // guarded by mu: the first number never used
	list    atomic.Pointer[[]atomic.Pointer[numbered]] // by number; elements and slice are stored under mu
}

// numbered is a rule under its number. A Rule remembers the one it was last known by,
// which may belong to another store or be out of use: owner and refs tell.
type numbered struct {
	rule   *Rule
	owner  *rules
	number uint32
	refs   atomic.Int64 // slots that use it; once 0 for ever 0
}

// retain counts one more slot, unless there is none left.
func (n *numbered) retain() bool {
	for {
		refs := n.refs.Load()
		if refs == 0 {
			return false
		}
		if n.refs.CompareAndSwap(refs, refs+1) {
			return true
		}
	}
}

// A ruleKey is a rule by value, its zone by name.
type ruleKey struct {
	limit    Limit
	zone     string
	hash     Hash
	version  uint64
	failMode FailMode
}

func keyOf(l *Limit, own Hash, version uint64, mode FailMode) ruleKey {
	k := ruleKey{limit: *l, zone: zoneName(l), hash: own, version: version, failMode: mode}
	k.limit.Zone = nil
	return k
}

func (r *Rule) key() ruleKey { return keyOf(&r.Limit, r.Hash, r.Version, r.FailMode) }

func zoneName(l *Limit) string {
	if l.Zone == nil {
		return ""
	}
	return l.Zone.String()
}

func newRules() *rules {
	r := &rules{byValue: map[ruleKey]*numbered{}, next: 1} // number 0 is none
	r.list.Store(new(make([]atomic.Pointer[numbered], 8)))
	return r
}

// get returns the rule of a number that some slot uses. The slot's partition is locked,
// so the number cannot be freed meanwhile.
func (r *rules) get(number uint32) *numbered { return (*r.list.Load())[number].Load() }

// acquire returns the number of a rule, for one more slot.
func (r *rules) acquire(rule *Rule) uint32 {
	if n := rule.known.Load(); n != nil && n.owner == r && n.retain() {
		return n.number
	}
	key := rule.key()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.byValue[key]
	if n == nil || !n.retain() { // the last slot has left it: release waits for mu
		n = r.add(rule, key)
	}
	rule.known.Store(n)
	return n.number
}

// add gives a rule a number of its own, with one slot that uses it. mu is held.
func (r *rules) add(rule *Rule, key ruleKey) *numbered {
	n := &numbered{rule: rule, owner: r}
	if last := len(r.free) - 1; last >= 0 {
		n.number, r.free = r.free[last], r.free[:last]
	} else {
		n.number = r.next
		r.next++
	}
	list := *r.list.Load()
	if int(n.number) >= len(list) {
		grown := make([]atomic.Pointer[numbered], 2*len(list))
		for i := range list {
			grown[i].Store(list[i].Load())
		}
		r.list.Store(&grown)
		list = grown
	}
	n.refs.Store(1)
	list[n.number].Store(n)
	r.byValue[key] = n
	return n
}

// release says that one slot less uses a number.
func (r *rules) release(number uint32) {
	n := r.get(number)
	if n.refs.Add(-1) > 0 {
		return
	}
	key := n.rule.key()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byValue[key] == n {
		delete(r.byValue, key)
	}
	(*r.list.Load())[number].Store(nil)
	r.free = append(r.free, number)
}

// same reports whether a rule is the one that a slot uses, by value.
func (n *numbered) same(rule *Rule) bool {
	if n.rule != rule && n.rule.key() != rule.key() {
		return false
	}
	rule.known.Store(n)
	return true
}

// find returns the rule of a key that slots use, nil for none.
func (r *rules) find(key ruleKey) *Rule {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.byValue[key]; n != nil {
		return n.rule
	}
	return nil
}

// count returns how many rules are in use.
func (r *rules) count() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.byValue))
}
