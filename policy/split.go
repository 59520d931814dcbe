package policy

import (
	"bytes"
	"fmt"
)

// A Source is one text that holds documents: a file, standard input.
type Source struct {
	Name string // for messages
	Text []byte
}

// Split cuts a text into its documents at the lines that begin with "---". The pieces
// are parts of text; lines[i] is the line of text with which the i-th begins, from 1.
// Pieces of nothing but blank lines and comments are left out, unless there is no other.
func Split(text []byte) (pieces [][]byte, lines []int) {
	start, startLine, line := 0, 1, 1
	cut := func(end int) {
		if piece := text[start:end]; !empty(piece) {
			pieces, lines = append(pieces, piece), append(lines, startLine)
		}
	}
	for at := 0; at < len(text); line++ {
		next := bytes.IndexByte(text[at:], '\n') + 1
		if next == 0 {
			next = len(text) - at
		}
		if isMarker(text[at:at+next], "---") {
			cut(at)
			start, startLine = at, line
		}
		at += next
	}
	cut(len(text))
	if pieces == nil {
		return [][]byte{text}, []int{1}
	}
	return pieces, lines
}

// isMarker reports whether a line is the marker, alone or before white space.
func isMarker(line []byte, marker string) bool {
	if !bytes.HasPrefix(line, []byte(marker)) {
		return false
	}
	rest := line[len(marker):]
	return len(rest) == 0 || rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r' || rest[0] == '\n'
}

// empty reports whether a text says nothing.
func empty(text []byte) bool {
	for line := range bytes.Lines(text) {
		if t := bytes.TrimSpace(line); len(t) > 0 && t[0] != '#' && !bytes.Equal(t, []byte("---")) && !bytes.Equal(t, []byte("...")) {
			return false
		}
	}
	return true
}

// ParseAll reads a text that may hold several documents, one a domain, with "---"
// between them. The error is as [Parse] returns it, for all of them.
func ParseAll(file string, text []byte) ([]*Document, error) {
	return Load([]Source{{file, text}})
}

// Load reads all documents of several texts. One domain in two places is an error. The
// error is of type [Problems] and has those of all texts; the documents without
// problems are returned nevertheless.
func Load(sources []Source) ([]*Document, error) {
	var docs []*Document
	var problems Problems
	first := map[string]string{} // domain → where it is
	for _, src := range sources {
		pieces, lines := Split(src.Text)
		for i, piece := range pieces {
			d, ps := parse(src.Name, piece, lines[i])
			problems = append(problems, ps...)
			if len(ps) > 0 {
				continue
			}
			here := fmt.Sprintf("%s:%d", src.Name, lines[i])
			if there, ok := first[d.Domain]; ok {
				problems = append(problems, Problem{File: src.Name, Line: lines[i], Column: 1, Path: "domain",
					Message: fmt.Sprintf("domain %q is at %s too: a document is one domain, whole; put both into one", d.Domain, there)})
				continue
			}
			first[d.Domain] = here
			docs = append(docs, d)
		}
	}
	return docs, problems.err()
}
