package policy

import (
	"cmp"
	"fmt"
	"slices"
)

// An Outcome is what became of a policy in its group's contest.
type Outcome uint8

// The outcomes.
const (
	Wins     Outcome = iota + 1 // applies
	Reported                    // the shadow that would apply: reported only
	Loses                       // matches, but another of its group wins
	NoMatch                     // does not match the request
	IsOff                       // never matches
)

var outcomeNames = [...]string{Wins: "wins", Reported: "shadow", Loses: "loses", NoMatch: "no match", IsOff: "off"}

// String returns a word for a person.
func (o Outcome) String() string { return outcomeNames[o] }

// A Contest is one group and what became of its policies.
type Contest struct {
	Domain, Group string
	Contenders    []Contender // who wins over whom first, those off last
}

// A Contender is a policy in a Contest.
type Contender struct {
	Policy  *CompiledPolicy
	Outcome Outcome
	Why     string
}

// Explain shows the contest of every group for a request, sorted by group, the domain's
// own before those of "*". It is for people: it walks all policies and allocates.
func (s *Snapshot) Explain(domain string, attributes []Attribute) []Contest {
	var contests []Contest
	var c Choice
	for i, d := range []*domainPolicies{s.domains[domain], s.global} {
		if d == nil {
			continue
		}
		c.scratch.load(d.index, domain, attributes, &c.scratch.memo[i])
		contests = append(contests, d.explain(&c.scratch)...)
		c.scratch.forget()
	}
	return contests
}

// explain shows the contests of one document.
func (d *domainPolicies) explain(sc *choiceScratch) []Contest {
	groups := map[string][]*entry{}
	for i := range d.entries {
		e := &d.entries[i]
		groups[e.rank.policy.Group] = append(groups[e.rank.policy.Group], e)
	}
	contests := make([]Contest, 0, len(groups))
	for name, entries := range groups {
		contest := Contest{Domain: d.name, Group: name}
		var enforced, first *entry // the winner, and the first that matches at all
		for _, e := range entries {
			contender := Contender{Policy: &d.policies[e.doc]}
			why := d.misfit(e, sc)
			switch {
			case e.rank.policy.Mode == Off:
				contender.Outcome, contender.Why = IsOff, "mode is off"
			case why != "":
				contender.Outcome, contender.Why = NoMatch, why
			case e.shadow && first == nil:
				contender.Outcome, contender.Why = Reported, "would win if it were enforced"
			case e.shadow:
				contender.Outcome, contender.Why = Loses, better(first, e)
			case enforced == nil:
				contender.Outcome, contender.Why = Wins, "the first of its group that matches"
				enforced = e
			default:
				contender.Outcome, contender.Why = Loses, better(enforced, e)
			}
			if first == nil && contender.Outcome <= Reported {
				first = e
			}
			contest.Contenders = append(contest.Contenders, contender)
		}
		contests = append(contests, contest)
	}
	slices.SortFunc(contests, func(a, b Contest) int { return cmp.Compare(a.Group, b.Group) })
	return contests
}

// misfit says why an entry does not match, "" where it does.
func (d *domainPolicies) misfit(e *entry, sc *choiceScratch) string {
	for i := range e.conditions {
		c := &e.conditions[i]
		value := sc.values[c.attribute]
		if value == "" {
			return fmt.Sprintf("match names %q, which the request lacks", c.spec.Attribute)
		}
		if !c.spec.matches(value, &sc.ips[c.attribute]) {
			return fmt.Sprintf("%s is %s, which does not fit %.200s", c.spec.Attribute, clip(value), c.spec)
		}
	}
	for _, part := range e.keyer.parts {
		if sc.values[part.attribute] == "" {
			return fmt.Sprintf("key names %q, which the request lacks", d.names[part.attribute])
		}
	}
	return ""
}

// better says why one of two entries of a group comes first.
func better(winner, loser *entry) string {
	w, l := winner.rank, loser.rank
	name := w.policy.Name
	for _, by := range []struct {
		what        string
		first, last int
	}{
		{"has the higher priority", w.policy.Priority, l.policy.Priority},
		{"is more specific by attributes named", w.attributes, l.attributes},
		{"is more specific by plain values", w.values, l.values},
		{"is more specific by lists", w.lists, l.lists},
		{"is more specific by literal characters and bits", w.literal, l.literal},
	} {
		if by.first != by.last {
			return fmt.Sprintf("%q %s: %d against %d", name, by.what, by.first, by.last)
		}
	}
	if winner.shadow != loser.shadow {
		return fmt.Sprintf("%q is a shadow, which wins ties among what is reported", name)
	}
	return fmt.Sprintf("%q comes first by name", name)
}
