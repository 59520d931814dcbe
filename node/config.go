package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-io/weir/clock"
)

// MinBucketMemory is the least a node accepts as Config.BucketMemory.
const MinBucketMemory = 1 << 20

// Config is everything a node can be told. [Default] fills it in. The yaml tags are
// the names of the settings file; flags and environment spell the same names their
// own way (grpc_addr, --grpc-addr, WEIR_GRPC_ADDR).
type Config struct {
	// NodeID names the node for life: 1 to 64 characters of A-Z a-z 0-9 _ . : -
	// Default: the data dir's, else the host name.
	NodeID string `yaml:"node_id"`
	// DataDir keeps the node's id, its cluster's id and raft's log. Default: none,
	// all in memory.
	DataDir string `yaml:"data_dir"`
	// GRPCAddr is where clients and admin come in.
	GRPCAddr string `yaml:"grpc_addr"`
	// PeerAddr is where peers come in: gRPC and raft.
	PeerAddr string `yaml:"peer_addr"`
	// HTTPAddr serves HTTP checks, metrics and health.
	HTTPAddr string `yaml:"http_addr"`
	// GossipAddr is bound for gossip, tcp and udp.
	GossipAddr string `yaml:"gossip_addr"`
	// Advertise is the host that others dial. Default: the bound address, or the
	// first private one where all are bound.
	Advertise string `yaml:"advertise"`
	// Zone names the failure zone: a replica lies in another one where there is one.
	Zone string `yaml:"zone"`
	// Join holds gossip addresses of any members; seeds that do not answer are tried
	// for ever.
	Join []string `yaml:"join"`
	// BootstrapExpect is how many fresh nodes must see each other before they start
	// a cluster. Default: 1 without Join, none with it.
	BootstrapExpect int `yaml:"bootstrap_expect"`
	// Voters is how many nodes vote in raft: 1, 3 or 5.
	Voters int `yaml:"voters"`
	// Policies is a file or folder of documents that seeds an empty cluster.
	Policies string `yaml:"policies"`
	// BucketMemory bounds the bytes of all buckets of the node; 1 GiB holds about 10M.
	BucketMemory int64 `yaml:"bucket_memory"`
	// CheckTimeout is the deadline of a check whose caller set none.
	CheckTimeout time.Duration `yaml:"check_timeout"`
	// ForwardTimeout is the longest wait for one hop of one check. Too low, and a
	// garbage collection at the owner turns exact answers into degraded ones; too
	// high, and checks hang on an owner that died.
	ForwardTimeout time.Duration `yaml:"forward_timeout"`
	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel  string `yaml:"log_level"`
	LogFormat string `yaml:"log_format"`
	// Insecure allows listeners beyond loopback although nothing is encrypted.
	Insecure bool `yaml:"insecure"`

	// SeedDocument seeds an empty cluster as Policies does, from text.
	SeedDocument string `yaml:"-"`
	// Logger is where the node logs; nil discards.
	Logger *slog.Logger `yaml:"-"`
	// Clock is where it gets the time; nil is the system's.
	Clock clock.Clock `yaml:"-"`
	// Registry collects its metrics; nil makes one.
	Registry *prometheus.Registry `yaml:"-"`
}

// Default returns the settings of a plain `weir serve`.
func Default() Config {
	return Config{
		GRPCAddr: "127.0.0.1:7070", PeerAddr: "127.0.0.1:7071", HTTPAddr: "127.0.0.1:7072", GossipAddr: "127.0.0.1:7946",
		Voters: 3, BucketMemory: 1 << 30,
		CheckTimeout: 500 * time.Millisecond, ForwardTimeout: 250 * time.Millisecond,
		LogLevel: "info", LogFormat: "text",
	}
}

// expect returns how many fresh nodes must see each other before a cluster starts.
func (c *Config) expect() int {
	if c.BootstrapExpect == 0 && len(c.Join) == 0 {
		return 1
	}
	return c.BootstrapExpect
}

// Validate reports every setting that cannot work, naming its flag and the remedy.
func (c *Config) Validate() error {
	var errs []error
	bad := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("--%s: %s", flag, fmt.Sprintf(format, args...)))
	}
	if c.NodeID != "" {
		if err := validID(c.NodeID); err != nil {
			bad("node-id", "%v", err)
		}
	}
	for _, a := range []struct{ flag, addr string }{
		{"grpc-addr", c.GRPCAddr}, {"peer-addr", c.PeerAddr}, {"http-addr", c.HTTPAddr}, {"gossip-addr", c.GossipAddr},
	} {
		host, _, err := net.SplitHostPort(a.addr)
		switch {
		case err != nil:
			bad(a.flag, "%q is not host:port: %v", a.addr, err)
		case !c.Insecure && !loopback(host):
			bad(a.flag, "%q is beyond loopback, where nothing protects it: bind a loopback address, or give --insecure on a network you trust", a.addr)
		}
	}
	for _, seed := range c.Join {
		if _, _, err := net.SplitHostPort(seed); err != nil {
			bad("join", "%q is not host:port of a member's gossip address: %v", seed, err)
		}
	}
	if c.Voters != 1 && c.Voters != 3 && c.Voters != 5 {
		bad("voters", "%d is not 1, 3 or 5", c.Voters)
	}
	switch {
	case c.BootstrapExpect < 0:
		bad("bootstrap-expect", "%d is negative: give the number of nodes that start the cluster", c.BootstrapExpect)
	case c.BootstrapExpect > 1 && c.DataDir == "":
		bad("bootstrap-expect", "%d nodes vote only where they keep what they voted: give --data-dir", c.BootstrapExpect)
	case c.BootstrapExpect > 1 && len(c.Join) == 0:
		bad("bootstrap-expect", "%d nodes must find each other: give --join with the gossip addresses of some of them", c.BootstrapExpect)
	}
	if c.BucketMemory < MinBucketMemory {
		bad("bucket-memory", "%d bytes are too few: give at least 1MiB", c.BucketMemory)
	}
	if c.CheckTimeout <= 0 {
		bad("check-timeout", "%v is not positive: give a duration like 500ms", c.CheckTimeout)
	}
	if c.ForwardTimeout <= 0 {
		bad("forward-timeout", "%v is not positive: give a duration like 250ms", c.ForwardTimeout)
	}
	return errors.Join(errs...)
}

// validID reports why a node id cannot be one. '#' would tie an id to its boot in
// gossip and in placement.
func validID(id string) error {
	if len(id) > 64 {
		return fmt.Errorf("%q has %d characters: give at most 64", id, len(id))
	}
	for _, r := range id {
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-", r) {
			return fmt.Errorf("%q has %q: use 1 to 64 characters of A-Z a-z 0-9 _ . : -", id, r)
		}
	}
	return nil
}

// loopback reports whether a host to bind is reached from this machine only.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
