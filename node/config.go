package node

import (
	"log/slog"
	"time"

	"github.com/weir-io/weir/clock"
)

// Config is everything a node can be told. [Default] fills it in; the names of the
// flags, of the environment and of the settings file are made from its tags.
type Config struct {
	NodeID          string        `yaml:"node_id"`          // "" = the data dir's, else the host name
	DataDir         string        `yaml:"data_dir"`         // "" = in memory
	GRPCAddr        string        `yaml:"grpc_addr"`        // clients and admin
	PeerAddr        string        `yaml:"peer_addr"`        // peers: gRPC and raft
	HTTPAddr        string        `yaml:"http_addr"`        // HTTP, metrics, health
	GossipAddr      string        `yaml:"gossip_addr"`      // gossip, tcp and udp
	Advertise       string        `yaml:"advertise"`        // host others dial; "" = the bound address, or the first private one
	Zone            string        `yaml:"zone"`             // failure zone; "" = none
	Join            []string      `yaml:"join"`             // gossip addresses of any members
	BootstrapExpect int           `yaml:"bootstrap_expect"` // 0 = 1 without Join, none with it
	Voters          int           `yaml:"voters"`           // 1, 3 or 5
	Policies        string        `yaml:"policies"`         // file or folder that seeds an empty cluster
	BucketMemory    int64         `yaml:"bucket_memory"`    // bytes for buckets
	CheckTimeout    time.Duration `yaml:"check_timeout"`    // deadline of a check whose caller set none
	ForwardTimeout  time.Duration `yaml:"forward_timeout"`  // longest wait for one hop of one check
	LogLevel        string        `yaml:"log_level"`
	LogFormat       string        `yaml:"log_format"`
	KeyNames        bool          `yaml:"key_names"`
	Insecure        bool          `yaml:"insecure"` // allow listeners beyond loopback without TLS

	Logger *slog.Logger `yaml:"-"` // nil = discard
	Clock  clock.Clock  `yaml:"-"` // nil = the system's
}

// Default returns the settings of a plain `weir serve`.
func Default() Config {
	return Config{
		GRPCAddr: "127.0.0.1:7070", PeerAddr: "127.0.0.1:7071", HTTPAddr: "127.0.0.1:7072", GossipAddr: "127.0.0.1:7946",
		Voters: 3, BucketMemory: 1 << 30,
		CheckTimeout: 500 * time.Millisecond, ForwardTimeout: 250 * time.Millisecond,
		LogLevel: "info", LogFormat: "text", KeyNames: true,
	}
}
