package policy

import (
	"slices"
	"sort"
)

// choiceScratch is the memory that Choose needs for one request.
type choiceScratch struct {
	values  []string          // of the request, by number of attribute; "" = not there
	ips     []address         // of the same
	there   uint64            // bits of the first 64 that are there
	present []int32           // numbers of all that are there
	matched []int32           // entries that match
	order   []uint64          // winners: place in the document, entry, shadow
	key     []byte            // what is hashed
	exempt  []*CompiledPolicy // unlimited winners
	memo    [2]memo           // own domain, "*"
}

// A memo remembers the numbers of the attributes of the last request: requests of one
// domain mostly name the same ones in the same order.
type memo struct {
	index   *index
	names   []string        // by place in the request, as the index has them; "" = of no policy
	numbers []int32         // of the same; -1 = of no policy
	own     *domainPolicies // of the last request, and its snapshot
	of      *Snapshot
}

// Choose finds the policies that apply to a request and fills in c. It does not
// allocate once c is warm.
func (s *Snapshot) Choose(domain string, attributes []Attribute, c *Choice) {
	c.Winners, c.Exempt, c.Known = c.Winners[:0], false, s.global != nil
	c.scratch.exempt = c.scratch.exempt[:0]
	if own := s.own(domain, &c.scratch.memo[0]); own != nil {
		c.Known = true
		own.choose(s.key, domain, attributes, c, &c.scratch.memo[0])
	}
	if s.global != nil {
		s.global.choose(s.key, domain, attributes, c, &c.scratch.memo[1])
	}
}

// own returns a domain's policies, nil for none. "*" is no domain of a request.
func (s *Snapshot) own(domain string, m *memo) *domainPolicies {
	if m.of == s && m.own != nil && m.own.name == domain {
		return m.own
	}
	if domain == Global {
		return nil
	}
	d := s.domains[domain]
	m.of, m.own = s, d
	return d
}

// choose adds what one document says to c.
func (d *domainPolicies) choose(key sipKey, domain string, attributes []Attribute, c *Choice, m *memo) {
	x, sc := d.index, &c.scratch
	sc.load(x, domain, attributes, m)
	sc.matched = sc.matched[:0]
	x.visit(x.always, sc)
	if len(x.entries) > fewEntries {
		x.lookUp(sc)
	}
	if len(sc.matched) > 0 {
		d.decide(key, c)
	}
	sc.forget()
}

// forget drops the request's values: they are its caller's.
func (sc *choiceScratch) forget() {
	for _, n := range sc.present {
		sc.values[n] = ""
	}
	sc.present, sc.there = sc.present[:0], 0
}

// load brings a request's attributes into the order of their numbers.
func (sc *choiceScratch) load(x *index, domain string, attributes []Attribute, m *memo) {
	if n := len(x.names); cap(sc.values) < n {
		sc.values, sc.ips = make([]string, n), make([]address, n)
	} else {
		sc.values, sc.ips = sc.values[:n], sc.ips[:n]
	}
	if m.index != x {
		m.index, m.names, m.numbers = x, m.names[:0], m.numbers[:0]
	}
	for i := range attributes {
		a := &attributes[i]
		if i == len(m.names) {
			n := x.find(a.Key)
			name := ""
			if n >= 0 {
				name = x.names[n]
			}
			m.names, m.numbers = append(m.names, name), append(m.numbers, n)
		} else if m.names[i] != a.Key {
			n := x.find(a.Key)
			if m.numbers[i] = n; n >= 0 {
				m.names[i] = x.names[n]
			} else {
				m.names[i] = ""
			}
		}
		if n := m.numbers[i]; n >= 0 && n != x.domain {
			sc.set(n, a.Value)
		}
	}
	if x.domain >= 0 {
		sc.set(x.domain, domain)
	}
}

// set takes in an attribute's value. An empty one counts as not there.
func (sc *choiceScratch) set(n int32, value string) {
	if value == "" {
		return
	}
	sc.values[n], sc.ips[n].tried = value, false
	sc.there |= 1 << n // no bit from the 65th on
	sc.present = append(sc.present, n)
}

// lookUp visits the entries that the request's attributes find.
func (x *index) lookUp(sc *choiceScratch) {
	for _, n := range sc.present {
		value, by := sc.values[n], &x.by[n]
		if by.values != nil {
			x.visit(by.values[value], sc)
		}
		if by.begins != nil {
			by.begins.walk(value, func(list []int32) { x.visit(list, sc) })
		}
		if by.ends != nil {
			by.ends.walk(value, func(list []int32) { x.visit(list, sc) })
		}
		if by.networks != nil {
			if ip, ok := sc.ips[n].of(value); ok {
				by.networks.walk(ip, func(list []int32) { x.visit(list, sc) })
			}
		}
		x.visit(by.there, sc)
	}
}

// visit adds the entries of an ascending list that match, of each group no more than
// can win.
func (x *index) visit(list []int32, sc *choiceScratch) {
	for i := 0; i < len(list); i++ {
		e := &x.entries[list[i]]
		if !e.fits(sc) {
			continue
		}
		sc.matched = append(sc.matched, list[i])
		if !e.shadow && i+1 < len(list) && list[i+1] < e.groupEnd {
			rest := list[i+1:]
			i += sort.Search(len(rest), func(j int) bool { return rest[j] >= e.groupEnd })
		}
	}
}

// fits reports whether an entry that the request has found matches it.
func (e *entry) fits(sc *choiceScratch) bool {
	if e.need&^sc.there != 0 {
		return false
	}
	for i := range e.conditions {
		if int32(i) == e.sure {
			continue
		}
		c := &e.conditions[i]
		value := sc.values[c.attribute]
		switch {
		case value == "":
			return false
		case c.kind == Value:
			if value != c.value {
				return false
			}
		case !c.spec.matches(value, &sc.ips[c.attribute]):
			return false
		}
	}
	for i := range e.keyer.parts {
		if sc.values[e.keyer.parts[i].attribute] == "" {
			return false
		}
	}
	return true
}

// decide finds the winners of the groups among the entries that match: the first that
// enforces, for the verdict, and the very first, where that is a shadow, beside it.
func (d *domainPolicies) decide(key sipKey, c *Choice) {
	sc := &c.scratch
	entries := d.entries
	if len(sc.matched) > 1 {
		slices.Sort(sc.matched)
	}
	sc.order = sc.order[:0]
	for i := 0; i < len(sc.matched); {
		first := &entries[sc.matched[i]]
		sc.order = append(sc.order, first.winner(sc.matched[i]))
		enforced := !first.shadow
		for i++; i < len(sc.matched) && sc.matched[i] < first.groupEnd; i++ {
			if e := &entries[sc.matched[i]]; !enforced && !e.shadow {
				sc.order = append(sc.order, e.winner(sc.matched[i]))
				enforced = true
			}
		}
	}
	if len(sc.order) > 1 {
		slices.Sort(sc.order)
	}
	for _, w := range sc.order {
		e := &entries[uint32(w)]
		p := &d.policies[e.doc]
		if p.Unlimited {
			if !e.shadow {
				c.Exempt = true
				c.scratch.exempt = append(c.scratch.exempt, p)
			}
			continue
		}
		sc.key = e.keyer.compose(sc.key[:0], sc.values)
		c.Winners = append(c.Winners, Winner{Policy: p, Hash: key.hash(sc.key), Shadow: e.shadow})
	}
}

// winner packs an entry so that winners sort by their place in the document.
func (e *entry) winner(at int32) uint64 { return uint64(e.doc)<<32 | uint64(at) }
