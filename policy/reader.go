package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A reader walks the YAML of one document and collects what is wrong with it.
type reader struct {
	file     string
	part     *part // whose nodes are being read
	problems Problems
	zones    zones
}

// A field is one name and value of a mapping.
type field struct {
	name  string
	path  string // from the document's root
	key   *token.Token
	value ast.Node
}

// report adds a problem at a token.
func (r *reader) report(at *token.Token, path, format string, args ...any) {
	p := Problem{File: r.file, Line: r.part.line(1), Column: 1, Path: path, Message: fmt.Sprintf(format, args...)}
	if at != nil && at.Position != nil {
		p.Line, p.Column = r.part.line(at.Position.Line), at.Position.Column
	}
	r.problems = append(r.problems, p)
}

// tokenOf returns where a value is: a block mapping's or list's first key or dash.
func tokenOf(n ast.Node) *token.Token {
	switch n := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

// entriesOf returns the entries of a mapping; ok is false for anything else.
func entriesOf(n ast.Node) (values []*ast.MappingValueNode, ok bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// fields reads a mapping whose names are free, as match's are. Repeated names and blank
// values are reported and left out.
func (r *reader) fields(n ast.Node, path, what string) []field {
	values, ok := entriesOf(n)
	if !ok {
		r.report(tokenOf(n), path, "%s, not %s", what, kindOf(n))
		return nil
	}
	fields := make([]field, 0, len(values))
	seen := make(map[string]*token.Token, len(values))
	for _, v := range values {
		key := v.Key.GetToken()
		name, ok := v.Key.(*ast.StringNode)
		if !ok {
			r.report(key, path, "the name %s is not a text: quote it: %q", key.Value, key.Value)
			continue
		}
		f := field{name.Value, join(path, name.Value), key, v.Value}
		if first, ok := seen[f.name]; ok {
			r.report(key, f.path, "repeated: it is on line %d already; keep one", r.part.line(first.Position.Line))
			continue
		}
		seen[f.name] = key
		fields = append(fields, f)
	}
	return fields
}

// known reads a mapping whose fields are these. Fields of a later version are refused by
// name.
func (r *reader) known(n ast.Node, path, what string, names []string, later map[string]string) map[string]*field {
	all := r.fields(n, path, what)
	fields := make(map[string]*field, len(all))
	for i := range all {
		f := &all[i]
		if remedy, ok := later[f.name]; ok {
			r.report(f.key, f.path, "`%s` is not supported by this version of weir: %s", f.name, remedy)
			continue
		}
		if !slices.Contains(names, f.name) {
			r.unknown(f, names)
			continue
		}
		fields[f.name] = f // blank ones too: they are not missing
		if blank(f.value) {
			r.report(f.key, f.path, "blank: give it a value or remove it")
		}
	}
	return fields
}

func (r *reader) unknown(f *field, names []string) {
	if near := nearest(f.name, names); near != "" {
		r.report(f.key, f.path, "unknown field %q: did you mean %q?", f.name, near)
		return
	}
	r.report(f.key, f.path, "unknown field %q: the fields here are %s", f.name, strings.Join(names, ", "))
}

// blank reports whether a value is missing.
func blank(n ast.Node) bool {
	if n == nil {
		return true
	}
	_, null := n.(*ast.NullNode)
	return null
}

// text reads a value that must be a text. Blank ones were reported before.
func (r *reader) text(n ast.Node, path string) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		if v.Value == "" {
			r.report(v.Token, path, "blank: give it a value or remove it")
			return "", false
		}
		return v.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		word := v.GetToken().Value
		r.report(v.GetToken(), path, "%s is %s, not a text: quote it: %q", word, kindOf(n), word)
	default:
		r.report(tokenOf(n), path, "want a text, not %s", kindOf(n))
	}
	return "", false
}

// textOf reads a field that may be absent, of which nothing is said then.
func (r *reader) textOf(f *field) (string, bool) {
	if f == nil || blank(f.value) {
		return "", false
	}
	return r.text(f.value, f.path)
}

// nameOf reads a name; def where the field is absent.
func (r *reader) nameOf(f *field, def string) string {
	s, ok := r.textOf(f)
	if !ok {
		return def
	}
	if !validName(s) {
		r.report(f.value.GetToken(), f.path, "%s is not a name: names are 1 to 64 characters of A-Z a-z 0-9 _ . : -", clip(s))
		return def
	}
	return s
}

// oneOf reads a word of a list of words, with its place there; def where it is absent.
func (r *reader) oneOf(f *field, words []string, def int) int {
	s, ok := r.textOf(f)
	if !ok {
		return def
	}
	if i := slices.Index(words, s); i >= 0 && s != "" {
		return i
	}
	remedy := "take one of " + strings.TrimPrefix(strings.Join(words, ", "), ", ")
	if near := nearest(s, words); near != "" {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	r.report(f.value.GetToken(), f.path, "unknown %s %s: %s", f.name, clip(s), remedy)
	return def
}

// integer reads a whole number; def where the field is absent.
func (r *reader) integer(f *field, low, high, def int64) int64 {
	if f == nil || blank(f.value) {
		return def
	}
	tk := tokenOf(f.value)
	if _, ok := f.value.(*ast.IntegerNode); !ok {
		remedy := fmt.Sprintf("write one in %d to %d", low, high)
		if s, ok := f.value.(*ast.StringNode); ok {
			if _, err := strconv.ParseInt(s.Value, 10, 64); err == nil {
				remedy = "write it without quotes: " + s.Value
			}
		}
		r.report(tk, f.path, "not a whole number: %s", remedy)
		return def
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(tk.Value, "_", ""), 10, 64)
	if err != nil || n < low || n > high {
		r.report(tk, f.path, "%s is not in %d to %d", clip(tk.Value), low, high)
		return def
	}
	return n
}

// kindOf names a node's kind to a person.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "a blank"
	case *ast.StringNode:
		return "a text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "a truth value"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	}
	return "something else"
}

// join appends a name to a path; one that would be misread is quoted.
func join(path, name string) string {
	if !validName(name) || strings.Contains(name, ".") {
		name = clip(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// clip quotes a text for a message, and no more of it than a person reads.
func clip(s string) string {
	if len(s) > 64 {
		return strconv.Quote(s[:61] + "...")
	}
	return strconv.Quote(s)
}

// validName reports whether a text may name a domain, policy, limit, group or attribute.
func validName(s string) bool {
	if len(s) < 1 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c|0x20 >= 'a' && c|0x20 <= 'z', c == '_', c == '.', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// nearest returns the word that s is most likely a slip of, "" for none.
func nearest(s string, words []string) string {
	best, least := "", min(2, (len(s)+1)/2)+1
	for _, w := range words {
		if w == "" || len(s) > 64 {
			continue
		}
		if d := distance(strings.ToLower(s), w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance counts the insertions, deletions and replacements between two words
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
