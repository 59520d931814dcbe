package policy

import "bytes"

// A radix is a tree of literal beginnings, or, backward, of endings of values. Each
// holds the entries whose glob has it.
type radix struct {
	backward bool
	root     radixNode
}

// A radixNode is reached by its label after those of its parents.
type radixNode struct {
	label  string // reversed in a backward tree
	list   []int32
	firsts []byte // first bytes of the children's labels
	kids   []*radixNode
}

// add puts an entry under a literal.
func (r *radix) add(literal string, entry int32) {
	if r.backward {
		literal = reversed(literal)
	}
	n := &r.root
	for literal != "" {
		i := bytes.IndexByte(n.firsts, literal[0])
		if i < 0 {
			n.firsts = append(n.firsts, literal[0])
			n.kids = append(n.kids, &radixNode{label: literal, list: []int32{entry}})
			return
		}
		kid := n.kids[i]
		same := common(kid.label, literal)
		if same < len(kid.label) {
			// Part the label: a new node takes what both have.
			upper := &radixNode{label: kid.label[:same], firsts: []byte{kid.label[same]}, kids: []*radixNode{kid}}
			kid.label = kid.label[same:]
			n.kids[i], kid = upper, upper
		}
		n, literal = kid, literal[same:]
	}
	n.list = append(n.list, entry)
}

// walk calls visit with the entries of every literal that value begins with, or ends in.
func (r *radix) walk(value string, visit func(list []int32)) {
	n, at := &r.root, 0
	for {
		if len(n.list) > 0 {
			visit(n.list)
		}
		if at == len(value) {
			return
		}
		i := bytes.IndexByte(n.firsts, r.byteAt(value, at))
		if i < 0 {
			return
		}
		n = n.kids[i]
		if len(n.label) > len(value)-at {
			return
		}
		if r.backward {
			for j := range len(n.label) {
				if n.label[j] != value[len(value)-1-at-j] {
					return
				}
			}
		} else if value[at:at+len(n.label)] != n.label {
			return
		}
		at += len(n.label)
	}
}

func (r *radix) byteAt(value string, at int) byte {
	if r.backward {
		return value[len(value)-1-at]
	}
	return value[at]
}

func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func reversed(s string) string {
	b := make([]byte, len(s))
	for i := range len(s) {
		b[len(s)-1-i] = s[i]
	}
	return string(b)
}
