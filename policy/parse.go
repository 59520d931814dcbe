package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/weir-io/weir/bucket"
)

// maxLimits bounds the limits of one policy: a verdict carries them all.
const maxLimits = 64

var (
	documentFields = []string{"domain", "policies"}
	policyFields   = []string{"name", "id", "match", "key", "limits", "group", "priority", "mode", "fail_mode"}
)

// Fields that belong to later versions, and what to do without them. They are refused by
// name: who writes one must not believe that it works.
var (
	laterInDocument = map[string]string{
		"clients": "write an exception as a policy of the same group with a higher priority",
		"lists":   "write the values into match",
	}
	laterInPolicy = map[string]string{
		"when":           "express the condition with match",
		"schedule":       "apply another document when the time comes",
		"overrides":      "write an exception as a policy of the same group with a higher priority",
		"response":       "remove it, answers have the standard headers",
		"clients":        "write an exception as a policy of the same group with a higher priority",
		"partition_mode": "remove it, fail_mode decides where the owner is out of reach",
		"cold_start":     "remove it, a partition that changes its owner starts empty",
		"durability":     "remove it, counts live in memory",
	}
)

// Parse reads one document strictly. The error lists every problem with file, line and
// remedy; it is of type [Problems]. The document keeps text.
func Parse(file string, text []byte) (*Document, error) {
	d, problems := parse(file, text, 1)
	if err := problems.err(); err != nil {
		return nil, err
	}
	return d, nil
}

// parse reads the document of a text that begins on a line of its file.
func parse(file string, text []byte, firstLine int) (*Document, Problems) {
	r := &reader{file: file, zones: zones{}}
	at := func(line, column int, message string) {
		r.problems = append(r.problems, Problem{File: file, Line: line, Column: column, Message: message})
	}
	if len(text) > MaxDocument {
		at(0, 0, fmt.Sprintf("%d bytes: a document has at most %d MiB; divide it by domains", len(text), MaxDocument>>20))
		return nil, r.problems
	}
	if empty(text) {
		at(0, 0, "the document is empty: it needs a domain and policies")
		return nil, r.problems
	}
	body := strip(string(text), firstLine, at)
	if guard(body, firstLine, at) {
		return nil, r.problems.sorted()
	}
	d := &Document{File: file, Text: text}
	rest, policies := divide(body, firstLine)
	r.root(d, rest, len(policies) > 0)
	for i, p := range policies {
		r.part = p
		if n := r.parseYAML(p); n != nil {
			r.policy(d, n, fmt.Sprintf("policies[%d]", i))
		} else if len(r.problems) == 0 {
			r.report(nil, fmt.Sprintf("policies[%d]", i), "blank: write a policy or remove the dash")
		}
	}
	r.unique(d)
	return d, r.problems.sorted()
}

// root reads all of a document that is not in its list of policies.
func (r *reader) root(d *Document, rest *part, listed bool) {
	if len(rest.lines) == 0 {
		rest.add("\n", 1)
	}
	r.part = rest
	before := len(r.problems)
	n := r.parseYAML(rest)
	if n == nil {
		if len(r.problems) == before {
			r.report(nil, "", "a document needs a domain and policies")
		}
		return
	}
	fields := r.listedFields(n, listed)
	if f := fields["domain"]; f == nil {
		r.report(nil, "domain", "missing: a document begins with \"domain: NAME\"")
	} else if s, ok := r.domain(f); ok {
		d.Domain = s
	}
	f := fields["policies"]
	switch {
	case listed:
	case f == nil:
		r.report(nil, "policies", "missing: write the policies of the domain, or \"policies: []\" for none")
	case !blank(f.value):
		list, ok := f.value.(*ast.SequenceNode)
		if !ok {
			r.report(tokenOf(f.value), f.path, "want a list of policies, not %s: begin each with a dash", kindOf(f.value))
			return
		}
		for i, v := range list.Values {
			r.policy(d, v, fmt.Sprintf("policies[%d]", i))
		}
	}
}

// listedFields reads the document's own fields. Where the policies were cut out, their
// field is blank.
func (r *reader) listedFields(n ast.Node, listed bool) map[string]*field {
	before := len(r.problems)
	fields := r.known(n, "", "want the fields of a document, as \"domain: NAME\"", documentFields, laterInDocument)
	if listed {
		r.problems = slices.DeleteFunc(r.problems, func(p Problem) bool {
			return len(r.problems) > before && p.Path == "policies" && strings.HasPrefix(p.Message, "blank")
		})
	}
	return fields
}

