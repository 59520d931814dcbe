package policy

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/weir-io/weir/bucket"
)

// A Snapshot is all policies in force, compiled. It is immutable.
type Snapshot struct {
	Version  uint64
	Hash     string            // of all documents; equal where they are
	Policies []*CompiledPolicy // by Ordinal

	secret  Secret
	key     sipKey
	domains map[string]*domainPolicies // without "*"
	global  *domainPolicies            // "*", nil for none
}

// domainPolicies are one document in a Snapshot.
type domainPolicies struct {
	name     string
	doc      *Document
	version  uint64            // of doc, when it was compiled
	sum      [sha256.Size]byte // of the document's text
	warnings []string
	*index
	policies []CompiledPolicy // in document order
	first    int              // Ordinal of policies[0]
}

// Compile turns documents, one a domain, as Parse returns them, into a Snapshot. prev may
// be nil; what has not changed since is taken over from it, so that a change of one
// domain among many costs what that domain costs. Warnings do not stop it. An error is
// of type [Problems].
func Compile(prev *Snapshot, docs []*Document, version uint64, secret Secret) (s *Snapshot, warnings []string, err error) {
	docs = slices.Clone(docs)
	slices.SortStableFunc(docs, func(a, b *Document) int { return cmp.Compare(a.Domain, b.Domain) })
	s = &Snapshot{Version: version, secret: secret, key: secret.key(), domains: make(map[string]*domainPolicies, len(docs))}
	var problems Problems
	sum := sha256.New()
	var buf []byte
	for i, d := range docs {
		if i > 0 && docs[i-1].Domain == d.Domain {
			problems = append(problems, Problem{File: d.File, Line: 1, Column: 1, Path: "domain",
				Message: fmt.Sprintf("domain %q is in %s too: a document is one domain, whole; put both into one", d.Domain, cmp.Or(docs[i-1].File, "another document"))})
			continue
		}
		c := prev.unchanged(d, secret)
		if c == nil {
			var ps Problems
			if c, ps = compileDomain(d, s.key); len(ps) > 0 {
				problems = append(problems, ps...)
				continue
			}
		}
		c = c.at(len(s.Policies))
		warnings = append(warnings, c.warnings...)
		if d.Domain == Global {
			s.global = c
		} else {
			s.domains[d.Domain] = c
		}
		for j := range c.policies {
			s.Policies = append(s.Policies, &c.policies[j])
		}
		buf = append(appendText(buf[:0], d.Domain), c.sum[:]...)
		_, _ = sum.Write(buf) // a hash takes all
	}
	if err := problems.err(); err != nil {
		return nil, warnings, err
	}
	s.Hash = hex.EncodeToString(sum.Sum(nil)[:8])
	return s, warnings, nil
}

// domain returns what a snapshot has of a domain, nil for none.
func (s *Snapshot) domain(name string) *domainPolicies {
	if name == Global {
		return s.global
	}
	return s.domains[name]
}

// unchanged returns what a snapshot has compiled of a document, nil where that is not
// the same.
func (s *Snapshot) unchanged(d *Document, secret Secret) *domainPolicies {
	if s == nil || s.secret != secret {
		return nil
	}
	c := s.domain(d.Domain)
	if c == nil || c.version != d.Version || c.doc != d && !bytes.Equal(c.doc.Text, d.Text) {
		return nil
	}
	return c
}

// compileDomain compiles one document.
func compileDomain(d *Document, key sipKey) (*domainPolicies, Problems) {
	c := &domainPolicies{name: d.Domain, doc: d, version: d.Version, sum: sha256.Sum256(d.Text), index: newIndex(d)}
	warnings, problems := c.ties(d.File)
	if len(problems) > 0 {
		return nil, problems
	}
	c.warnings = warnings
	c.policies = make([]CompiledPolicy, len(d.Policies))
	for i := range d.Policies {
		p := &d.Policies[i]
		cp := &c.policies[i]
		*cp = CompiledPolicy{Domain: d.Domain, Name: p.Name, Mode: p.Mode, Unlimited: p.Unlimited, Ordinal: i, spec: p}
		cp.Limits = make([]CompiledLimit, len(p.Limits))
		for j := range p.Limits {
			l := &p.Limits[j]
			hash := key.limitHash(d.Domain, p.ID, l.Name)
			cp.Limits[j] = CompiledLimit{Name: l.Name, Wire: wire(p.Name, l.Name, &l.Numbers),
				Rule: &bucket.Rule{Limit: l.Numbers, Hash: hash, Version: d.Version, FailMode: p.FailMode}}
		}
	}
	return c, nil
}

// at returns the same policies with ordinals from first on.
func (d *domainPolicies) at(first int) *domainPolicies {
	if d.first == first {
		return d
	}
	moved := *d
	moved.first = first
	moved.policies = slices.Clone(d.policies)
	for i := range moved.policies {
		moved.policies[i].Ordinal = first + i
	}
	return &moved
}

// ErrUnknown is returned by ByName where a domain has no policy of that name.
var ErrUnknown = errors.New("no such policy")

// ByName fills in c with one policy's key for the attributes, whether or not it matches.
// A policy that the domain lacks is looked for in domain "*". The error wraps ErrUnknown
// for a name nobody has, or says what is missing.
func (s *Snapshot) ByName(domain, policy string, attributes []Attribute, c *Choice) error {
	c.Winners, c.Exempt, c.Known = c.Winners[:0], false, s.global != nil || s.domains[domain] != nil
	for i, d := range []*domainPolicies{s.domains[domain], s.global} {
		if d == nil {
			continue
		}
		at := slices.IndexFunc(d.policies, func(p CompiledPolicy) bool { return p.Name == policy })
		if at < 0 {
			continue
		}
		p := &d.policies[at]
		if p.Unlimited {
			return fmt.Errorf("policy %q of domain %q is unlimited: it has no buckets", policy, p.Domain)
		}
		sc := &c.scratch
		sc.load(d.index, domain, attributes, &sc.memo[i])
		defer sc.forget()
		keyer := &d.entries[d.place[at]].keyer
		for j, part := range keyer.parts {
			if sc.values[part.attribute] == "" {
				return fmt.Errorf("policy %q of domain %q has the key attribute %q: give it a value", policy, p.Domain, p.spec.Key[j])
			}
		}
		sc.key = keyer.compose(sc.key[:0], sc.values)
		c.Winners = append(c.Winners, Winner{Policy: p, Hash: s.key.hash(sc.key), Shadow: p.Mode == Shadow})
		return nil
	}
	return fmt.Errorf("domain %q, policy %q: %w", domain, policy, ErrUnknown)
}
