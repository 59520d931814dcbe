package policy_test

import (
	"strings"
	"testing"

	"github.com/weir-io/weir/policy"
)

var secret = policy.Secret{1, 2, 3, 4, 5, 6, 7, 8}

// doc writes a document of policies in flow style, one a line; each gets a limit where it
// has none.
func doc(domain string, policies ...string) string {
	var b strings.Builder
	b.WriteString("domain: \"" + domain + "\"\npolicies:\n")
	for _, p := range policies {
		if !strings.Contains(p, "limits:") {
			p += ", limits: [{algorithm: token_bucket, rate: 10/s}]"
		}
		if !strings.Contains(p, "key:") {
			p += ", key: []"
		}
		b.WriteString("  - {" + p + "}\n")
	}
	if len(policies) == 0 {
		return "domain: \"" + domain + "\"\npolicies: []\n"
	}
	return b.String()
}

func parseAll(t testing.TB, texts ...string) []*policy.Document {
	t.Helper()
	var docs []*policy.Document
	for _, text := range texts {
		d, err := policy.Parse("test.yaml", []byte(text))
		if err != nil {
			t.Fatalf("Parse:\n%v\nof\n%s", err, text)
		}
		d.Version = 7
		docs = append(docs, d)
	}
	return docs
}

func compile(t testing.TB, texts ...string) *policy.Snapshot {
	t.Helper()
	s, warnings, err := policy.Compile(nil, parseAll(t, texts...), 7, secret)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("Compile: %v %v", err, warnings)
	}
	return s
}

func attributes(pairs ...string) []policy.Attribute {
	var all []policy.Attribute
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, policy.Attribute{Key: pairs[i], Value: pairs[i+1]})
	}
	return all
}

// chosen returns what applies, as "a b:shadow exempt".
func chosen(s *policy.Snapshot, domain string, pairs ...string) string {
	var c policy.Choice
	s.Choose(domain, attributes(pairs...), &c)
	return show(&c)
}

func show(c *policy.Choice) string {
	var all []string
	for _, w := range c.Winners {
		name := w.Policy.Name
		if w.Policy.Domain == policy.Global {
			name = "*/" + name
		}
		if w.Shadow {
			name += ":shadow"
		}
		all = append(all, name)
	}
	if c.Exempt {
		all = append(all, "exempt")
	}
	if !c.Known {
		all = append(all, "unknown")
	}
	return strings.Join(all, " ")
}

