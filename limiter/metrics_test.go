package limiter_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-io/weir/limiter"
)

// counts returns the values of weir_checks_total that are not 0, by labels.
func (w *world) counts(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if v := m.GetCounter().GetValue(); v != 0 {
				counts[f.GetName()+" "+strings.Join(labels, " ")] = v
			}
			if n := m.GetHistogram().GetSampleCount(); n != 0 {
				counts[f.GetName()+" "+strings.Join(labels, " ")] = float64(n)
			}
		}
	}
	return counts
}

// series returns how many series of weir_checks_total there are.
func (w *world) series(t *testing.T) int {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "weir_checks_total" {
			return len(f.GetMetric())
		}
	}
	return 0
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, shop)
	b := &limiter.Batch{}
	for range 7 {
		b.Requests = append(b.Requests, request("shop", "client", "a"))
	}
	b.Requests = append(b.Requests, request("shop", "path", "/"), request("elsewhere", "client", "a"), request("", "a", "b"))
	w.Check(t.Context(), b)
	want := map[string]float64{
		"weir_checks_total shop allowed per-client": 5, "weir_checks_total shop denied per-client": 2,
		"weir_checks_total shop allowed _none": 1, "weir_checks_total _unknown allowed _none": 1, "weir_checks_total _unknown error _none": 1,
		"weir_check_duration_seconds local": 1,
	}
	got := w.counts(t)
	for labels, n := range want {
		if got[labels] != n {
			t.Errorf("%s = %v, want %v", labels, got[labels], n)
		}
		delete(got, labels)
	}
	for labels, n := range got {
		t.Errorf("%s = %v: nothing did that", labels, n)
	}
}

func TestLabelsAreBounded(t *testing.T) {
	document := func(domain string, n int) string {
		var s strings.Builder
		fmt.Fprintf(&s, "domain: %s\npolicies:\n", domain)
		for i := range n {
			fmt.Fprintf(&s, "  - {name: p%d, match: {n: \"%d\"}, key: [], limits: [{algorithm: fixed_window, rate: 10/day}]}\n", i, i)
		}
		return s.String()
	}
	w := newWorld(t, document("d", 1100))
	for _, n := range []string{"7", "1001", "1099"} {
		w.check(t, request("d", "n", n))
	}
	got := w.counts(t)
	if got["weir_checks_total d allowed p7"] != 1 || got["weir_checks_total _other allowed _other"] != 2 {
		t.Errorf("%v: want one check of p7 and two of _other", got)
	}
	if n := w.series(t); n > 2*1000+6 {
		t.Errorf("%d series, want at most 2,006", n)
	}
	for i := range 5 { // policies come and go: their labels go with them
		w.apply(t, document(fmt.Sprintf("d%d", i), 900))
		w.check(t, request(fmt.Sprintf("d%d", i), "n", "7"))
	}
	if n := w.series(t); n > 2*900+6 {
		t.Errorf("%d series after policies were replaced, want at most 1,806", n)
	}
	if got := w.counts(t); got["weir_checks_total d4 allowed p7"] != 1 || got["weir_checks_total d3 allowed p7"] != 0 {
		t.Errorf("%v: want the newest policies alone", got)
	}
}

// Any name may be a policy's, also one that stands for something else in the labels.
func TestPoliciesMayBeNamedLikeLabels(t *testing.T) {
	document := func(domain, policy string) string {
		return fmt.Sprintf("domain: %s\npolicies:\n  - {name: %s, key: [], limits: [{algorithm: fixed_window, rate: 1/day}]}\n", domain, policy)
	}
	w := newWorld(t)
	for _, domain := range []string{"shop", "_other", "_unknown"} {
		for i, policy := range []string{"_none", "_other"} {
			for range 3 { // what the policies before had counted is taken over
				w.apply(t, document(domain, policy))
				w.check(t, request(domain))
				w.check(t, request("elsewhere"))
				w.check(t, request(domain, "a", ""))
			}
			got := w.counts(t)
			if labels := fmt.Sprintf("weir_checks_total %s denied %s", domain, policy); got[labels] != 2 {
				t.Errorf("%s = %v, want 2", labels, got[labels])
			}
			// What is wrong with a request says nothing against its domain.
			if labels := fmt.Sprintf("weir_checks_total %s error _none", domain); got[labels] != float64(3*(i+1)) {
				t.Errorf("%s = %v, want %d", labels, got[labels], 3*(i+1))
			}
		}
	}
}
