package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

func TestCheckPrintsVerdicts(t *testing.T) {
	limited := &weirv1.CheckResponse{
		Reason: weirv1.Reason_REASON_LIMITED, Policy: "client-rate", LimitName: "day", Algorithm: weirv1.Algorithm_ALGORITHM_SLIDING_WINDOW,
		Limit: 10000, Reset_: 102413.5, RetryAfter: 31.2, PolicyVersion: 7, Degraded: true, DegradedReason: weirv1.DegradedReason_DEGRADED_REASON_OWN_RIGHT,
		Others: []*weirv1.LimitStatus{
			{Allowed: true, Policy: "client-rate", LimitName: "pace", Algorithm: weirv1.Algorithm_ALGORITHM_TOKEN_BUCKET, Limit: 200, Remaining: 143, Reset_: 0.57, Mode: weirv1.Mode_MODE_ENFORCE},
			{Policy: "tighter", LimitName: "1", Algorithm: weirv1.Algorithm_ALGORITHM_TOKEN_BUCKET, Limit: 5, RetryAfter: -1, Mode: weirv1.Mode_MODE_SHADOW},
		},
	}
	permit := &weirv1.CheckResponse{Allowed: true, Reason: weirv1.Reason_REASON_OK, Policy: "p", LimitName: "1", Algorithm: weirv1.Algorithm_ALGORITHM_CONCURRENCY, Limit: 2, Remaining: 1, Permit: []byte{0xab}, Wait: 1.5}
	for _, tt := range []struct {
		name   string
		answer *weirv1.CheckResponse
		err    error
		code   int
		words  []string // of the text
		json   string   // in the JSON, blanks taken out
	}{
		{"limited", limited, nil, exitDenied, []string{"denied (limited, degraded: own_right)", "client-rate", "10,000", "31.2s", "never", "shadow: would deny"},
			`"retry_after":31.2,"wait":0,"degraded":true,"degraded_reason":"own_right","policy_version":7,"others":[{"allowed":true`},
		{"permit", permit, nil, exitOK, []string{"allowed (ok)", "permit ab", "1.5s"}, `"permit":"qw=="`},
		{"no policy", &weirv1.CheckResponse{Allowed: true, Reason: weirv1.Reason_REASON_NO_POLICY}, nil, exitOK, []string{`no_policy: no policy of domain "shop" applies`, "weir policy get shop"}, `{"allowed":true,"reason":"no_policy","degraded":false,"policy_version":0}`},
		{"exempt", &weirv1.CheckResponse{Allowed: true, Reason: weirv1.Reason_REASON_EXEMPT}, nil, exitOK, []string{"exempt"}, `"reason":"exempt"`},
		{"unavailable", &weirv1.CheckResponse{Reason: weirv1.Reason_REASON_UNAVAILABLE, Degraded: true, DegradedReason: weirv1.DegradedReason_DEGRADED_REASON_CLOSED}, nil, exitDenied, []string{"denied (unavailable, degraded: closed)"}, `"degraded_reason":"closed"`},
		{"bad request", nil, status.Error(codes.InvalidArgument, "attributes[0].value: is empty"), exitUsage, []string{"attributes[0].value: is empty"}, ""},
		{"starting", nil, status.Error(codes.Unavailable, "no table yet"), exitError, []string{"cannot answer now: no table yet"}, ""},
		{"late", nil, status.Error(codes.DeadlineExceeded, "x"), exitError, []string{"did not answer in time", "--timeout"}, ""},
		{"of another kind", nil, status.Error(codes.Unimplemented, "x"), exitError, []string{"does not know this call"}, ""},
		{"broken", nil, status.Error(codes.Internal, "invariant"), exitError, []string{"invariant"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := startFake(t)
			var asked *weirv1.CheckRequest
			f.check = func(r *weirv1.CheckRequest) (*weirv1.CheckResponse, error) { asked = r; return tt.answer, tt.err }
			weir(t, "check", "shop", "user=a=b", "path=/x", "--hits", "3", "--peek", "--addr", f.addr).want(t, tt.code, tt.words...)
			if asked.GetDomain() != "shop" || asked.GetHits() != 3 || !asked.GetPeek() || len(asked.GetAttributes()) != 2 || asked.GetAttributes()[0].GetValue() != "a=b" {
				t.Errorf("asked %v", asked)
			}
			t.Setenv("WEIR_ADDR", f.addr)
			r := weir(t, "-o", "json", "check", "shop").want(t, tt.code)
			if flat := strings.Join(strings.Fields(r.out), ""); !strings.Contains(flat, tt.json) {
				t.Errorf("JSON lacks %s:\n%s", tt.json, r.out)
			}
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	doc := file(t, "p.yaml", "domain: shop\npolicies: []\n")
	for _, args := range [][]string{
		{"check", "shop"}, {"keys", "inspect", "shop"}, {"keys", "reset", "shop"}, {"policy", "get"}, {"policy", "diff", doc},
		{"policy", "apply", "--yes", doc}, {"cluster", "members"}, {"cluster", "table"}, {"replay", "--generate", "10"},
	} {
		weir(t, append(args, "--addr", addr)...).want(t, exitError, addr, "weir serve")
	}
	weir(t, "healthcheck", "--http-addr", addr).want(t, exitError, addr)
	weir(t, "check", "shop", "--timeout", "0s").want(t, exitUsage, "--timeout: 0s is not positive")
}

// gRPC's address and HTTP's are easily taken for each other.
func TestAddressOfTheOtherProtocol(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	weir(t, "check", "shop", "--addr", strings.TrimPrefix(s.URL, "http://")).want(t, exitError, "speaks HTTP, not gRPC", "--addr")
	weir(t, "healthcheck", "--http-addr", startFake(t).addr).want(t, exitError, "does not speak HTTP", "--http-addr")
}

func TestHealthcheck(t *testing.T) {
	code, body := http.StatusOK, "ready"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	defer s.Close()
	addr := strings.TrimPrefix(s.URL, "http://")
	weir(t, "healthcheck", "--http-addr", addr).want(t, exitOK, "ready")
	code, body = http.StatusServiceUnavailable, "no table yet"
	weir(t, "healthcheck", "--http-addr", addr).want(t, exitError, "not ready: no table yet")
	t.Setenv("WEIR_HTTP_ADDR", addr)
	r := decode[map[string]any](t, weir(t, "healthcheck", "-o", "json").want(t, exitError))
	if r["ready"] != false || r["detail"] != "no table yet" {
		t.Errorf("%v", r)
	}
}

// A plan is printed, agreed to and applied only where nothing came between.
func TestPolicyApplyAsks(t *testing.T) {
	doc := file(t, "shop.yaml", "domain: shop\npolicies: []\n")
	plan := []*weirv1.PlanEntry{
		{Domain: "shop", Policy: "pace", Action: weirv1.PlanEntry_ACTION_CHANGE, Changes: []string{"limits[1].rate: 1/s -> 2/s"}, FreshKeys: "the key changes"},
		{Domain: "shop", Policy: "old", Action: weirv1.PlanEntry_ACTION_REMOVE},
	}
	for _, tt := range []struct {
		name    string
		plan    []*weirv1.PlanEntry
		args    []string
		stdin   string
		code    int
		applied bool
		words   []string
	}{
		{"agreed", plan, nil, "y\n", exitOK, true, []string{"~ shop/pace", "1/s -> 2/s", "keys start fresh: the key changes", "- shop/old", "1 to change, 1 to remove", "Apply?", "policy version 8"}},
		{"refused", plan, nil, "n\n", exitError, false, []string{"nothing applied"}},
		{"just enter", plan, nil, "\n", exitError, false, []string{"nothing applied"}},
		{"nobody there", plan, nil, "", exitUsage, false, []string{"--yes"}},
		{"not asked", plan, []string{"--yes"}, "", exitOK, true, []string{"~ shop/pace", "policy version 8"}},
		{"dry run", plan, []string{"--dry-run"}, "", exitOK, false, []string{"~ shop/pace"}},
		{"no change", nil, nil, "", exitOK, false, []string{"nothing changes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := startFake(t)
			var applied []*weirv1.ApplyPoliciesRequest
			f.apply = func(r *weirv1.ApplyPoliciesRequest) (*weirv1.ApplyPoliciesResponse, error) {
				answer := &weirv1.ApplyPoliciesResponse{PolicyVersion: 7, Plan: tt.plan, Warnings: []string{"mind the gap"}}
				if !r.GetDryRun() {
					applied = append(applied, r)
					answer.PolicyVersion = 8
				}
				return answer, nil
			}
			args := append([]string{"policy", "apply", "--addr", f.addr, "--reason", "because", doc}, tt.args...)
			weirIn(t.Context(), tt.stdin, args...).want(t, tt.code, append(tt.words, "warning: mind the gap")...)
			if len(applied) == 1 != tt.applied {
				t.Fatalf("applied %d times, want %v", len(applied), tt.applied)
			}
			if tt.applied && (applied[0].GetIfVersion() != 7 || applied[0].GetChangeReason() != "because" || applied[0].GetActor() == "" || applied[0].GetDocuments()[0].GetText() == "") {
				t.Errorf("applied %v, want if_version 7, actor, reason and text", applied[0])
			}
		})
	}
}

func TestPolicyPlansAsJSON(t *testing.T) {
	f := startFake(t)
	f.apply = func(*weirv1.ApplyPoliciesRequest) (*weirv1.ApplyPoliciesResponse, error) {
		return &weirv1.ApplyPoliciesResponse{PolicyVersion: 7, Plan: []*weirv1.PlanEntry{{Domain: "d", Policy: "p", Action: weirv1.PlanEntry_ACTION_ADD}}}, nil
	}
	type planned struct {
		Applied bool
		Plan    []struct{ Action string }
	}
	r := weirIn(t.Context(), "domain: d\npolicies: []\n", "policy", "apply", "-", "--yes", "-o", "json", "--addr", f.addr).want(t, exitOK)
	if p := decode[planned](t, r); !p.Applied || len(p.Plan) != 1 || p.Plan[0].Action != "add" {
		t.Errorf("%+v", p)
	}
	r = weirIn(t.Context(), "domain: d\npolicies: []\n", "policy", "diff", "-", "-o", "json", "--addr", f.addr).want(t, exitDenied)
	if p := decode[planned](t, r); p.Applied || len(p.Plan) != 1 {
		t.Errorf("%+v", p)
	}
}

func TestPolicyApplyRefused(t *testing.T) {
	f := startFake(t)
	for _, code := range []codes.Code{codes.InvalidArgument, codes.Aborted} {
		f.apply = func(*weirv1.ApplyPoliciesRequest) (*weirv1.ApplyPoliciesResponse, error) {
			return nil, status.Error(code, "x.yaml:3:5: rate is blank")
		}
		weir(t, "policy", "apply", "--yes", file(t, "x.yaml", "domain: x\npolicies: []\n"), "--addr", f.addr).want(t, exitError, "x.yaml:3:5: rate is blank")
	}
}

func TestPolicyFiles(t *testing.T) {
	weir(t, "policy", "validate", t.TempDir()).want(t, exitError, "no .yaml")
	weir(t, "policy", "validate", "nowhere.yaml").want(t, exitError, "nowhere.yaml")
	weir(t, "policy", "validate", file(t, "big.yaml", strings.Repeat("#", 4<<20+1))).want(t, exitError, "4MiB")
}

func TestReplayGoesThroughAllNodes(t *testing.T) {
	a, b := startFake(t), startFake(t)
	a.member = []*weirv1.Member{
		{NodeId: "a", GrpcAddr: a.addr, State: weirv1.Member_STATE_UP}, {NodeId: "b", GrpcAddr: b.addr, State: weirv1.Member_STATE_UP},
		{NodeId: "gone", GrpcAddr: "127.0.0.1:1", State: weirv1.Member_STATE_SILENT},
	}
	a.docs = []*weirv1.Document{{Domain: "*"}, {Domain: "shop"}}
	var mu sync.Mutex
	n := 0
	answer := func(r *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
		mu.Lock()
		defer mu.Unlock()
		if r.GetDomain() != "shop" {
			return nil, status.Error(codes.InvalidArgument, "domain")
		}
		n++
		return &weirv1.CheckResponse{Allowed: n%4 != 0, Policy: "per-ip", Degraded: n%10 == 0, DegradedReason: weirv1.DegradedReason_DEGRADED_REASON_OPEN}, nil
	}
	a.check, b.check = answer, answer
	log := "broken\n" + strings.Repeat(`10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1`+"\n", 100)
	r := decode[replaySummary](t, weirIn(t.Context(), log, "replay", "-", "-o", "json", "--addr", a.addr).want(t, exitOK))
	if r.Records != 100 || r.Malformed != 1 || r.Allowed != 75 || r.Denied != 25 || r.Errors != 0 || r.Degraded["open"] != 10 || r.Domain != "shop" {
		t.Errorf("%+v", r)
	}
	if a.checks.Load() != 50 || b.checks.Load() != 50 {
		t.Errorf("%d and %d checks, want 50 each", a.checks.Load(), b.checks.Load())
	}
	weirIn(t.Context(), log, "replay", "-", "--addr", a.addr+","+b.addr, "--domain", "shop").want(t, exitOK, "per-ip", "100", "1 malformed", "line 1", "10 degraded by open")
	weirIn(t.Context(), log, "replay", "-", "--addr", a.addr, "--domain", "other").want(t, exitError, "100 checks got no answer", "domain", "weir: 100 checks got no answer; the first: "+a.addr)
	a.docs = append(a.docs, &weirv1.Document{Domain: "blog"})
	weirIn(t.Context(), log, "replay", "-", "--addr", a.addr).want(t, exitUsage, "--domain", "shop, blog")
	a.docs = a.docs[:1]
	weirIn(t.Context(), log, "replay", "-", "--addr", a.addr).want(t, exitUsage, "--domain", "weir policy apply")
}

func TestReplayKeepsPace(t *testing.T) {
	a := startFake(t)
	log := `::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1
::1 - - [17/May/2015:10:05:33 +0000] "GET / HTTP/1.1" 200 1
`
	began := time.Now()
	weirIn(t.Context(), log, "replay", "-", "--addr", a.addr, "--domain", "d", "--speed", "100").want(t, exitOK)
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("30 s of a log at 100 times its speed took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	weirIn(ctx, log, "replay", "-", "--addr", a.addr, "--domain", "d", "--speed", "0.001").want(t, exitError, "stopped before the end")
}

func TestBench(t *testing.T) {
	f := startFake(t)
	f.check = func(r *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
		if key := r.GetAttributes()[0]; r.GetDomain() != "shop" || key.GetKey() != "client" || !strings.HasPrefix(key.GetValue(), "key-") {
			return nil, status.Error(codes.InvalidArgument, fmt.Sprint(r))
		}
		return &weirv1.CheckResponse{Allowed: true, Reason: weirv1.Reason_REASON_OK, Policy: "p"}, nil
	}
	for _, mode := range []string{"unary", "batch", "stream"} {
		t.Run(mode, func(t *testing.T) {
			args := []string{"bench", "--addr", f.addr, "--domain", "shop", "--attribute", "client", "--mode", mode, "--batch", "10", "--concurrency", "4", "--keys", "50", "--duration", "250ms"}
			r := decode[benchReport](t, weir(t, append(args, "-o", "json")...).want(t, exitOK))
			batch := 10
			if mode == "unary" {
				batch = 1
			}
			v := r.Checks.Verdicts
			if r.Checks.Calls == 0 || r.Empty.Calls == 0 || r.Checks.Ratio <= 0 || r.Batch != batch || v.Read == 0 || v.Read != v.Allowed || r.Checks.P99 < r.Checks.P50 || r.Checks.PerSecond < r.Checks.CallRate {
				t.Errorf("%+v", r)
			}
			weir(t, append(args, "--rate", "200")...).want(t, exitOK, "200 calls/s", "checks/s", "empty calls")
		})
	}
}

// A paced run makes as many calls as were due, whatever each took.
func TestBenchKeepsItsRate(t *testing.T) {
	f := startFake(t)
	r := decode[benchReport](t, weir(t, "bench", "--addr", f.addr, "--concurrency", "8", "--rate", "400", "--duration", "500ms", "-o", "json").want(t, exitOK))
	if r.Checks.Calls != 200 || r.Empty.Calls != 200 {
		t.Errorf("%d checks and %d empty calls, want 200 each", r.Checks.Calls, r.Empty.Calls)
	}
	if r.Checks.CallRate > 400 || r.Empty.CallRate > 400 {
		t.Errorf("%.0f checks and %.0f empty calls a second, want 400 at most", r.Checks.CallRate, r.Empty.CallRate)
	}
}

func TestBenchReportsWhatFails(t *testing.T) {
	f := startFake(t)
	f.check = func(*weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
		return nil, status.Error(codes.Unavailable, "shed")
	}
	weir(t, "bench", "--addr", f.addr, "--duration", "100ms").want(t, exitError, "shed")
}

func TestClusterAsAFakeSeesIt(t *testing.T) {
	f := startFake(t)
	weir(t, "cluster", "members", "--addr", f.addr).want(t, exitOK, "cluster c", "no leader", "no policies yet")
	f.version = 3
	if out := weir(t, "cluster", "members", "--addr", f.addr).want(t, exitOK).out; strings.Contains(out, "no policies") {
		t.Errorf("policy version 3:\n%s", out)
	}
	f.member = []*weirv1.Member{{NodeId: "n1", State: weirv1.Member_STATE_LEAVING, Owned: 1024, RaftSuffrage: "voter", Zone: "east"}}
	weir(t, "cluster", "members", "--addr", f.addr).want(t, exitOK, "n1 *", "leaving", "1024", "voter", "east", "table epoch 7")
}
