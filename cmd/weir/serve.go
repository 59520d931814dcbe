package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/weir-io/weir/node"
)

// sample seeds a node that was told nothing.
//
//go:embed sample.yaml
var sample string

const (
	// stopTime is how long a node may take to stop.
	stopTime = 29 * time.Second
	// notReadyPause lies between two log lines that say what a node waits for.
	notReadyPause = 5 * time.Second
)

type serveCmd struct {
	Config          configFlag    `env:"WEIR_CONFIG" placeholder:"FILE" help:"YAML file of these settings, spelt with underscores. Flags and environment win (${env})."`
	NodeID          string        `name:"node-id" env:"WEIR_NODE_ID" placeholder:"NAME" help:"Names the node for life; default: the data dir's, else the host name (${env})."`
	DataDir         string        `env:"WEIR_DATA_DIR" placeholder:"DIR" help:"Keeps node id, cluster id and raft's log; without it all is in memory (${env})."`
	GRPCAddr        string        `name:"grpc-addr" env:"WEIR_GRPC_ADDR" default:"127.0.0.1:7070" placeholder:"HOST:PORT" help:"Where clients and admin come in (default ${default}, ${env})."`
	PeerAddr        string        `env:"WEIR_PEER_ADDR" default:"127.0.0.1:7071" placeholder:"HOST:PORT" help:"Where other nodes come in (default ${default}, ${env})."`
	HTTPAddr        string        `name:"http-addr" env:"WEIR_HTTP_ADDR" default:"127.0.0.1:7072" placeholder:"HOST:PORT" help:"HTTP checks, metrics and health (default ${default}, ${env})."`
	GossipAddr      string        `env:"WEIR_GOSSIP_ADDR" default:"127.0.0.1:7946" placeholder:"HOST:PORT" help:"Gossip, tcp and udp (default ${default}, ${env})."`
	Advertise       string        `env:"WEIR_ADVERTISE" placeholder:"HOST" help:"What others dial; default: the bound address, or the first private one (${env})."`
	Zone            string        `env:"WEIR_ZONE" placeholder:"NAME" help:"Failure zone: replicas lie in another one where there is one (${env})."`
	Join            []string      `env:"WEIR_JOIN" placeholder:"HOST:PORT" help:"Gossip addresses of any members (${env})."`
	BootstrapExpect int           `env:"WEIR_BOOTSTRAP_EXPECT" default:"0" placeholder:"N" help:"How many fresh nodes must see each other before they start a cluster; 0: one without --join, none with it (${env})."`
	Voters          int           `env:"WEIR_VOTERS" default:"3" placeholder:"N" help:"How many nodes vote: 1, 3 or 5 (default ${default}, ${env})."`
	Policies        string        `env:"WEIR_POLICIES" placeholder:"PATH" help:"File or folder that seeds an empty cluster (${env})."`
	BucketMemory    size          `env:"WEIR_BUCKET_MEMORY" default:"1GiB" placeholder:"SIZE" help:"Bound of all buckets; 1GiB holds about 10M (default ${default}, ${env})."`
	CheckTimeout    time.Duration `env:"WEIR_CHECK_TIMEOUT" default:"500ms" placeholder:"TIME" help:"Deadline of a check whose caller set none (default ${default}, ${env})."`
	ForwardTimeout  time.Duration `env:"WEIR_FORWARD_TIMEOUT" default:"250ms" placeholder:"TIME" help:"Longest wait for one hop of a check (default ${default}, ${env})."`
	LogLevel        string        `env:"WEIR_LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error (default ${default}, ${env})."`
	LogFormat       string        `env:"WEIR_LOG_FORMAT" default:"text" placeholder:"FORMAT" help:"text or json (default ${default}, ${env})."`
	Insecure        bool          `env:"WEIR_INSECURE" help:"Allow listeners beyond loopback, where nothing is encrypted (${env})."`
}

