package policy

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestGlob(t *testing.T) {
	tests := []struct {
		glob      string
		fits, not []string
	}{
		{"/v1/*", []string{"/v1/a", "/v1/"}, []string{"/v1", "/v1/a/b", "/v2/a"}},
		{"/v1/**", []string{"/v1", "/v1/", "/v1/a", "/v1/a/b"}, []string{"/v1x", "/v", "/v2"}},
		{"/v*/**", []string{"/v1", "/v1/a", "/v/a/b"}, []string{"/x"}},
		{"/**", []string{"/", "/a", "/a/b"}, []string{"a"}},
		{"**", []string{"a", "/", "/a/b"}, nil},
		{"**/admin/**", []string{"/admin/x", "/a/b/admin", "x/admin/y/z"}, []string{"admin", "/a/administer"}},
		{"*.example.com", []string{"a.example.com", ".example.com"}, []string{"example.com", "a/b.example.com"}},
		{"/*/items/*", []string{"/a/items/b"}, []string{"/a/b/items/c", "/a/items"}},
		{"/a*b*c", []string{"/abc", "/axxbxxc", "/abbcc"}, []string{"/ab/c", "/acb"}},
		{"**a*b", []string{"ab", "x/yacb", "a/ab"}, []string{"a/b", "ba"}},
		{`/\*/*`, []string{"/*/a"}, []string{"/a/a"}},
		{`a\\*`, []string{`a\`, `a\b`}, []string{"a", "ab"}},
		{`a\b*`, []string{`a\bc`}, []string{"abc"}},
		{"**x**", []string{"x", "a/x/b"}, []string{"a/b"}},
		{"/**/**", []string{"/", "/a", "/a/b"}, []string{"a"}},
	}
	for _, tt := range tests {
		g, err := parseGlob(tt.glob)
		if err != nil {
			t.Errorf("%s: %v", tt.glob, err)
			continue
		}
		for _, s := range tt.fits {
			if !g.match(s) {
				t.Errorf("%s does not fit %s", s, tt.glob)
			}
		}
		for _, s := range tt.not {
			if g.match(s) {
				t.Errorf("%s fits %s", s, tt.glob)
			}
		}
	}
	for _, s := range []string{"***", strings.Repeat("*a", 17)} {
		if _, err := parseGlob(s); err == nil {
			t.Errorf("%s: no error", s)
		}
	}
}

// expression is a glob as a regular expression.
func expression(glob string) *regexp.Regexp {
	e := regexp.QuoteMeta(glob)
	if bare, ok := strings.CutSuffix(e, `/\*\*`); ok {
		e = bare + "(/(?s:.*))?"
	}
	e = strings.ReplaceAll(e, `\*\*`, "(?s:.*)")
	return regexp.MustCompile("^(?:" + strings.ReplaceAll(e, `\*`, "[^/]*") + ")$")
}

var (
	smallGlobs = rapid.StringMatching(`(/|a|b|a|b|/|\*\*?){1,9}`).Filter(func(s string) bool { return !strings.Contains(s, "***") && s != "/**" })
	smallTexts = rapid.StringMatching(`[ab/]{1,10}`)
)

func TestGlobAgainstExpression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern, text := smallGlobs.Draw(t, "glob"), smallTexts.Draw(t, "text")
		g, err := parseGlob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		got, want := g.match(text), expression(pattern).MatchString(text)
		if got != want {
			t.Fatalf("%q fits %q: %v, want %v", text, pattern, got, want)
		}
		if want && (!strings.HasPrefix(text, g.prefix) || !strings.HasSuffix(text, g.suffix)) {
			t.Fatalf("%q fits %q and has not its prefix %q or suffix %q", text, pattern, g.prefix, g.suffix)
		}
	})
}

// A value that is made to nearly fit costs time in proportion to its length. Eight times
// the length is allowed 24 times the time: by the square it would be 64.
func TestGlobOfHostileValues(t *testing.T) {
	for _, pattern := range []string{"**a*b", "**a*b*c/**", "/**a*/x"} {
		g, err := parseGlob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		took := func(n int) time.Duration {
			least := time.Hour
			for range 20 {
				s := "/" + strings.Repeat("a", n) + "/"
				began := time.Now()
				for range 1 << 14 / n {
					if g.match(s) {
						t.Fatalf("%q fits %q", s, pattern)
					}
				}
				least = min(least, time.Since(began)/time.Duration(1<<14/n))
			}
			return least
		}
		if short, long := took(250), took(2000); long > 24*short {
			t.Errorf("%q: %v for 250 bytes, %v for 2,000", pattern, short, long)
		}
	}
}

// TestOverlap looks for a text that fits two globs among all short ones.
func TestOverlap(t *testing.T) {
	var texts []string
	for n := 1; n <= 6; n++ {
		for i := range 1 << (2 * n) {
			b := make([]byte, n)
			for j := range b {
				b[j] = "ab/x"[i>>(2*j)&3]
			}
			texts = append(texts, string(b))
		}
	}
	small := rapid.StringMatching(`(/|a|b|a|b|/|\*\*?){1,4}`).Filter(func(s string) bool { return !strings.Contains(s, "***") })
	rapid.Check(t, func(t *rapid.T) {
		a, b := small.Draw(t, "a"), small.Draw(t, "b")
		g, _ := parseGlob(a)
		h, _ := parseGlob(b)
		want := false
		for _, s := range texts {
			want = want || g.match(s) && h.match(s)
		}
		steps := 1 << 20
		got, ok := g.overlaps(h, &steps)
		if !ok || got != want {
			t.Fatalf("%q and %q: %v %v, want %v", a, b, got, ok, want)
		}
	})
	g, _ := parseGlob("a**b")
	if steps := 3; true {
		if _, ok := g.overlaps(g, &steps); ok {
			t.Error("an answer without steps")
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("/v1/**", "/v1")
	f.Add("**a*b**", "a/ab")
	f.Add(`\*\\*`, `*\`)
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !hasWildcard(pattern) || len(pattern) > maxValue || len(text) > maxValue {
			return
		}
		g, err := parseGlob(pattern)
		if err != nil {
			return
		}
		if g.match(text) && (!strings.HasPrefix(text, g.prefix) || !strings.HasSuffix(text, g.suffix)) {
			t.Fatalf("%q fits %q without its prefix %q and suffix %q", text, pattern, g.prefix, g.suffix)
		}
		steps := 1 << 30
		if both, ok := g.overlaps(g, &steps); ok && !both {
			t.Fatalf("%q does not overlap itself", pattern)
		}
	})
}