// domain reads a domain. A star must be quoted in YAML, but who writes one gets told by
// the YAML parser.
func (r *reader) domain(f *field) (string, bool) {
	s, ok := r.textOf(f)
	if !ok {
		return "", false
	}
	if s != Global && !validName(s) {
		r.report(f.value.GetToken(), f.path, "%s is not a domain: 1 to 64 characters of A-Z a-z 0-9 _ . : -, or \"*\" for all", clip(s))
		return "", false
	}
	return s, true
}

// policy reads one policy into d.
func (r *reader) policy(d *Document, n ast.Node, path string) {
	if blank(n) {
		r.report(tokenOf(n), path, "blank: write a policy or remove the dash")
		return
	}
	fields := r.known(n, path, "want the fields of a policy, as \"name: NAME\"", policyFields, laterInPolicy)
	if len(fields) == 0 {
		return
	}
	p := Policy{}
	if tk := tokenOf(n); tk != nil {
		p.line, p.column = r.part.line(tk.Position.Line), tk.Position.Column
	}
	if fields["name"] == nil {
		r.report(tokenOf(n), path+".name", "missing: every policy has a name")
	}
	p.Name = r.nameOf(fields["name"], "")
	p.ID = r.nameOf(fields["id"], p.Name)
	p.Group = r.nameOf(fields["group"], p.Name)
	p.Priority = int(r.integer(fields["priority"], math.MinInt32, math.MaxInt32, 0))
	p.Mode = Mode(r.oneOf(fields["mode"], modeNames[:], int(Enforce)))
	p.FailMode = bucket.FailMode(r.oneOf(fields["fail_mode"], failModeNames[:], int(bucket.FailLocal)))
	if f := fields["match"]; f != nil && !blank(f.value) {
		p.Match = r.match(f)
	}
	if f := fields["key"]; f == nil {
		r.report(tokenOf(n), path+".key", "missing: name the attributes that get a bucket each, as [client], or [] for one bucket for all")
	} else if !blank(f.value) {
		p.Key = r.key(f)
	}
	if f := fields["limits"]; f == nil {
		r.report(tokenOf(n), path+".limits", "missing: write at least one limit, or \"limits: unlimited\"")
	} else if !blank(f.value) {
		r.limits(&p, f)
	}
	d.Policies = append(d.Policies, p)
}

// key reads the names of the key's attributes.
func (r *reader) key(f *field) []string {
	list, ok := f.value.(*ast.SequenceNode)
	if !ok {
		r.report(tokenOf(f.value), f.path, "want a list of attribute names, not %s: write [client]", kindOf(f.value))
		return nil
	}
	var names []string
	for i, v := range list.Values {
		path := fmt.Sprintf("%s[%d]", f.path, i)
		if blank(v) {
			r.report(tokenOf(v), path, "blank: name an attribute or remove it")
			continue
		}
		s, ok := r.text(v, path)
		switch {
		case !ok:
		case !validName(s):
			r.report(v.GetToken(), path, "%s is not the name of an attribute: 1 to 64 characters of A-Z a-z 0-9 _ . : -", clip(s))
		case slices.Contains(names, s):
			r.report(v.GetToken(), path, "repeated: %q is in the key already; keep one", s)
		default:
			names = append(names, s)
		}
	}
	slices.Sort(names)
	return names
}

// unique reports names and ids that two policies share.
func (r *reader) unique(d *Document) {
	names, ids := map[string]*Policy{}, map[string]*Policy{}
	for i := range d.Policies {
		p := &d.Policies[i]
		if p.Name == "" {
			continue
		}
		twin, message := names[p.Name], "repeated: policy %q begins on line %d already; names are unique in a domain"
		if twin == nil {
			twin, message = ids[p.ID], "repeated: the id %q is that of the policy on line %d; two policies with one id would share their buckets"
			if twin != nil {
				message = fmt.Sprintf(message, p.ID, twin.line)
			}
		} else {
			message = fmt.Sprintf(message, p.Name, twin.line)
		}
		if twin != nil {
			r.problems = append(r.problems, Problem{File: r.file, Line: p.line, Column: p.column, Path: "policies[" + p.Name + "]", Message: message})
			continue
		}
		names[p.Name], ids[p.ID] = p, p
	}
}
