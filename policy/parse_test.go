package policy_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/policy"
)

func TestParse(t *testing.T) {
	text := `# the shop
domain: shop-api
policies:
  - name: client-rate
    match: {method: [GET, HEAD], path: /v1/orders/**, tier: "*", client_ip: "::ffff:10.0.0.0/104"}
    key: [user, client]
    limits:
      - {name: pace, algorithm: token_bucket, rate: 100/s, burst: 200}
      - {algorithm: sliding_window, rate: 10_000/day}
      - algorithm: fixed_window
        rate: 5/month
        zone: Europe/Berlin
    group: clients
    priority: -10
    id: old-name
    mode: shadow
    fail_mode: closed

  - name: rest
    key: []
    limits: unlimited
  # the queue
  - name: queue
    key: [client]
    mode: off
    limits:
    - {algorithm: leaky_bucket, rate: 1/10s, max_wait: 1m30s}
    - {algorithm: concurrency, permits: 3}
    - {algorithm: sliding_log, rate: 0/s}
`
	d, err := policy.Parse("shop.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	type plain struct {
		Name, ID, Group, Match string
		Key                    []string
		Limits                 []policy.Limit
		Unlimited              bool
		Priority               int
		Mode                   policy.Mode
		FailMode               bucket.FailMode
	}
	var got []plain
	for _, p := range d.Policies {
		var match []string
		for i := range p.Match {
			match = append(match, p.Match[i].Attribute+"="+p.Match[i].String())
		}
		got = append(got, plain{p.Name, p.ID, p.Group, strings.Join(match, " "), p.Key, p.Limits, p.Unlimited, p.Priority, p.Mode, p.FailMode})
	}
	want := []plain{
		{Name: "client-rate", ID: "old-name", Group: "clients", Match: "client_ip=10.0.0.0/8 method=[GET, HEAD] path=/v1/orders/** tier=*",
			Key: []string{"client", "user"}, Priority: -10, Mode: policy.Shadow, FailMode: bucket.FailClosed, Limits: []policy.Limit{
				{Name: "pace", Rate: "100/s", Numbers: bucket.Limit{Algorithm: bucket.TokenBucket, Count: 100, Period: time.Second, Burst: 200}},
				{Name: "2", Rate: "10_000/day", Numbers: bucket.Limit{Algorithm: bucket.SlidingWindow, Count: 10_000, Period: 24 * time.Hour}},
				{Name: "3", Rate: "5/month", Numbers: bucket.Limit{Algorithm: bucket.FixedWindow, Count: 5, Calendar: bucket.Month, Zone: berlin}},
			}},
		{Name: "rest", ID: "rest", Group: "rest", Unlimited: true, Mode: policy.Enforce, FailMode: bucket.FailLocal},
		{Name: "queue", ID: "queue", Group: "queue", Key: []string{"client"}, Mode: policy.Off, FailMode: bucket.FailLocal, Limits: []policy.Limit{
			{Name: "1", Rate: "1/10s", Numbers: bucket.Limit{Algorithm: bucket.LeakyBucket, Count: 1, Period: 10 * time.Second, Burst: 1, MaxWait: 90 * time.Second}},
			{Name: "2", Numbers: bucket.Limit{Algorithm: bucket.Concurrency, Count: 3, TTL: time.Minute}},
			{Name: "3", Rate: "0/s", Numbers: bucket.Limit{Algorithm: bucket.SlidingLog, Period: time.Second}},
		}},
	}
	for i := range want {
		if i >= len(got) || !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("policy %d:\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
	if len(got) != len(want) || d.Domain != "shop-api" || string(d.Text) != text {
		t.Errorf("%d policies of %q", len(got), d.Domain)
	}
}

func TestFormsOfDocuments(t *testing.T) {
	const one = "domain: shop\npolicies:\n- name: a\n  key: []\n  limits: unlimited\n"
	for name, text := range map[string]string{
		"list at the margin":    one,
		"carriage returns":      strings.ReplaceAll(one, "\n", "\r\n"),
		"byte order mark":       "\ufeff" + one,
		"begin and end":         "---\n" + one + "...\n",
		"policies first":        "policies:\n  - name: a\n    key: []\n    limits: unlimited\ndomain: shop\n",
		"flow style":            `{"domain": "shop", "policies": [{"name": "a", "key": [], "limits": "unlimited"}]}`,
		"flow list":             "domain: shop\npolicies: [{name: a, key: [], limits: unlimited}]\n",
		"comments everywhere":   "# x\ndomain: shop # y\n\npolicies: # z\n  # w\n  - # v\n    name: a\n# u\n    key: [] # t | \n\n    limits: unlimited\n# s",
		"no newline at the end": strings.TrimRight(one, "\n"),
		"a long list":           one + "  match:\n    client: [" + manyClients(200) + "]\n",
	} {
		t.Run(name, func(t *testing.T) {
			d, err := policy.Parse("x.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if d.Domain != "shop" || len(d.Policies) != 1 || d.Policies[0].Name != "a" || !d.Policies[0].Unlimited {
				t.Errorf("%+v", d)
			}
		})
	}
}

// manyClients returns n values of a list.
func manyClients(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("c%d", i))
	}
	return strings.Join(all, ", ")
}

