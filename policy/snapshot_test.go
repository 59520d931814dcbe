package policy_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/policy"
)

func TestCompile(t *testing.T) {
	docs := parseAll(t, doc("b", "name: x, fail_mode: open", "name: y, mode: off"), doc("a", "name: x, limits: [{name: l, algorithm: token_bucket, rate: 1/s}, {name: m, algorithm: concurrency, permits: 2}]"), doc("*", "name: x"))
	s, _, err := policy.Compile(nil, docs, 9, secret)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, p := range s.Policies {
		if p.Ordinal != i {
			t.Errorf("policy %d has the ordinal %d", i, p.Ordinal)
		}
		got = append(got, p.Domain+"/"+p.Name+"/"+p.Mode.String())
	}
	if want := "*/x/enforce a/x/enforce b/x/enforce b/y/off"; strings.Join(got, " ") != want || s.Version != 9 {
		t.Errorf("%v at version %d, want %s", got, s.Version, want)
	}
	rules := s.Policies[1].Limits
	if len(rules) != 2 || rules[0].Name != "l" || rules[1].Name != "m" || rules[0].Rule.Hash == rules[1].Rule.Hash {
		t.Errorf("limits %+v", rules)
	}
	if r := rules[1].Rule; r.Version != 7 || r.FailMode != bucket.FailLocal || r.Limit.Count != 2 || s.Policies[2].Limits[0].Rule.FailMode != bucket.FailOpen {
		t.Errorf("rule %+v", r)
	}
	if _, _, err := policy.Compile(nil, append(docs, docs[0]), 9, secret); err == nil || !contains(err.Error(), `domain "b" is in test.yaml too`) {
		t.Errorf("one domain twice: %v", err)
	}
	empty, _, err := policy.Compile(nil, nil, 0, secret)
	if err != nil || chosen(empty, "shop") != "unknown" {
		t.Errorf("no documents: %v", err)
	}
}

// TestCompileReuse changes one domain of three and wants the others taken over, with
// ordinals that fit.
func TestCompileReuse(t *testing.T) {
	docs := parseAll(t, doc("a", "name: x"), doc("b", "name: x"), doc("c", "name: x"))
	first, _, err := policy.Compile(nil, docs, 7, secret)
	if err != nil {
		t.Fatal(err)
	}
	changed := parseAll(t, doc("a", "name: w", "name: x"))[0]
	changed.Version = 8
	again := parseAll(t, doc("c", "name: x"))[0] // the same text and version, parsed anew
	second, _, err := policy.Compile(first, []*policy.Document{changed, docs[1], again}, 8, secret)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range second.Policies {
		if p.Ordinal != i {
			t.Errorf("policy %d has the ordinal %d", i, p.Ordinal)
		}
	}
	for i := range first.Policies {
		if first.Policies[i].Ordinal != i {
			t.Errorf("policy %d of the old snapshot has the ordinal %d now", i, first.Policies[i].Ordinal)
		}
	}
	rule := func(s *policy.Snapshot, i int) *bucket.Rule { return s.Policies[i].Limits[0].Rule }
	if rule(second, 2) != rule(first, 1) || rule(second, 3) != rule(first, 2) {
		t.Error("unchanged documents were compiled again")
	}
	if rule(second, 1) == rule(first, 0) || rule(second, 1).Version != 8 {
		t.Errorf("a changed document was taken over")
	}
	if got := chosen(second, "a"); got != "w x" {
		t.Errorf("%q", got)
	}
	other, _, err := policy.Compile(second, docs, 9, policy.Secret{99})
	if err != nil || rule(other, 1).Hash == rule(second, 2).Hash {
		t.Errorf("another secret took rules over: %v", err)
	}
	newer := *docs[1]
	newer.Version = 12
	third, _, err := policy.Compile(first, []*policy.Document{&newer}, 12, secret)
	if err != nil || rule(third, 0).Version != 12 {
		t.Errorf("another version of a document was taken over: %v", err)
	}
}

