package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/weir-io/weir/chaos/oracle"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// A demoReport is what the demo found.
type demoReport struct {
	Exact     bool              `json:"exact"`
	Seconds   float64           `json:"seconds"`
	Checks    int64             `json:"checks"`
	Failed    int               `json:"failed"`
	Degraded  map[string]uint64 `json:"degraded"`
	Forwarded float64           `json:"forwarded_share"`
	P50       float64           `json:"p50_seconds"`
	P99       float64           `json:"p99_seconds"`
	Policies  []demoPolicy      `json:"policies"`
	Nodes     []demoNode        `json:"nodes"`
	Findings  []string          `json:"findings,omitempty"`
	unasked   []string          // policies without traffic
	failure   error
}

// A demoPolicy is one line of the table.
type demoPolicy struct {
	Policy     string  `json:"policy"`
	Algorithm  string  `json:"algorithm"`
	Shadow     bool    `json:"shadow,omitempty"`
	Keys       int     `json:"keys"`
	Offered    int64   `json:"offered"`
	Allowed    int64   `json:"allowed"`
	Denied     int64   `json:"denied"`
	ExactLow   int64   `json:"exact_low"`
	ExactHigh  int64   `json:"exact_high"`
	Difference int64   `json:"difference"`
	Exact      bool    `json:"exact"`
	P50        float64 `json:"p50_seconds"`
	P99        float64 `json:"p99_seconds"`
}

// A demoNode is what one node did, by its own metrics.
type demoNode struct {
	Node      string `json:"node"`
	Owns      uint32 `json:"owns"`
	Checks    int64  `json:"checks"`
	Local     int64  `json:"local"`
	Forwarded int64  `json:"forwarded"`
}

