package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-io/weir/bucket"
)

// An Action is what a change does to a policy. The numbers are those of the wire
// protocol.
type Action uint8

// The actions.
const (
	Add Action = iota + 1
	Change
	Remove
)

// A PlanEntry is what happens to one policy.
type PlanEntry struct {
	Domain, Policy string
	Action         Action
	Changes        []string // "limits[pace].rate: 100/s -> 200/s"
	FreshKeys      string   // why its keys start fresh; empty when counts stay
}

// none is what a plan writes for a field that is not there.
const none = "none"

// Diff returns what turns old into new; either may be nil for none. Policies are those of
// one name, or of one id where the name changed. Entries come in the order of new, what
// goes last.
func Diff(old, new *Document) []PlanEntry {
	var was, is []Policy
	domain := ""
	if old != nil {
		was, domain = old.Policies, old.Domain
	}
	if new != nil {
		is, domain = new.Policies, new.Domain
	}
	before, renamed := map[string]*Policy{}, map[string]*Policy{}
	for i := range was {
		before[was[i].Name] = &was[i]
		renamed[was[i].ID] = &was[i]
	}
	stays := map[string]bool{}
	for i := range is {
		stays[is[i].Name] = true
	}
	var plan []PlanEntry
	kept, gone := map[*Policy]bool{}, lost(was, stays)
	for i := range is {
		p := &is[i]
		o := before[p.Name]
		if o == nil {
			if r := renamed[p.ID]; r != nil && !stays[r.Name] {
				o = r
			}
		}
		if o == nil {
			plan = append(plan, PlanEntry{Domain: domain, Policy: p.Name, Action: Add, FreshKeys: gone.why(p)})
			continue
		}
		kept[o] = true
		if e := change(o, p); len(e.Changes) > 0 {
			e.Domain = domain
			plan = append(plan, e)
		}
	}
	for i := range was {
		if !kept[&was[i]] {
			plan = append(plan, PlanEntry{Domain: domain, Policy: was[i].Name, Action: Remove})
		}
	}
	return plan
}

// A lostTrack finds policies that look like renamed ones which do not keep their counts.
type lostTrack map[string]*Policy // those that go, by what they do

// lost returns the policies of a document that has policies by these names no more.
func lost(was []Policy, stays map[string]bool) lostTrack {
	gone := lostTrack{}
	for i := range was {
		if o := &was[i]; !stays[o.Name] && len(o.Limits) > 0 {
			if does := o.does(); gone[does] == nil {
				gone[does] = o
			}
		}
	}
	return gone
}

// why says what a new policy lacks to be one of those that go, "" where it is like none.
func (gone lostTrack) why(p *Policy) string {
	o := gone[p.does()]
	if o == nil {
		return ""
	}
	return fmt.Sprintf("if it is %q renamed, write \"id: %s\" and the counts stay", o.Name, o.ID)
}

// does returns a text that is equal for policies of one match and key with limits of the
// same names and rates.
func (p *Policy) does() string {
	var b []byte
	for _, k := range p.Key {
		b = appendText(b, k)
	}
	b = append(b, 0) // no name has it
	for i := range p.Limits {
		b = appendText(appendText(b, p.Limits[i].Name), p.Limits[i].Rate)
	}
	b = append(b, 0)
	for i := range p.Match {
		b = appendText(appendText(b, p.Match[i].Attribute), p.Match[i].String())
	}
	return string(b)
}

// A changes collects what differs.
type changes []string

func (c *changes) add(what, old, new string) {
	if old != new {
		*c = append(*c, what+": "+old+" -> "+new)
	}
}

// change compares two versions of one policy.
func change(o, p *Policy) PlanEntry {
	var c changes
	c.add("name", o.Name, p.Name)
	c.add("id", o.ID, p.ID)
	c.match(o.Match, p.Match)
	c.add("key", list(o.Key), list(p.Key))
	c.limits(o, p)
	c.add("group", o.Group, p.Group)
	c.add("priority", strconv.Itoa(o.Priority), strconv.Itoa(p.Priority))
	c.add("mode", o.Mode.String(), p.Mode.String())
	c.add("fail_mode", failModeNames[o.FailMode], failModeNames[p.FailMode])
	return PlanEntry{Policy: p.Name, Action: Change, Changes: c, FreshKeys: fresh(o, p)}
}