func TestSnapshotHash(t *testing.T) {
	hash := func(texts ...string) string { return compile(t, texts...).Hash }
	a, b := doc("a", "name: x"), doc("b", "name: x")
	base := hash(a, b)
	if len(base) != 16 || hash(b, a) != base {
		t.Errorf("%q, in another order %q", base, hash(b, a))
	}
	for _, other := range []string{hash(a), hash(), hash(a, b+"# more\n"), hash(a, doc("c", "name: x"))} {
		if other == base {
			t.Errorf("other documents hash alike: %s", base)
		}
	}
}

func TestByName(t *testing.T) {
	s := compile(t, doc("shop", "name: a, match: {tier: gold}, key: [client]", "name: free, limits: unlimited", "name: s, mode: shadow", "name: o, mode: off, key: [client]"), doc("*", "name: cap, key: [domain]"))
	var c, by policy.Choice
	s.Choose("shop", attributes("client", "x", "tier", "gold"), &c)
	if err := s.ByName("shop", "a", attributes("client", "x"), &by); err != nil || len(by.Winners) != 1 || by.Winners[0] != c.Winners[0] {
		t.Errorf("%+v, %v, want %+v", by.Winners, err, c.Winners)
	}
	for _, name := range []string{"s", "o", "cap"} {
		if err := s.ByName("shop", name, attributes("client", "x"), &by); err != nil || len(by.Winners) != 1 || by.Winners[0].Policy.Name != name {
			t.Errorf("%s: %+v, %v", name, by.Winners, err)
		}
	}
	if err := s.ByName("bank", "cap", nil, &by); err != nil || by.Winners[0].Hash == c.Winners[len(c.Winners)-1].Hash {
		t.Errorf("a global policy of another domain: %v", err)
	}
	if err := s.ByName("shop", "b", nil, &by); !errors.Is(err, policy.ErrUnknown) || len(by.Winners) > 0 {
		t.Errorf("unknown policy: %v", err)
	}
	if err := s.ByName("shop", "a", attributes("tier", "gold"), &by); err == nil || errors.Is(err, policy.ErrUnknown) || !contains(err.Error(), `"client"`) {
		t.Errorf("missing attribute: %v", err)
	}
	if err := s.ByName("shop", "free", nil, &by); err == nil || !contains(err.Error(), "no buckets") {
		t.Errorf("unlimited: %v", err)
	}
	if got := show(&by); got != "" {
		t.Errorf("a failed search left %q", got)
	}
}

// TestChoiceKeepsNothing uses one Choice for requests of several domains and snapshots,
// whose values lie in memory that is written over.
func TestChoiceKeepsNothing(t *testing.T) {
	one := compile(t, doc("shop", "name: a, match: {m: x}, key: [k]", "name: b, key: [j]"), doc("bank", "name: c, key: [k, m]"), doc("*", "name: g, key: [z]"))
	two := compile(t, doc("shop", "name: d, key: [j, m]"))
	var c policy.Choice
	for range 3 {
		for _, tt := range []struct {
			s      *policy.Snapshot
			domain string
			attrs  []policy.Attribute
			want   string
		}{
			{one, "shop", attributes("k", "1", "m", "x"), "a"},
			{one, "shop", attributes("m", "x", "k", "1"), "a"},
			{one, "shop", attributes("m", "x"), ""},
			{one, "shop", attributes("q", "1", "j", "2", "q2", "1", "z", "3"), "b */g"},
			{one, "bank", attributes("k", "1", "m", "x"), "c"},
			{one, "none", attributes("k", "1", "m", "x"), ""},
			{two, "shop", attributes("k", "1", "m", "x"), ""},
			{two, "shop", attributes("j", "1", "m", "x"), "d"},
			{two, "none", attributes("j", "1", "m", "x"), "unknown"},
			{one, "shop", nil, ""},
		} {
			tt.s.Choose(tt.domain, tt.attrs, &c)
			if got := show(&c); got != tt.want {
				t.Errorf("%s %v: %q, want %q", tt.domain, tt.attrs, got, tt.want)
			}
		}
	}
}

