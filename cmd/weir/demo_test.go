package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/weir-io/weir/chaos/oracle"
)

// demoReportOf drives the demo's traffic at fake nodes over one limiter of that many
// owners, and returns what it printed and whether it failed.
func demoReportOf(t *testing.T, owners int, json bool) (string, error) {
	t.Helper()
	cmd := &demoCmd{Duration: 1500 * time.Millisecond, Clients: 12, Rate: 3000, Seed: 3}
	traffic := newTraffic(cmd, demoServers(t, 3, owners))
	var b bytes.Buffer
	s := &streams{out: &b, err: &b, json: json}
	traffic.drive(t.Context(), newProgress(s))
	err := traffic.report(s, []demoNode{{Node: "node-1", Owns: 1024, Checks: traffic.checks.Load(), Local: 1, Forwarded: 3}})
	return b.String(), err
}

func TestDemoOfAnExactLimiter(t *testing.T) {
	out, err := demoReportOf(t, 1, false)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, d := range demoStreams {
		if !strings.Contains(out, "  "+d.policy) {
			t.Errorf("the table lacks %s", d.policy)
		}
	}
	if !strings.Contains(out, "0 failed, 0 degraded") || !strings.Contains(out, "one answer") || !strings.Contains(out, "75% of them forwarded") {
		t.Errorf("report:\n%s", out)
	}
}

// Two owners of every key admit too much: the demo must say so and fail.
func TestDemoOfTwoOwners(t *testing.T) {
	out, err := demoReportOf(t, 2, false)
	if err == nil || !strings.Contains(out, "Not exact") || !strings.Contains(out, "false allow") {
		t.Errorf("error %v; report:\n%s", err, out)
	}
	out, err = demoReportOf(t, 2, true)
	r := decode[demoReport](t, result{out: out})
	if err == nil || r.Exact || len(r.Findings) == 0 || len(r.Policies) != len(demoStreams) {
		t.Errorf("error %v; report %+v", err, r)
	}
}

// Too little traffic is not called a wrong answer.
func TestDemoOfTooLittleTraffic(t *testing.T) {
	cmd := &demoCmd{Duration: 100 * time.Millisecond, Clients: 1, Rate: 20, Seed: 1}
	traffic := newTraffic(cmd, demoServers(t, 1, 1))
	var b bytes.Buffer
	s := &streams{out: &b, err: &b}
	traffic.drive(t.Context(), newProgress(s))
	err := traffic.report(s, nil)
	if err == nil || !strings.Contains(err.Error(), "--duration") || !strings.Contains(b.String(), "not asked once") || strings.Contains(b.String(), "Not exact") {
		t.Errorf("error %v; report:\n%s", err, b.String())
	}
}

func TestDemoStops(t *testing.T) {
	for _, rate := range []int{400, 1 << 40} { // as fast as answers come
		traffic := newTraffic(&demoCmd{Duration: time.Hour, Clients: 4, Rate: rate, Seed: 1}, demoServers(t, 1, 1))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		traffic.drive(ctx, newProgress(&streams{err: &bytes.Buffer{}}))
		cancel()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("at %d checks a second it took %v to stop", rate, took)
		}
	}
}

// The oracle must be told the numbers that the cluster is told.
func TestDemoLimitsAreThoseOfTheDocument(t *testing.T) {
	var doc struct {
		Policies []struct {
			Name   string
			Mode   string
			Limits []struct {
				Algorithm string
				Rate      string
				Burst     int64
				Permits   int64
				TTL       string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(demoPolicies), &doc); err != nil {
		t.Fatal(err)
	}
	limits := demoLimits()
	if len(doc.Policies) != len(limits) {
		t.Errorf("%d policies, %d limits", len(doc.Policies), len(limits))
	}
	for _, p := range doc.Policies {
		l, ok := limits[p.Name]
		if !ok || len(p.Limits) != 1 {
			t.Errorf("policy %s: the oracle knows it: %v; it has %d limits, want 1", p.Name, ok, len(p.Limits))
			continue
		}
		y := p.Limits[0]
		count, period, _ := strings.Cut(y.Rate, "/")
		if strings.Trim(period, "abcdefghijklmnopqrstuvwxyz") == "" {
			period = "1" + period
		}
		want := oracle.Limit{Algorithm: oracle.Algorithm(y.Algorithm), Burst: y.Burst}
		if y.Permits > 0 {
			want.Count, want.TTL = y.Permits, mustDuration(t, y.TTL)
		} else {
			want.Count, want.Period = mustCount(t, count), mustDuration(t, period)
		}
		if want.Algorithm == oracle.LeakyBucket {
			want.MaxWait = -1
		}
		if l != want {
			t.Errorf("policy %s: the oracle has %+v, the document %+v", p.Name, l, want)
		}
	}
}

func mustDuration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustCount(t *testing.T, s string) (n int64) {
	t.Helper()
	for _, c := range s {
		if c < '0' || c > '9' {
			t.Fatalf("count %q", s)
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