func TestProblems(t *testing.T) {
	in := func(field string) string {
		return "domain: shop\npolicies:\n  - name: a\n    key: []\n    limits: unlimited\n    " + field + "\n"
	}
	limit := func(l string) string {
		return "domain: shop\npolicies:\n  - name: a\n    key: []\n    limits:\n      - {" + l + "}\n"
	}
	tests := []struct{ name, text, want string }{
		{"empty", "", "x.yaml: the document is empty"},
		{"comments only", "# nothing\n", "the document is empty"},
		{"no mapping", "- a\n", "x.yaml:1:1: want the fields of a document"},
		{"no domain", "policies: []\n", `domain: missing`},
		{"no policies", "domain: shop\n", `policies: missing`},
		{"blank policies", "domain: shop\npolicies:\n", `x.yaml:2:1: policies: blank`},
		{"policies no list", "domain: shop\npolicies: {a: b}\n", `x.yaml:2:11: policies: want a list of policies, not a mapping`},
		{"domain of strange letters", "domain: a/b\npolicies: []\n", `x.yaml:1:9: domain: "a/b" is not a domain`},
		{"domain a number", "domain: 7\npolicies: []\n", `quote it: "7"`},
		{"unknown field", in("grupo: x"), `x.yaml:6:5: policies[0].grupo: unknown field "grupo": did you mean "group"?`},
		{"unknown field, nothing near", in("zzzzzz: x"), `the fields here are name, id, match`},
		{"blank field", in("group:"), "x.yaml:6:5: policies[0].group: blank"},
		{"null field", in("group: ~"), "policies[0].group: blank"},
		{"empty text", in(`group: ""`), "policies[0].group: blank"},
		{"unquoted number", in("match: {tier: 1}"), `x.yaml:6:19: policies[0].match.tier: 1 is a number, not a text: quote it: "1"`},
		{"unquoted truth", in("match: {tier: true}"), `quote it: "true"`},
		{"unquoted float", in("match: {tier: 1.5}"), `quote it: "1.5"`},
		{"unquoted number in a list", in("match: {tier: [a, 2]}"), `x.yaml:6:23: policies[0].match.tier[1]: 2 is a number`},
		{"unquoted name", in("match: {1: a}"), `quote it: "1"`},
		{"octal", in("priority: 010"), "x.yaml:6:15: write the number without leading zeros"},
		{"hexadecimal", in("priority: 0x10"), "write the number in decimals"},
		{"quoted number", in(`priority: "10"`), "write it without quotes: 10"},
		{"number too large", in("priority: 99999999999"), "is not in -2147483648 to 2147483647"},
		{"repeated field", in("key: [a]"), "x.yaml:6:5: policies[0].key: repeated: it is on line 4 already"},
		{"repeated attribute of match", in("match: {a: b, a: c}"), "policies[0].match.a: repeated"},
		{"repeated value", in("match: {a: [b, b]}"), `policies[0].match.a[1]: repeated: "b"`},
		{"star in a list", in(`match: {a: [b, "*"]}`), `write a: "*" alone`},
		{"empty list", in("match: {a: []}"), "an empty list fits nothing"},
		{"unquoted glob", in("match: {host: *.example.com}"), `x.yaml:6:19: YAML aliases are not supported; quote a value that is or begins with a star`},
		{"three stars", in(`match: {path: /a/***}`), "stars in a row mean nothing"},
		{"host bits", in(`match: {client_ip: 10.1.2.3/8}`), "write 10.0.0.0/8"},
		{"no address", in(`match: {client_ip: localhost}`), "neither an address nor a network"},
		{"glob of addresses", in(`match: {client_ip: "10.*"}`), "write those as CIDR"},
		{"attribute of strange letters", in(`match: {a b: c}`), "is not the name of an attribute"},
		{"mode unknown", in("mode: shadwo"), `x.yaml:6:11: policies[0].mode: unknown mode "shadwo": did you mean "shadow"?`},
		{"fail mode unknown", in("fail_mode: ajar"), "take one of local, open, closed"},
		{"when", in("when: 'x'"), "x.yaml:6:5: policies[0].when: `when` is not supported by this version of weir: express"},
		{"schedule", in("schedule: {days: Mon}"), "`schedule` is not supported by this version of weir"},
		{"overrides", in("overrides: {}"), "`overrides` is not supported by this version of weir"},
		{"response", in("response: {}"), "`response` is not supported by this version of weir"},
		{"partition_mode", in("partition_mode: strict"), "`partition_mode` is not supported by this version of weir"},
		{"cold_start", in("cold_start: half"), "`cold_start` is not supported by this version of weir"},
		{"durability", in("durability: async"), "`durability` is not supported by this version of weir"},
		{"clients", "domain: a\nclients: {}\npolicies: []\n", "x.yaml:2:1: clients: `clients` is not supported by this version of weir"},
		{"key missing", "domain: shop\npolicies:\n  - name: a\n    limits: unlimited\n", "x.yaml:3:5: policies[0].key: missing"},
		{"key no list", "domain: shop\npolicies:\n  - name: a\n    key: client\n    limits: unlimited\n", "write [client]"},
		{"key repeated", "domain: shop\npolicies:\n  - name: a\n    key: [a, a]\n    limits: unlimited\n", `policies[0].key[1]: repeated: "a"`},
		{"name missing", "domain: shop\npolicies:\n  - key: []\n    limits: unlimited\n", "policies[0].name: missing"},
		{"name of strange letters", "domain: shop\npolicies:\n  - name: a b\n    key: []\n    limits: unlimited\n", `"a b" is not a name`},
		{"limits missing", "domain: shop\npolicies:\n  - name: a\n    key: []\n", "policies[0].limits: missing"},
		{"limits blank", "domain: shop\npolicies:\n  - name: a\n    key: []\n    limits:\n", "policies[0].limits: blank"},
		{"limits empty", "domain: shop\npolicies:\n  - name: a\n    key: []\n    limits: []\n", "policies[0].limits: no limit"},
		{"limits another word", "domain: shop\npolicies:\n  - name: a\n    key: []\n    limits: none\n", "or the word unlimited"},
		{"policy twice", in("") + "  - name: a\n    key: []\n    limits: unlimited\n", `x.yaml:7:5: policies[a]: repeated: policy "a" begins on line 3 already`},
		{"id twice", in("") + "  - name: b\n    id: a\n    key: []\n    limits: unlimited\n", `the id "a" is that of the policy on line 3`},
		{"blank policy", in("") + "  -\n", "x.yaml:7:"},
		{"algorithm missing", limit("rate: 1/s"), "policies[0].limits[0].algorithm: missing"},
		{"algorithm unknown", limit("algorithm: tokenbucket, rate: 1/s"), `did you mean "token_bucket"?`},
		{"rate missing", limit("algorithm: token_bucket"), "policies[0].limits[0].rate: missing: token_bucket needs it"},
		{"permits missing", limit("algorithm: concurrency"), "limits[0].permits: missing"},
		{"rate without period", limit("algorithm: token_bucket, rate: 100"), "as 100/s"},
		{"broken count", limit("algorithm: token_bucket, rate: 0.5/s"), "write 1/2s"},
		{"broken count of a longer time", limit("algorithm: token_bucket, rate: 1.25/10m"), "write 1/8m"},
		{"count too large", limit("algorithm: token_bucket, rate: 1000000000001/s"), "0 to 10^12"},
		{"negative count", limit("algorithm: token_bucket, rate: -1/s"), "0 to 10^12"},
		{"period unknown", limit("algorithm: token_bucket, rate: 1/fortnight"), "PERIOD is a duration"},
		{"period too short", limit("algorithm: token_bucket, rate: 1/us"), "is not in 1ms to 366d"},
		{"period too long", limit("algorithm: token_bucket, rate: 1/367d"), "is not in 1ms to 366d"},
		{"month of a token bucket", limit("algorithm: token_bucket, rate: 1/month"), "only fixed_window follows the calendar"},
		{"ten years to fill", limit("algorithm: token_bucket, rate: 1/d, burst: 3661"), "takes ten years or more"},
		{"burst zero", limit("algorithm: token_bucket, rate: 1/s, burst: 0"), "limits[0].burst: \"0\" is not in 1 to"},
		{"burst of a window", limit("algorithm: fixed_window, rate: 1/s, burst: 3"), "fixed_window has no burst"},
		{"log too long", limit("algorithm: sliding_log, rate: 10001/s"), "take sliding_window for more"},
		{"permits too many", limit("algorithm: concurrency, permits: 10001"), "is not in 0 to 10000"},
		{"ttl too long", limit("algorithm: concurrency, permits: 1, ttl: 367d"), "limits[0].ttl: 8808h0m0s is not in 1ms to 366d"},
		{"duration without a unit", limit("algorithm: leaky_bucket, rate: 1/s, max_wait: 5"), "limits[0].max_wait: 5 is no duration: say of what, as 5s"},
		{"ttl without a unit", limit("algorithm: concurrency, permits: 1, ttl: 60"), "limits[0].ttl: 60 is no duration"},
		{"priority in words", in("priority: high"), "policies[0].priority: not a whole number: write one in -2147483648 to 2147483647"},
		{"zone without a calendar", limit("algorithm: fixed_window, rate: 1/24h, zone: Europe/Berlin"), "a zone needs a calendar's period"},
		{"zone unknown", limit("algorithm: fixed_window, rate: 1/day, zone: Europe/Berln"), "unknown time zone"},
		{"zone of the machine", limit("algorithm: fixed_window, rate: 1/day, zone: Local"), "unknown time zone"},
		{"zone outside of the folder", limit("algorithm: fixed_window, rate: 1/day, zone: ../etc/passwd"), "unknown time zone"},
		{"limit name twice", "domain: shop\npolicies:\n  - name: a\n    key: []\n    limits:\n      - {name: \"2\", algorithm: token_bucket, rate: 1/s}\n      - {algorithm: token_bucket, rate: 1/s}\n", `limits[1].name: repeated: the policy has a limit "2" already`},
		{"not closed", "domain: shop\npolicies: [\n", "not valid YAML"},
		{"quote not closed", in(`group: "x`), "x.yaml:6:12: "},
		{"tab", "domain: shop\npolicies:\n\t- name: a\n", "x.yaml:3:1: the line is indented by a tab"},
		{"control character", "domain: shop\x00\npolicies: []\n", `x.yaml:1:13: the line holds the control character '\x00'`},
		{"not UTF-8", "domain: shop # \xff\npolicies: []\n", "x.yaml:1:1: the line is not UTF-8"},
		{"block text", in("group: |\n      x"), "x.yaml:6:12: block text"},
		{"anchor", in("group: &x g"), "x.yaml:6:12: YAML anchors are not supported"},
		{"tag", in("group: !!str g"), "YAML tags are not supported"},
		{"merge", in("<<: {mode: off}"), "YAML merge keys are not supported"},
		{"two documents", "domain: a\npolicies: []\n---\ndomain: b\npolicies: []\n", "x.yaml:3:1: the text goes on after its document"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := policy.Parse("x.yaml", []byte(tt.text))
			if err == nil {
				t.Fatalf("no error, want %q; got %+v", tt.want, d)
			}
			var problems policy.Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("%T is not Problems", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant %q", err, tt.want)
			}
		})
	}
}

