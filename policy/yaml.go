package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The YAML parser needs time that grows with the square of some texts (nesting, blank
// values, block text) and stops at the first error. So a document is cut into its
// policies, each is parsed by itself and is small, and what no policy needs is turned
// away before the parser sees it.

// Bounds of what is handed to the YAML parser.
const (
	maxPart  = 64 << 10 // bytes of one policy, or of all that is not in a list of policies
	maxDepth = 12       // lists and mappings in each other on one line
	maxBlank = 20       // blank values in one part
)

// A part is a piece of a document that is parsed by itself.
type part struct {
	text  strings.Builder
	lines []int // the line in the file of each line of text
}

func (p *part) add(line string, number int) {
	p.text.WriteString(line)
	p.lines = append(p.lines, number)
}

// line returns the line in the file of a line of the part, both from 1.
func (p *part) line(n int) int {
	return p.lines[max(0, min(n, len(p.lines))-1)]
}

// divide cuts a document into the list of its policies and all the rest, by the
// indentation of the list. A list in flow style stays in the rest.
func divide(text string, firstLine int) (rest *part, policies []*part) {
	rest = &part{}
	var item *part
	inside, indent := false, -1
	number := firstLine - 1
	for line := range strings.Lines(text) {
		number++
		body := strings.TrimLeft(line, " ")
		in := len(line) - len(body)
		body = strings.TrimRight(body, " \t\r\n")
		if inside {
			entry := body == "-" || strings.HasPrefix(body, "- ")
			switch {
			case body == "" || body[0] == '#':
				if item != nil {
					item.add(line, number)
				}
				continue
			case entry && (indent < 0 || in == indent):
				indent = in
				item = &part{}
				policies = append(policies, item)
				item.add(line[:in]+" "+line[in+1:], number)
				continue
			case indent >= 0 && in > indent:
				item.add(line, number)
				continue
			}
			inside, item, indent = false, nil, -1
		}
		rest.add(line, number)
		if name, after, ok := strings.Cut(body, ":"); ok && in == 0 && name == "policies" {
			after = strings.TrimLeft(after, " \t")
			inside = after == "" || after[0] == '#'
		}
	}
	return rest, policies
}

// strip takes the byte order mark and the markers of a document's begin and end off, and
// reports what follows the end.
func strip(text string, firstLine int, report func(line, column int, message string)) string {
	text = strings.TrimPrefix(text, "\ufeff")
	if isMarker([]byte(text), "---") {
		text = "   " + text[3:]
	}
	at, number := 0, firstLine
	for line := range strings.Lines(text) {
		switch {
		case isMarker([]byte(line), "...") && empty([]byte(text[at+len(line):])):
			return text[:at]
		case isMarker([]byte(line), "..."), isMarker([]byte(line), "---"):
			report(number, 1, "the text goes on after its document: a document is one domain, whole; several in one file are divided by lines of ---")
			return text[:at]
		}
		at += len(line)
		number++
	}
	return text
}

// guard reports what must not reach the YAML parser, and whether anything was found.
func guard(text string, firstLine int, report func(line, column int, message string)) (found bool) {
	say := func(line, column int, message string) {
		found = true
		report(line, column, message)
	}
	number := firstLine
	for line := range strings.Lines(text) {
		bare := strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if !utf8.ValidString(bare) {
			say(number, 1, "the line is not UTF-8: save the file as UTF-8")
		}
		for i := range len(bare) {
			if c := bare[i]; c < ' ' && c != '\t' || c == 0x7f {
				say(number, i+1, fmt.Sprintf("the line holds the control character %q: remove it", c))
				break
			}
		}
		if spaces := len(bare) - len(strings.TrimLeft(bare, " ")); spaces < len(bare) && bare[spaces] == '\t' && strings.TrimSpace(bare) != "" {
			say(number, spaces+1, "the line is indented by a tab: use spaces")
		}
		if strings.HasPrefix(bare, "%") {
			say(number, 1, "YAML directives are not supported: remove the line")
		}
		if blockText(bare) {
			say(number, len(bare), "block text (| and >) is not supported: write the value on one line, in quotes")
		}
		number++
	}
	return found
}

// blockText reports whether a line ends in the indicator of block text.
func blockText(line string) bool {
	if i := strings.Index(line, " #"); i >= 0 && strings.Count(line[:i], `"`)%2 == 0 && strings.Count(line[:i], "'")%2 == 0 {
		line = line[:i]
	}
	line = strings.TrimRight(line, " \t")
	if strings.HasPrefix(strings.TrimLeft(line, " "), "#") {
		return false
	}
	end := strings.TrimRight(line, "+-0123456789")
	if end == "" || len(line)-len(end) > 2 || end[len(end)-1] != '|' && end[len(end)-1] != '>' {
		return false
	}
	before := strings.TrimRight(end[:len(end)-1], " \t")
	return len(before) < len(end)-1 || before == "" || strings.HasSuffix(before, ":") || strings.HasSuffix(before, "-")
}

// refused is what is said of YAML that documents do not use.
var refused = map[token.Type]string{
	token.AnchorType:        "YAML anchors are not supported: write the value out, or quote a value that begins with &",
	token.AliasType:         `YAML aliases are not supported; quote a value that is or begins with a star, as "*" or "*.example.com"`,
	token.TagType:           "YAML tags are not supported: quote the value instead",
	token.MergeKeyType:      "YAML merge keys are not supported: write the fields out",
	token.MappingKeyType:    `YAML complex keys are not supported: write "name: value", or quote a value that begins with ?`,
	token.LiteralType:       "block text is not supported: write the value on one line, in quotes",
	token.FoldedType:        "block text is not supported: write the value on one line, in quotes",
	token.DirectiveType:     "YAML directives are not supported: quote a value that begins with %",
	token.DocumentEndType:   "the document ends here: quote the value",
	token.InvalidType:       "this is no YAML: quote the value",
	token.BinaryIntegerType: "write the number in decimals, or quote it",
	token.OctetIntegerType:  "write the number without leading zeros, or quote it",
	token.HexIntegerType:    "write the number in decimals, or quote it",
}

// examine reports tokens that must not reach the parser, and whether anything was found.
func examine(tokens token.Tokens, report func(line, column int, message string)) (found bool) {
	say := func(tk *token.Token, message string) {
		found = true
		report(tk.Position.Line, tk.Position.Column, message)
	}
	var flows []token.Type // the flow mappings and lists around a token
	blank, dashes, dashLine := 0, 0, 0
	for _, tk := range tokens {
		if message, ok := refused[tk.Type]; ok {
			if tk.Type == token.InvalidType && tk.Error != "" {
				message = tk.Error + ": quote the value"
			}
			say(tk, message)
			continue
		}
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			if flows = append(flows, tk.Type); len(flows) == maxDepth+1 {
				say(tk, fmt.Sprintf("more than %d lists and mappings in each other: no field is so deep", maxDepth))
			}
		case token.MappingEndType, token.SequenceEndType:
			flows = flows[:max(len(flows)-1, 0)]
		case token.SequenceEntryType:
			if tk.Position.Line != dashLine {
				dashes, dashLine = 0, tk.Position.Line
			}
			if dashes++; dashes == maxDepth+1 {
				say(tk, fmt.Sprintf("more than %d lists in each other: no field is so deep", maxDepth))
			}
		case token.MappingValueType, token.CollectEntryType:
			if isBlank(tk, len(flows) > 0 && flows[len(flows)-1] == token.MappingStartType) {
				if blank++; blank == maxBlank+1 {
					say(tk, "too many blank values: give each a value or remove it")
				}
			}
		}
	}
	return found
}

