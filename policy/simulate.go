package policy

import (
	"strings"

	"github.com/weir-io/weir/bucket"
)

// maxKeyName bounds the bytes of a key as it is shown.
const maxKeyName = 128

// A Simulation replays requests through a snapshot and a store of its own, and counts
// what each policy would have done. It decides as a node does that owns every key. A
// Simulation belongs to one goroutine.
type Simulation struct {
	snapshot *Snapshot
	store    *bucket.Store
	choice   Choice
	charges  []bucket.Charge
	statuses []bucket.Status
	from     []int // winner of each charge
	tallies  []*tally
	totals   SimulationResult
}

// A SimulationResult is what a Simulation counted.
type SimulationResult struct {
	Requests      int64   `json:"requests"`
	Allowed       int64   `json:"allowed"`
	Denied        int64   `json:"denied"`
	NoPolicy      int64   `json:"no_policy"`      // allowed because nothing enforces
	Exempt        int64   `json:"exempt"`         // allowed because unlimited, and nothing else applied
	UnknownDomain int64   `json:"unknown_domain"` // of those without a policy
	Policies      []Tally `json:"policies"`       // all, in the order of the snapshot
}

// A Tally is what one policy did. A request may be allowed by one policy and
// denied by another.
type Tally struct {
	Domain   string     `json:"domain"`
	Policy   string     `json:"policy"`
	Mode     string     `json:"mode"`
	Requests int64      `json:"requests"` // that it applied to
	Allowed  int64      `json:"allowed"`  // that its limits had room for
	Denied   int64      `json:"denied"`   // that one of its limits refused; as a shadow it would have
	Busiest  []KeyTally `json:"busiest,omitempty"`
	// MostDenied are those of the keys counted that were denied most often.
	MostDenied []KeyTally `json:"most_denied,omitempty"`
}

// A KeyTally is how often one key came. Where there were more keys than are counted at a
// time, Requests is too high by at most Over, and Denied lacks what came before the key
// was counted.
type KeyTally struct {
	Key      string `json:"key"`
	Requests int64  `json:"requests"`
	Denied   int64  `json:"denied"`
	Over     int64  `json:"over,omitempty"`
}

// tally is what one policy did so far.
type tally struct {
	requests, denied int64
	keys             busiest
}

// NewSimulation starts a simulation. The store must not be charged by anyone else.
func NewSimulation(s *Snapshot, store *bucket.Store) *Simulation {
	return &Simulation{snapshot: s, store: store, tallies: make([]*tally, len(s.Policies))}
}

// Step replays one request of one hit at now, in nanoseconds since the Unix epoch, and
// reports whether it was allowed. client_ip must be as [CanonicalIP] spells it.
func (s *Simulation) Step(now int64, domain string, attributes []Attribute) bool {
	c := &s.choice
	s.snapshot.Choose(domain, attributes, c)
	s.totals.Requests++
	for _, p := range c.scratch.exempt {
		s.tally(p).requests++
	}
	s.charges, s.from = s.charges[:0], s.from[:0]
	enforcing := false
	for i := range c.Winners {
		w := &c.Winners[i]
		enforcing = enforcing || !w.Shadow
		for j := range w.Policy.Limits {
			s.charges = append(s.charges, bucket.Charge{Hash: w.Hash, Rule: w.Policy.Limits[j].Rule, Hits: 1, Shadow: w.Shadow})
			s.from = append(s.from, i)
		}
	}
	for len(s.statuses) < len(s.charges) {
		s.statuses = append(s.statuses, bucket.Status{})
	}
	allowed := len(s.charges) == 0 || s.store.Take(now, s.charges, s.statuses[:len(s.charges)])
	s.count(allowed, enforcing)
	at := 0
	for i := range c.Winners {
		refused := false
		for ; at < len(s.from) && s.from[at] == i; at++ {
			refused = refused || !s.statuses[at].Allowed
		}
		s.applied(&c.Winners[i], refused, domain, attributes)
	}
	return allowed
}

// count adds a verdict to the totals.
func (s *Simulation) count(allowed, enforcing bool) {
	switch {
	case !allowed:
		s.totals.Denied++
		return
	case enforcing:
	case s.choice.Exempt:
		s.totals.Exempt++
	default:
		s.totals.NoPolicy++
		if !s.choice.Known {
			s.totals.UnknownDomain++
		}
	}
	s.totals.Allowed++
}

func (s *Simulation) tally(p *CompiledPolicy) *tally {
	t := s.tallies[p.Ordinal]
	if t == nil {
		t = new(tally)
		s.tallies[p.Ordinal] = t
	}
	return t
}

// applied adds what a policy said to one request.
func (s *Simulation) applied(w *Winner, refused bool, domain string, attributes []Attribute) {
	t := s.tally(w.Policy)
	t.requests++
	if refused {
		t.denied++
	}
	t.keys.count(w.Hash, refused, func() string { return keyName(w.Policy.spec, domain, attributes) })
}

// keyName shows a request's key under a policy, as "client=acme method=GET".
func keyName(p *Policy, domain string, attributes []Attribute) string {
	if len(p.Key) == 0 {
		return "(all)"
	}
	var b strings.Builder
	for i, name := range p.Key {
		if i > 0 {
			b.WriteByte(' ')
		}
		value := domain
		if name != DomainAttribute {
			for _, a := range attributes {
				if a.Key == name {
					value = a.Value
				}
			}
		}
		b.WriteString(name + "=" + value)
	}
	if b.Len() <= maxKeyName {
		return b.String()
	}
	return strings.ToValidUTF8(b.String()[:maxKeyName-3], "") + "..."
}

// Result returns what was counted so far, with up to top keys a policy.
func (s *Simulation) Result(top int) SimulationResult {
	r := s.totals
	r.Policies = make([]Tally, len(s.tallies))
	for i, t := range s.tallies {
		p := s.snapshot.Policies[i]
		r.Policies[i] = Tally{Domain: p.Domain, Policy: p.Name, Mode: p.Mode.String()}
		if t != nil {
			out := &r.Policies[i]
			out.Requests, out.Allowed, out.Denied, out.Busiest = t.requests, t.requests-t.denied, t.denied, t.keys.top(top)
			out.MostDenied = t.keys.mostDenied(top)
		}
	}
	return r
}
