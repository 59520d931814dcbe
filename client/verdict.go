package client

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// An Attribute is one thing known about a request. Names are 1 to 64 characters of
// A-Z a-z 0-9 _ . : - and values 1 to 2,048 bytes of UTF-8.
type Attribute struct{ Key, Value string }

// Attr returns an Attribute.
func Attr(key, value string) Attribute { return Attribute{key, value} }

// A Request is what a client asks about.
type Request struct {
	// Domain of the policies.
	Domain string
	// Attributes, at most 32 and no key twice. One with an empty value is left out:
	// what is not known about a request is not an attribute of it.
	Attributes []Attribute
	// Hits is what the request costs; 0 means 1.
	Hits uint32
	// Peek asks whether the hits would fit and consumes nothing.
	Peek bool
}

// Bounds of what is sent; a node has more.
const (
	maxName  = 64   // bytes of a domain or an attribute's key
	maxValue = 2048 // bytes of an attribute's value
)

// malformed returns why a request cannot be sent, or not beside others, as the status a
// node would give it: what is not UTF-8 gRPC cannot encode, and what is too large a node
// does not read. nil = it can.
func (r *Request) malformed() error {
	if why := malformed(r.Domain, maxName); why != "" {
		return status.Error(codes.InvalidArgument, "domain: "+why)
	}
	for i, a := range r.Attributes {
		if why := malformed(a.Key, maxName); why != "" {
			return status.Errorf(codes.InvalidArgument, "attributes[%d].key: %s", i, why)
		}
		if why := malformed(a.Value, maxValue); why != "" {
			return status.Errorf(codes.InvalidArgument, "attributes[%d].value: %s", i, why)
		}
	}
	return nil
}

// malformed says what is wrong with a text of at most so many bytes, "" for nothing.
func malformed(s string, most int) string {
	switch {
	case len(s) > most:
		return fmt.Sprintf("has %d bytes: give at most %d", len(s), most)
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	}
	return ""
}

func (r *Request) proto() *weirv1.CheckRequest {
	p := &weirv1.CheckRequest{Domain: r.Domain, Hits: r.Hits, Peek: r.Peek}
	p.Attributes = make([]*weirv1.Attribute, 0, len(r.Attributes))
	for _, a := range r.Attributes {
		if a.Value != "" {
			p.Attributes = append(p.Attributes, &weirv1.Attribute{Key: a.Key, Value: a.Value})
		}
	}
	return p
}

// A Reason says why a verdict is what it is.
type Reason string

// The reasons.
const (
	OK          Reason = "ok"          // every limit that applies had room
	Limited     Reason = "limited"     // a limit had no room
	NoPolicy    Reason = "no_policy"   // nothing enforces, or the domain is unknown: allowed
	Blocked     Reason = "blocked"     // by a list
	Exempt      Reason = "exempt"      // unlimited: allowed
	Unavailable Reason = "unavailable" // nobody in reach may decide, and fail_mode denies
)

// Never is the RetryAfter of a request that can never be admitted: it asks for more
// than the limit holds at most.
const Never time.Duration = -1

// A Permit is a place taken in a concurrency limit. It is opaque.
type Permit []byte

// A LimitStatus is what one limit says of a request.
type LimitStatus struct {
	Allowed   bool   // whether this limit had room
	Policy    string // empty where no limit decided
	LimitName string
	Algorithm string // token_bucket, leaky_bucket, fixed_window, sliding_window, sliding_log or concurrency
	Limit     uint64 // most hits that can be had at once
	Remaining uint64 // hits that would still fit
	Reset     time.Duration
	// RetryAfter is the time until this very request would fit if nothing else comes;
	// 0 when it does, Never when it cannot.
	RetryAfter time.Duration
	Wait       time.Duration // time to the request's turn at a leaky bucket
	Degraded   bool          // something else than the full owner decided
	// DegradedReason says what did: unleased, replica, own_right, open, closed or memory.
	DegradedReason string
	Shadow         bool   // the policy only reports
	Permit         Permit // for Release; nil where nothing is held
}

// A Verdict is the answer to one request. The embedded status is that of the limit
// that decided, with the Wait that is the longest of all; its names and numbers are
// unset when none did.
type Verdict struct {
	LimitStatus
	Reason        Reason
	PolicyVersion uint64
	Others        []LimitStatus // the other limits charged, shadow ones too
	Err           error         // of one item of a batch: it was not decided, all else is unset
}

// Permits returns all places the request took in concurrency limits.
func (v *Verdict) Permits() []Permit {
	var held []Permit
	if len(v.Permit) > 0 {
		held = append(held, v.Permit)
	}
	for i := range v.Others {
		if len(v.Others[i].Permit) > 0 {
			held = append(held, v.Others[i].Permit)
		}
	}
	return held
}

func verdict(r *weirv1.CheckResponse) Verdict {
	if e := r.GetError(); e != nil {
		message := e.GetMessage()
		if e.GetField() != "" {
			message = e.GetField() + ": " + message
		}
		return Verdict{Err: status.Error(codes.Code(uint32(e.GetCode())), message)}
	}
	v := Verdict{
		LimitStatus: LimitStatus{
			Allowed: r.GetAllowed(), Policy: r.GetPolicy(), LimitName: r.GetLimitName(),
			Algorithm: word(r.GetAlgorithm().String(), "ALGORITHM_"),
			Limit:     r.GetLimit(), Remaining: r.GetRemaining(),
			Reset: duration(r.GetReset_()), RetryAfter: duration(r.GetRetryAfter()), Wait: duration(r.GetWait()),
			Degraded: r.GetDegraded(), DegradedReason: word(r.GetDegradedReason().String(), "DEGRADED_REASON_"),
			Permit: r.GetPermit(),
		},
		Reason:        Reason(word(r.GetReason().String(), "REASON_")),
		PolicyVersion: r.GetPolicyVersion(),
	}
	for _, o := range r.GetOthers() {
		v.Others = append(v.Others, LimitStatus{
			Allowed: o.GetAllowed(), Policy: o.GetPolicy(), LimitName: o.GetLimitName(),
			Algorithm: word(o.GetAlgorithm().String(), "ALGORITHM_"),
			Limit:     o.GetLimit(), Remaining: o.GetRemaining(),
			Reset: duration(o.GetReset_()), RetryAfter: duration(o.GetRetryAfter()), Wait: duration(o.GetWait()),
			Degraded: o.GetDegraded(), DegradedReason: word(o.GetDegradedReason().String(), "DEGRADED_REASON_"),
			Shadow: o.GetMode() == weirv1.Mode_MODE_SHADOW, Permit: o.GetPermit(),
		})
	}
	return v
}

// word returns the word for the name of an enum value: limited for REASON_LIMITED, and
// nothing for the unspecified one.
func word(name, prefix string) string {
	name = strings.TrimPrefix(name, prefix)
	if name == "UNSPECIFIED" {
		return ""
	}
	return strings.ToLower(name)
}

// duration returns seconds of the protocol, which are whole microseconds, as a
// Duration that is never shorter. Negative ones are Never.
func duration(seconds float64) time.Duration {
	if seconds < 0 {
		return Never
	}
	us := math.Round(seconds * 1e6)
	if us/1e6 < seconds {
		us++
	}
	if us >= math.MaxInt64/1e3 {
		return math.MaxInt64
	}
	return time.Duration(us) * time.Microsecond
}
