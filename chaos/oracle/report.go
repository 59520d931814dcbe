package oracle

import "fmt"

// A Report is the judgement of a run.
type Report struct {
	Limits []LimitReport // sorted by name
}

// Exact reports whether nothing was found wrong with any limit.
func (r *Report) Exact() bool {
	for i := range r.Limits {
		if !r.Limits[i].Exact() {
			return false
		}
	}
	return true
}

// Limit returns the report of a limit, nil where no event named it.
func (r *Report) Limit(name string) *LimitReport {
	for i := range r.Limits {
		if r.Limits[i].Name == name {
			return &r.Limits[i]
		}
	}
	return nil
}

// A LimitReport is the judgement of one limit over all its keys.
type LimitReport struct {
	Name      string
	Algorithm Algorithm
	Keys      int // keys with at least one event

	All      Tally // of every answer
	Full     Tally // of those that were not degraded
	Degraded Tally // of those that were

	Offered   int64    // hits asked for
	Admitted  int64    // hits allowed
	Unknown   int64    // hits of calls that failed, which may have been taken
	Reachable Interval // hits that an exact limiter could have admitted

	// Excess is how many hits certainly were admitted beyond the limit, summed over
	// keys and windows; where windows have no edge, the worst moment of each key.
	Excess float64
	// Over estimates the same as a chaos run is judged by: for windows it is Excess,
	// for buckets the smaller of the greatest overflows when the bucket is fed at the
	// times of sending and at those of receiving. Jitter may make it positive.
	Over float64
	// Under is how many hits certainly should have been admitted and were not.
	Under int64

	WorstKey  string // the key with the greatest Excess, empty where there is none
	Findings  []Finding
	MoreFound int // findings beyond those kept
}

// Exact reports whether nothing was found wrong.
func (l *LimitReport) Exact() bool {
	return l.All.FalseAllows == 0 && l.All.FalseDenies == 0 && l.Excess == 0 && l.Under == 0 && l.Reachable.Holds(l.Admitted)
}

// Difference returns how far the admitted hits lie outside what was reachable: negative
// for too few, positive for too many.
func (l *LimitReport) Difference() int64 {
	return max(l.Admitted-l.Reachable.Hi, 0) + min(l.Admitted-l.Reachable.Lo, 0)
}

// A Tally counts decisions.
type Tally struct {
	Allowed     int
	Denied      int
	FalseAllows int // of Allowed: would not have fitted at any moment
	FalseDenies int // of Denied: would have fitted at every moment
	Ambiguous   int // not judged: too close to the edge of a window
}

// add counts one decision.
func (t *Tally) add(allowed bool, v verdict) {
	if allowed {
		t.Allowed++
	} else {
		t.Denied++
	}
	switch {
	case v == ambiguous:
		t.Ambiguous++
	case v == wrong && allowed:
		t.FalseAllows++
	case v == wrong:
		t.FalseDenies++
	}
}

// Accuracy returns the share of decisions that are not wrong, 1 where there are none.
func (t *Tally) Accuracy() float64 {
	if t.Allowed+t.Denied == 0 {
		return 1
	}
	return 1 - float64(t.FalseAllows+t.FalseDenies)/float64(t.Allowed+t.Denied)
}

// An Interval is all whole numbers from Lo to Hi.
type Interval struct{ Lo, Hi int64 }

// Holds reports whether n is in the interval.
func (i Interval) Holds(n int64) bool { return i.Lo <= n && n <= i.Hi }

// String returns "7" or "7–9".
func (i Interval) String() string {
	if i.Lo == i.Hi {
		return fmt.Sprint(i.Lo)
	}
	return fmt.Sprintf("%d–%d", i.Lo, i.Hi)
}

func (i Interval) plus(o Interval) Interval { return Interval{i.Lo + o.Lo, i.Hi + o.Hi} }

// A Kind classes a Finding.
type Kind string

// The kinds of findings.
const (
	FalseDeny  Kind = "false deny"
	FalseAllow Kind = "false allow"
	Excess     Kind = "excess"
	Shortfall  Kind = "shortfall"
)

// A Finding is one thing that an exact limiter would not have done.
type Finding struct {
	Kind   Kind
	Key    string
	Event  uint64 // ID of the event; 0 where it is about a whole key or window
	Detail string
}

// String returns the finding in one line.
func (f Finding) String() string {
	if f.Event == 0 {
		return fmt.Sprintf("%s, key %q: %s", f.Kind, f.Key, f.Detail)
	}
	return fmt.Sprintf("%s, key %q, event %d: %s", f.Kind, f.Key, f.Event, f.Detail)
}

// A verdict is what is said of one decision.
type verdict int

const (
	right verdict = iota
	wrong
	ambiguous
)