// TestAllProblems wants every problem of a document at once, also beside a policy that is
// no YAML.
func TestAllProblems(t *testing.T) {
	_, err := policy.Parse("x.yaml", []byte(`domain: shop!
policies:
  - name: a
    key: [a
    limits: unlimited
  - name: b
    kye: []
    limits: [{algorithm: token_bucket, rate: 0.1/s}]
  - name: c
    key: []
    limits: []
`))
	var problems policy.Problems
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	var lines []int
	for _, p := range problems {
		lines = append(lines, p.Line)
	}
	if want := []int{1, 5, 6, 7, 8, 11}; !reflect.DeepEqual(lines, want) {
		t.Errorf("problems on lines %v, want %v:\n%v", lines, want, err)
	}
}

// TestHostileDocuments hands over texts for which a YAML parser needs quadratic time,
// deep recursion or much memory.
func TestHostileDocuments(t *testing.T) {
	const head = "domain: shop\npolicies:\n  - name: a\n    x: "
	many := func(s string) string { return strings.Repeat(s, 1<<20/len(s)) }
	for name, text := range map[string]string{
		"too large":         strings.Repeat("#", policy.MaxDocument+1),
		"lists in lists":    head + many("["),
		"lists at a margin": head + "\n" + many("- "),
		"mappings":          head + many("{a: "),
		"questions":         head + many("? "),
		"tags":              head + many("!a "),
		"anchors":           head + many("&a "),
		"blank values":      "domain: shop\n" + many("'a':\n"),
		"blank text":        head + "|\n" + many(" \n"),
		"blank lines":       head + many("\n"),
		"comments":          head + many("\n#"),
		"quotes":            head + many(`"`),
		"colons":            head + many("a: "),
		"commas":            head + "[" + many(","),
		"names":             head + "{" + many("a,"),
		"policies":          "domain: shop\npolicies:\n" + many("  -\n"),
		"small policies":    "domain: shop\npolicies:\n" + many("  - a\n"),
		"one value":         head + many("a"),
		"folded text":       head + "\n" + many("      a\n"),
		"aliases": "domain: &a [x,x]\n" + "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" +
			"c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]\n",
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			if _, err := policy.Parse("x.yaml", []byte(text)); err == nil {
				t.Error("no error")
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %v", took)
			} else {
				t.Log(took)
			}
		})
	}
}