// measure asks the nodes what they own and reads their metrics.
func (c *localCluster) measure(ctx context.Context) ([]demoNode, error) {
	r, err := weirv1.NewAdminClient(c.nodes[0].conn).ListMembers(ctx, &weirv1.ListMembersRequest{})
	if err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	owns := map[string]uint32{}
	for _, m := range r.GetMembers() {
		owns[m.GetNodeId()] = m.GetOwned()
	}
	var nodes []demoNode
	for _, n := range c.nodes {
		d := demoNode{Node: n.id, Owns: owns[n.id]}
		families, err := n.registry.Gather()
		if err != nil {
			return nil, fmt.Errorf("metrics of %s: %w", n.id, err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				labels := map[string]string{}
				for _, l := range m.GetLabel() {
					labels[l.GetName()] = l.GetValue()
				}
				switch {
				case f.GetName() == "weir_checks_total" && labels["domain"] == "demo":
					d.Checks += int64(m.GetCounter().GetValue())
				case f.GetName() == "weir_check_duration_seconds" && labels["path"] == "local":
					d.Local += int64(m.GetHistogram().GetSampleCount())
				case f.GetName() == "weir_check_duration_seconds" && labels["path"] == "forwarded":
					d.Forwarded += int64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		nodes = append(nodes, d)
	}
	return nodes, nil
}

func newDemoReport(judged *oracle.Report, nodes []demoNode, t *demoTraffic) *demoReport {
	r := &demoReport{Exact: judged.Exact(), Seconds: t.seconds, Checks: t.checks.Load(), Failed: t.failed, Degraded: t.shown, Nodes: nodes, failure: t.firstFail}
	all := newHistogram()
	for _, d := range demoStreams {
		l := judged.Limit(d.policy)
		if l == nil {
			r.Exact = false
			r.unasked = append(r.unasked, d.policy)
			r.Findings = append(r.Findings, d.policy+": not asked once")
			continue
		}
		h := t.latency[d.policy]
		if d.shadowing != "" {
			h = t.latency[d.shadowing]
		} else if h != nil {
			all.Merge(h)
		}
		p := demoPolicy{
			Policy: d.policy, Algorithm: string(d.limit.Algorithm), Shadow: d.shadowing != "", Keys: l.Keys, Offered: l.Offered, Allowed: l.Admitted, Denied: l.Offered - l.Admitted,
			ExactLow: l.Reachable.Lo, ExactHigh: l.Reachable.Hi, Difference: l.Difference(), Exact: l.Exact(),
		}
		p.P50, p.P99 = quantiles(h)
		r.Policies = append(r.Policies, p)
		for _, f := range l.Findings {
			r.Findings = append(r.Findings, d.policy+": "+f.String())
		}
	}
	r.P50, r.P99 = quantiles(all)
	var local, forwarded int64
	for _, n := range nodes {
		local, forwarded = local+n.Local, forwarded+n.Forwarded
	}
	if local+forwarded > 0 {
		r.Forwarded = float64(forwarded) / float64(local+forwarded)
	}
	if t.failed > 0 || len(t.shown) > 0 {
		r.Exact = false // exactness by degraded answers would be luck
	}
	return r
}

// quantiles returns the median and the 99th percentile of microseconds, in seconds.
func quantiles(h *hdrhistogram.Histogram) (p50, p99 float64) {
	if h == nil {
		return 0, 0
	}
	return float64(h.ValueAtQuantile(50)) / 1e6, float64(h.ValueAtQuantile(99)) / 1e6
}

// print shows the report to a person.
func (r *demoReport) print(s *streams) {
	t := table{head: []string{"POLICY", "ALGORITHM", "KEYS", "OFFERED", "ALLOWED", "DENIED", "P50", "P99", "EXACT ANSWER", "VERDICT"}}
	for _, p := range r.Policies {
		name := p.Policy
		if p.Shadow {
			name += " (shadow)"
		}
		verdict := "exact"
		if p.Difference != 0 {
			verdict = fmt.Sprintf("%+d", p.Difference)
		} else if !p.Exact {
			verdict = "wrong decisions"
		}
		t.add(name, p.Algorithm, fmt.Sprint(p.Keys), grouped(p.Offered), grouped(p.Allowed), grouped(p.Denied),
			seconds(p.P50), seconds(p.P99), interval(p.ExactLow, p.ExactHigh), verdict)
	}
	s.printf("\n")
	t.print(s.out, "  ")
	s.printf("\n")
	n := table{head: []string{"NODE", "PARTITIONS", "ASKED", "SHARE", "DECIDED HERE", "FORWARDED"}}
	var sum int64
	for _, d := range r.Nodes {
		sum += d.Checks
	}
	for _, d := range r.Nodes {
		n.add(d.Node, fmt.Sprint(d.Owns), grouped(d.Checks), percent(d.Checks, sum), percent(d.Local, d.Local+d.Forwarded), percent(d.Forwarded, d.Local+d.Forwarded))
	}
	n.print(s.out, "  ")
	s.printf("\n  %s checks in %.1f s, %.0f%% of them forwarded to the node that owns the key; p50 %s, p99 %s\n",
		grouped(r.Checks), r.Seconds, 100*r.Forwarded, seconds(r.P50), seconds(r.P99))
	s.printf("  %s failed, %s\n", grouped(r.Failed), degradedWords(r.Degraded))
	if r.failure != nil {
		s.printf("  the first failure: %v\n", r.failure)
	}
	if r.Exact {
		s.printf("\n  Three nodes, one answer: every policy admitted exactly what one exact limiter would have.\n")
		return
	}
	const shown = 12
	title := "Not exact"
	if r.onlyUnasked() {
		title = "Not all was asked"
	}
	s.printf("\n  %s:\n", title)
	for _, f := range r.Findings[:min(shown, len(r.Findings))] {
		s.printf("    %s\n", f)
	}
	if len(r.Findings) > shown {
		s.printf("    and %d more\n", len(r.Findings)-shown)
	}
}

// onlyUnasked reports whether every answer was exact and too little was asked.
func (r *demoReport) onlyUnasked() bool {
	return r.Failed == 0 && len(r.Degraded) == 0 && len(r.unasked) == len(r.Findings)
}

// judgement says why the answers are not called exact, and what to do.
func (r *demoReport) judgement() string {
	switch {
	case r.Failed > 0 || len(r.Degraded) > 0:
		return "checks failed or were degraded, so the answers cannot all be exact: where this machine did not keep up, give a lower --rate or fewer --clients"
	case r.onlyUnasked():
		return "the answers were right, but not every policy was asked: give a longer --duration or a higher --rate"
	}
	return "the answers were not exact"
}

func interval(low, high int64) string {
	if low == high {
		return grouped(low)
	}
	return grouped(low) + "–" + grouped(high)
}

func degradedWords(degraded map[string]uint64) string {
	if len(degraded) == 0 {
		return "0 degraded"
	}
	var words []string
	for _, reason := range slices.Sorted(maps.Keys(degraded)) {
		words = append(words, fmt.Sprintf("%s degraded by %s", grouped(degraded[reason]), reason))
	}
	return strings.Join(words, ", ")
}
