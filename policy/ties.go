package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of the search for ties in one document.
const (
	tieSteps  = 300_000_000 // comparisons of bytes, about half a second
	pairSteps = 16          // of two policies
	fewTied   = 24          // policies that are simply compared in pairs
	maxTies   = 20          // told at a time
)

// A tieFinder looks for two policies of a group that one request can match and that
// only their names tell apart.
type tieFinder struct {
	index    *index
	file     string
	steps    int
	seen     map[[2]int32]bool
	problems Problems
}

// ties reports the ties of a document; a warning where the search took too long.
func (x *index) ties(file string) (warnings []string, problems Problems) {
	t := &tieFinder{index: x, file: file, steps: tieSteps, seen: map[[2]int32]bool{}}
	for i := 0; i < len(x.entries) && x.entries[i].rank.policy.Mode != Off; {
		a := &x.entries[i]
		j := i + 1
		for j < int(a.groupEnd) && a.rank.ties(x.entries[j].rank) {
			j++
		}
		if j > i+1 {
			set := make([]int32, 0, j-i)
			for ; i < j; i++ {
				set = append(set, int32(i))
			}
			t.search(set, nil)
		}
		i = j
	}
	if t.steps < 0 {
		warnings = append(warnings, fmt.Sprintf("%s: too many policies of equal priority that only globs tell apart: not all could be compared, and where two match the first name wins; set priority", file))
	}
	return warnings, t.problems
}

func (t *tieFinder) done() bool { return t.steps < 0 || len(t.problems) >= maxTies }

// search looks for ties within a set. It parts the set by an attribute, so that only
// policies whose conditions on it may overlap are compared. used are attributes on which
// all of the set agree.
func (t *tieFinder) search(set, used []int32) {
	if t.done() {
		return
	}
	var best *partition
	if len(set) > fewTied {
		for _, a := range t.shared(set, used) {
			for _, backward := range []bool{false, true} {
				if t.steps -= len(set); t.steps < 0 {
					return
				}
				if p := t.part(set, a, backward); p != nil && (best == nil || p.cost < best.cost) {
					best = p
				}
			}
		}
	}
	if best == nil || best.cost >= len(set)*(len(set)-1)/2 {
		for i, a := range set {
			t.compareAll(a, set[i+1:])
		}
		return
	}
	t.each(best, append(slices.Clone(used), best.attribute))
	for _, a := range best.rest {
		t.compareAll(a, set)
	}
}

func (t *tieFinder) compareAll(a int32, others []int32) {
	for _, b := range others {
		if t.done() {
			return
		}
		t.compare(a, b)
	}
}

// shared returns the attributes on which at least half of a set has conditions.
func (t *tieFinder) shared(set, used []int32) (attributes []int32) {
	count := map[int32]int{}
	for _, at := range set {
		for _, c := range t.index.entries[at].conditions {
			if count[c.attribute]++; count[c.attribute] == (len(set)+1)/2 && !slices.Contains(used, c.attribute) {
				attributes = append(attributes, c.attribute)
			}
		}
	}
	return attributes
}

// A partition is a set of entries sorted by what one attribute must begin with.
type partition struct {
	attribute   int32
	globs, nets bool // whether the attribute has any
	items       []tieItem
	rest        []int32 // entries that this says nothing of
	cost        int     // pairs that are left to compare, about
}

// of returns the condition on the attribute, nil for none.
func (p *partition) of(conditions []condition) *Condition {
	for i := range conditions {
		if conditions[i].attribute == p.attribute {
			return conditions[i].spec
		}
	}
	return nil
}

// A tieItem is one text that an entry's attribute may be: exact, or with anything after.
type tieItem struct {
	text  string
	exact bool
	entry int32
}

// part sorts a set by one attribute; nil where that says too little.
func (t *tieFinder) part(set []int32, attribute int32, backward bool) *partition {
	p := &partition{attribute: attribute}
	for _, at := range set {
		if c := p.of(t.index.entries[at].conditions); c != nil {
			p.globs, p.nets = p.globs || len(c.globs) > 0, p.nets || len(c.nets) > 0
		}
	}
	for _, at := range set {
		if !p.add(at, p.of(t.index.entries[at].conditions), backward) {
			p.rest = append(p.rest, at)
		}
	}
	if len(p.rest) > len(set)/2 {
		return nil
	}
	slices.SortFunc(p.items, func(a, b tieItem) int {
		if c := strings.Compare(a.text, b.text); c != 0 {
			return c
		}
		return int(a.entry - b.entry)
	})
	p.cost = len(p.rest)*len(set) + p.pairs()
	return p
}

// pairs returns about how many pairs each compares.
func (p *partition) pairs() (n int) {
	type outer struct {
		text  string
		count int // of it and those around it
	}
	around := []outer{{}}
	for i := 0; i < len(p.items); {
		text := p.items[i].text
		exact, open := 0, 0
		for ; i < len(p.items) && p.items[i].text == text; i++ {
			if p.items[i].exact {
				exact++
			} else {
				open++
			}
		}
		for !strings.HasPrefix(text, around[len(around)-1].text) {
			around = around[:len(around)-1]
		}
		outside := around[len(around)-1].count
		n += outside*(exact+open) + open*exact + open*(open-1)/2
		if exact > 1 {
			n += 4 * exact
		}
		if open > 0 {
			around = append(around, outer{text, outside + open})
		}
	}
	return n
}