// fresh says why the keys of a policy start fresh, or some of their buckets.
func fresh(o, p *Policy) string {
	if o.Unlimited || p.Unlimited {
		return ""
	}
	var why []string
	if o.ID != p.ID {
		why = append(why, "the id changes")
	}
	if !slices.Equal(o.Key, p.Key) {
		why = append(why, "the key's attributes change")
	}
	gone := slices.ContainsFunc(o.Limits, func(l Limit) bool { return limitNamed(p.Limits, l.Name) == nil })
	for _, l := range p.Limits {
		if gone && limitNamed(o.Limits, l.Name) == nil {
			why = append(why, fmt.Sprintf("no limit was named %q", l.Name))
		}
	}
	return strings.Join(why, "; ")
}

func limitNamed(limits []Limit, name string) *Limit {
	for i := range limits {
		if limits[i].Name == name {
			return &limits[i]
		}
	}
	return nil
}

func list(names []string) string { return "[" + strings.Join(names, ", ") + "]" }

// match compares conditions, which are sorted by attribute.
func (c *changes) match(old, new []Condition) {
	texts := func(all []Condition) map[string]string {
		m := make(map[string]string, len(all))
		for i := range all {
			m[all[i].Attribute] = all[i].String()
		}
		return m
	}
	was, is := texts(old), texts(new)
	for i := range old {
		a := old[i].Attribute
		if s, ok := is[a]; ok {
			c.add(join("match", a), was[a], s)
		} else {
			c.add(join("match", a), was[a], none)
		}
	}
	for i := range new {
		if a := new[i].Attribute; was[a] == "" {
			c.add(join("match", a), none, is[a])
		}
	}
}

// limits compares the limits of a policy.
func (c *changes) limits(o, p *Policy) {
	if o.Unlimited != p.Unlimited {
		c.add("limits", limitNames(o), limitNames(p))
		return
	}
	for i := range p.Limits {
		l := &p.Limits[i]
		at := "limits[" + l.Name + "]"
		was := limitNamed(o.Limits, l.Name)
		if was == nil {
			c.add(at, none, l.String())
			continue
		}
		old, new := was.fields(), l.fields()
		for j := range old {
			c.add(at+"."+old[j].name, old[j].text, new[j].text)
		}
	}
	for i := range o.Limits {
		if l := &o.Limits[i]; limitNamed(p.Limits, l.Name) == nil {
			c.add("limits["+l.Name+"]", l.String(), none)
		}
	}
}

func limitNames(p *Policy) string {
	if p.Unlimited {
		return unlimited
	}
	names := make([]string, len(p.Limits))
	for i := range p.Limits {
		names[i] = p.Limits[i].Name
	}
	return list(names)
}

// A limitField is one field of a limit as a document has it.
type limitField struct{ name, text string }

// fields returns all fields of a limit, those it has not as none.
func (l *Limit) fields() []limitField {
	n := &l.Numbers
	f := []limitField{{"algorithm", n.Algorithm.String()}, {"rate", none}, {"burst", none}, {"max_wait", none}, {"zone", none}, {"permits", none}, {"ttl", none}}
	if n.Algorithm == bucket.Concurrency {
		f[5].text, f[6].text = strconv.FormatInt(n.Count, 10), n.TTL.String()
		return f
	}
	f[1].text = l.Rate
	if n.Algorithm == bucket.TokenBucket || n.Algorithm == bucket.LeakyBucket {
		f[2].text = strconv.FormatInt(n.Burst, 10)
	}
	if n.Algorithm == bucket.LeakyBucket && n.MaxWait >= 0 {
		f[3].text = n.MaxWait.String()
	}
	if n.Zone != nil {
		f[4].text = n.Zone.String()
	}
	return f
}

// String returns a limit in one line, as "token_bucket rate 100/s burst 200".
func (l *Limit) String() string {
	fields := l.fields()
	b := []string{fields[0].text}
	for _, f := range fields[1:] {
		if f.text != none {
			b = append(b, f.name+" "+f.text)
		}
	}
	return strings.Join(b, " ")
}
