package api_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-io/weir/api"
	"github.com/weir-io/weir/policystore"
)

// An answer is what HTTP says, its body read.
type answer struct {
	*http.Response
	text string
}

// do makes a request; headers are names and values in turn.
func (d *doors) do(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, string(text)}
}

// problem returns the field and the detail of an error, of which it checks the form.
func (a answer) problem(t testing.TB) (field, detail string) {
	t.Helper()
	var p struct {
		Type, Title, Detail, Field string
		Status                     int
	}
	if err := json.Unmarshal([]byte(a.text), &p); err != nil {
		t.Fatalf("%s: %v", a.text, err)
	}
	if a.Header.Get("Content-Type") != "application/problem+json" || p.Status != a.StatusCode || p.Title != http.StatusText(p.Status) || p.Type == "" || p.Detail == "" {
		t.Errorf("%s %s: no problem as RFC 9457 has it", a.Header.Get("Content-Type"), a.text)
	}
	if later := a.Header.Get("Retry-After"); (later != "") != (a.StatusCode == http.StatusServiceUnavailable) {
		t.Errorf("status %d with Retry-After %q", a.StatusCode, later)
	}
	return p.Field, p.Detail
}

// Every byte of a check over HTTP: these are the words that clients read.
func TestHTTPCheck(t *testing.T) {
	d := open(t, shop)
	for i, s := range []struct{ body, want string }{
		{
			`{"domain":"shop", "attributes":{"client":"acme", "canary":"1"}, "hits":1, "peek":false}`,
			`{"allowed":true,"reason":"ok","policy":"per-client","limit_name":"pace","algorithm":"token_bucket","limit":5,"remaining":4,"reset":0.1,"retry_after":0,"wait":0,` +
				`"degraded":false,"policy_version":7,"others":[` +
				`{"allowed":true,"policy":"per-client","limit_name":"day","algorithm":"fixed_window","limit":8,"remaining":7,"reset":6400,"retry_after":0,"wait":0,"mode":"enforce"},` +
				`{"allowed":true,"policy":"canary","limit_name":"tight","algorithm":"fixed_window","limit":1,"remaining":0,"reset":6400,"retry_after":0,"wait":0,"mode":"shadow"}]}`,
		},
		{
			`{"domain":"shop","attributes":{"client":"acme"},"hits":6,"peek":true}`,
			`{"allowed":false,"reason":"limited","policy":"per-client","limit_name":"pace","algorithm":"token_bucket","limit":5,"remaining":4,"reset":0.1,"retry_after":-1,"wait":0,` +
				`"degraded":false,"policy_version":7,"others":[` +
				`{"allowed":true,"policy":"per-client","limit_name":"day","algorithm":"fixed_window","limit":8,"remaining":7,"reset":6400,"retry_after":0,"wait":0,"mode":"enforce"}]}`,
		},
		{
			`{"domain":"shop","attributes":{"canary":"1"}}`,
			`{"allowed":true,"reason":"no_policy","degraded":false,"policy_version":7,"others":[]}`,
		},
		{`{"domain":"nowhere"}`, `{"allowed":true,"reason":"no_policy","degraded":false,"policy_version":7,"others":[]}`},
	} {
		got := d.do(t, http.MethodPost, "/v1/check", s.body)
		if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "application/json" || got.text != s.want+"\n" {
			t.Errorf("step %d: status %d, %s\n got %s\nwant %s", i+1, got.StatusCode, got.Header.Get("Content-Type"), got.text, s.want)
		}
	}
}

