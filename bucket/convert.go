package bucket

import "math/big"

// convert makes st, kept by old, a state of l, so that an edit of a limit keeps what
// was consumed: used stays used under the same algorithm; another algorithm takes over
// the fraction.
func (l *Limit) convert(old *Limit, st *state, a *arena, budget *budget, now int64, receipt uint64) {
	if sameShape(old, l) || old.neutral(st, now) && old.Algorithm == l.Algorithm {
		return
	}
	used := old.used(st, a, now)
	if old.Algorithm != l.Algorithm {
		used.Mul(used, ratio(l.Most(), old.Most()))
	}
	old.clear(st, a)
	l.setUsed(st, a, budget, now, used, receipt)
}

// sameShape reports whether a state of a is one of b as it stands.
func sameShape(a, b *Limit) bool {
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

// ratio returns num/den, 1 where there is nothing to divide by.
func ratio(num, den int64) *big.Rat {
	if den <= 0 {
		return big.NewRat(1, 1)
	}
	return big.NewRat(num, den)
}

// used returns the hits that count against l at now, as a fraction.
func (l *Limit) used(st *state, a *arena, now int64) *big.Rat {
	switch l.Algorithm {
	case TokenBucket, LeakyBucket:
		if l.Count == 0 {
			return new(big.Rat)
		}
		v := l.backlog(st, now)
		ticks := new(big.Int).SetUint64(v.hi)
		ticks.Lsh(ticks, 64).Or(ticks, new(big.Int).SetUint64(v.lo))
		return new(big.Rat).SetFrac(ticks, big.NewInt(int64(l.Period)))
	case SlidingLog, Concurrency:
		h := readHeld(st)
		l.expire(&h, a, now)
		h.write(st)
		return new(big.Rat).SetInt64(h.sum)
	}
	if l.Count == 0 {
		return new(big.Rat)
	}
	copied := *st
	s, _ := l.step(&copied, a, nil, now, 0, false, 0)
	return new(big.Rat).SetInt64(l.Count - s.Remaining)
}

// setUsed makes a state of l in which used hits, rounded up and at most all, were
// taken at now.
func (l *Limit) setUsed(st *state, a *arena, budget *budget, now int64, used *big.Rat, receipt uint64) {
	if l.Count == 0 || used.Sign() <= 0 {
		return
	}
	most := l.Most()
	if l.Algorithm == TokenBucket || l.Algorithm == LeakyBucket {
		if used.Cmp(big.NewRat(most, 1)) > 0 {
			used = big.NewRat(most, 1)
		}
		ticks := roundUp(new(big.Rat).Mul(used, big.NewRat(int64(l.Period), 1)))
		lo := new(big.Int).And(ticks, new(big.Int).SetUint64(^uint64(0)))
		l.setBacklog(st, now, wide{new(big.Int).Rsh(ticks, 64).Uint64(), lo.Uint64()})
		return
	}
	n := most
	if up := roundUp(used); up.IsInt64() {
		n = min(most, up.Int64())
	}
	l.step(st, a, budget, now, n, true, receipt)
}

func roundUp(r *big.Rat) *big.Int {
	n := new(big.Int).Add(r.Num(), r.Denom())
	n.Sub(n, big.NewInt(1))
	return n.Div(n, r.Denom())
}

func zoneName(l *Limit) string {
	if l.Zone == nil {
		return ""
	}
	return l.Zone.String()
}
