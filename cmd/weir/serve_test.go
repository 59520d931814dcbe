package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-io/weir/node/nodetest"
)

// A buffer is one that a command writes while a test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A served node is `weir serve` under way.
type servedNode struct {
	grpc, http, gossip string
	out, err           *buffer
	stop               context.CancelFunc // as a signal does
	code               chan int
}

// free makes serve listen wherever there is room.
var free = []string{"--grpc-addr", "127.0.0.1:0", "--peer-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--gossip-addr", "127.0.0.1:0"}

// serve runs `weir serve` until the test ends, and waits until it listens.
func serve(t *testing.T, args ...string) *servedNode {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &servedNode{out: &buffer{}, err: &buffer{}, stop: stop, code: make(chan int, 1)}
	go func() {
		s.code <- run(ctx, append(append([]string{"serve", "-o", "json"}, free...), args...), strings.NewReader(""), s.out, s.err)
	}()
	t.Cleanup(func() {
		stop()
		if code, ok := <-s.code; ok && code != exitOK {
			t.Errorf("serve ended with %d: %s", code, s.err)
		}
	})
	var at struct {
		GRPC   string `json:"grpc_addr"`
		HTTP   string `json:"http_addr"`
		Gossip string `json:"gossip_addr"`
	}
	nodetest.Eventually(t, "serve listens", func() error {
		if err := json.Unmarshal([]byte(s.out.String()), &at); err != nil {
			return fmt.Errorf("%w: %s%s", err, s.out, s.err)
		}
		return nil
	})
	s.grpc, s.http, s.gossip = at.GRPC, at.HTTP, at.Gossip
	return s
}

// end stops it as a signal does and returns its exit code.
func (s *servedNode) end(t *testing.T) int {
	t.Helper()
	s.stop()
	code := <-s.code
	close(s.code)
	return code
}

// ready waits until the node says so, over the command a container would use.
func (s *servedNode) ready(t *testing.T) {
	t.Helper()
	nodetest.Eventually(t, "healthcheck is content", func() error {
		if r := weir(t, "healthcheck", "--http-addr", s.http); r.code != exitOK {
			return fmt.Errorf("%s", r.err)
		}
		return nil
	})
}

// A plain serve is a cluster of one with sample policies, which all commands talk to.
func TestServeAlone(t *testing.T) {
	s := serve(t)
	s.ready(t)
	t.Setenv("WEIR_ADDR", s.grpc)
	nodetest.Eventually(t, "the sample policies are in force", func() error {
		if r := weir(t, "policy", "get", "demo"); r.code != exitOK {
			return fmt.Errorf("%s", r.err)
		}
		return nil
	})
	login := []string{"check", "demo", "user=alice", "path=/login"}
	for range 5 {
		weir(t, login...).want(t, exitOK, "allowed (ok)")
	}
	weir(t, login...).want(t, exitDenied, "denied (limited)", "login", "tries")
	v := decode[verdictJSON](t, weir(t, append(login, "-o", "json")...).want(t, exitDenied))
	if v.Policy != "login" || v.Limit == nil || *v.Limit != 5 || v.RetryAfter == nil || *v.RetryAfter <= 0 || v.Degraded {
		t.Errorf("%+v", v)
	}
	weir(t, "check", "elsewhere", "user=alice").want(t, exitOK, "no_policy")
	weir(t, "check", "demo", "user=").want(t, exitUsage, "attributes[0]")
	weir(t, "check", "demo", "user=bob", "--hits", "1000").want(t, exitDenied, "never")
	weir(t, "check", "demo", "user="+strings.Repeat("x", 2049)).want(t, exitUsage, "attributes[0]")
	for _, what := range []string{"inspect", "reset"} { // a bad request is one for every command
		weir(t, "keys", what, "demo", "user=").want(t, exitUsage, "attributes[0]")
	}

	weir(t, "keys", "inspect", "demo", "user=alice", "path=/login").want(t, exitOK, "login", "sliding_log")
	weir(t, "keys", "inspect", "demo", "color=red").want(t, exitError, "no policy")
	weir(t, "keys", "reset", "demo", "user=alice", "path=/login", "--policy", "login").want(t, exitOK, "reset login/tries")
	weir(t, login...).want(t, exitOK)

	weir(t, "cluster", "members").want(t, exitOK, s.grpc, "1024", "voter", "*")
	weir(t, "cluster", "table").want(t, exitOK, "100.0%", "table epoch")
	table := decode[struct{ Rows []rowJSON }](t, weir(t, "cluster", "table", "-o", "json").want(t, exitOK))
	if len(table.Rows) != 1024 || table.Rows[1023].Owner == "" || table.Rows[1023].State != "steady" {
		t.Errorf("%d rows, the last %+v", len(table.Rows), table.Rows[len(table.Rows)-1])
	}
	weir(t, "replay", "--generate", "300").want(t, exitOK, "300", "0 without an answer, 0 degraded")
	if code := s.end(t); code != exitOK {
		t.Errorf("a signal ends serve with %d: %s", code, s.err)
	}
}