// isBlank reports whether nothing follows a colon or a comma, in a flow mapping or
// elsewhere.
func isBlank(tk *token.Token, mapping bool) bool {
	next := tk.Next
	if next == nil {
		return true
	}
	switch next.Type {
	case token.CollectEntryType:
		return true
	case token.MappingEndType, token.SequenceEndType:
		return tk.Type == token.MappingValueType // a comma may stand before the end
	}
	if tk.Type == token.CollectEntryType {
		return mapping && (next.Next == nil || next.Next.Type != token.MappingValueType) // {a, b}
	}
	return next.Position.Line > tk.Position.Line && tk.Prev != nil && next.Position.Column <= tk.Prev.Position.Column && next.Type != token.SequenceEntryType
}

// parseYAML returns the body of a part, nil where it has none or was refused.
func (r *reader) parseYAML(p *part) (body ast.Node) {
	report := func(line, column int, message string) {
		r.problems = append(r.problems, Problem{File: r.file, Line: p.line(line), Column: column, Message: message})
	}
	if p.text.Len() > maxPart {
		report(1, 1, fmt.Sprintf("%d KiB in one piece: a policy has at most %d KiB, and so has all that is not in the list of policies; write policies one below the other, each beginning with a dash",
			p.text.Len()>>10, maxPart>>10))
		return nil
	}
	// The parser is someone else's and the text anybody's: a panic there is a
	// refusal here.
	defer func() {
		if e := recover(); e != nil {
			report(1, 1, fmt.Sprintf("the YAML parser gave up here (%v): write it more plainly", e))
			body = nil
		}
	}()
	tokens := lexer.Tokenize(p.text.String())
	if examine(tokens, report) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) && syntax.GetToken() != nil {
			at := syntax.GetToken().Position
			report(at.Line, at.Column, "not valid YAML: "+syntax.GetMessage())
		} else {
			report(1, 1, "not valid YAML: "+err.Error())
		}
		return nil
	}
	for _, d := range file.Docs {
		if d.Body != nil {
			return d.Body
		}
	}
	return nil
}
