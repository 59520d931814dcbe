package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-io/weir/policy"
)

const simPolicies = `domain: site
policies:
  - name: per-client
    key: [client_ip]
    limits:
      - {algorithm: fixed_window, rate: 2/1m}
  - name: pages
    match: {method: GET, path: /a/**}
    key: []
    mode: shadow
    limits:
      - {algorithm: fixed_window, rate: 1/1m}
`

const simLog = `10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a/1 HTTP/1.1" 200 1
10.0.0.1 - - [17/May/2015:10:06:03 +0000] "GET / HTTP/1.1" 200 1
not a line
10.0.0.1 - - [17/May/2015:10:05:04 +0000] "GET /a/2 HTTP/1.1" 200 1
10.0.0.1 - - [17/May/2015:10:05:05 +0000] "GET /a/3 HTTP/1.1" 200 1
2001:DB8::1 - - [17/May/2015:10:05:06 +0000] "POST / HTTP/1.1" 200 1
host.example - - [17/May/2015:10:05:07 +0000] "POST / HTTP/1.1" 200 1
`

func TestSimulate(t *testing.T) {
	policies := file(t, "p.yaml", simPolicies)
	r := decode[simReport](t, weirIn(t.Context(), simLog, "simulate", "-f", policies, "-", "-o", "json").want(t, exitOK))
	if r.Records != 6 || r.Malformed != 1 || r.Problems[0].Line != 3 || r.Allowed != 5 || r.Denied != 1 || r.NoPolicy != 1 || r.Domain != "site" {
		t.Errorf("%+v", r)
	}
	if r.From.Minute() != 5 || r.To.Minute() != 6 {
		t.Errorf("from %v to %v, want the order of time", r.From, r.To)
	}
	if len(r.Policies) != 2 {
		t.Fatalf("%d policies, want 2", len(r.Policies))
	}
	p := r.Policies[0]
	if p.Policy != "per-client" || p.Requests != 5 || p.Allowed != 4 || p.Denied != 1 || len(p.Busiest) != 2 || p.Mode != "enforce" {
		t.Errorf("%+v", p)
	}
	if top := p.Busiest[0]; top != (policy.KeyTally{Key: "client_ip=10.0.0.1", Requests: 4, Denied: 1}) || p.Busiest[1].Key != "client_ip=2001:db8::1" {
		t.Errorf("busiest keys %+v", p.Busiest)
	}
	if p := r.Policies[1]; p.Policy != "pages" || p.Mode != "shadow" || p.Requests != 3 || p.Denied != 2 {
		t.Errorf("%+v", p)
	}
	weirIn(t.Context(), simLog, "simulate", "-f", policies, "-", "--top", "1").want(t, exitOK,
		"6 requests read, 1 malformed line left out", "line 3: time", "per-client", "20.0%", "client_ip=10.0.0.1", "1 requests met no policy")
	const twice = `10.0.0.9 - - [17/May/2015:10:07:03 +0000] "GET / HTTP/1.1" 200 1
10.0.0.9 - - [17/May/2015:10:07:04 +0000] "GET / HTTP/1.1" 200 1
`
	busy := twice + strings.ReplaceAll(twice, "10:07", "11:07") + strings.ReplaceAll(twice, "10:07", "12:07")
	weirIn(t.Context(), simLog+busy, "simulate", "-f", policies, "-", "--top", "1").want(t, exitOK, "busiest keys of per-client", "most denied keys of per-client")
}

func TestSimulateReadsGzip(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(simLog)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "access.log.gz")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	policies := file(t, "p.yaml", simPolicies)
	weir(t, "simulate", "-f", policies, path).want(t, exitOK, "6 requests read")
	if err := os.WriteFile(path, b.Bytes()[:40], 0o600); err != nil {
		t.Fatal(err)
	}
	weir(t, "simulate", "-f", policies, path).want(t, exitError, path+" ends in the middle")
	weir(t, "simulate", "-f", policies, "nowhere.log").want(t, exitError, "nowhere.log")
}

