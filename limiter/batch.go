package limiter

import (
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster"
	"github.com/weir-io/weir/policy"
)

// A Reason says why a verdict is what it is. The numbers are those of the wire
// protocol.
type Reason uint8

const (
	OK          Reason = iota + 1
	Limited            // a limit had no room
	NoPolicy           // nothing enforces: allowed
	Blocked            // by a list
	Exempt             // unlimited
	Unavailable        // nobody in reach may decide, fail_mode denies
)

// A Request is what a client asks about.
type Request struct {
	Domain     string
	Attributes []policy.Attribute // Check brings client_ip to one spelling in place
	Hits       int64              // 0 = 1
	Peek       bool
	Err        *Error // set by a front door that could not read the request: passed on
}

// A LimitStatus is one limit charged and what its bucket says.
type LimitStatus struct {
	bucket.Status
	Policy *policy.CompiledPolicy
	Limit  *policy.CompiledLimit
	Hash   bucket.Hash // H of the key
	Shadow bool
}

// A Verdict is the answer to one request. Limits points into the batch and is
// valid until the batch is reused.
type Verdict struct {
	Err      *Error // set instead of all else
	Allowed  bool
	Reason   Reason
	Degraded bucket.Degraded
	Wait     time.Duration // the longest of all
	Deciding int           // place in Limits of the limit that decided, -1 for none
	Limits   []LimitStatus // every limit charged, in document order
}

// A Batch is requests and their verdicts, in the same order, with all the memory
// it takes to get from one to the other. The zero Batch is ready; Reset makes it
// ready again.
type Batch struct {
	Requests []Request
	Verdicts []Verdict
	Version  uint64 // policy version of the verdicts

	choice   policy.Choice
	limits   []LimitStatus
	decision cluster.Batch
}
