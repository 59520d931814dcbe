package bucket

import "math/big"

// A usage is what a state counts, in terms that other limits understand.
type usage struct {
	hits  *big.Rat // a bucket's may be broken
	most  int64    // of how many
	until int64    // when none of them counts any more
}

// convert makes st, kept by old, a state of l, so that an edit of a limit keeps what
// was consumed: used stays used under the same algorithm; another algorithm takes over
// the fraction. Where memory has no room for the new state it reports false and st
// stays old's. permit names permits.
func (l *Limit) convert(old *Limit, st *state, m *memory, now int64, permit func(n int64) uint64) bool {
	old.settle(st, m.arena, now) // a longer period must not count what was over
	if sameShape(old, l) {
		return true
	}
	if old.neutral(st, m.arena, now) {
		old.clear(st, m.arena)
		return true
	}
	u := old.used(st, m.arena, now)
	if most := l.Most(); old.Algorithm != l.Algorithm && most > 0 && u.most > 0 {
		u.hits.Mul(u.hits, big.NewRat(most, u.most))
		u.hits = least(u.hits, most)
	}
	var fresh state
	if !l.adopt(&fresh, m, now, u, permit) {
		return false
	}
	old.clear(st, m.arena)
	*st = fresh
	return true
}

// sameShape reports whether a state of a is one of b as it stands.
func sameShape(a, b *Limit) bool {
	if a.shut() || b.shut() {
		return a.shut() && b.shut()
	}
	if a.Algorithm != b.Algorithm {
		return false
	}
	switch a.Algorithm {
	case FixedWindow:
		return a.Period == b.Period && a.Calendar == b.Calendar && zoneName(a) == zoneName(b)
	case SlidingWindow:
		return a.Period == b.Period
	case TokenBucket, LeakyBucket:
		return a.Period == b.Period && a.Count == b.Count
	default:
		return true // cells carry their own times
	}
}

// used returns what a state that is not neutral counts at now. More than there is now
// may be used, of a limit that was lowered.
func (l *Limit) used(st *state, a *arena, now int64) usage {
	u := usage{most: l.Most()}
	var n int64
	switch {
	case l.shut():
		u.until, n, u.most = st.a, st.b, st.c
	case l.drains():
		v, ns := l.backlog(st, now)
		u.until = now + ns
		u.hits = new(big.Rat).SetFrac(v.big(), big.NewInt(int64(l.Period)))
		return u
	case l.Algorithm == FixedWindow:
		u.until, n = st.c, st.b
	case l.Algorithm == SlidingWindow:
		w := *st
		l.roll(&w, now)
		left, before := l.share(&w, now)
		u.until, n = now+left, w.b+before
		if w.b > 0 {
			u.until += int64(l.Period)
		}
	default:
		h := readHeld(st)
		u.until, n = l.ends(h.at(a, h.size-1)), h.sum
	}
	u.hits = new(big.Rat).SetInt64(n)
	return u
}

// adopt makes a fresh state of l one that counts u, rounded up. A bucket takes over no
// more than all it has: at a slower rate more would be a debt without end.
func (l *Limit) adopt(st *state, m *memory, now int64, u usage, permit func(n int64) uint64) bool {
	if !l.shut() && l.drains() {
		u.hits = least(u.hits, l.Burst)
		l.setBacklog(st, now, toWide(roundUp(u.hits.Mul(u.hits, big.NewRat(int64(l.Period), 1)))))
		return true
	}
	n := roundUp(least(u.hits, MaxCount)).Int64()
	switch {
	case l.shut():
		st.a, st.b, st.c = u.until, n, u.most
	case l.Algorithm == FixedWindow:
		st.a, st.c = l.window(now)
		st.b = n
	case l.Algorithm == SlidingWindow:
		st.a, _ = gridWindow(l.Period, now)
		st.b = n
	default:
		n = min(n, MaxHeld)
		var h held
		if l.Algorithm == Concurrency {
			m.permit = permit(n)
		}
		if _, ok := l.hold(&h, m, now, n); !ok {
			return false
		}
		h.write(st)
	}
	return true
}

func least(r *big.Rat, n int64) *big.Rat {
	if most := new(big.Rat).SetInt64(n); r.Cmp(most) > 0 {
		return most
	}
	return r
}

func roundUp(r *big.Rat) *big.Int {
	n := new(big.Int).Add(r.Num(), r.Denom())
	n.Sub(n, big.NewInt(1))
	return n.Div(n, r.Denom())
}

// big returns a as a number of any size.
func (a wide) big() *big.Int {
	n := new(big.Int).SetUint64(a.hi)
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(a.lo))
}

// toWide returns a number that fits a wide as one.
func toWide(n *big.Int) wide {
	lo := new(big.Int).And(n, new(big.Int).SetUint64(^uint64(0)))
	return wide{hi: new(big.Int).Rsh(n, 64).Uint64(), lo: lo.Uint64()}
}
