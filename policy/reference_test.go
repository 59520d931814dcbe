package policy_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-io/weir/policy"
)

// The reference decides by the documentation's words over a policy as it was written: no
// index, no order made beforehand, globs as regular expressions.

func globExpression(glob string) *regexp.Regexp {
	var b strings.Builder
	for i := 0; i < len(glob); {
		switch rest := glob[i:]; {
		case strings.HasPrefix(rest, `\*`), strings.HasPrefix(rest, `\\`):
			b.WriteString(regexp.QuoteMeta(rest[1:2]))
			i += 2
		case rest == "/**" && i > 0:
			b.WriteString("(/(?s:.*))?")
			i += 3
		case strings.HasPrefix(rest, "**"):
			b.WriteString("(?s:.*)")
			i += 2
		case rest[0] == '*':
			b.WriteString("[^/]*")
			i++
		default:
			b.WriteString(regexp.QuoteMeta(rest[:1]))
			i++
		}
	}
	return regexp.MustCompile("^(?:" + b.String() + ")$")
}

func textFits(text, value string) bool {
	if strings.Contains(text, "*") {
		return globExpression(text).MatchString(value)
	}
	if net, err := netip.ParsePrefix(text); err == nil {
		ip, err := netip.ParseAddr(value)
		return err == nil && net.Contains(ip)
	}
	return text == value
}

func referenceMatches(p *policy.Policy, request map[string]string) bool {
	for _, k := range p.Key {
		if request[k] == "" {
			return false
		}
	}
	for _, c := range p.Match {
		v := request[c.Attribute]
		if v == "" || !slices.ContainsFunc(c.Values, func(text string) bool { return text == "*" && c.Kind == policy.Any || textFits(text, v) }) {
			return false
		}
	}
	return p.Mode != policy.Off
}

// referenceOrder compares two policies of a group: less wins.
func referenceOrder(a, b *policy.Policy) int {
	measure := func(p *policy.Policy) (m [4]int) {
		names := map[string]bool{}
		for _, k := range p.Key {
			names[k] = true
		}
		for _, c := range p.Match {
			names[c.Attribute] = true
			switch c.Kind {
			case policy.Value:
				m[1]++
			case policy.List:
				m[2]++
			case policy.Glob:
				m[3] += len(c.Values[0]) - strings.Count(c.Values[0], "*")
			case policy.CIDR:
				m[3] += netip.MustParsePrefix(c.Values[0]).Bits()
			}
		}
		m[0] = len(names)
		return m
	}
	ma, mb := measure(a), measure(b)
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), slices.Compare(mb[:], ma[:]))
}

func referenceChoose(docs []*policy.Document, domain string, request map[string]string) string {
	var all []string
	exempt, known := false, false
	for _, name := range []string{domain, policy.Global} {
		for _, d := range docs {
			if d.Domain != name {
				continue
			}
			known = true
			request := mapsWith(request, policy.DomainAttribute, domain)
			for i := range d.Policies {
				p := &d.Policies[i]
				if !referenceMatches(p, request) {
					continue
				}
				wins := true // among the enforcing ones, or for a shadow among all
				for j := range d.Policies {
					q := &d.Policies[j]
					if i == j || q.Group != p.Group || !referenceMatches(q, request) || p.Mode == policy.Enforce && q.Mode == policy.Shadow {
						continue
					}
					order := referenceOrder(q, p)
					if order < 0 || order == 0 && q.Mode == policy.Shadow {
						wins = false
					}
				}
				if !wins {
					continue
				}
				if p.Unlimited {
					exempt = exempt || p.Mode == policy.Enforce
					continue
				}
				text := p.Name
				if name == policy.Global {
					text = "*/" + text
				}
				if p.Mode == policy.Shadow {
					text += ":shadow"
				}
				all = append(all, text)
			}
		}
	}
	if exempt {
		all = append(all, "exempt")
	}
	if !known {
		all = append(all, "unknown")
	}
	return strings.Join(all, " ")
}

func mapsWith(m map[string]string, k, v string) map[string]string {
	n := map[string]string{k: v}
	for a, b := range m {
		if a != k {
			n[a] = b
		}
	}
	return n
}