// TestRules holds every row of the table of questions that the documentation answers.
func TestRules(t *testing.T) {
	type ask struct {
		domain string
		pairs  string // "client=acme method=GET"
		want   string
	}
	tests := []struct {
		row  string
		docs []string
		asks []ask
	}{
		{"what matches: every attribute named is there and fits", []string{doc("shop", `name: a, match: {method: GET, tier: gold}`)}, []ask{
			{"shop", "method=GET tier=gold other=x", "a"},
			{"shop", "method=GET", ""},
			{"shop", "method=GET tier=Gold", ""},
			{"shop", "method=POST tier=gold", ""},
		}},
		{"what matches: any value of a list", []string{doc("shop", `name: a, match: {method: [GET, HEAD]}`)}, []ask{
			{"shop", "method=GET", "a"}, {"shop", "method=HEAD", "a"}, {"shop", "method=PUT", ""},
		}},
		{"what matches: a long list", []string{doc("shop", `name: a, match: {n: [a, b, c, d, e, f, g, h, i, j, "x*", 10.0.0.0/8]}`)}, []ask{
			{"shop", "n=j", "a"}, {"shop", "n=k", ""}, {"shop", "n=xyz", "a"}, {"shop", "n=10.1.2.3", "a"}, {"shop", "n=11.1.2.3", ""},
		}},
		{"what matches: globs", []string{doc("shop", `name: a, match: {path: "/v1/*/items"}`, `name: b, match: {path: "/v1/**"}`, `name: c, match: {path: '/v1/\*'}`)}, []ask{
			{"shop", "path=/v1/7/items", "a b"}, {"shop", "path=/v1/7/8/items", "b"}, {"shop", "path=/v1", "b"}, {"shop", "path=/v1x", ""}, {"shop", "path=/v1/*", "b c"},
		}},
		{"what matches: an address in a CIDR", []string{doc("shop", `name: a, match: {client_ip: 10.0.0.0/8}`, `name: b, match: {client_ip: "2001:db8::/32"}`, `name: c, match: {client_ip: "2001:DB8:0::1"}`)}, []ask{
			{"shop", "client_ip=10.255.0.1", "a"}, {"shop", "client_ip=11.0.0.1", ""}, {"shop", "client_ip=2001:db8::1", "b c"}, {"shop", "client_ip=nonsense", ""},
		}},
		{"what matches: a star alone is any value", []string{doc("shop", `name: a, match: {user: "*"}`)}, []ask{
			{"shop", "user=x", "a"}, {"shop", "client=x", ""},
		}},
		{"key: a request without a key attribute does not match", []string{doc("shop", `name: by-key, key: [api_key], group: g, priority: 1`, `name: by-address, key: [client_ip], group: g`)}, []ask{
			{"shop", "api_key=k client_ip=10.0.0.1", "by-key"}, {"shop", "client_ip=10.0.0.1", "by-address"}, {"shop", "user=x", ""},
		}},
		{"competition: priority before specificity before name", []string{doc("shop",
			`name: a, match: {method: GET}, group: g`, `name: b, match: {method: GET, tier: gold}, group: g`, `name: c, group: g, priority: 5, key: [vip]`)}, []ask{
			{"shop", "method=GET", "a"}, {"shop", "method=GET tier=gold", "b"}, {"shop", "method=GET tier=gold vip=1", "c"},
		}},
		{"more specific: more attributes named, the key's too", []string{doc("shop", `name: a, match: {method: GET}, group: g`, `name: b, match: {method: "G*"}, key: [user], group: g`)}, []ask{
			{"shop", "method=GET user=x", "b"}, {"shop", "method=GET", "a"},
		}},
		{"more specific: plain values, then lists, then literal characters", []string{doc("shop",
			`name: any, match: {path: "*"}, group: g`, `name: short, match: {path: "/a*"}, group: g`, `name: long, match: {path: "/ab*"}, group: g`,
			`name: list, match: {path: [/abc, /abd, /z]}, group: g`, `name: value, match: {path: /abc}, group: g`)}, []ask{
			{"shop", "path=/abc", "value"}, {"shop", "path=/abd", "list"}, {"shop", "path=/abe", "long"}, {"shop", "path=/ac", "short"}, {"shop", "path=/z", "list"}, {"shop", "path=/y", "any"},
		}},
		{"more specific: bits of networks", []string{doc("shop", `name: wide, match: {client_ip: 10.0.0.0/8}, group: g`, `name: narrow, match: {client_ip: 10.1.0.0/16}, group: g`)}, []ask{
			{"shop", "client_ip=10.1.1.1", "narrow"}, {"shop", "client_ip=10.2.1.1", "wide"},
		}},
		{"groups add up, in document order", []string{doc("shop", `name: z`, `name: y, key: [user]`, `name: x`)}, []ask{
			{"shop", "user=u", "z y x"}, {"shop", "", "z x"},
		}},
		{"domain *: its groups are its own", []string{doc("shop", `name: a, group: cap, priority: 100`), doc("*", `name: cap, group: cap`)}, []ask{
			{"shop", "", "a */cap"}, {"other", "", "*/cap"},
		}},
		{"domain *: a domain cannot switch it off", []string{doc("shop", `name: a, group: cap, limits: unlimited`), doc("*", `name: cap, group: cap`)}, []ask{
			{"shop", "", "*/cap exempt"},
		}},
		{"domain is an attribute that is always there", []string{doc("*", `name: per, key: [domain]`, `name: shops, match: {domain: "shop-*"}`)}, []ask{
			{"shop-1", "", "*/per */shops"}, {"bank", "domain=shop-1", "*/per"},
		}},
		{"no limit: nothing enforces, unknown domain", []string{doc("shop", `name: a, key: [user]`)}, []ask{
			{"shop", "x=y", ""}, {"nowhere", "user=u", "unknown"}, {"*", "user=u", "unknown"},
		}},
		{"no limit: unlimited wins its group and charges nothing", []string{doc("shop", `name: vip, match: {tier: gold}, group: g, limits: unlimited`, `name: all, group: g`, `name: cap`)}, []ask{
			{"shop", "tier=gold", "cap exempt"}, {"shop", "tier=tin", "all cap"},
		}},
		{"no limit: attributes no policy names change nothing", []string{doc("shop", `name: a, key: [user]`)}, []ask{
			{"shop", "zz=1 user=u yy=2", "a"},
		}},
		{"no limit: an empty document makes a domain known", []string{doc("shop")}, []ask{
			{"shop", "", ""}, {"other", "", "unknown"},
		}},
		{"shadow: wins ties, and stands in nobody's way", []string{doc("shop", `name: now, group: g`, `name: next, group: g, mode: shadow`)}, []ask{
			{"shop", "", "now next:shadow"},
		}},
		{"shadow: loses to a more specific one that enforces", []string{doc("shop", `name: now, group: g, match: {a: b}`, `name: next, group: g, mode: shadow`)}, []ask{
			{"shop", "a=b", "now"}, {"shop", "a=c", "next:shadow"},
		}},
		{"shadow: only the best one is reported", []string{doc("shop", `name: now, group: g`, `name: s1, group: g, mode: shadow, priority: 2`, `name: s2, group: g, mode: shadow, priority: 1`)}, []ask{
			{"shop", "", "now s1:shadow"},
		}},
		{"shadow: unlimited is neither charged nor exempt", []string{doc("shop", `name: now, group: g`, `name: s, group: g, mode: shadow, limits: unlimited`)}, []ask{
			{"shop", "", "now"},
		}},
		{"off never matches", []string{doc("shop", `name: a, group: g, priority: 9, mode: off`, `name: b, group: g`)}, []ask{
			{"shop", "", "b"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.row, func(t *testing.T) {
			s := compile(t, tt.docs...)
			for _, a := range tt.asks {
				var pairs []string
				for p := range strings.FieldsSeq(a.pairs) {
					k, v, _ := strings.Cut(p, "=")
					pairs = append(pairs, k, v)
				}
				if got := chosen(s, a.domain, pairs...); got != a.want {
					t.Errorf("%s %s: %q, want %q", a.domain, a.pairs, got, a.want)
				}
			}
		})
	}
}

func TestTies(t *testing.T) {
	many := func(format func(i int) string, n int) []string {
		var all []string
		for i := range n {
			all = append(all, format(i))
		}
		return all
	}
	num := func(i int) string {
		return string(rune('a'+i/26/26%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i%26))
	}
	tests := []struct {
		name     string
		policies []string
		want     string // in the error, "" = none
	}{
		{"both match all", []string{`name: a, group: g`, `name: b, group: g`}, `ties with policy "a" on line 3`},
		{"different priorities", []string{`name: a, group: g`, `name: b, group: g, priority: 1`}, ""},
		{"different groups", []string{`name: a`, `name: b`}, ""},
		{"different modes", []string{`name: a, group: g`, `name: b, group: g, mode: shadow`}, ""},
		{"two shadows", []string{`name: a, group: g, mode: shadow`, `name: b, group: g, mode: shadow`}, "ties"},
		{"two that are off", []string{`name: a, group: g, mode: off`, `name: b, group: g, mode: off`}, ""},
		{"different values", []string{`name: a, group: g, match: {m: x}`, `name: b, group: g, match: {m: y}`}, ""},
		{"different attributes", []string{`name: a, group: g, match: {m: x}`, `name: b, group: g, match: {n: y}`}, "ties"},
		{"lists that meet", []string{`name: a, group: g, match: {m: [x, y]}`, `name: b, group: g, match: {m: [y, z]}`}, "ties"},
		{"lists apart", []string{`name: a, group: g, match: {m: [w, x]}`, `name: b, group: g, match: {m: [y, z]}`}, ""},
		{"globs that meet", []string{`name: a, group: g, match: {p: "/a/*/c"}`, `name: b, group: g, match: {p: "/a/b/*"}`}, "ties"},
		{"globs apart", []string{`name: a, group: g, match: {p: "/a/*/c"}`, `name: b, group: g, match: {p: "/b/*/c"}`}, ""},
		{"globs by segments", []string{`name: a, group: g, match: {p: "/a/*"}`, `name: b, group: g, match: {p: "*/ab"}`}, ""},
		{"globs across segments", []string{`name: a, group: g, match: {p: "/a/*"}`, `name: b, group: g, match: {p: "**/ab"}`}, "ties"},
		{"globs apart by segments", []string{`name: a, group: g, match: {p: "/a/*x"}`, `name: b, group: g, match: {p: "/a/*y"}`}, ""},
		{"networks apart", []string{`name: a, group: g, match: {client_ip: 10.0.0.0/9}`, `name: b, group: g, match: {client_ip: 10.128.0.0/9}`}, ""},
		{"networks of lists that meet", []string{`name: a, group: g, match: {client_ip: [10.0.0.0/9, 1.2.3.4]}`, `name: b, group: g, match: {client_ip: [10.0.0.0/8, 4.3.2.1]}`}, "ties"},
		{"many values apart", many(func(i int) string { return "name: p" + num(i) + ", group: g, match: {c: " + num(i) + "}" }, 300), ""},
		{"many values, one twice", append(many(func(i int) string { return "name: p" + num(i) + ", group: g, match: {c: " + num(i) + "}" }, 300), `name: z, group: g, match: {c: abc}`), `ties with policy "pabc"`},
		{"many globs apart", many(func(i int) string { return "name: p" + num(i) + ", group: g, match: {c: /" + num(i) + "/**}" }, 300), ""},
		{"many endings, one within another", append(many(func(i int) string { return "name: p" + num(i) + ", group: g, match: {c: \"*." + num(i) + "\"}" }, 300), `name: z, group: g, match: {c: "*xabc"}`), ""},
		{"many endings, one with a beginning", append(many(func(i int) string { return "name: p" + num(i) + ", group: g, match: {c: \"*." + num(i) + "\"}" }, 300), `name: z, group: g, match: {c: "?*abc"}`), `ties with policy "pabc"`},
		{"many endings, two meet", append(many(func(i int) string { return "name: p" + num(i) + ", group: g, match: {c: \"*." + num(i) + "\"}" }, 300), `name: z, group: g, match: {c: "z*bc"}`, `name: y, group: g, match: {c: "z*.abc"}`, `name: x, group: g, match: {c: "*z.abc"}`), `policies[x]: ties with policy "y"`},
		{"products of values", many(func(i int) string {
			return "name: p" + num(i) + ", group: g, match: {a: a" + num(i%10) + ", b: b" + num(i/10%10) + ", c: c" + num(i/100) + "}"
		}, 500), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := policy.Compile(nil, parseAll(t, doc("shop", tt.policies...)), 1, secret)
			switch {
			case err == nil && tt.want != "":
				t.Errorf("no error, want %q", tt.want)
			case err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q", err, tt.want)
			case err != nil && !strings.Contains(err.Error(), "set priority"):
				t.Errorf("error %v does not say what to do", err)
			}
		})
	}
}
