package oracle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Judge judges events by the limits they name. Events may come in any order; they are
// not changed. The error names an event or a limit that cannot be judged.
func Judge(limits map[string]Limit, events []Event, cfg Config) (*Report, error) {
	cfg = cfg.withDefaults()
	for name, l := range limits {
		if err := l.check(); err != nil {
			return nil, fmt.Errorf("limit %q: %w", name, err)
		}
	}
	type bucket struct{ limit, key string }
	groups := map[bucket][]Event{}
	for i := range events {
		e := &events[i]
		if err := e.check(limits); err != nil {
			return nil, fmt.Errorf("event %d: %w", e.ID, err)
		}
		if e.N > 0 {
			b := bucket{e.Limit, e.Key}
			groups[b] = append(groups[b], *e)
		}
	}
	order := slices.SortedFunc(maps.Keys(groups), func(a, b bucket) int {
		return cmp.Or(cmp.Compare(a.limit, b.limit), cmp.Compare(a.key, b.key))
	})
	report := &Report{}
	for _, b := range order {
		if n := len(report.Limits); n == 0 || report.Limits[n-1].Name != b.limit {
			report.Limits = append(report.Limits, LimitReport{Name: b.limit, Algorithm: limits[b.limit].Algorithm})
		}
		r := &report.Limits[len(report.Limits)-1]
		newHistory(limits[b.limit], b.key, groups[b], cfg).judge(r)
	}
	return report, nil
}

// A history is all events of one key at one limit.
type history struct {
	limit  Limit
	key    string
	cfg    Config
	events []Event // sorted by Send
}

// newHistory takes events over.
func newHistory(l Limit, key string, events []Event, cfg Config) *history {
	slices.SortFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Send, b.Send), cmp.Compare(a.Recv, b.Recv), cmp.Compare(a.ID, b.ID))
	})
	for i := range events {
		if events[i].Unknown {
			// It may be taken until long after the client gave up.
			events[i].Recv += int64(cfg.Late)
			events[i].Allowed = false
		}
	}
	return &history{limit: l, key: key, cfg: cfg, events: events}
}

// An opinion is what one way of counting has to say of a history.
type opinion interface {
	// decision judges the i-th event, which is not unknown, and says why where it is wrong.
	decision(i int) (verdict, string)
	// reachable returns what an exact limiter could have admitted.
	reachable() Interval
	// excess returns what certainly was admitted beyond the limit, and where.
	excess() (float64, string)
	// over estimates the same by the formula of chaos runs.
	over() float64
}

func (h *history) opinion() opinion {
	switch h.limit.Algorithm {
	case FixedWindow, SlidingWindow:
		return newWindows(h)
	case SlidingLog, Concurrency:
		return newHeld(h)
	default:
		return newGCRA(h)
	}
}

// judge adds the judgement of a key to its limit's.
func (h *history) judge(r *LimitReport) {
	o := h.opinion()
	var admitted, unknown, falseAllowed, falseDenied int64
	for i := range h.events {
		e := &h.events[i]
		if e.Unknown {
			unknown += e.N
			continue
		}
		v, why := o.decision(i)
		r.All.add(e.Allowed, v)
		if e.Degraded {
			r.Degraded.add(e.Allowed, v)
		} else {
			r.Full.add(e.Allowed, v)
		}
		r.Offered += e.N
		if e.Allowed {
			admitted += e.N
		}
		switch {
		case v == wrong && e.Allowed:
			falseAllowed += e.N
			h.find(r, FalseAllow, e.ID, why)
		case v == wrong:
			falseDenied += e.N
			h.find(r, FalseDeny, e.ID, why)
		}
	}
	reach := o.reachable()
	if reach == unreachable {
		reach = Interval{admitted - falseAllowed, admitted + falseDenied}
	}
	reach.Lo = max(reach.Lo-unknown, 0)
	h.sum(r, o, admitted, reach)
	r.Unknown += unknown
	r.Keys++
}

// unreachable is the answer of an opinion that cannot tell from the load alone what
// could have been admitted: the decisions are all there is to go by.
var unreachable = Interval{-1, -1}

// sum adds the totals of a key.
func (h *history) sum(r *LimitReport, o opinion, admitted int64, reach Interval) {
	r.Admitted += admitted
	r.Reachable = r.Reachable.plus(reach)
	if admitted < reach.Lo {
		r.Under += reach.Lo - admitted
		h.find(r, Shortfall, 0, fmt.Sprintf("%d admitted, an exact limiter admits %v", admitted, reach))
	}
	excess, where := o.excess()
	if excess == 0 && admitted > reach.Hi {
		excess, where = float64(admitted-reach.Hi), fmt.Sprintf("%d admitted, an exact limiter admits %v", admitted, reach)
	}
	if excess > 0 {
		if excess > r.Excess {
			r.WorstKey = h.key
		}
		h.find(r, Excess, 0, where)
	}
	r.Excess += excess
	r.Over += o.over()
}

func (h *history) find(r *LimitReport, kind Kind, event uint64, detail string) {
	if len(r.Findings) == h.cfg.MaxFindings {
		r.MoreFound++
		return
	}
	r.Findings = append(r.Findings, Finding{Kind: kind, Key: h.key, Event: event, Detail: detail})
}

// largest returns the greatest number of hits that an event asks for and that may fit.
func (h *history) largest(most int64) int64 {
	var n int64
	for i := range h.events {
		if h.events[i].N <= most {
			n = max(n, h.events[i].N)
		}
	}
	return n
}