var (
	someNames  = rapid.SampledFrom([]string{"a", "b", "ip", "path", "domain"})
	someTexts  = rapid.SampledFrom([]string{"x", "y", "z", "/v1", "/v1/a", "/v1/a/b", "/v2", "10.0.0.1", "10.9.0.1", "::1", "shop", "bank", "xyz"})
	someGlobs  = rapid.SampledFrom([]string{"x*", "*z", "*", "/v1/*", "/v1/**", "**/a/**", "/**", "**", "*/a", "/v*/a", "/v1/*/b", "s*p", "**1", `\*`, "x**z"})
	someNets   = rapid.SampledFrom([]string{"10.0.0.0/8", "10.0.0.0/16", "10.0.0.1/32", "0.0.0.0/0", "::/0", "::1/128", "10.9.0.0/24"})
	someGroups = rapid.SampledFrom([]string{"g", "h", "i"})
	somePri    = rapid.IntRange(0, 2)
	someModes  = rapid.SampledFrom([]string{"enforce", "enforce", "shadow", "off"})
)

func somePolicy(t *rapid.T, i int) string {
	var match []string
	for _, a := range rapid.SliceOfNDistinct(someNames, 0, 3, rapid.ID[string]).Draw(t, "attributes") {
		one := rapid.OneOf(someTexts, someGlobs, someNets)
		var text string
		if rapid.Bool().Draw(t, "list") {
			var quoted []string
			for _, v := range rapid.SliceOfNDistinct(one.Filter(func(s string) bool { return s != "*" }), 1, 12, rapid.ID[string]).Draw(t, "values") {
				quoted = append(quoted, "'"+v+"'")
			}
			text = "[" + strings.Join(quoted, ", ") + "]"
		} else {
			text = "'" + one.Draw(t, "value") + "'"
		}
		match = append(match, a+": "+text)
	}
	key := rapid.SliceOfNDistinct(someNames, 0, 2, rapid.ID[string]).Draw(t, "key")
	limits := ""
	if rapid.IntRange(0, 5).Draw(t, "unlimited") == 0 {
		limits = ", limits: unlimited"
	}
	return fmt.Sprintf("name: p%d, match: {%s}, key: [%s], group: %s, priority: %d, mode: %s%s", i, strings.Join(match, ", "), strings.Join(key, ", "),
		someGroups.Draw(t, "group"), somePri.Draw(t, "priority"), someModes.Draw(t, "mode"), limits)
}

// withoutTies parses a document after leaving out the policies that tie with others.
func withoutTies(t *rapid.T, domain string, policies []string) *policy.Document {
	for {
		d, err := policy.Parse("r.yaml", []byte(doc(domain, policies...)))
		if err != nil {
			t.Fatalf("Parse: %v", err)
		}
		_, _, err = policy.Compile(nil, []*policy.Document{d}, 1, secret)
		if err == nil {
			return d
		}
		var problems policy.Problems
		if !errors.As(err, &problems) {
			t.Fatalf("Compile: %v", err)
		}
		policies = slices.DeleteFunc(policies, func(text string) bool {
			name, _, _ := strings.Cut(strings.TrimPrefix(text, "name: "), ",")
			return slices.ContainsFunc(problems, func(p policy.Problem) bool { return p.Path == "policies["+name+"]" })
		})
	}
}

// TestChooseAgainstReference compares the index with the reference, and the search for
// ties with what requests show: where Compile finds none, the reference never has two
// winners in a group.
func TestChooseAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var docs []*policy.Document
		for _, domain := range []string{"shop", "*"} {
			var policies []string
			for i := range rapid.IntRange(0, 40).Draw(t, "policies") {
				policies = append(policies, somePolicy(t, i))
			}
			docs = append(docs, withoutTies(t, domain, policies))
		}
		s, _, err := policy.Compile(nil, docs, 1, secret)
		if err != nil {
			t.Fatal(err)
		}
		var c policy.Choice
		for range 20 {
			request := map[string]string{}
			var attrs []policy.Attribute
			for _, a := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "ip", "path", "domain", "other"}), 0, 6, rapid.ID[string]).Draw(t, "request") {
				v := someTexts.Draw(t, "value")
				request[a] = v
				attrs = append(attrs, policy.Attribute{Key: a, Value: v})
			}
			domain := rapid.SampledFrom([]string{"shop", "bank"}).Draw(t, "domain")
			s.Choose(domain, attrs, &c)
			if got, want := show(&c), referenceChoose(docs, domain, request); got != want {
				t.Fatalf("%s %v: %q, want %q\n%s\n%s", domain, request, got, want, docs[0].Text, docs[1].Text)
			}
		}
	})
}
