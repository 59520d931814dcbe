package bucket

import "math/bits"

// A wide is an unsigned 128-bit number. Products of a count and a time need it:
// nothing is divided before the end, so nothing is lost.
type wide struct{ hi, lo uint64 }

func mul(a, b uint64) wide {
	hi, lo := bits.Mul64(a, b)
	return wide{hi, lo}
}

func (a wide) add(b wide) wide {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return wide{hi, lo}
}

// sub returns a-b; a must not be less than b.
func (a wide) sub(b wide) wide {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, borrow)
	return wide{hi, lo}
}

func (a wide) cmp(b wide) int {
	switch {
	case a.hi != b.hi:
		if a.hi < b.hi {
			return -1
		}
		return 1
	case a.lo < b.lo:
		return -1
	case a.lo > b.lo:
		return 1
	}
	return 0
}

// div returns quotient and remainder of a/d. A quotient that does not fit is the
// largest there is.
func (a wide) div(d uint64) (q, r uint64) {
	if a.hi == 0 {
		return a.lo / d, a.lo % d
	}
	if a.hi >= d {
		return ^uint64(0), 0
	}
	return bits.Div64(a.hi, a.lo, d)
}

// divUp returns the quotient rounded up.
func (a wide) divUp(d uint64) uint64 {
	q, r := a.div(d)
	if r > 0 {
		q++
	}
	return q
}
