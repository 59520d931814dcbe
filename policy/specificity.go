package policy

import (
	"cmp"
	"slices"
)

// A specificity says how specific a policy's match is. It is the same for every
// request.
type specificity struct {
	attributes int // named by match or key
	values     int // plain ones
	lists      int
	literal    int // literal characters of globs and bits of networks
}

func specificityOf(p *Policy) (s specificity) {
	s.attributes = len(p.Match)
	for _, k := range p.Key {
		if !slices.ContainsFunc(p.Match, func(c Condition) bool { return c.Attribute == k }) {
			s.attributes++
		}
	}
	for i := range p.Match {
		switch c := &p.Match[i]; c.Kind {
		case Value:
			s.values++
		case List:
			s.lists++
		case Glob:
			s.literal += c.globs[0].chars
		case CIDR:
			s.literal += c.nets[0].Bits()
		}
	}
	return s
}

func (s specificity) compare(o specificity) int {
	return cmp.Or(cmp.Compare(s.attributes, o.attributes), cmp.Compare(s.values, o.values),
		cmp.Compare(s.lists, o.lists), cmp.Compare(s.literal, o.literal))
}

// A rank orders the policies of a group: who comes first wins where both match.
type rank struct {
	policy *Policy
	specificity
}

func (a rank) compare(b rank) int {
	return cmp.Or(cmp.Compare(b.policy.Priority, a.policy.Priority), b.specificity.compare(a.specificity),
		cmp.Compare(b.policy.Mode, a.policy.Mode), // shadow first
		cmp.Compare(a.policy.Name, b.policy.Name))
}

// ties reports whether only names tell two policies apart.
func (a rank) ties(b rank) bool {
	return a.policy.Priority == b.policy.Priority && a.specificity == b.specificity && a.policy.Mode == b.policy.Mode
}
