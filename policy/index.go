package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// fewEntries is the number of policies up to which a domain is walked, not looked up.
const fewEntries = 12

// fewNames is the number of attributes up to which names are compared one by one.
const fewNames = 12

// An entry is a policy as the index has it. A domain's entries are sorted by group and,
// within it, by who wins.
type entry struct {
	need       uint64 // bits of the first 64 attributes that must be there
	conditions []condition
	keyer      keyer
	rank       rank
	sure       int32 // place of the condition that who finds the entry has met, -1 for none
	doc        int32 // place in the document
	group      int32
	groupEnd   int32 // place of the next group's first entry
	shadow     bool
}

// A condition is a Condition whose attribute has a number.
type condition struct {
	attribute int32
	kind      Kind
	value     string // Kind Value's
	spec      *Condition
}

// An index is the compiled form of one document, shared by all snapshots that have it.
// A policy is found by that of its attributes that the fewest policies share: by a plain
// value, by the literal beginning or end of a glob, by a network, or by its being there.
//
// What stays linear: policies that share all of these (and are told apart by nothing
// that is indexed), globs with neither literal beginning nor end, groups that all win.
type index struct {
	names   []string         // attributes by number
	numbers map[string]int32 // the same, where they are many
	domain  int32            // number of the attribute "domain", -1 where nobody names it
	entries []entry          // those with mode off last, found by nothing
	place   []int32          // of a document's policies among entries
	always  []int32          // entries that no attribute finds
	by      []attributeIndex // by number of attribute
}

// An attributeIndex finds entries by one attribute. Lists are ascending.
type attributeIndex struct {
	values   map[string][]int32
	begins   *radix
	ends     *radix
	networks *netIndex
	there    []int32
}

// newIndex builds the index of a document.
func newIndex(d *Document) *index {
	x := &index{domain: -1, numbers: map[string]int32{}}
	x.entries = make([]entry, len(d.Policies))
	for i := range d.Policies {
		p := &d.Policies[i]
		e := &x.entries[i]
		e.sure, e.doc, e.rank, e.shadow = -1, int32(i), rank{p, specificityOf(p)}, p.Mode == Shadow
		e.conditions = make([]condition, len(p.Match))
		for j := range p.Match {
			c := &p.Match[j]
			e.conditions[j] = condition{attribute: x.number(c.Attribute), kind: c.Kind, spec: c}
			if c.Kind == Value {
				e.conditions[j].value = c.plain[0]
			}
		}
		e.keyer = newKeyer(d.Domain, p, x.number)
		for _, a := range e.attributes() {
			if a < 64 {
				e.need |= 1 << a
			}
		}
	}
	if n, ok := x.numbers[DomainAttribute]; ok {
		x.domain = n
	}
	if len(x.names) <= fewNames {
		x.numbers = nil
	}
	x.sort()
	x.file()
	return x
}

// number returns an attribute's number, the next one for a new attribute.
func (x *index) number(name string) int32 {
	n, ok := x.numbers[name]
	if !ok {
		n = int32(len(x.names))
		x.names = append(x.names, name)
		x.numbers[name] = n
	}
	return n
}

// find returns the number of a request's attribute, -1 where no policy names it.
func (x *index) find(name string) int32 {
	if x.numbers != nil {
		if n, ok := x.numbers[name]; ok {
			return n
		}
		return -1
	}
	return int32(slices.Index(x.names, name))
}

// attributes returns the numbers of the attributes that must be there, some twice.
func (e *entry) attributes() []int32 {
	var all []int32
	for i := range e.conditions {
		all = append(all, e.conditions[i].attribute)
	}
	for i := range e.keyer.parts {
		all = append(all, e.keyer.parts[i].attribute)
	}
	return all
}

// sort brings the entries into their fixed order and numbers the groups.
func (x *index) sort() {
	off := func(e *entry) int {
		if e.rank.policy.Mode == Off {
			return 1
		}
		return 0
	}
	slices.SortFunc(x.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(off(&a), off(&b)), cmp.Compare(a.rank.policy.Group, b.rank.policy.Group), a.rank.compare(b.rank))
	})
	x.place = make([]int32, len(x.entries))
	end, group := int32(len(x.entries)), int32(0)
	for i := len(x.entries) - 1; i >= 0; i-- {
		e := &x.entries[i]
		if i+1 < len(x.entries) {
			if next := &x.entries[i+1]; next.rank.policy.Group != e.rank.policy.Group || off(next) != off(e) {
				end = int32(i) + 1
				group++
			}
		}
		e.group, e.groupEnd = group, end
		x.place[e.doc] = int32(i)
	}
}

// A finder is one way to find an entry: by one condition, or by an attribute's being
// there. Its cost is how many entries share it.
type finder struct {
	attribute int32
	spec      *Condition // nil: being there
	ends      bool       // by the end of a glob rather than its beginning
	cost      int
}

