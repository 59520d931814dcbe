package node_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-io/weir/node"
	"github.com/weir-io/weir/node/nodetest"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

const threeADay = `domain: shop
policies:
  - name: per-client
    key: [client]
    limits:
      - {algorithm: fixed_window, rate: 3/day}
`

func attributes(pairs ...string) []*weirv1.Attribute {
	var attrs []*weirv1.Attribute
	for i := 0; i < len(pairs); i += 2 {
		attrs = append(attrs, &weirv1.Attribute{Key: pairs[i], Value: pairs[i+1]})
	}
	return attrs
}

func check(t *testing.T, n *nodetest.Node, domain string, pairs ...string) *weirv1.CheckResponse {
	t.Helper()
	r, err := n.Limiter.Check(t.Context(), &weirv1.CheckRequest{Domain: domain, Attributes: attributes(pairs...)})
	if err != nil {
		t.Fatalf("check at %s: %v", n.Config.NodeID, err)
	}
	return r
}

func TestSettingsThatCannotWork(t *testing.T) {
	tests := []struct {
		name string
		set  func(*node.Config)
		want string // in the error: the flag and the remedy
	}{
		{"id with a hash sign", func(c *node.Config) { c.NodeID = "a#1" }, "--node-id"},
		{"no port", func(c *node.Config) { c.GRPCAddr = "localhost" }, "--grpc-addr"},
		{"beyond loopback", func(c *node.Config) { c.HTTPAddr = "0.0.0.0:0" }, "--insecure"},
		{"seed without port", func(c *node.Config) { c.Join = []string{"seed"} }, "--join"},
		{"two voters", func(c *node.Config) { c.Voters = 2 }, "--voters"},
		{"expect without data", func(c *node.Config) { c.BootstrapExpect, c.DataDir = 3, "" }, "--data-dir"},
		{"expect without seeds", func(c *node.Config) { c.BootstrapExpect = 3 }, "--join"},
		{"no memory", func(c *node.Config) { c.BucketMemory = 1 }, "--bucket-memory"},
		{"no time", func(c *node.Config) { c.CheckTimeout = 0 }, "--check-timeout"},
		{"policies that are not there", func(c *node.Config) { c.Policies = "nowhere.yaml" }, "--policies"},
		{"folder without policies", func(c *node.Config) { c.Policies = c.DataDir }, "no .yaml"},
		{"policies that are wrong", func(c *node.Config) { c.Policies = written(t, strings.Replace(threeADay, "key:", "keys:", 1)) }, "did you mean \"key\"?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := nodetest.Config(t, "n1")
			tt.set(&cfg)
			n, err := node.Start(t.Context(), cfg)
			if err == nil {
				n.Kill()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not name %q", err, tt.want)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	addr := taken.Addr().String()
	for _, tt := range []struct {
		flag string
		set  func(*node.Config)
	}{
		{"--grpc-addr", func(c *node.Config) { c.GRPCAddr = addr }},
		{"--peer-addr", func(c *node.Config) { c.PeerAddr = addr }},
		{"--http-addr", func(c *node.Config) { c.HTTPAddr = addr }},
		{"--gossip-addr", func(c *node.Config) { c.GossipAddr = addr }},
	} {
		cfg := nodetest.Config(t, "n1")
		tt.set(&cfg)
		n, err := node.Start(t.Context(), cfg)
		if err == nil {
			n.Kill()
			t.Errorf("%s: started on a taken port", tt.flag)
			continue
		}
		if !strings.Contains(err.Error(), tt.flag) || !strings.Contains(err.Error(), addr) {
			t.Errorf("error %q does not name %s and %s", err, tt.flag, addr)
		}
	}
}

func TestDataDirIsRefused(t *testing.T) {
	t.Run("of another node", func(t *testing.T) {
		cfg := nodetest.Config(t, "n1")
		n, err := node.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		nodetest.Eventually(t, "n1 is ready", n.Ready)
		n.Kill()
		cfg.NodeID = "n2"
		refused(t, cfg, "n1")
	})
	t.Run("that is a file", func(t *testing.T) {
		cfg := nodetest.Config(t, "n1")
		cfg.DataDir = filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(cfg.DataDir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, cfg, cfg.DataDir)
	})
	t.Run("of a running node", func(t *testing.T) {
		cfg := nodetest.Config(t, "n1")
		n, err := node.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Kill()
		refused(t, cfg, cfg.DataDir)
	})
}

func refused(t *testing.T, cfg node.Config, want string) {
	t.Helper()
	n, err := node.Start(t.Context(), cfg)
	if err == nil {
		n.Kill()
		t.Fatal("it started")
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not name %q", err, want)
	}
}

// A node whose seeds never answer lives, says what is missing and stops when told.
func TestSeedsThatNeverAnswer(t *testing.T) {
	cfg := nodetest.Config(t, "n1")
	cfg.Join = []string{"127.0.0.1:1"}
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err == nil {
		t.Error("ready without a cluster")
	}
	if code := get(t, n.Addresses().HTTP, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz = %d, want 200", code)
	}
	if code := get(t, n.Addresses().HTTP, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz = %d, want 503", code)
	}
	conn := nodetest.Dial(t, n.Addresses().GRPC)
	_, err = weirv1.NewLimiterClient(conn).Check(t.Context(), &weirv1.CheckRequest{Domain: "shop"})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("Check = %v, want UNAVAILABLE", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func get(t *testing.T, addr, path string) int {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

func TestOneNodeIsACluster(t *testing.T) {
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	if r := check(t, n, "shop", "client", "a"); !r.GetAllowed() || r.GetReason() != weirv1.Reason_REASON_NO_POLICY {
		t.Errorf("before any policy: %v, want allowed, no_policy", r)
	}
	c.Apply(n, threeADay)
	for i := range 4 {
		r := check(t, n, "shop", "client", "a")
		if r.GetAllowed() != (i < 3) || r.GetDegraded() {
			t.Errorf("check %d: %v, want allowed %v", i+1, r, i < 3)
		}
	}
	if code := get(t, n.Addresses().HTTP, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz = %d, want 200", code)
	}
}

func TestRestartKeepsPoliciesAndIdentity(t *testing.T) {
	c := nodetest.Start(t, 1)
	c.Apply(c.Nodes[0], threeADay)
	before, err := c.Nodes[0].Admin.ListMembers(t.Context(), &weirv1.ListMembersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	c.Leave(c.Nodes[0])
	n := c.Restart(c.Nodes[0])
	after, err := n.Admin.ListMembers(t.Context(), &weirv1.ListMembersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if after.GetClusterId() != before.GetClusterId() || after.GetPolicyHash() != before.GetPolicyHash() || after.GetPolicyVersion() != before.GetPolicyVersion() {
		t.Errorf("after the restart: %v\nbefore: %v", after, before)
	}
	if a, b := after.GetMembers()[0].GetBoot(), before.GetMembers()[0].GetBoot(); a <= b {
		t.Errorf("boot %d after the restart, want more than %d", a, b)
	}
	if r := check(t, n, "shop", "client", "a"); !r.GetAllowed() || r.GetPolicy() != "per-client" {
		t.Errorf("check after the restart: %v", r)
	}
}

// written returns the path of a file with a text.
func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// One file may hold several documents, for a seed as for weir policy apply.
func TestSeedOfSeveralDocuments(t *testing.T) {
	cfg := nodetest.Config(t, "n1")
	cfg.Policies = written(t, threeADay+"---\n"+strings.Replace(threeADay, "shop", "other", 1))
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Kill()
	nodetest.Eventually(t, "the seed is offered", n.Seeded)
	admin := weirv1.NewAdminClient(nodetest.Dial(t, n.Addresses().GRPC))
	got, err := admin.GetPolicies(t.Context(), &weirv1.GetPoliciesRequest{})
	if err != nil || len(got.GetDocuments()) != 2 {
		t.Errorf("%v, %v; want both documents", got.GetDocuments(), err)
	}
}

func TestSeedOnlyAnEmptyCluster(t *testing.T) {
	cfg := nodetest.Config(t, "n1")
	cfg.SeedDocument = threeADay
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	admin := weirv1.NewAdminClient(nodetest.Dial(t, n.Addresses().GRPC))
	domains := func() (domains []string) {
		got, err := admin.GetPolicies(t.Context(), &weirv1.GetPoliciesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range got.GetDocuments() {
			domains = append(domains, d.GetDomain())
		}
		return domains
	}
	nodetest.Eventually(t, "the seed is applied", func() error {
		if len(domains()) != 1 {
			return context.DeadlineExceeded
		}
		return n.Ready()
	})
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg.SeedDocument = strings.Replace(threeADay, "shop", "other", 1)
	if n, err = node.Start(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer n.Kill()
	admin = weirv1.NewAdminClient(nodetest.Dial(t, n.Addresses().GRPC))
	nodetest.Eventually(t, "the node is ready", n.Ready)
	nodetest.Eventually(t, "the second seed was refused", n.Seeded)
	if got := domains(); len(got) != 1 || got[0] != "shop" {
		t.Errorf("domains %v, want [shop]: a seed is for an empty cluster only", got)
	}
}

// A node that must compile its policies anew is not ready before they are in force:
// until then it would allow what they limit.
func TestReadyWithPoliciesOnly(t *testing.T) {
	c := nodetest.Start(t, 1)
	var text strings.Builder
	text.WriteString(threeADay)
	for i := range 20_000 {
		fmt.Fprintf(&text, "  - {name: p%d, match: {path: /v1/%d/*}, key: [client], limits: [{algorithm: fixed_window, rate: 1/s}]}\n", i, i)
	}
	c.Apply(c.Nodes[0], text.String())
	c.Leave(c.Nodes[0])
	if err := os.Remove(filepath.Join(c.Nodes[0].Config.DataDir, "last-good")); err != nil {
		t.Fatal(err)
	}
	n := c.Restart(c.Nodes[0])
	if r := check(t, n, "shop", "client", "a"); r.GetPolicy() != "per-client" {
		t.Errorf("the first check of a ready node: %v, want one by per-client", r)
	}
}