func TestManyDocuments(t *testing.T) {
	a, b := doc("a", "name: x"), doc("b", "name: x")
	docs, err := policy.ParseAll("all.yaml", []byte("---\n"+a+"---\n# nothing\n--- # second\n"+b))
	if err != nil || len(docs) != 2 || docs[0].Domain != "a" || docs[1].Domain != "b" {
		t.Fatalf("%v, %v", docs, err)
	}
	for _, d := range docs {
		again, err := policy.Parse("again.yaml", d.Text)
		if err != nil || again.Domain != d.Domain {
			t.Errorf("the text of %s by itself: %v", d.Domain, err)
		}
	}
	_, err = policy.ParseAll("all.yaml", []byte(a+"---\n"+b+"---\ndomain: c\n"))
	if err == nil || !strings.Contains(err.Error(), "all.yaml:8:1: policies: missing") {
		t.Errorf("lines of later documents: %v", err)
	}
	docs, err = policy.Load([]policy.Source{{Name: "1.yaml", Text: []byte(a + "---\n" + b)}, {Name: "2.yaml", Text: []byte("# again\n" + a)}})
	if err == nil || !strings.Contains(err.Error(), `2.yaml:1:1: domain: domain "a" is at 1.yaml:1 too`) || len(docs) != 2 {
		t.Errorf("one domain in two files: %d, %v", len(docs), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(doc("shop", "name: a", "name: b, match: {path: /a/**, ip: 10.0.0.0/8, x: [y, z]}, key: [client], group: g, priority: 3")))
	f.Add([]byte("domain: shop\npolicies:\n- name: a\n  key: []\n  limits:\n  - {algorithm: fixed_window, rate: 3/month, zone: Europe/Berlin}\n"))
	f.Add([]byte("{\"domain\": \"*\", \"policies\": [{\"name\": \"a\", \"key\": [], \"limits\": \"unlimited\", \"match\": {\"a\": \"\\*\"}}]}"))
	f.Add([]byte("domain: a\n? x\n: y\n--- |\n  a\n...\n%b\n&c *d !e <<: 'f' \"g\" [h, {i: j}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := policy.Parse("f.yaml", text)
		if err != nil {
			var problems policy.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("%T is not Problems", err)
			}
			lines := strings.Count(string(text), "\n") + 1
			for _, p := range problems {
				if p.Message == "" || p.Line < 0 || p.Line > lines {
					t.Fatalf("problem %+v of a text of %d lines", p, lines)
				}
			}
			return
		}
		s, _, err := policy.Compile(nil, []*policy.Document{d}, 1, secret)
		if err != nil {
			return // a tie
		}
		again, err := policy.Parse("f.yaml", d.Text)
		if err != nil || len(policy.Diff(d, again)) > 0 {
			t.Fatalf("parsed again: %v, %v", err, policy.Diff(d, again))
		}
		var c policy.Choice
		s.Choose(d.Domain, attributes("client", "x", "path", "/a/b", "ip", "10.0.0.1", "x", "y"), &c)
	})
}