func TestManyAttributes(t *testing.T) {
	var policies []string
	for i := range 200 {
		policies = append(policies, fmt.Sprintf("name: p%d, match: {a%d: x}, key: [b%d]", i, i, i))
	}
	s := compile(t, doc("shop", policies...))
	if got := chosen(s, "shop", "a150", "x", "b150", "1", "a3", "x", "b4", "1"); got != "p150" {
		t.Errorf("%q", got)
	}
}

func TestChooseConcurrently(t *testing.T) {
	s := compile(t, doc("shop", "name: a, key: [client]"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var c policy.Choice
			for range 1000 {
				s.Choose("shop", attributes("client", "x"), &c)
				if len(c.Winners) != 1 {
					t.Error("no winner")
				}
			}
		})
	}
	wg.Wait()
}

func TestDiff(t *testing.T) {
	tests := []struct {
		name     string
		old, new []string // nil = no document
		want     []policy.PlanEntry
	}{
		{"nothing", []string{"name: a"}, []string{"name: a"}, nil},
		{"new document", nil, []string{"name: a"}, []policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Add}}},
		{"gone document", []string{"name: a"}, nil, []policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Remove}}},
		{"numbers", []string{"name: a, limits: [{name: pace, algorithm: token_bucket, rate: 100/s}]"}, []string{"name: a, limits: [{name: pace, algorithm: token_bucket, rate: 200/s}]"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Change, Changes: []string{"limits[pace].rate: 100/s -> 200/s", "limits[pace].burst: 100 -> 200"}}}},
		{"algorithm", []string{"name: a, limits: [{algorithm: token_bucket, rate: 1/s}]"}, []string{"name: a, limits: [{algorithm: leaky_bucket, rate: 1/s, max_wait: 5s}]"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Change, Changes: []string{"limits[1].algorithm: token_bucket -> leaky_bucket", "limits[1].max_wait: none -> 5s"}}}},
		{"zone and permits", []string{"name: a, limits: [{algorithm: fixed_window, rate: 1/day}, {algorithm: concurrency, permits: 1}]"}, []string{"name: a, limits: [{algorithm: fixed_window, rate: 1/day, zone: Europe/Berlin}, {algorithm: concurrency, permits: 2}]"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Change, Changes: []string{"limits[1].zone: UTC -> Europe/Berlin", "limits[2].permits: 1 -> 2"}}}},
		{"match and behaviour", []string{"name: a, match: {m: x, n: y}, priority: 1"}, []string{"name: a, match: {m: [x, z], o: w}, mode: shadow, fail_mode: open, group: g"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Change, Changes: []string{"match.m: x -> [x, z]", "match.n: y -> none", "match.o: none -> w",
				"group: a -> g", "priority: 1 -> 0", "mode: enforce -> shadow", "fail_mode: local -> open"}}}},
		{"a list is no text", []string{`name: a, match: {m: "[x, y]", n: ["x, y"], o: none}`}, []string{`name: a, match: {m: [x, y], n: [x, y]}`},
			[]policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Change, Changes: []string{`match.m: "[x, y]" -> [x, y]`, `match.n: ["x, y"] -> [x, y]`, `match.o: "none" -> none`}}}},
		{"key", []string{"name: a, key: [x]"}, []string{"name: a, key: [x, y]"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Change, Changes: []string{"key: [x] -> [x, y]"}, FreshKeys: "the key's attributes change"}}},
		{"id", []string{"name: a"}, []string{"name: a, id: b"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Change, Changes: []string{"id: a -> b"}, FreshKeys: "the id changes"}}},
		{"limit renamed", []string{"name: a, limits: [{name: x, algorithm: token_bucket, rate: 1/s}]"}, []string{"name: a, limits: [{name: y, algorithm: token_bucket, rate: 1/s}]"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Change, Changes: []string{"limits[y]: none -> token_bucket rate 1/s burst 1", "limits[x]: token_bucket rate 1/s burst 1 -> none"}, FreshKeys: `no limit was named "y"`}}},
		{"limit added", []string{"name: a, limits: [{name: x, algorithm: token_bucket, rate: 1/s}]"}, []string{"name: a, limits: [{name: x, algorithm: token_bucket, rate: 1/s}, {name: y, algorithm: sliding_log, rate: 1/s}]"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Change, Changes: []string{"limits[y]: none -> sliding_log rate 1/s"}}}},
		{"unlimited", []string{"name: a"}, []string{"name: a, limits: unlimited"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "a", Action: policy.Change, Changes: []string{"limits: [1] -> unlimited"}}}},
		{"renamed with its id", []string{"name: a", "name: b"}, []string{"name: c, id: a", "name: b"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "c", Action: policy.Change, Changes: []string{"name: a -> c", "group: a -> c"}}}},
		{"renamed without its id", []string{"name: a"}, []string{"name: c"},
			[]policy.PlanEntry{{Domain: "shop", Policy: "c", Action: policy.Add, FreshKeys: `if it is "a" renamed, write "id: a" and the counts stay`}, {Domain: "shop", Policy: "a", Action: policy.Remove}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			parse := func(policies []string) *policy.Document {
				if policies == nil {
					return nil
				}
				return parseAll(t, doc("shop", policies...))[0]
			}
			if got := policy.Diff(parse(tt.old), parse(tt.new)); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want\n%+v", got, tt.want)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	s := compile(t, doc("shop",
		"name: all, group: g",
		"name: gold, group: g, match: {tier: gold}",
		"name: vip, group: g, priority: 5, key: [vip]",
		"name: next, group: g, mode: shadow, match: {tier: gold}",
		"name: old, group: g, mode: off",
		"name: other, group: h, match: {path: /v1/**}"), doc("*", "name: cap"))
	var got []string
	for _, c := range s.Explain("shop", attributes("tier", "gold", "path", "/v2")) {
		got = append(got, c.Domain+"/"+c.Group)
		for _, p := range c.Contenders {
			got = append(got, fmt.Sprintf("%s %v: %s", p.Policy.Name, p.Outcome, p.Why))
		}
	}
	want := []string{
		"shop/g",
		`vip no match: key names "vip", which the request lacks`,
		`next shadow: would win if it were enforced`,
		`gold wins: the first of its group that matches`,
		`all loses: "gold" is more specific by attributes named: 1 against 0`,
		`old off: mode is off`,
		"shop/h",
		`other no match: path is "/v2", which does not fit /v1/**`,
		"*/cap",
		`cap wins: the first of its group that matches`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A plan costs what its documents are long, also where every policy has a new name.
func TestDiffOfManyIsLinear(t *testing.T) {
	named := func(prefix string, n int) *policy.Document {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("name: %s%d, match: {m: [x%d, y]}", prefix, i, i))
		}
		return parseAll(t, doc("shop", all...))[0]
	}
	allocs := func(n int) float64 {
		old, new := named("old", n), named("new", n)
		plan := policy.Diff(old, new)
		if len(plan) != 2*n || !strings.Contains(plan[n-1].FreshKeys, fmt.Sprintf(`"old%d" renamed`, n-1)) {
			t.Fatalf("%d policies: %d changes, the last new one %+v", n, len(plan), plan[n-1])
		}
		return testing.AllocsPerRun(3, func() { policy.Diff(old, new) })
	}
	if few, many := allocs(100), allocs(400); many > 6*few {
		t.Errorf("%v allocations for 100 policies, %v for 400", few, many)
	}
}