// counts are how many entries share what can find them.
type counts struct {
	there  int
	values map[string]int
	begins map[string]int
	ends   map[string]int
	nets   map[netip.Prefix]int
}

// file puts every entry where it is looked for.
func (x *index) file() {
	x.by = make([]attributeIndex, len(x.names))
	live := len(x.entries)
	for live > 0 && x.entries[live-1].rank.policy.Mode == Off {
		live--
	}
	if live <= fewEntries {
		for i := range live {
			x.always = append(x.always, int32(i))
		}
		return
	}
	count := x.count(live)
	filing := make([]filing, len(x.names))
	for i := range live {
		e := &x.entries[i]
		f := x.choose(e, count)
		switch {
		case f.attribute < 0:
			x.always = append(x.always, int32(i))
		case f.spec == nil:
			by := &x.by[f.attribute]
			by.there = append(by.there, int32(i))
		default:
			x.fileBy(f, int32(i), &filing[f.attribute])
			if f.proves() {
				e.sure = int32(slices.IndexFunc(e.conditions, func(c condition) bool { return c.spec == f.spec }))
			}
		}
	}
	for a := range filing {
		by := &x.by[a]
		by.begins, by.ends = filing[a].begins.pack(false), filing[a].ends.pack(true)
		by.networks = newNetIndex(filing[a].nets)
	}
}

// A filing is what is built of an attributeIndex in another shape.
type filing struct {
	begins, ends *branch // roots, nil where there are none
	nets         map[netip.Prefix][]int32
}

// proves reports whether a request that finds an entry by f meets f's condition.
func (f *finder) proves() bool {
	switch f.spec.Kind {
	case Value, CIDR:
		return true
	case Glob:
		tokens := f.spec.globs[0].tokens
		literal, wild := 0, 1 // of the tokens
		if f.ends {
			literal, wild = 1, 0
		}
		return len(tokens) == 2 && tokens[literal].wild == 0 && tokens[wild].wild == 2
	}
	return false
}

// count counts what the entries share.
func (x *index) count(live int) []counts {
	all := make([]counts, len(x.names))
	for a := range all {
		all[a] = counts{values: map[string]int{}, begins: map[string]int{}, ends: map[string]int{}, nets: map[netip.Prefix]int{}}
	}
	for i := range live {
		e := &x.entries[i]
		for _, a := range e.attributes() {
			all[a].there++
		}
		for _, c := range e.conditions {
			n := &all[c.attribute]
			for _, v := range c.spec.plain {
				n.values[v]++
			}
			for _, g := range c.spec.globs {
				n.begins[g.prefix]++
				n.ends[g.suffix]++
			}
			for _, net := range c.spec.nets {
				n.nets[net]++
			}
		}
	}
	return all
}

// choose returns the finder of an entry that shares it with the fewest.
func (x *index) choose(e *entry, count []counts) finder {
	best := finder{attribute: -1, cost: len(x.entries) + 1}
	try := func(f finder) {
		if f.cost < best.cost {
			best = f
		}
	}
	for _, c := range e.conditions {
		if c.kind == Any {
			continue
		}
		n := &count[c.attribute]
		plain, begins, ends := 0, 0, 0
		for _, v := range c.spec.plain {
			plain = max(plain, n.values[v])
		}
		for _, net := range c.spec.nets {
			plain = max(plain, n.nets[net])
		}
		for _, g := range c.spec.globs {
			begins = max(begins, cost(g.prefix, n.begins, n.there))
			ends = max(ends, cost(g.suffix, n.ends, n.there))
		}
		try(finder{c.attribute, c.spec, false, max(plain, begins)})
		if len(c.spec.globs) > 0 {
			try(finder{c.attribute, c.spec, true, max(plain, ends)})
		}
	}
	for _, a := range e.attributes() {
		try(finder{a, nil, false, count[a].there})
	}
	return best
}

// cost is how many globs share a literal; without one all that name the attribute do.
func cost(literal string, shared map[string]int, there int) int {
	if literal == "" {
		return there
	}
	return shared[literal]
}

// fileBy puts an entry where its condition finds it.
func (x *index) fileBy(f finder, entry int32, to *filing) {
	by := &x.by[f.attribute]
	for _, v := range f.spec.plain {
		if by.values == nil {
			by.values = map[string][]int32{}
		}
		by.values[v] = append(by.values[v], entry)
	}
	for _, g := range f.spec.globs {
		if f.ends {
			to.ends = to.ends.file(reversed(g.suffix), entry)
			continue
		}
		begin := g.prefix
		if g.bare != "" {
			// The bare parent alone, and what begins with it and a slash.
			to.begins = to.begins.fileWhole(g.bare, entry)
			begin = g.bare + "/"
		}
		to.begins = to.begins.file(begin, entry)
	}
	for _, net := range f.spec.nets {
		if to.nets == nil {
			to.nets = map[netip.Prefix][]int32{}
		}
		to.nets[net] = append(to.nets[net], entry)
	}
}
