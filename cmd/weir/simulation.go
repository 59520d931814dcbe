package main

import (
	"time"

	"github.com/weir-io/weir/accesslog"
	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/policy"
)

// simulationMemory bounds the buckets of a simulation.
const simulationMemory = 1 << 30

// A simulation decides requests by policies and a store of its own, at times it is given.
type simulation struct {
	domain   string
	snapshot *policy.Snapshot
	store    *bucket.Store
	keys     map[policyName][]string // names of the key's attributes

	requests, allowed, noPolicy int64
	from, to                    time.Time
	tallies                     []*simTally // by ordinal of the policy, nil until one applies

	attrs    []policy.Attribute
	choice   policy.Choice
	charges  []bucket.Charge
	statuses []bucket.Status
}

type policyName struct{ domain, name string }

// A simTally counts what one policy did.
type simTally struct {
	requests, denied int64
	keys             map[string]*simKey
}

func newSimulation(docs []*policy.Document, domain string) (*simulation, error) {
	snapshot, _, err := policy.Compile(nil, docs, 1, policy.Secret{})
	if err != nil {
		return nil, err
	}
	s := &simulation{
		domain: domain, snapshot: snapshot, store: bucket.NewStore(bucket.Config{Memory: simulationMemory}),
		keys: map[policyName][]string{}, tallies: make([]*simTally, len(snapshot.Policies)),
	}
	for _, d := range docs {
		for i := range d.Policies {
			s.keys[policyName{d.Domain, d.Policies[i].Name}] = d.Policies[i].Key
		}
	}
	return s, nil
}

// request decides one request of the log and counts what the policies said.
func (s *simulation) request(rec *accesslog.Record) {
	if s.requests == 0 {
		s.from = rec.Time
	}
	s.requests++
	s.to = rec.Time
	s.attrs = s.attrs[:0]
	for name, value := range rec.Attributes() {
		s.attrs = append(s.attrs, policy.Attribute{Key: name, Value: value})
	}
	s.snapshot.Choose(s.domain, s.attrs, &s.choice)
	s.charges = s.charges[:0]
	enforced := false
	for _, w := range s.choice.Winners {
		enforced = enforced || !w.Shadow
		for _, l := range w.Policy.Limits {
			s.charges = append(s.charges, bucket.Charge{Hash: w.Hash, Rule: l.Rule, Hits: 1, Shadow: w.Shadow})
		}
	}
	for len(s.statuses) < len(s.charges) {
		s.statuses = append(s.statuses, bucket.Status{})
	}
	allowed := len(s.charges) == 0 || s.store.Take(rec.Time.UnixNano(), s.charges, s.statuses)
	if allowed {
		s.allowed++
	}
	if !enforced && !s.choice.Exempt {
		s.noPolicy++
	}
	place := 0
	for _, w := range s.choice.Winners {
		limits := s.statuses[place : place+len(w.Policy.Limits)]
		place += len(limits)
		if w.Shadow && !allowed {
			continue // it is asked only about what passes
		}
		s.tally(w, limits)
	}
}

// tally counts what one policy said to the request.
func (s *simulation) tally(w policy.Winner, limits []bucket.Status) {
	t := s.tallies[w.Policy.Ordinal]
	if t == nil {
		t = &simTally{keys: map[string]*simKey{}}
		s.tallies[w.Policy.Ordinal] = t
	}
	name := keyText(s.keys[policyName{w.Policy.Domain, w.Policy.Name}], s.attrs)
	k := t.keys[name]
	if k == nil {
		k = &simKey{Key: name}
		t.keys[name] = k
	}
	t.requests++
	k.Requests++
	for i := range limits {
		if !limits[i].Allowed {
			t.denied++
			k.Denied++
			return
		}
	}
}

// report returns what was counted: a line for each policy that can apply.
func (s *simulation) report(log logSummary, top int) *simReport {
	r := &simReport{
		logSummary: log, Domain: s.domain, From: s.from, To: s.to,
		Allowed: s.allowed, Denied: s.requests - s.allowed, NoPolicy: s.noPolicy, Policies: []simPolicy{},
	}
	for i, p := range s.snapshot.Policies {
		if p.Mode == policy.Off || p.Domain != s.domain && p.Domain != policy.Global {
			continue
		}
		line := simPolicy{Policy: p.Name, Domain: p.Domain, Mode: p.Mode.String(), Busiest: []simKey{}}
		if t := s.tallies[i]; t != nil {
			line.Requests, line.Denied, line.Allowed = t.requests, t.denied, t.requests-t.denied
			line.Keys, line.Busiest = len(t.keys), busiest(t.keys, top)
		}
		r.Policies = append(r.Policies, line)
	}
	return r
}
