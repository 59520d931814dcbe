package policy

import (
	"fmt"
	"slices"
	"strings"
)

// A glob matches attribute values: '*' stands for any characters within a path segment,
// '**' for any at all, and a last '/**' also matches the bare parent.
type glob struct {
	tokens []globToken
	prefix string // what all that fits begins with
	suffix string // what all that fits ends in
	chars  int    // literal characters in all
	bare   string // the parent that a last /** also matches, when it is literal
	barred *glob  // the same when it is not
}

// A globToken is a literal, or a wildcard.
type globToken struct {
	literal string
	wild    int // 0 literal, 1 within a segment, 2 across
}

// hasWildcard reports whether a text is a glob. Without a star it is a value, byte for
// byte.
func hasWildcard(s string) bool { return strings.Contains(s, "*") }

// parseGlob reads a pattern. In one, \* is a star and \\ a backslash.
func parseGlob(pattern string) (*glob, error) {
	g := &glob{}
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			g.tokens = append(g.tokens, globToken{literal: lit.String()})
			g.chars += lit.Len()
			lit.Reset()
		}
	}
	wilds := 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && i+1 < len(pattern) && (pattern[i+1] == '*' || pattern[i+1] == '\\'):
			i++
			lit.WriteByte(pattern[i])
		case c == '*':
			flush()
			wild := 1
			for i+1 < len(pattern) && pattern[i+1] == '*' {
				i++
				wild++
			}
			if wild > 2 {
				return nil, fmt.Errorf("%s stars in a row mean nothing: write * within a segment, ** across", clip(pattern[i+1-wild:i+1]))
			}
			wilds++
			g.tokens = append(g.tokens, globToken{wild: wild})
		default:
			lit.WriteByte(c)
		}
	}
	flush()
	if wilds > maxWilds {
		return nil, fmt.Errorf("%d wildcards: a glob has at most %d", wilds, maxWilds)
	}
	if first := g.tokens[0]; first.wild == 0 {
		g.prefix = first.literal
	}
	if last := g.tokens[len(g.tokens)-1]; last.wild == 0 {
		g.suffix = last.literal
	}
	g.parent()
	return g, nil
}

// parent works out what a last /** also matches.
func (g *glob) parent() {
	n := len(g.tokens)
	if n < 2 || g.tokens[n-1].wild != 2 || !strings.HasSuffix(g.tokens[n-2].literal, "/") {
		return
	}
	last := strings.TrimSuffix(g.tokens[n-2].literal, "/")
	if n == 2 {
		if last != "" {
			g.bare, g.prefix = last, last
		}
		return
	}
	g.barred = &glob{tokens: append(append([]globToken(nil), g.tokens[:n-2]...), globToken{literal: last})}
}

// match reports whether the whole of s fits.
func (g *glob) match(s string) bool {
	if g.bare != "" && s == g.bare {
		return true
	}
	return matchTokens(g.tokens, s) || g.barred != nil && matchTokens(g.barred.tokens, s)
}

// matchTokens matches by going back to the latest wildcard only, one per kind: a '**'
// that came later can stand for whatever an earlier '*' or '**' could.
func matchTokens(tokens []globToken, s string) bool {
	var starAt, starS, deepAt, deepS = -1, 0, -1, 0
	ti, si := 0, 0
	for {
		switch {
		case ti < len(tokens) && tokens[ti].wild == 2:
			deepAt, deepS, starAt = ti, si, -1
			ti++
			continue
		case ti < len(tokens) && tokens[ti].wild == 1:
			starAt, starS = ti, si
			ti++
			continue
		case ti < len(tokens) && strings.HasPrefix(s[si:], tokens[ti].literal):
			si += len(tokens[ti].literal)
			ti++
			continue
		case ti == len(tokens) && si == len(s):
			return true
		}
		switch {
		case starAt >= 0 && starS < len(s) && s[starS] != '/':
			starS++
			ti, si = starAt+1, starS
		case starAt >= 0 && starS == len(s):
			return false // a later start would run into the end of s too
		case deepAt >= 0 && deepS < len(s):
			if starAt >= 0 && withinSegment(tokens[deepAt+1:starAt]) {
				deepS = starS // nothing before the segment's end will do: there is no more of it to try
			}
			deepS++
			ti, si, starAt = deepAt+1, deepS, -1
		default:
			return false
		}
	}
}

// withinSegment reports whether all that tokens without a '**' fit lies in one segment.
func withinSegment(tokens []globToken) bool {
	return !slices.ContainsFunc(tokens, func(t globToken) bool { return strings.Contains(t.literal, "/") })
}
