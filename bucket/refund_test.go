package bucket

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// replay returns the backlog of a bucket in nanoseconds after takes at their times.
func replay(l *Limit, takes [][2]int64, now int64) *big.Rat {
	tat := new(big.Rat)
	for _, t := range takes {
		at := new(big.Rat).SetInt64(t[0])
		if tat.Cmp(at) < 0 {
			tat = at
		}
		tat = new(big.Rat).Add(tat, new(big.Rat).Mul(big.NewRat(int64(l.Period), l.Count), new(big.Rat).SetInt64(t[1])))
	}
	v := tat.Sub(tat, new(big.Rat).SetInt64(now))
	if v.Sign() < 0 {
		return new(big.Rat)
	}
	return v
}

// A refund never leaves a bucket with more than if what is given back had never been
// taken, to the nanosecond; given back before others took, or while the bucket was
// always in use, it leaves exactly that.
func TestRefundGivesBackWhatIsLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Limit{Algorithm: TokenBucket, Count: rapid.Int64Range(1, 20).Draw(t, "count"), Period: time.Duration(rapid.Int64Range(1, 60).Draw(t, "period")), Burst: 100}
		now := int64(1e18)
		var (
			st       state
			takes    [][2]int64
			receipts []uint64
			last     int64
		)
		for range rapid.IntRange(1, 8).Draw(t, "takes") {
			now += rapid.Int64Range(0, 40).Draw(t, "wait")
			n := rapid.Int64Range(1, 10).Draw(t, "hits")
			var s Status
			if l.stepGCRA(&s, &st, now, n, true); !s.Allowed {
				continue
			}
			takes, receipts, last = append(takes, [2]int64{now, n}), append(receipts, s.Receipt), now
		}
		i := rapid.IntRange(0, len(takes)-1).Draw(t, "which")
		now += rapid.Int64Range(0, 40).Draw(t, "until refund")
		full := replay(&l, takes, now)
		gave := l.refundGCRA(&st, now, last, takes[i][1], timeNear(now, receipts[i]))
		without := append(append([][2]int64{}, takes[:i]...), takes[i+1:]...)
		least := replay(&l, without, now)
		v, _ := l.backlog(&st, now)
		got := new(big.Rat).SetFrac(v.big(), big.NewInt(l.Count))
		if diff := new(big.Rat).Sub(least, got); diff.Cmp(big.NewRat(1, 1)) >= 0 {
			t.Fatalf("%v ns of backlog after the refund of take %d of %v at %d, want at least %v", got, i, takes, now, least)
		}
		if got.Cmp(full) > 0 || gave != (got.Cmp(full) < 0) {
			t.Fatalf("refund %v: backlog from %v to %v", gave, full, got)
		}
		if i == len(takes)-1 && got.Cmp(least) != 0 {
			t.Fatalf("%v ns of backlog after the newest take was given back, want %v", got, least)
		}
	})
}

// A receipt names its time over all that a bucket may be ahead, and its generation.
func TestReceipts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := rapid.Int64Range(0, latest).Draw(t, "now")
		ns := now + rapid.Int64Range(-int64(2*366*24*time.Hour), int64(MaxFull)).Draw(t, "ahead")
		gen := rapid.Uint32().Draw(t, "gen")
		r := stamp(uint64(ns), gen)
		if got := timeNear(now, r); got != ns {
			t.Fatalf("the time of a receipt is %d, want %d", got, ns)
		}
		if !sameTime(ns, r) || sameTime(ns+1, r) || !stampedBy(r, gen) || stampedBy(r, gen+1) || r&ofReserve != 0 {
			t.Fatalf("receipt %x of %d in generation %d", r, ns, gen)
		}
	})
	s, seen := NewStore(Config{Seed: 1}), map[uint64]bool{}
	other := NewStore(Config{Seed: 2})
	for range 10_000 {
		r := s.permit(MaxHeld)
		if seen[r] || r&permitMask != MaxHeld || r&ofReserve != 0 || other.permit(MaxHeld) == r {
			t.Fatalf("permit %x", r)
		}
		seen[r] = true
	}
}
