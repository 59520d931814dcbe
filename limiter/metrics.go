package limiter

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-io/weir/policy"
)

// maxLabelled is how many policies have counters of their own.
const maxLabelled = 1000

// Labels that stand for what has no name, or one too many.
const (
	unknownDomain = "_unknown"
	noPolicy      = "_none"
	otherPolicy   = "_other"
)

// outcomes are the counters of one policy, or of a domain's checks that no policy
// decided.
type outcomes [3]*counter

// Places in outcomes, and their labels.
const (
	allowed = iota
	denied
	failed
)

var outcomeLabels = [...]string{allowed: "allowed", denied: "denied", failed: "error"}

// A counter is told apart by its address.
type counter struct{ prometheus.Counter }

// A policyID names a policy, or with noPolicy the rest of a domain.
type policyID struct{ domain, policy string }

// series are the counters for the policies of one snapshot. They are immutable.
type series struct {
	snapshot *policy.Snapshot
	policies []*outcomes            // by Ordinal
	domains  map[string]*outcomes   // checks that no policy decided, by domain
	known    map[policyID]*outcomes // all that have labels
	unknown  *outcomes
	other    *outcomes
}

// metrics are the limiter's metrics.
type metrics struct {
	checks    *prometheus.CounterVec
	local     prometheus.Observer
	forwarded prometheus.Observer
	degraded  [len(degradedNames)]prometheus.Counter

	current atomic.Pointer[series] // stored under mu
	mu      sync.Mutex
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{}
	m.current.Store(&series{})
	m.checks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_checks_total",
		Help: "Checks by the policy that decided them and outcome (allowed, denied, error).",
	}, []string{"domain", "policy", "outcome"})
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "weir_check_duration_seconds",
		Help:    "Time from requests read to verdicts ready, one observation a call of one or more checks; forwarded where an owner elsewhere was asked.",
		Buckets: []float64{1e-6, 2.5e-6, 1e-5, 2.5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1},
	}, []string{"path"})
	m.local, m.forwarded = durations.WithLabelValues("local"), durations.WithLabelValues("forwarded")
	degradedTotal := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_degraded_total",
		Help: "Verdicts that something else than the full owner decided, by what.",
	}, []string{"reason"})
	for i, name := range degradedNames {
		if name != "" {
			m.degraded[i] = degradedTotal.WithLabelValues(name)
		}
	}
	if r != nil {
		r.MustRegister(m.checks, durations, degradedTotal)
	}
	return m
}

// observe notes how long a call took.
func (m *metrics) observe(d time.Duration, forwarded bool) {
	o := m.local
	if forwarded {
		o = m.forwarded
	}
	o.Observe(d.Seconds())
}

// add counts the verdicts of a batch.
func (m *metrics) add(snapshot *policy.Snapshot, b *Batch) {
	s := m.current.Load()
	if s.snapshot != snapshot {
		s = m.label(snapshot)
	}
	for i := range b.Verdicts {
		v := &b.Verdicts[i]
		if v.Degraded != 0 {
			m.degraded[v.Degraded].Inc()
		}
		switch {
		case v.Err != nil:
			b.tally.add(failed, s.undecided(b.Requests[i].Domain)[failed])
		case v.Deciding < 0:
			b.tally.add(allowed, s.undecided(b.Requests[i].Domain)[allowed])
		default:
			outcome := denied
			if v.Allowed {
				outcome = allowed
			}
			p := v.Limits[v.Deciding].Policy
			b.tally.add(2*p.Ordinal+outcome, s.decided(snapshot, p)[outcome])
		}
	}
	b.tally.flush()
}

// decided returns the counters of a policy of a snapshot.
func (s *series) decided(snapshot *policy.Snapshot, p *policy.CompiledPolicy) *outcomes {
	if s.snapshot == snapshot {
		return s.policies[p.Ordinal]
	}
	// A batch that began before the policies changed.
	if o := s.known[policyID{p.Domain, p.Name}]; o != nil {
		return o
	}
	return s.other
}

// undecided returns the counters of a check that no policy decided.
func (s *series) undecided(domain string) *outcomes {
	if o := s.domains[domain]; o != nil {
		return o
	}
	return s.unknown
}

// label makes the counters of a snapshot's policies the current ones, and returns them.
// Counters of policies that are gone are dropped, so that there is always room for
// those that are there.
func (m *metrics) label(snapshot *policy.Snapshot) *series {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.current.Load()
	if old.snapshot != nil && (old.snapshot == snapshot || old.snapshot.Version > snapshot.Version) {
		return old
	}
	s := &series{
		snapshot: snapshot, policies: make([]*outcomes, len(snapshot.Policies)),
		domains: map[string]*outcomes{}, known: map[policyID]*outcomes{},
	}
	s.unknown = m.outcomes(s, old, policyID{unknownDomain, noPolicy}, allowed, failed)
	s.other = m.outcomes(s, old, policyID{otherPolicy, otherPolicy}, allowed, denied)
	for _, p := range snapshot.Policies {
		if p.Ordinal >= maxLabelled {
			s.policies[p.Ordinal] = s.other
			continue
		}
		s.policies[p.Ordinal] = m.outcomes(s, old, policyID{p.Domain, p.Name}, allowed, denied)
		if s.domains[p.Domain] == nil {
			s.domains[p.Domain] = m.outcomes(s, old, policyID{p.Domain, noPolicy}, allowed, failed)
		}
	}
	for id := range old.known {
		if s.known[id] == nil {
			m.checks.DeletePartialMatch(prometheus.Labels{"domain": id.domain, "policy": id.policy})
		}
	}
	m.current.Store(s)
	return s
}

// outcomes returns the counters of id, those of s or old where they have them, and notes
// them in s. A policy may be named like what stands for no policy or all others: then one
// id is asked for with several outcomes, and has them all. Who reads others' is not
// disturbed: what lacks one is copied.
func (m *metrics) outcomes(s, old *series, id policyID, which ...int) *outcomes {
	o := cmp.Or(s.known[id], old.known[id])
	if o == nil {
		o = &outcomes{}
	}
	for _, i := range which {
		if o[i] == nil {
			more := *o
			more[i] = &counter{m.checks.WithLabelValues(id.domain, id.policy, outcomeLabels[i])}
			o = &more
		}
	}
	s.known[id] = o
	return o
}

// A tally gathers the counts of a batch, so that shared counters are touched once a
// batch and not once a check. Two counters that fall on one place take turns.
type tally [16]struct {
	of *counter
	n  int
}

// add counts one. slot spreads counters over the places.
func (t *tally) add(slot int, c *counter) {
	e := &t[slot%len(t)]
	if e.of != c {
		if e.n > 0 {
			e.of.Add(float64(e.n))
		}
		e.of, e.n = c, 0
	}
	e.n++
}

// flush adds what was gathered to the shared counters.
func (t *tally) flush() {
	for i := range t {
		if e := &t[i]; e.n > 0 {
			e.of.Add(float64(e.n))
			e.of, e.n = nil, 0
		}
	}
}
