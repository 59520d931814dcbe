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

// The reasons.
const (
	OK          Reason = iota + 1
	Limited            // a limit had no room
	NoPolicy           // nothing enforces: allowed
	Blocked            // by a list
	Exempt             // unlimited
	Unavailable        // nobody in reach may decide, fail_mode denies
)

var reasonNames = [...]string{"", "ok", "limited", "no_policy", "blocked", "exempt", "unavailable"}

// String returns the word that clients see, as "no_policy".
func (r Reason) String() string { return reasonNames[r] }

var degradedNames = [...]string{"", "unleased", "replica", "own_right", "open", "closed", "memory"}

// DegradedName returns the word that clients see for d, as "own_right"; empty when
// the full owner decided.
func DegradedName(d bucket.Degraded) string { return degradedNames[d] }

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

	first, end int32 // its limits within the batch
}

// A Batch is requests and their verdicts, in the same order, with all the memory
// it takes to get from one to the other. The zero Batch is ready; Reset makes it
// ready again.
type Batch struct {
	Requests []Request
	Verdicts []Verdict
	Version  uint64 // policy version of the verdicts

	choice   policy.Choice
	limits   []LimitStatus // of all verdicts, one for each charge of decision
	decision cluster.Batch
	checked  checked
	tally    tally
	lazy     *lazyDeadline
}

// maxKept is the most charges whose memory a Batch keeps: those of 10,000 requests under
// a few limits each, some 13 MB.
const maxKept = 1 << 16

// Reset forgets requests and verdicts and keeps their memory, unless it has become
// very much.
func (b *Batch) Reset() {
	if cap(b.limits) > maxKept {
		b.limits, b.decision = nil, cluster.Batch{}
		clear(b.Verdicts[:cap(b.Verdicts)]) // they point to the limits
	}
	b.Requests, b.Verdicts, b.Version = b.Requests[:0], b.Verdicts[:0], 0
}

// begin makes room for the verdicts of the requests.
func (b *Batch) begin(version uint64) {
	b.Version = version
	b.Verdicts = b.Verdicts[:0]
	b.limits = b.limits[:0]
	b.decision.Items, b.decision.Charges = b.decision.Items[:0], b.decision.Charges[:0]
	b.checked = checked{}
}
