package policy

import "strings"

// overlaps reports whether some value fits both globs. It pays for the work from steps
// and reports false in ok when there are none left.
func (g *glob) overlaps(o *glob, steps *int) (both, ok bool) {
	if n := min(len(g.prefix), len(o.prefix)); g.prefix[:n] != o.prefix[:n] {
		return false, true
	}
	if !strings.HasSuffix(g.suffix, o.suffix) && !strings.HasSuffix(o.suffix, g.suffix) {
		return false, true
	}
	for _, a := range g.forms() {
		for _, b := range o.forms() {
			x, y := flat(a), flat(b)
			if *steps -= len(x) * len(y); *steps < 0 {
				return false, false
			}
			if overlapTokens(x, y) {
				return true, true
			}
		}
	}
	return false, true
}

// forms returns the token lists of a glob: itself and its bare parent.
func (g *glob) forms() [][]globToken {
	forms := [][]globToken{g.tokens}
	if g.bare != "" {
		forms = append(forms, []globToken{{literal: g.bare}})
	}
	if g.barred != nil {
		forms = append(forms, g.barred.tokens)
	}
	return forms
}

// Wildcards in the flat form of a glob, where every other element is a byte.
const (
	star = 256
	deep = 257
)

func flat(tokens []globToken) []int {
	var f []int
	for _, t := range tokens {
		switch t.wild {
		case 1:
			f = append(f, star)
		case 2:
			f = append(f, deep)
		default:
			for i := range len(t.literal) {
				f = append(f, int(t.literal[i]))
			}
		}
	}
	return f
}

// overlapTokens decides by dynamic programming over both patterns whether a common value
// exists: reach[j] tells whether a[:i] and b[:j] can have consumed the same value.
func overlapTokens(a, b []int) bool {
	reach := make([][]bool, len(a)+1)
	for i := range reach {
		reach[i] = make([]bool, len(b)+1)
	}
	reach[0][0] = true
	for i := 0; i <= len(a); i++ {
		for j := 0; j <= len(b); j++ {
			if !reach[i][j] {
				continue
			}
			// A wildcard may stand for nothing.
			if i < len(a) && a[i] >= star {
				reach[i+1][j] = true
			}
			if j < len(b) && b[j] >= star {
				reach[i][j+1] = true
			}
			if i == len(a) || j == len(b) {
				continue
			}
			x, y := a[i], b[j]
			switch {
			case x < star && y < star:
				reach[i+1][j+1] = reach[i+1][j+1] || x == y
			case x < star: // y takes the byte and goes on
				reach[i+1][j] = reach[i+1][j] || y == deep || x != '/'
			case y < star:
				reach[i][j+1] = reach[i][j+1] || x == deep || y != '/'
			}
		}
	}
	return reach[len(a)][len(b)]
}