func TestHTTPBadChecks(t *testing.T) {
	d := open(t, shop)
	many := ""
	for i := range 33 {
		many += `"a` + strings.Repeat("a", i) + `":"1",`
	}
	for _, s := range []struct {
		body, field string
		status      int
	}{
		{``, "", 400},
		{`[]`, "", 400},
		{`{"domain":"shop"} {}`, "", 400},
		{`{"domain":"shop","hit":1}`, "hit", 400},
		{`{"domain":"shop","domain":"shop"}`, "domain", 400},
		{`{"domain":7}`, "domain", 400},
		{`{"attributes":{"client":"a"}}`, "domain", 400},
		{`{"domain":"*","attributes":{"client":"a"}}`, "domain", 400},
		{`{"domain":"` + strings.Repeat("d", 65) + `"}`, "domain", 400},
		{`{"domain":"shop","attributes":[]}`, "attributes", 400},
		{`{"domain":"shop","attributes":{"client":"a","client":"a"}}`, "attributes.client", 400},
		{`{"domain":"shop","attributes":{"client":7}}`, "attributes.client", 400},
		{`{"domain":"shop","attributes":{"client":""}}`, "attributes.client", 400},
		{`{"domain":"shop","attributes":{"client":"` + strings.Repeat("a", 2049) + `"}}`, "attributes.client", 400},
		{`{"domain":"shop","attributes":{"client_ip":"10.0.0.1:80"}}`, "attributes.client_ip", 400},
		{`{"domain":"shop","attributes":{"a b":"1"}}`, "attributes", 400},
		{`{"domain":"shop","attributes":{` + strings.TrimSuffix(many, ",") + `}}`, "attributes", 400},
		{`{"domain":"shop","hits":-1}`, "hits", 400},
		{`{"domain":"shop","hits":1.5}`, "hits", 400},
		{`{"domain":"shop","hits":4294967296}`, "hits", 400},
		{`{"domain":"shop","peek":"true"}`, "peek", 400},
		{`{"domain":"shop"` + strings.Repeat(" ", 1<<20) + `}`, "", 413},
	} {
		got := d.do(t, http.MethodPost, "/v1/check", s.body)
		field, detail := got.problem(t)
		if got.StatusCode != s.status || field != s.field {
			t.Errorf("%.80s: status %d, field %q, %s; want %d, %q", s.body, got.StatusCode, field, detail, s.status, s.field)
		}
	}
}

func TestHTTPPolicies(t *testing.T) {
	d := open(t, shop)
	const other = "domain: other\npolicies:\n  - {name: a, key: [], limits: [{algorithm: fixed_window, rate: 1/day}]}\n"
	steps := []struct {
		name, method, path, body, ifMatch string
		status                            int
		field                             string // of the problem
		has                               string // a part of the answer
		version                           uint64 // afterwards
	}{
		{"all", "GET", "/v1/policies", "", "", 200, "", `{"documents":[{"domain":"shop","version":7,`, 7},
		{"one, as it was written", "GET", "/v1/policies/shop", "", "", 200, "", shop, 7},
		{"one that is not", "GET", "/v1/policies/other", "", "", 404, "domain", "", 7},
		{"a plan", "PUT", "/v1/policies/other?dry_run=1", other, "", 200, "", `{"policy_version":7,"plan":[{"domain":"other","policy":"a","action":"add"}],"warnings":["mind the gap"]}`, 7},
		{"another domain's", "PUT", "/v1/policies/shop", other, "", 400, "", "", 7},
		{"no document", "PUT", "/v1/policies/other", "domain: other\n", "", 400, "", "", 7},
		{"too large", "PUT", "/v1/policies/other", other + "#" + strings.Repeat(" ", 4<<20), "", 413, "", "", 7},
		{"stale", "PUT", "/v1/policies/other?if_version=6", other, "", 409, "", "", 7},
		{"stale by header", "PUT", "/v1/policies/other", other, `"6"`, 409, "", "", 7},
		{"two versions", "PUT", "/v1/policies/other?if_version=7", other, `"6"`, 400, "If-Match", "", 7},
		{"no version", "PUT", "/v1/policies/other", other, "yesterday", 400, "If-Match", "", 7},
		{"unknown parameter", "PUT", "/v1/policies/other?dryrun=1", other, "", 400, "dryrun", "", 7},
		{"twice", "PUT", "/v1/policies/other?dry_run=1&dry_run=0", other, "", 400, "dry_run", "", 7},
		{"no truth value", "PUT", "/v1/policies/other?dry_run=perhaps", other, "", 400, "dry_run", "", 7},
		// What cannot be read may have been a wish for a plan: it must change nothing.
		{"semicolon", "PUT", "/v1/policies/other?dry_run=1;if_version=7", other, "", 400, "", "", 7},
		{"broken escape", "PUT", "/v1/policies/other?dry_run=%1", other, "", 400, "", "", 7},
		{"broken name", "PUT", "/v1/policies/other?%zz=1", other, "", 400, "", "", 7},
		{"a change", "PUT", "/v1/policies/other?if_version=7&actor=me&change_reason=why", other, `"7"`, 200, "", `{"policy_version":8,"plan":[`, 8},
		{"DELETE", "DELETE", "/v1/policies/other", "", "", 405, "", "", 8},
		{"nothing there", "GET", "/v2", "", "", 404, "", "", 8},
	}
	for _, s := range steps {
		var headers []string
		if s.ifMatch != "" {
			headers = []string{"If-Match", s.ifMatch}
		}
		got := d.do(t, s.method, s.path, s.body, headers...)
		if got.StatusCode != s.status || !strings.Contains(got.text, s.has) {
			t.Errorf("%s: status %d, %s; want %d and %s", s.name, got.StatusCode, got.text, s.status, s.has)
		}
		if got.StatusCode != http.StatusOK {
			if field, detail := got.problem(t); field != s.field {
				t.Errorf("%s: field %q, want %q: %s", s.name, field, s.field, detail)
			}
		} else if tag := got.Header.Get("ETag"); tag != `"`+string('0'+byte(s.version))+`"` {
			t.Errorf("%s: ETag %s, want version %d", s.name, tag, s.version)
		}
		if v := d.log.Policies().Version; v != s.version {
			t.Errorf("%s: policy version %d, want %d", s.name, v, s.version)
		}
	}
}

