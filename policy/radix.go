package policy

import (
	"bytes"
	"strings"
)

// A radix is a tree of literal beginnings, or, backward, of endings of values. Each
// holds the entries whose glob has it. It is packed: a walk reads a node and a few bytes
// of text for each step, and what a node has lies together.
type radix struct {
	backward bool
	nodes    []radixNode // the root first; the children of a node side by side
	text     string      // of all nodes: the label, then the first bytes of the children
	lists    []int32     // of all nodes: entries of what goes on, then of what ends here
}

// A radixNode is reached by its first byte, which its parent has, and its label after
// those of its parents. The label is reversed in a backward tree.
type radixNode struct {
	text             uint32 // place in radix.text
	label, kids      uint16 // lengths there
	kid              uint32 // place of the first child
	list, whole, end uint32 // radix.lists[list:whole] go on, [whole:end] end here
}

// walk calls visit with the entries of every literal that value begins with, or ends in,
// and with those of the one that is value.
func (r *radix) walk(value string, visit func(list []int32)) {
	n, at := &r.nodes[0], 0
	for {
		if n.list < n.whole {
			visit(r.lists[n.list:n.whole])
		}
		if at == len(value) {
			if n.whole < n.end {
				visit(r.lists[n.whole:n.end])
			}
			return
		}
		firsts := r.text[n.text+uint32(n.label):][:n.kids]
		i := strings.IndexByte(firsts, r.byteAt(value, at))
		if i < 0 {
			return
		}
		n = &r.nodes[n.kid+uint32(i)]
		at++
		label := r.text[n.text:][:n.label]
		if len(label) > len(value)-at {
			return
		}
		if r.backward {
			for j := range len(label) {
				if label[j] != value[len(value)-1-at-j] {
					return
				}
			}
		} else if value[at:at+len(label)] != label {
			return
		}
		at += len(label)
	}
}

func (r *radix) byteAt(value string, at int) byte {
	if r.backward {
		return value[len(value)-1-at]
	}
	return value[at]
}

// A branch is a node of a radix that is being built.
type branch struct {
	label  string // with its first byte
	list   []int32
	whole  []int32
	firsts []byte // first bytes of the children's labels
	kids   []*branch
}

// file puts an entry under a literal, and returns the root.
func (b *branch) file(literal string, entry int32) *branch {
	if b == nil {
		b = &branch{}
	}
	of := b.add(literal)
	of.list = append(of.list, entry)
	return b
}

// fileWhole puts an entry where a literal is all there is, and returns the root.
func (b *branch) fileWhole(literal string, entry int32) *branch {
	if b == nil {
		b = &branch{}
	}
	of := b.add(literal)
	of.whole = append(of.whole, entry)
	return b
}

// add returns the branch of a literal.
func (b *branch) add(literal string) *branch {
	for literal != "" {
		i := bytes.IndexByte(b.firsts, literal[0])
		if i < 0 {
			leaf := &branch{label: literal}
			b.firsts, b.kids = append(b.firsts, literal[0]), append(b.kids, leaf)
			return leaf
		}
		kid := b.kids[i]
		same := common(kid.label, literal)
		if same < len(kid.label) {
			// Part the label: a new branch takes what both have.
			upper := &branch{label: kid.label[:same], firsts: []byte{kid.label[same]}, kids: []*branch{kid}}
			kid.label = kid.label[same:]
			b.kids[i], kid = upper, upper
		}
		b, literal = kid, literal[same:]
	}
	return b
}

// pack returns the tree whose root b is; nil for none.
func (b *branch) pack(backward bool) *radix {
	if b == nil {
		return nil
	}
	r := &radix{backward: backward}
	var text []byte
	level := []*branch{b}
	r.nodes = append(r.nodes, radixNode{})
	for next := 0; len(level) > 0; {
		var below []*branch
		for _, b := range level {
			n := &r.nodes[next]
			next++
			n.text = uint32(len(text))
			if b.label != "" {
				text = append(text, b.label[1:]...)
				n.label = uint16(len(b.label) - 1)
			}
			text = append(text, b.firsts...)
			n.kids, n.kid = uint16(len(b.kids)), uint32(len(r.nodes))
			n.list = uint32(len(r.lists))
			r.lists = append(r.lists, b.list...)
			n.whole = uint32(len(r.lists))
			r.lists = append(r.lists, b.whole...)
			n.end = uint32(len(r.lists))
			r.nodes = append(r.nodes, make([]radixNode, len(b.kids))...)
			below = append(below, b.kids...)
		}
		level = below
	}
	r.text = string(text)
	return r
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
