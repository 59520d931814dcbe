package bucket

import (
	"math/big"
	"time"
)

// Part returns the limit whose admissions are right of l's Most: windows, logs and
// permits count to right; a bucket has burst right at rate × right ÷ burst. Where that
// rate has no numbers small enough it is rounded down, so that parts whose rights add
// up to Most never admit more than l together. A part is for deciding: its period may
// be one that Validate would not let an operator write.
func (l *Limit) Part(right int64) Limit {
	part := *l
	right = max(right, 0)
	if l.Algorithm != TokenBucket && l.Algorithm != LeakyBucket {
		part.Count = right
		return part
	}
	if right == 0 || l.Count == 0 || l.Burst <= 0 {
		part.Count, part.Burst = 0, 0
		return part
	}
	rate := big.NewRat(l.Count, int64(l.Period))
	rate.Mul(rate, big.NewRat(right, l.Burst))
	count, period := below(rate)
	part.Count, part.Period, part.Burst = count, time.Duration(period), right
	return part
}

// mostPart bounds count and period of a part: their product with what they meet fits
// 128 bits.
const mostPart = 1 << 62

// below returns the largest fraction at or below a positive r whose terms are at most
// mostPart, by a walk down the Stern–Brocot tree: of its neighbours lo <= r < hi, lo is
// the best there is when their sum has grown too large.
func below(r *big.Rat) (num, den int64) {
	if r.Num().Cmp(big.NewInt(mostPart)) <= 0 && r.Denom().Cmp(big.NewInt(mostPart)) <= 0 {
		return r.Num().Int64(), r.Denom().Int64()
	}
	loN, loD, hiN, hiD := new(big.Int), big.NewInt(1), big.NewInt(1), new(big.Int)
	for {
		// Both steps go as far as they can at once: k times hi added to lo while that
		// stays at or below r, then k times lo added to hi while that stays above.
		up := steps(r, loN, loD, hiN, hiD)
		loN.Add(loN, new(big.Int).Mul(up, hiN))
		loD.Add(loD, new(big.Int).Mul(up, hiD))
		down := steps(r, hiN, hiD, loN, loD)
		hiN.Add(hiN, new(big.Int).Mul(down, loN))
		hiD.Add(hiD, new(big.Int).Mul(down, loD))
		if up.Sign() == 0 && down.Sign() == 0 {
			return loN.Int64(), loD.Int64()
		}
	}
}

// steps returns how many times (n, d) can be added to (fromN, fromD) before the terms
// grow too large, or the fraction passes r. It never reaches r, whose terms are larger.
func steps(r *big.Rat, fromN, fromD, n, d *big.Int) *big.Int {
	most := big.NewInt(mostPart)
	k := new(big.Int).Set(most)
	for _, term := range [...][2]*big.Int{{fromN, n}, {fromD, d}} {
		if term[1].Sign() > 0 {
			room := new(big.Int).Sub(most, term[0])
			if room.Div(room, term[1]); room.Cmp(k) < 0 {
				k = room
			}
		}
	}
	// (fromN + k·n) / (fromD + k·d) reaches r at k = gap / pace.
	gap := new(big.Int).Sub(new(big.Int).Mul(r.Num(), fromD), new(big.Int).Mul(r.Denom(), fromN))
	pace := new(big.Int).Sub(new(big.Int).Mul(r.Denom(), n), new(big.Int).Mul(r.Num(), d))
	gap.Abs(gap)
	pace.Abs(pace)
	if pace.Sign() == 0 {
		return k
	}
	if reach := gap.Div(gap, pace); reach.Cmp(k) < 0 {
		k = reach
	}
	return k
}
