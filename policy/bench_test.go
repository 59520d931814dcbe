package policy_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/weir-io/weir/policy"
)

// A shape is a way in which an installation may have many policies. request returns the
// i-th request, which policy i decides.
type shape struct {
	name    string
	doc     func(n int) []string
	request func(i int) (domain string, attributes []policy.Attribute)
}

func oneDoc(one func(i int) string) func(n int) []string {
	return func(n int) []string {
		const most = 20_000 // what fits into a document
		var texts []string
		for d := 0; d*most < n; d++ {
			var all []string
			for i := d * most; i < min(n, (d+1)*most); i++ {
				all = append(all, one(i))
			}
			texts = append(texts, doc(domainOf(d*most), all...))
		}
		return texts
	}
}

func domainOf(i int) string { return fmt.Sprintf("shop%d", i/20_000) }

var shapes = []shape{
	{"values", oneDoc(func(i int) string {
		return fmt.Sprintf("name: p%d, match: {method: GET, client: c%d}, key: [client], group: g", i, i)
	}), func(i int) (string, []policy.Attribute) {
		return domainOf(i), attributes("method", "GET", "client", fmt.Sprintf("c%d", i), "path", "/v1/orders/7")
	}},
	{"groups", oneDoc(func(i int) string {
		return fmt.Sprintf("name: p%d, match: {path: /v1/r%d}, key: [client]", i, i)
	}), func(i int) (string, []policy.Attribute) {
		return domainOf(i), attributes("method", "GET", "client", "c", "path", fmt.Sprintf("/v1/r%d", i))
	}},
	{"globs", oneDoc(func(i int) string {
		return fmt.Sprintf("name: p%d, match: {path: /v1/s%d/**}, key: [client], group: g", i, i)
	}), func(i int) (string, []policy.Attribute) {
		return domainOf(i), attributes("method", "GET", "client", "c", "path", fmt.Sprintf("/v1/s%d/items/7", i))
	}},
	{"networks", oneDoc(func(i int) string {
		return fmt.Sprintf("name: p%d, match: {client_ip: 10.%d.%d.0/24}, key: [client_ip], group: g", i, i%20_000/256, i%256)
	}), func(i int) (string, []policy.Attribute) {
		return domainOf(i), attributes("method", "GET", "client_ip", fmt.Sprintf("10.%d.%d.7", i%20_000/256, i%256))
	}},
	{"domains", func(n int) []string {
		var texts []string
		for i := range n {
			texts = append(texts, doc(fmt.Sprintf("d%d", i), fmt.Sprintf("name: p%d, key: [client]", i)))
		}
		return texts
	}, func(i int) (string, []policy.Attribute) {
		return fmt.Sprintf("d%d", i), attributes("method", "GET", "client", "c")
	}},
}

type asked struct {
	domain     string
	attributes []policy.Attribute
}

// requests returns requests that hit policies all over the place.
func (sh *shape) requests(n int) []asked {
	all := make([]asked, 4096)
	for i := range all {
		all[i].domain, all[i].attributes = sh.request(i * 7919 % n)
	}
	return all
}

// TestShapes wants the right policy of many, found without allocating.
func TestShapes(t *testing.T) {
	const n = 2000
	for _, sh := range shapes {
		t.Run(sh.name, func(t *testing.T) {
			s := compile(t, sh.doc(n)...)
			var c policy.Choice
			for i := range n {
				domain, attrs := sh.request(i)
				s.Choose(domain, attrs, &c)
				if got, want := show(&c), fmt.Sprintf("p%d", i); got != want {
					t.Fatalf("request %d: %q, want %q", i, got, want)
				}
			}
			asked, i := sh.requests(n), 0
			if allocs := testing.AllocsPerRun(1000, func() {
				s.Choose(asked[i].domain, asked[i].attributes, &c)
				i = (i + 1) % len(asked)
			}); allocs > 0 {
				t.Errorf("%v allocations", allocs)
			}
		})
	}
}

// BenchmarkMatch finds one of n policies: what 100,000 cost must be near what 100 cost.
func BenchmarkMatch(b *testing.B) {
	for _, sh := range shapes {
		for _, n := range []int{100, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", sh.name, n), func(b *testing.B) {
				s := compile(b, sh.doc(n)...)
				asked := sh.requests(n)
				var c policy.Choice
				runtime.GC()
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					a := &asked[i%len(asked)]
					s.Choose(a.domain, a.attributes, &c)
				}
				if len(c.Winners) != 1 {
					b.Fatal("no winner")
				}
			})
		}
	}
}

// BenchmarkChoose is the part of a decision that a small installation pays.
func BenchmarkChoose(b *testing.B) {
	s := compile(b, doc("shop", "name: per-key, key: [key]"))
	attrs := attributes("key", "user-000123")
	var c policy.Choice
	b.ReportAllocs()
	for b.Loop() {
		s.Choose("shop", attrs, &c)
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte(shapes[0].doc(1000)[0])
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := policy.Parse("x.yaml", text); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "µs/policy")
}

// BenchmarkCompile compiles 100,000 parsed policies anew.
func BenchmarkCompile(b *testing.B) {
	for _, sh := range shapes {
		b.Run(sh.name, func(b *testing.B) {
			docs := parseAll(b, sh.doc(100_000)...)
			for b.Loop() {
				if _, _, err := policy.Compile(nil, docs, 1, secret); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