// What the log says of a change becomes what the outcome table has.
func TestHTTPChangesThatFail(t *testing.T) {
	d := open(t)
	for status, err := range map[int]error{
		409: policystore.ErrStale, 503: policystore.ErrNoLeader, 500: errors.New("the disk burns"),
	} {
		d.log.refuse.Store(&err)
		got := d.do(t, http.MethodPut, "/v1/policies/a", "domain: a\npolicies: []\n")
		if _, detail := got.problem(t); got.StatusCode != status || !strings.Contains(detail, err.Error()) {
			t.Errorf("%v: status %d, %s; want %d", err, got.StatusCode, detail, status)
		}
	}
}

func TestHTTPHealth(t *testing.T) {
	d := open(t, shop)
	missing := errors.New("no table names this node")
	d.ready.Store(&missing)
	check := `{"domain":"shop","attributes":{"client":"acme"}}`
	if got := d.do(t, http.MethodGet, "/readyz", ""); got.StatusCode != 503 || !strings.Contains(got.text, missing.Error()) || got.Header.Get("Retry-After") == "" {
		t.Errorf("/readyz: status %d, %s; want 503 and what is missing", got.StatusCode, got.text)
	}
	got := d.do(t, http.MethodPost, "/v1/check", check)
	if _, detail := got.problem(t); got.StatusCode != 503 || !strings.Contains(detail, missing.Error()) {
		t.Errorf("a check before: status %d, %s; want 503 and what is missing", got.StatusCode, detail)
	}
	if got := d.do(t, http.MethodGet, "/healthz", ""); got.StatusCode != 200 || !strings.Contains(got.text, "insecure") {
		t.Errorf("/healthz: status %d, %s; want 200, and that nothing is encrypted", got.StatusCode, got.text)
	}
	d.ready.Store(nil)
	if got := d.do(t, http.MethodGet, "/readyz", ""); got.StatusCode != 200 {
		t.Errorf("/readyz: status %d, %s; want 200", got.StatusCode, got.text)
	}
	if got := d.do(t, http.MethodPost, "/v1/check", check); got.StatusCode != 200 {
		t.Errorf("a check: status %d, %s; want 200", got.StatusCode, got.text)
	}
	d.ready.Store(&missing) // it drains: what comes in is answered nevertheless
	if got := d.do(t, http.MethodPost, "/v1/check", check); got.StatusCode != 200 {
		t.Errorf("a check of a node that drains: status %d, %s; want 200", got.StatusCode, got.text)
	}
	for _, line := range []string{
		`weir_checks_total{domain="shop",outcome="allowed",policy="per-client"} 2`,
		`weir_check_duration_seconds_count{path="local"} 2`,
	} {
		if got := d.do(t, http.MethodGet, "/metrics", ""); !strings.Contains(got.text, line+"\n") {
			t.Errorf("/metrics lacks %s:\n%s", line, got.text)
		}
	}
}

func TestHTTPDeadline(t *testing.T) {
	d := open(t, shop)
	hold := make(chan struct{})
	defer close(hold)
	d.local.hold.Store(&hold)
	got := d.do(t, http.MethodPost, "/v1/check", `{"domain":"shop","attributes":{"client":"acme"}}`)
	if _, detail := got.problem(t); got.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("status %d, %s; want 504", got.StatusCode, detail)
	}
}

// Who shuts a door that is shut is not kept waiting.
func TestHTTPShutsOnce(t *testing.T) {
	h := api.NewHTTP(api.HTTPConfig{})
	for range 2 {
		done := make(chan error, 1)
		go func() { done <- h.Shutdown(t.Context()) }()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("Shutdown does not return")
		}
	}
}
