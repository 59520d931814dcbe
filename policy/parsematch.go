package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Bounds of what match says; those of values are a request's.
const (
	maxValue = 2048
	maxWilds = 16 // wildcards of one glob
)

// match reads the conditions of a policy, sorted by attribute.
func (r *reader) match(f *field) []Condition {
	var conditions []Condition
	for _, c := range r.fields(f.value, f.path, "want attributes and values, as {method: GET}") {
		if !validName(c.name) {
			r.report(c.key, c.path, "%s is not the name of an attribute: 1 to 64 characters of A-Z a-z 0-9 _ . : -", clip(c.name))
			continue
		}
		if blank(c.value) {
			r.report(c.key, c.path, "blank: give it a value, \"*\" for any, or remove it")
			continue
		}
		if list, ok := c.value.(*ast.SequenceNode); ok {
			conditions = append(conditions, r.list(c, list))
			continue
		}
		if s, ok := r.text(c.value, c.path); ok {
			conditions = append(conditions, r.condition(c, s))
		}
	}
	slices.SortFunc(conditions, func(a, b Condition) int { return cmp.Compare(a.Attribute, b.Attribute) })
	return conditions
}

// condition reads a condition that is one text.
func (r *reader) condition(f field, s string) Condition {
	c := Condition{Attribute: f.name}
	if s == "*" {
		c.Kind, c.Values = Any, []string{s}
		return c
	}
	p := r.value(f, f.value, f.path, s)
	c.Kind = p.kind()
	c.add(p)
	return c
}

// list reads a condition that is a list.
func (r *reader) list(f field, list *ast.SequenceNode) Condition {
	c := Condition{Attribute: f.name, Kind: List}
	seen := make(map[string]bool, len(list.Values))
	for i, v := range list.Values {
		path := fmt.Sprintf("%s[%d]", f.path, i)
		if blank(v) {
			r.report(tokenOf(v), path, "blank: give it a value or remove it")
			continue
		}
		s, ok := r.text(v, path)
		if !ok {
			continue
		}
		if s == "*" {
			r.report(v.GetToken(), path, "a star in a list fits any value: write %s: \"*\" alone", f.name)
			continue
		}
		p := r.value(f, v, path, s)
		if seen[p.text] {
			r.report(v.GetToken(), path, "repeated: %s is in the list already; keep one", clip(p.text))
			continue
		}
		seen[p.text] = true
		c.add(p)
	}
	if len(list.Values) == 0 {
		r.report(f.key, f.path, "an empty list fits nothing: give it a value or remove it")
	}
	c.seal()
	return c
}

// value reads one text that a value may fit: itself, a glob or a network.
func (r *reader) value(f field, n ast.Node, path, s string) pattern {
	plain := pattern{text: s, plain: s}
	switch {
	case len(s) > maxValue:
		r.report(n.GetToken(), path, "%d bytes: a value has at most %d", len(s), maxValue)
	case f.name == clientIP && hasWildcard(s):
		r.report(n.GetToken(), path, "%s fits addresses and networks: write those as CIDR, as 10.0.0.0/8", clientIP)
	case hasWildcard(s):
		g, err := parseGlob(s)
		if err != nil {
			r.report(n.GetToken(), path, "%v", err)
			return plain
		}
		if len(g.tokens) == 1 && g.tokens[0].wild == 0 { // its stars are all quoted
			return pattern{text: s, plain: g.tokens[0].literal}
		}
		return pattern{text: s, glob: g}
	case strings.Contains(s, "/"):
		if p, err := netip.ParsePrefix(s); err == nil {
			return r.network(n, path, s, p)
		}
	}
	if f.name != clientIP || hasWildcard(s) {
		return plain
	}
	ip, err := CanonicalIP(s)
	if err != nil {
		r.report(n.GetToken(), path, "%s is neither an address nor a network: write 192.0.2.7 or 192.0.2.0/24", clip(s))
		return plain
	}
	return pattern{text: ip, plain: ip}
}

// network reads a CIDR: without host bits, IPv4 where it is IPv4-mapped.
func (r *reader) network(n ast.Node, path, s string, p netip.Prefix) pattern {
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			r.report(n.GetToken(), path, "%s holds all of IPv4 and more: write IPv4 and IPv6 networks apart", s)
			return pattern{text: s, net: p}
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		r.report(n.GetToken(), path, "%s has bits set beyond its length: write %s", s, p.Masked())
	}
	return pattern{text: p.String(), net: p}
}
