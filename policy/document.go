package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-io/weir/bucket"
)

// MaxDocument is the largest document in bytes.
const MaxDocument = 4 << 20

// Global is the domain whose policies every other domain sees.
const Global = "*"

// DomainAttribute is the attribute that every request has: its domain. One of that
// name among a request's own attributes changes nothing.
const DomainAttribute = "domain"

// clientIP is the attribute whose values are addresses.
const clientIP = "client_ip"

// A Document is one parsed policy document: a domain, whole. It is immutable once it
// was handed to [Compile].
type Document struct {
	Domain   string
	Policies []Policy
	File     string // for messages
	Text     []byte // as written
	Version  uint64 // policy version that made it what it is; set by the log
}

// A Policy is one rule of a domain as it was written, defaults filled in.
type Policy struct {
	Name      string
	ID        string      // carries the counts through a rename; default: the name
	Match     []Condition // sorted by attribute
	Key       []string    // attribute names, sorted; none = one bucket for all
	Limits    []Limit
	Unlimited bool   // limits: unlimited
	Group     string // default: the name
	Priority  int
	Mode      Mode
	FailMode  bucket.FailMode

	line, column int // where it begins in its file
}

// A Limit is one limit of a policy as it was written.
type Limit struct {
	Name    string
	Rate    string // as written; empty for permits
	Numbers bucket.Limit
}

// A Condition is what match says of one attribute.
type Condition struct {
	Attribute string
	Kind      Kind
	Values    []string // what may fit: one text, or a list's; addresses in their one spelling

	plain []string            // the values that are neither glob nor network
	set   map[string]struct{} // the same, where they are many
	globs []*glob
	nets  []netip.Prefix
}

// A Kind is a way to match an attribute.
type Kind uint8

// The kinds of conditions.
const (
	Any   Kind = iota + 1 // "*": there, whatever its value
	Value                 // one value, byte for byte
	List                  // any of several values, globs or networks
	Glob                  // a pattern
	CIDR                  // an address in a network
)

// manyValues is the length from which a list is looked up rather than walked.
const manyValues = 8

// A pattern is one text of a condition: a plain value, a glob or a network.
type pattern struct {
	text  string // as written, addresses in their one spelling
	plain string // what a plain one stands for
	glob  *glob
	net   netip.Prefix
}

// kind returns the kind of a condition that is p alone.
func (p *pattern) kind() Kind {
	switch {
	case p.glob != nil:
		return Glob
	case p.net.IsValid():
		return CIDR
	}
	return Value
}

// add takes one more pattern into a condition.
func (c *Condition) add(p pattern) {
	c.Values = append(c.Values, p.text)
	switch p.kind() {
	case Glob:
		c.globs = append(c.globs, p.glob)
	case CIDR:
		c.nets = append(c.nets, p.net)
	default:
		c.plain = append(c.plain, p.plain)
	}
}

// seal makes the lookup of a list that got its last value.
func (c *Condition) seal() {
	if len(c.plain) <= manyValues {
		return
	}
	c.set = make(map[string]struct{}, len(c.plain))
	for _, v := range c.plain {
		c.set[v] = struct{}{}
	}
}

// matches reports whether a value that is there fits.
func (c *Condition) matches(value string, ip *address) bool {
	switch c.Kind {
	case Any:
		return true
	case Value:
		return value == c.plain[0]
	case Glob:
		return c.globs[0].match(value)
	}
	if c.set != nil {
		if _, ok := c.set[value]; ok {
			return true
		}
	} else if slices.Contains(c.plain, value) {
		return true
	}
	for _, g := range c.globs {
		if g.match(value) {
			return true
		}
	}
	if len(c.nets) == 0 {
		return false
	}
	addr, ok := ip.of(value)
	return ok && slices.ContainsFunc(c.nets, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// String returns the condition as a document has it: two that differ differ here too.
func (c *Condition) String() string {
	if c.Kind != List {
		return spelled(c.Values[0])
	}
	values := make([]string, len(c.Values))
	for i, v := range c.Values {
		values[i] = spelled(v)
	}
	return "[" + strings.Join(values, ", ") + "]"
}

// spelled returns a value, in quotes where it could be taken for something else.
func spelled(v string) string {
	if v == none || strings.ContainsAny(v, `,[]"`) || strings.TrimSpace(v) != v {
		return strconv.Quote(v)
	}
	return v
}

// A Mode says whether a policy's refusals count. The numbers are those of the
// wire protocol.
type Mode uint8

// The modes.
const (
	Enforce Mode = iota + 1
	Shadow
	Off
)

var modeNames = [...]string{Enforce: "enforce", Shadow: "shadow", Off: "off"}

// String returns the word that documents use.
func (m Mode) String() string { return modeNames[m] }

var failModeNames = [...]string{bucket.FailLocal: "local", bucket.FailOpen: "open", bucket.FailClosed: "closed"}