// Help is shown by --help.
func (serveCmd) Help() string {
	return `Without any setting it is a cluster of one on loopback, with sample policies in domain "demo". The first SIGTERM or SIGINT drains the node, which takes 30 s at most; a second one ends it at once.

Examples:

  weir serve
  weir serve --data-dir /var/lib/weir --policies policies/
  weir serve --node-id a --data-dir /var/lib/weir --bootstrap-expect 3 --join a:7946,b:7946,c:7946 \
      --grpc-addr :7070 --peer-addr :7071 --http-addr :7072 --gossip-addr :7946 --insecure

A settings file:

  node_id: a
  data_dir: /var/lib/weir
  join: [a:7946, b:7946]
  bucket_memory: 2GiB`
}

// Run runs a node until it is told to stop.
func (c *serveCmd) Run(ctx context.Context, s *streams) error {
	cfg := c.config()
	logger, err := newLogger(s.err, cfg.LogLevel, cfg.LogFormat)
	if err != nil {
		return &exitCode{exitUsage, err}
	}
	cfg.Logger = logger
	if err := cfg.Validate(); err != nil {
		return &exitCode{exitUsage, err}
	}
	n, err := node.Start(ctx, cfg)
	if err != nil {
		return err
	}
	if err := c.announce(s, n.Addresses()); err != nil {
		return errors.Join(err, stop(n))
	}
	c.await(ctx, n, s, logger)
	select {
	case <-ctx.Done():
		return stop(n)
	case <-n.Done():
		return errors.Join(n.Err(), stop(n))
	}
}

// config returns the settings as the node takes them.
func (c *serveCmd) config() node.Config {
	cfg := node.Default()
	cfg.NodeID, cfg.DataDir, cfg.Advertise, cfg.Zone = c.NodeID, c.DataDir, c.Advertise, c.Zone
	cfg.GRPCAddr, cfg.PeerAddr, cfg.HTTPAddr, cfg.GossipAddr = c.GRPCAddr, c.PeerAddr, c.HTTPAddr, c.GossipAddr
	cfg.Join, cfg.BootstrapExpect, cfg.Voters, cfg.Policies = c.Join, c.BootstrapExpect, c.Voters, c.Policies
	cfg.BucketMemory, cfg.CheckTimeout, cfg.ForwardTimeout = int64(c.BucketMemory), c.CheckTimeout, c.ForwardTimeout
	cfg.LogLevel, cfg.LogFormat, cfg.Insecure = c.LogLevel, c.LogFormat, c.Insecure
	if c.plain() {
		cfg.SeedDocument = sample
	}
	return cfg
}

// plain reports whether nothing about data, cluster or policies was set.
func (c *serveCmd) plain() bool {
	return c.DataDir == "" && len(c.Join) == 0 && c.BootstrapExpect == 0 && c.Policies == ""
}

// announce says where the node listens.
func (c *serveCmd) announce(s *streams, at node.Addresses) error {
	if s.json {
		return s.printJSON(map[string]string{"grpc_addr": at.GRPC, "http_addr": at.HTTP, "peer_addr": at.Peer, "gossip_addr": at.Gossip})
	}
	s.printf("weir listens: gRPC %s, HTTP %s, peers %s, gossip %s\n", at.GRPC, at.HTTP, at.Peer, at.Gossip)
	if c.plain() {
		addr := ""
		if at.GRPC != node.Default().GRPCAddr {
			addr = " --addr " + at.GRPC
		}
		s.printf("sample policies are in domain \"demo\"; try, in another terminal:\n\n  weir check demo user=alice path=/login%s\n\n", addr)
	}
	return nil
}

// await waits until the node is ready, is told to stop or stops by itself, and says
// now and then what it is waiting for.
func (c *serveCmd) await(ctx context.Context, n *node.Node, s *streams, log *slog.Logger) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	said := time.Now().Add(time.Second - notReadyPause) // a second to start is nothing to talk about
	for {
		err := n.Ready()
		if err == nil {
			if !s.json {
				s.printf("ready\n")
			}
			return
		}
		if time.Since(said) >= notReadyPause {
			said = time.Now()
			log.Warn("not ready yet", "missing", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-n.Done():
			return
		}
	}
}

// stop drains a node and stops it.
func stop(n *node.Node) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// newLogger returns a logger of a level and format.
func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil || strings.ContainsAny(level, "+-") {
		return nil, fmt.Errorf("--log-level: %q is not debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("--log-format: %q is not text or json", format)
}