func TestPoliciesFromFileToCluster(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, "--data-dir", dir)
	s.ready(t)
	t.Setenv("WEIR_ADDR", s.grpc)
	weir(t, "policy", "get").want(t, exitOK) // a data dir has no samples
	const text = "domain: shop\npolicies:\n  - name: pace\n    key: [client]\n    limits:\n      - {algorithm: fixed_window, rate: 2/day}\n"
	doc := file(t, "shop.yaml", text)
	weir(t, "policy", "validate", doc).want(t, exitOK, "domain shop")
	weir(t, "policy", "diff", doc).want(t, exitDenied, "+ shop/pace")
	weir(t, "policy", "apply", "--dry-run", doc).want(t, exitOK, "+ shop/pace")
	weir(t, "policy", "get", "shop").want(t, exitError, "no policies of domain \"shop\"")
	weirIn(t.Context(), "y\n", "policy", "apply", doc).want(t, exitOK, "+ shop/pace", "applied: policy version")
	weir(t, "policy", "diff", doc).want(t, exitOK, "nothing changes")
	if got := weir(t, "policy", "get", "shop").want(t, exitOK).out; strings.TrimSpace(got) != strings.TrimSpace(text) {
		t.Errorf("got\n%swant\n%s", got, text)
	}
	weir(t, "policy", "apply", "--yes", "--if-version", "99", doc).want(t, exitError, "99")
	weir(t, "check", "shop", "client=a", "--hits", "2").want(t, exitOK)
	weir(t, "check", "shop", "client=a").want(t, exitDenied)
	weir(t, "policy", "apply", "--yes", file(t, "shop.yaml", strings.Replace(text, "rate", "rat", 1))).want(t, exitError, "shop.yaml:6", "rat")
}

func TestServeRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	refused := func(want string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r := weirIn(ctx, "", append(append([]string{"serve"}, free...), args...)...)
		r.want(t, exitError, "weir: ", want)
	}
	refused("--grpc-addr", "--grpc-addr", taken.Addr().String())
	refused("--http-addr", "--http-addr", taken.Addr().String())
	refused("dir", "--data-dir", file(t, "dir", "a file"))
	refused("nowhere.yaml", "--policies", "nowhere.yaml")

	dir := filepath.Join(t.TempDir(), "data")
	s := serve(t, "--node-id", "n1", "--data-dir", dir)
	s.ready(t)
	if code := s.end(t); code != exitOK {
		t.Fatalf("serve ended with %d: %s", code, s.err)
	}
	refused("n1", "--node-id", "n2", "--data-dir", dir)
}

// A node whose seeds never answer goes on trying, and says that it is not ready.
func TestServeSaysWhatItWaitsFor(t *testing.T) {
	s := serve(t, "--join", "127.0.0.1:1")
	nodetest.Eventually(t, "serve says that it is not ready", func() error {
		if log := s.err.String(); !strings.Contains(log, "not ready yet") {
			return fmt.Errorf("log:\n%s", log)
		}
		return nil
	})
	weir(t, "healthcheck", "--http-addr", s.http).want(t, exitError, "not ready")
	weir(t, "check", "demo", "--addr", s.grpc).want(t, exitError, "cannot answer now")
	if code := s.end(t); code != exitOK {
		t.Errorf("a signal ends serve with %d: %s", code, s.err)
	}
}

func TestServeReadsItsSettings(t *testing.T) {
	doc := file(t, "shop.yaml", "domain: shop\npolicies:\n  - name: none\n    key: []\n    limits:\n      - {algorithm: fixed_window, rate: 0/s}\n")
	s := serve(t, "--config", file(t, "weir.yaml", "node_id: from-file\npolicies: "+doc+"\nlog_format: json\n"))
	s.ready(t)
	weir(t, "cluster", "members", "--addr", s.grpc).want(t, exitOK, "from-file")
	nodetest.Eventually(t, "the policies are in force", func() error {
		if r := weir(t, "check", "shop", "--addr", s.grpc); r.code != exitDenied {
			return fmt.Errorf("exit %d: %s%s", r.code, r.out, r.err)
		}
		return nil
	})
}

// Three nodes of one process, real sockets, every algorithm: the oracle must agree.
func TestDemo(t *testing.T) {
	r := weir(t, "demo", "--duration", "2s", "--rate", "1500", "-o", "json")
	d := decode[demoReport](t, r.want(t, exitOK))
	if !d.Exact || d.Failed != 0 || len(d.Degraded) != 0 || len(d.Policies) != len(demoStreams) || len(d.Nodes) != 3 {
		t.Errorf("%+v", d)
	}
	var asked int64
	for _, n := range d.Nodes {
		asked += n.Checks
		if n.Owns == 0 || n.Local == 0 || n.Forwarded == 0 {
			t.Errorf("node %+v owns, decides or forwards nothing", n)
		}
	}
	if asked != d.Checks {
		t.Errorf("the nodes counted %d checks, the clients %d", asked, d.Checks)
	}
}

func TestBenchOfItsOwnNode(t *testing.T) {
	r := decode[benchReport](t, weir(t, "bench", "--duration", "300ms", "--concurrency", "4", "-o", "json").want(t, exitOK))
	if !r.InProcess || r.Checks.Calls == 0 || r.Checks.Verdicts.Allowed != r.Checks.Verdicts.Read || r.Checks.Verdicts.Degraded != 0 {
		t.Errorf("%+v", r)
	}
}

func TestBenchOfForwardedChecks(t *testing.T) {
	r := decode[benchReport](t, weir(t, "bench", "--nodes", "3", "--duration", "300ms", "--concurrency", "4", "--keys", "100", "-o", "json").want(t, exitOK))
	if r.Forwarded == nil {
		t.Fatalf("%+v: no forwarded checks", r)
	}
	for _, f := range []*checkFigure{&r.Checks, r.Forwarded} {
		if f.Calls == 0 || f.Verdicts.Allowed != f.Verdicts.Read || f.Verdicts.Degraded != 0 {
			t.Errorf("%+v", f)
		}
	}
}
