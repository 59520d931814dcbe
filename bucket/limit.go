package bucket

import (
	"sync/atomic"
	"time"
)

// An Algorithm is a way to count. The numbers are those of the wire protocol.
type Algorithm uint8

const (
	TokenBucket Algorithm = iota + 1
	LeakyBucket
	FixedWindow
	SlidingWindow
	SlidingLog
	Concurrency
)

// A Calendar unit is the length of a fixed window that follows the calendar of
// a zone. The zero Calendar is none. The numbers are those of the wire protocol.
type Calendar uint8

const (
	Minute Calendar = iota + 1
	Hour
	Day
	Week // from Monday
	Month
	Year
)

// A FailMode says what decides when neither the owner nor anyone acting for it
// can. The numbers are those of the wire protocol.
type FailMode uint8

const (
	FailLocal  FailMode = iota + 1 // the asked node's share of the limit
	FailOpen                       // allow and count nothing
	FailClosed                     // deny
)

// MaxHeld is the largest count of a sliding log and the most permits of a
// concurrency limit.
const MaxHeld = 10_000

// A Limit is one algorithm with its numbers. Limits are comparable; two equal
// ones count alike. Fields an algorithm does not use are zero.
type Limit struct {
	Algorithm Algorithm
	Calendar  Calendar       // fixed window only; Period is 0 then
	Count     int64          // COUNT of the rate, or permits; 0 denies everything
	Period    time.Duration  // PERIOD of the rate
	Burst     int64          // token and leaky bucket
	MaxWait   time.Duration  // leaky bucket; -1 = no bound
	TTL       time.Duration  // concurrency
	Zone      *time.Location // set where Calendar is
}

// A Rule is a Limit as charges name it. Rules are immutable and used by pointer;
// the store may remember in them under which number it keeps them.
type Rule struct {
	Limit    Limit
	Hash     Hash   // the limit's own hash: a bucket is its key's hash xor this
	Version  uint64 // policy version that gave the numbers; the newer one wins at a bucket
	FailMode FailMode

	number atomic.Uint32 // the store's index of this rule, 0 before it has one
}

// A Charge asks one bucket for hits.
type Charge struct {
	Hash   Hash  // H of the key; its partition is the bucket's partition
	Rule   *Rule // never nil
	Hits   int64 // >= 0; 0 peeks
	Shadow bool  // denies nothing, taken only where the enforcing charges are
}

// Never is the RetryAfter of hits that fit at no time.
const Never time.Duration = -1

// Degraded says by what a charge was decided when its full owner did not decide
// it. The zero value is: the owner did. The numbers are those of the wire protocol.
type Degraded uint8

const (
	Unleased Degraded = iota + 1 // the owner, without a node lease
	Replica                      // the replica
	OwnRight                     // the asked node, on its share of the limit
	Open                         // fail_mode open, counting nothing
	Closed                       // fail_mode closed
	Memory                       // no room for a new bucket
)

// A Status is what a bucket says to a charge. Durations are rounded up to the
// microsecond: who waits that long finds what was promised.
type Status struct {
	Allowed    bool
	Degraded   Degraded
	Limit      int64         // the most that can be had at once
	Remaining  int64         // hits that would fit now
	Reset      time.Duration // until Remaining = Limit, if nothing more comes
	RetryAfter time.Duration // until the hits would fit; 0 when allowed, or Never
	Wait       time.Duration // leaky bucket: until the request's turn
	Receipt    uint64        // what Refund and Release need to find what was taken
}