// add takes in what an entry says of the attribute, and reports whether it says
// anything that can be sorted. Networks are sorted by their bits and globs by their
// characters: an address, which may fit both, by both, and where globs are about a network
// not at all.
func (p *partition) add(at int32, c *Condition, backward bool) bool {
	if c == nil || c.Kind == Any || len(c.nets) > 0 && (p.globs || backward) {
		return false
	}
	for _, g := range c.globs {
		if backward && g.suffix == "" || !backward && g.prefix == "" {
			return false
		}
	}
	for _, v := range c.plain {
		ip, isAddress := parseAddr(v)
		if isAddress && p.nets && !backward {
			p.items = append(p.items, tieItem{bits(netip.PrefixFrom(ip, ip.BitLen())), true, at})
			if !p.globs {
				continue
			}
		}
		p.items = append(p.items, tieItem{turned(v, backward), true, at})
	}
	for _, g := range c.globs {
		if backward {
			p.items = append(p.items, tieItem{reversed(g.suffix), false, at})
		} else {
			p.items = append(p.items, tieItem{g.prefix, false, at})
		}
	}
	for _, n := range c.nets {
		p.items = append(p.items, tieItem{bits(n), false, at})
	}
	return true
}

func turned(s string, backward bool) string {
	if backward {
		return reversed(s)
	}
	return s
}

// bits spells a network as a text of zeros and ones, which those of networks within it
// begin with.
func bits(n netip.Prefix) string {
	b := append(make([]byte, 0, n.Bits()+2), 0, byte(n.Addr().BitLen()))
	raw := n.Addr().AsSlice()
	for i := range n.Bits() {
		b = append(b, '0'+raw[i/8]>>(7-i%8)&1)
	}
	return string(b)
}

// each searches among the entries that name one exact text, and compares those of which
// one's texts begin with the other's.
func (t *tieFinder) each(p *partition, used []int32) {
	var around []int32 // entries with texts that the current one begins with
	var texts []string // of the same
	for i := 0; i < len(p.items) && !t.done(); {
		text := p.items[i].text
		for len(around) > 0 && !strings.HasPrefix(text, texts[len(texts)-1]) {
			around, texts = around[:len(around)-1], texts[:len(texts)-1]
		}
		var exact []int32
		for ; i < len(p.items) && p.items[i].text == text; i++ {
			it := p.items[i]
			t.compareAll(it.entry, around)
			if it.exact {
				exact = append(exact, it.entry)
				continue
			}
			t.compareAll(it.entry, exact)
			around, texts = append(around, it.entry), append(texts, text)
		}
		if len(exact) > 1 {
			t.search(exact, used)
		}
	}
}

// compare reports two entries that one request can match.
func (t *tieFinder) compare(a, b int32) {
	if t.steps -= pairSteps; a == b || t.done() || !t.bothMatch(&t.index.entries[a], &t.index.entries[b]) {
		return
	}
	pair := [2]int32{min(a, b), max(a, b)}
	if t.seen[pair] {
		return
	}
	t.seen[pair] = true
	first, second := t.index.entries[a].rank.policy, t.index.entries[b].rank.policy
	if second.line < first.line {
		first, second = second, first
	}
	t.problems = append(t.problems, Problem{File: t.file, Line: second.line, Column: second.column, Path: "policies[" + second.Name + "]",
		Message: fmt.Sprintf("ties with policy %q on line %d: both are of group %q, one request can match both and neither is more specific: set priority", first.Name, first.line, first.Group)})
}

// bothMatch reports whether one request can match both: on every attribute that both
// name, some value fits both. Not knowing is no.
func (t *tieFinder) bothMatch(a, b *entry) bool {
	for i := range a.conditions {
		for j := range b.conditions {
			if a.conditions[i].attribute != b.conditions[j].attribute {
				continue
			}
			if !t.overlap(a.conditions[i].spec, b.conditions[j].spec) {
				return false
			}
		}
	}
	return true
}

// overlap reports whether some value fits both conditions.
func (t *tieFinder) overlap(a, b *Condition) bool {
	if a.Kind == Any || b.Kind == Any {
		return true
	}
	for _, pair := range [2][2]*Condition{{a, b}, {b, a}} {
		for _, v := range pair[0].plain {
			t.steps -= 1 + len(v)*len(pair[1].globs)
			if pair[1].matches(v, new(address)) {
				return true
			}
			if t.steps < 0 {
				return false
			}
		}
	}
	for _, g := range a.globs {
		for _, h := range b.globs {
			if both, ok := g.overlaps(h, &t.steps); both || !ok {
				return both
			}
		}
		if len(b.nets) > 0 {
			return true // which addresses a glob fits is not looked into
		}
	}
	for _, n := range a.nets {
		if t.steps -= len(b.nets); len(b.globs) > 0 || slices.ContainsFunc(b.nets, n.Overlaps) {
			return true
		}
	}
	return false
}
