package bucket

import (
	"encoding/binary"

	"github.com/dchest/siphash"
)

// A receipt names what a take took.
//
//	bit 63      the reserve of a full store was charged, not the key's own bucket
//	bits 59-62  generation of the bucket, modulo 16: a reset makes receipts void
//	bits 0-58   a time in nanoseconds, modulo 18 years: of a bucket its arrival time
//	            after the take, of a window its start, of a log the time of the hits
//
// A permit's receipt is, below bit 63, 49 bits that cannot be guessed and, in the lowest
// 14, the number of permits. The zero receipt names nothing.
const (
	timeBits   = 59
	timeMask   = 1<<timeBits - 1
	genMask    = 1<<4 - 1
	ofReserve  = 1 << 63
	permitBits = 14
	permitMask = 1<<permitBits - 1
)

// stamp puts a bucket's generation to the time in a receipt.
func stamp(ns uint64, gen uint32) uint64 { return ns&timeMask | uint64(gen&genMask)<<timeBits }

// stampedBy reports whether a receipt is of a bucket's present generation.
func stampedBy(receipt uint64, gen uint32) bool {
	return uint32(receipt>>timeBits)&genMask == gen&genMask
}

// sameTime reports whether a receipt names a time.
func sameTime(ns int64, receipt uint64) bool { return uint64(ns)&timeMask == receipt&timeMask }

// timeNear returns the time a receipt names: the one from 2 years before now to 16
// years after it.
func timeNear(now int64, receipt uint64) int64 {
	const before = 1 << 56
	from := now - before
	return from + int64((receipt-uint64(from))&timeMask)
}

// permit returns the receipt for n permits: the count of permits given so far, by a
// keyed hash. Who sees his own can tell nothing of another's.
func (s *Store) permit(n int64) uint64 {
	var count [8]byte
	binary.LittleEndian.PutUint64(count[:], s.permits.Add(1))
	return siphash.Hash(s.seed, ^s.seed, count[:])<<permitBits&^ofReserve | uint64(n)
}