// What --generate prints and what it simulates are the same log.
func TestSimulateGenerated(t *testing.T) {
	policies := file(t, "p.yaml", simPolicies)
	log := weir(t, "simulate", "--generate", "500", "--seed", "9").want(t, exitOK).out
	if n := strings.Count(log, "\n"); n != 500 {
		t.Errorf("%d lines, want 500", n)
	}
	printed := weirIn(t.Context(), log, "simulate", "-f", policies, "-").want(t, exitOK, "500 requests read").out
	direct := weir(t, "simulate", "-f", policies, "--generate", "500", "--seed", "9").want(t, exitOK).out
	if printed != direct {
		t.Errorf("printed and read back:\n%s\nsimulated at once:\n%s", printed, direct)
	}
}

func TestSimulateDomain(t *testing.T) {
	policies := file(t, "p.yaml", simPolicies)
	other := file(t, "q.yaml", "domain: other\npolicies: []\n")
	weirIn(t.Context(), simLog, "simulate", "-f", policies, "-f", other, "-").want(t, exitUsage, "--domain", "site, other")
	weirIn(t.Context(), simLog, "simulate", "-f", policies, "-f", other, "--domain", "other", "-").want(t, exitOK, "6 requests met no policy")
	weirIn(t.Context(), simLog, "simulate", "-f", policies, "--domain", "sight", "-").want(t, exitUsage, `no document is of domain "sight"`, "site")
	all := file(t, "all.yaml", strings.Replace(simPolicies, "domain: site", `domain: "*"`, 1))
	weirIn(t.Context(), simLog, "simulate", "-f", all, "--domain", "sight", "-").want(t, exitOK, "domain sight", "per-client")
}

// What is no log at all, or no policy for one, is not passed over in silence.
func TestSimulateOfNothing(t *testing.T) {
	policies := file(t, "p.yaml", simPolicies)
	weirIn(t.Context(), simPolicies, "simulate", "-f", policies, "-").want(t, exitError, "none of 12 lines could be read; line 1: ", "access log")
	weirIn(t.Context(), "", "simulate", "-f", policies, "-").want(t, exitOK, "0 requests read")
	user := file(t, "p.yaml", strings.Replace(simPolicies, "key: [client_ip]", "key: [user]", 1))
	weirIn(t.Context(), simLog, "simulate", "-f", user, "-").want(t, exitOK, "per-client applied to no request")
}

func TestBadDocuments(t *testing.T) {
	unknown := file(t, "p.yaml", strings.Replace(simPolicies, "key: []", "kee: []", 1))
	weir(t, "policy", "validate", unknown).want(t, exitError, "p.yaml:", "kee")
	weirIn(t.Context(), simLog, "simulate", "-f", unknown, "-").want(t, exitError, "kee")
	twice := file(t, "p.yaml", strings.Replace(simPolicies, "name: pages", "name: per-client", 1))
	weir(t, "policy", "validate", twice).want(t, exitError, "p.yaml:", "per-client")
	good := file(t, "p.yaml", simPolicies)
	weir(t, "policy", "validate", good, good).want(t, exitError, `domain "site" is at`)
	v := decode[struct {
		Valid    bool
		Problems []struct{ File, Message string }
	}](t, weir(t, "policy", "validate", unknown, "-o", "json").want(t, exitError))
	if v.Valid || len(v.Problems) == 0 || v.Problems[0].File != unknown {
		t.Errorf("%+v", v)
	}
	weir(t, "policy", "validate", good).want(t, exitOK, "domain site, valid")
	weirIn(t.Context(), simPolicies+"---\ndomain: other\npolicies: []\n", "policy", "validate", "-").want(t, exitOK, "domain site, valid", "domain other, valid")
}

func TestBuiltInDocumentsAreValid(t *testing.T) {
	for name, text := range map[string]string{"sample": sample, "demo": demoPolicies, "bench": benchPolicies} {
		weirIn(t.Context(), text, "policy", "validate", "-").want(t, exitOK, "domain "+strings.Replace(name, "sample", "demo", 1))
	}
}
