package oracle

import (
	"errors"
	"fmt"
	"time"
)

// An Algorithm is a way to count, by the name that policies use.
type Algorithm string

// The algorithms.
const (
	TokenBucket   Algorithm = "token_bucket"
	LeakyBucket   Algorithm = "leaky_bucket"
	FixedWindow   Algorithm = "fixed_window"
	SlidingWindow Algorithm = "sliding_window"
	SlidingLog    Algorithm = "sliding_log"
	Concurrency   Algorithm = "concurrency"
)

// A Limit is what a limiter was told to hold.
type Limit struct {
	Algorithm Algorithm
	Count     int64          // hits per Period, or permits
	Period    time.Duration  // length of a window, or time in which a bucket gets Count back
	Burst     int64          // of buckets
	MaxWait   time.Duration  // leaky bucket: longest wait before a deny; negative = no bound
	TTL       time.Duration  // concurrency: when a permit frees itself
	Calendar  string         // fixed window of the calendar: minute, hour, day, week, month or year; Period is unused
	Zone      *time.Location // of Calendar; nil = UTC
}

// check reports why a limit cannot be judged.
func (l *Limit) check() error {
	if l.Count < 0 {
		return fmt.Errorf("count %d is negative", l.Count)
	}
	switch l.Algorithm {
	case TokenBucket, LeakyBucket:
		if l.Burst < 1 && l.Count > 0 {
			return fmt.Errorf("burst %d is less than 1", l.Burst)
		}
	case FixedWindow:
		if l.Calendar != "" {
			if _, ok := calendarKeys[l.Calendar]; !ok {
				return fmt.Errorf("unknown calendar unit %q", l.Calendar)
			}
			return nil
		}
	case SlidingWindow, SlidingLog:
	case Concurrency:
		if l.TTL <= 0 {
			return fmt.Errorf("ttl %v is not positive", l.TTL)
		}
		return nil
	default:
		return fmt.Errorf("unknown algorithm %q", l.Algorithm)
	}
	if l.Period <= 0 {
		return fmt.Errorf("period %v is not positive", l.Period)
	}
	return nil
}

// An Event is one decision of one limit on one key, as its client saw it. Times are
// nanoseconds since the Unix epoch by the client's clock. Where a request met several
// limits, an allowed one is an event of each, a denied one of the limit that refused.
type Event struct {
	ID       uint64
	Limit    string // name of the limit, as given to Judge
	Key      string
	N        int64 // hits; events of 0 hits are passed over
	Send     int64
	Recv     int64
	Allowed  bool
	Degraded bool // the answer said so
	// Unknown marks a call that failed or timed out: the hits may have been taken.
	Unknown bool
	// ReleaseSend and ReleaseRecv frame the call that gave an allowed event's permits
	// back; both are 0 where none did, ReleaseRecv alone where its answer is unknown.
	ReleaseSend int64
	ReleaseRecv int64
}

// Config says how far to trust the times.
type Config struct {
	// Skew bounds how far the limiter's clock and the client's may drift apart within
	// a run, and how far their readings may differ at the edge of a window. Too low,
	// and exact limiters look wrong at edges; too high, and faults there are not seen.
	// Default 1ms.
	Skew time.Duration
	// Late bounds how long after its client gave up an unknown call may still take
	// effect. Default 1s.
	Late time.Duration
	// MaxFindings bounds the findings kept for each limit; all are counted. Default 20.
	MaxFindings int
}

func (c Config) withDefaults() Config {
	if c.Skew == 0 {
		c.Skew = time.Millisecond
	}
	if c.Late == 0 {
		c.Late = time.Second
	}
	if c.MaxFindings == 0 {
		c.MaxFindings = 20
	}
	return c
}

// check reports why an event cannot be judged.
func (e *Event) check(limits map[string]Limit) error {
	switch _, ok := limits[e.Limit]; {
	case !ok:
		return fmt.Errorf("limit %q is not one of those to judge by", e.Limit)
	case e.N < 0:
		return fmt.Errorf("%d hits", e.N)
	case e.Recv < e.Send:
		return fmt.Errorf("received %v before it was sent", time.Duration(e.Send-e.Recv))
	case e.ReleaseRecv != 0 && e.ReleaseRecv < e.ReleaseSend:
		return errors.New("released before the release was sent")
	}
	return nil
}
