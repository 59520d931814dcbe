package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

type benchCmd struct {
	Addr        []string      `env:"WEIR_ADDR" placeholder:"HOST:PORT" help:"gRPC addresses of nodes; without it a node is started in this process (${env})."`
	Nodes       int           `default:"1" placeholder:"N" help:"Without --addr, nodes to start in this process; with several, one is asked, and checks that it decides are told from those it forwards."`
	Mode        string        `enum:"unary,batch,stream" default:"unary" help:"Call for each check, call for each batch, or a stream of batches."`
	Batch       int           `default:"100" placeholder:"N" help:"Checks in a batch (default ${default})."`
	Concurrency int           `default:"0" placeholder:"N" help:"Calls under way at a time; 0: 64 unary, 8 otherwise."`
	Connections int           `default:"2" placeholder:"N" help:"Connections to each node (default ${default})."`
	Duration    time.Duration `default:"5s" help:"How long to measure checks, and as long empty calls."`
	Keys        int           `default:"10000" placeholder:"N" help:"Different keys, asked at random (default ${default})."`
	Rate        int           `default:"0" placeholder:"N" help:"Calls a second, sent when they are due whether or not the last ones were answered; 0: as fast as answers come."`
	Domain      string        `default:"bench" help:"Domain to ask in."`
	Attribute   string        `default:"key" placeholder:"NAME" help:"Attribute that holds the key (default ${default})."`
}

// Help is shown by --help.
func (benchCmd) Help() string {
	return `Measures checks beside empty calls (gRPC health checks) of the same servers over the same connections, in turns, so that the ratio holds on any machine. Without --rate it is a closed loop and shows throughput; with --rate, calls are due at fixed times and latency counts from then, so that a stall is not hidden.

Without --addr a node is started in this process, with a limit that is never reached in domain "bench". With --nodes 3 it is a cluster of three, of which one is asked: first for keys of its own, then for keys of the others, which it forwards.

Examples:

  weir bench
  weir bench --nodes 3 --rate 1000
  weir bench --mode batch --batch 1000 --duration 10s
  weir bench --addr 10.0.0.1:7070,10.0.0.2:7070 --domain shop-api --attribute client --rate 2000`
}

// benchPolicies is what the node in this process limits by.
const benchPolicies = `domain: bench
policies:
  - name: per-key
    key: [key]
    limits:
      - {name: pace, algorithm: token_bucket, rate: 1_000_000_000/s}
`

// maxNodes is how many nodes are started in this process, at most.
const maxNodes = 9

// turns is how many times measuring changes between checks and empty calls.
const turns = 5

// Run measures.
func (c *benchCmd) Run(ctx context.Context, s *streams) (err error) {
	if err := c.valid(); err != nil {
		return err
	}
	addrs, all := c.Addr, keysBelow(c.Keys)
	kinds := []*benchKind{{name: "checks", keys: all}}
	if len(addrs) == 0 {
		cluster, err := startLocal(ctx, c.Nodes, slog.New(slog.DiscardHandler))
		defer func() { err = errors.Join(err, cluster.Close()) }()
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		asked := cluster.nodes[0]
		if _, err := cluster.apply(ctx, asked, &weirv1.Document{Text: benchPolicies, File: "bench.yaml"}); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		addrs = []string{asked.Addresses().GRPC}
		if c.Nodes > 1 {
			own, others, err := c.split(ctx, asked, all)
			if err != nil {
				return fmt.Errorf("bench: %w", err)
			}
			kinds = []*benchKind{{name: "local checks", keys: own}, {name: "forwarded checks", keys: others}}
		}
	}
	var conns []*grpc.ClientConn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close() // nothing is under way
		}
	}()
	for range c.Connections {
		for _, addr := range addrs {
			conn, err := dial(addr)
			if err != nil {
				return err
			}
			conns = append(conns, conn)
		}
	}
	r, err := c.measure(ctx, s, conns, kinds)
	if err != nil {
		return explain(err, addrs[0])
	}
	r.Nodes, r.InProcess = addrs, len(c.Addr) == 0
	if s.json {
		return s.printJSON(r)
	}
	r.print(s)
	return nil
}

// valid fills in the defaults and reports what cannot be measured.
func (c *benchCmd) valid() error {
	switch {
	case c.Mode == "unary":
		c.Batch = 1
	case c.Batch < 1 || c.Batch > 10_000:
		return usage("--batch: %d is not in 1 to 10,000", c.Batch)
	}
	if c.Concurrency == 0 {
		c.Concurrency = 64
		if c.Mode != "unary" {
			c.Concurrency = 8
		}
	}
	if c.Nodes < 1 || c.Nodes > maxNodes || c.Nodes > 1 && len(c.Addr) > 0 {
		return usage("--nodes: %d is not in 1 to %d, or --addr is given: that names the nodes", c.Nodes, maxNodes)
	}
	if c.Concurrency < 1 || c.Connections < 1 || c.Duration <= 0 || c.Keys < 1 || c.Rate < 0 {
		return usage("--concurrency, --connections, --duration and --keys must be positive, --rate 0 or more")
	}
	return nil
}

// A benchKind is one kind of checks, and what they took.
type benchKind struct {
	name string
	keys []int
	*measured
}

// keysBelow returns the numbers of n keys.
func keysBelow(n int) []int {
	keys := make([]int, n)
	for i := range keys {
		keys[i] = i
	}
	return keys
}

// split tells the keys of a node's own from those of other nodes.
func (c *benchCmd) split(ctx context.Context, asked *localNode, keys []int) (own, others []int, err error) {
	admin := weirv1.NewAdminClient(asked.conn)
	for _, key := range keys {
		r, err := admin.InspectKey(ctx, &weirv1.InspectKeyRequest{Domain: c.Domain, Attributes: c.attributes(key)})
		if err != nil {
			return nil, nil, fmt.Errorf("find the owner of a key: %w", err)
		}
		if len(r.GetBuckets()) > 0 && r.GetBuckets()[0].GetOwner() != asked.id {
			others = append(others, key)
		} else {
			own = append(own, key)
		}
	}
	if len(own) == 0 || len(others) == 0 {
		return nil, nil, usage("--keys: %d keys are too few for every node to own some", len(keys))
	}
	return own, others, nil
}

// measure measures checks and empty calls in turns.
func (c *benchCmd) measure(ctx context.Context, s *streams, conns []*grpc.ClientConn, kinds []*benchKind) (*benchReport, error) {
	empty := newMeasured()
	calls := make([]dialler, len(kinds))
	p := newProgress(s)
	defer p.done()
	// A first round warms up: connections, pools, the buckets of the keys.
	warmup := min(c.Duration/10, time.Second)
	for i, k := range kinds {
		k.measured, calls[i] = newMeasured(), c.check(c.encode(k.keys))
		if err := c.run(ctx, conns, warmup, newMeasured(), calls[i]); err != nil {
			return nil, err
		}
	}
	for turn := range turns {
		p.say("  turn %d of %d", turn+1, turns)
		if err := c.run(ctx, conns, c.Duration/turns, empty, emptyCall); err != nil {
			return nil, err
		}
		for i, k := range kinds {
			if err := c.run(ctx, conns, c.Duration/turns, k.measured, calls[i]); err != nil {
				return nil, err
			}
		}
	}
	return c.report(kinds, empty), nil
}

// A benchReport is what was measured.
type benchReport struct {
	Nodes       []string     `json:"nodes"`
	InProcess   bool         `json:"in_process"`
	Mode        string       `json:"mode"`
	Batch       int          `json:"batch"`
	Concurrency int          `json:"concurrency"`
	Keys        int          `json:"keys"`
	Rate        int          `json:"rate,omitempty"`
	Checks      checkFigure  `json:"checks"`              // with several nodes in this process, those of the asked one's keys
	Forwarded   *checkFigure `json:"forwarded,omitempty"` // those of the others' keys
	Empty       benchFigure  `json:"empty_calls"`

	names []string
}

// A checkFigure is what one kind of checks took, beside empty calls.
type checkFigure struct {
	benchFigure
	Ratio     float64  `json:"calls_ratio"`         // of calls a second, checks to empty ones
	AddedP99  float64  `json:"added_p99_seconds"`   // p99 of checks less that of empty calls
	PerSecond float64  `json:"checks_per_second"`   // calls × batch
	Verdicts  verdicts `json:"verdicts_of_samples"` // of the answers that were read
}

// A benchFigure is throughput and latency of one kind of call.
type benchFigure struct {
	Calls    int64   `json:"calls"`
	CallRate float64 `json:"calls_per_second"`
	P50      float64 `json:"p50_seconds"`
	P90      float64 `json:"p90_seconds"`
	P99      float64 `json:"p99_seconds"`
	P999     float64 `json:"p99_9_seconds"`
	Max      float64 `json:"max_seconds"`
}

func (c *benchCmd) report(kinds []*benchKind, empty *measured) *benchReport {
	r := &benchReport{Mode: c.Mode, Batch: c.Batch, Concurrency: c.Concurrency, Keys: c.Keys, Rate: c.Rate, Empty: empty.figure()}
	for i, k := range kinds {
		f := checkFigure{benchFigure: k.figure(), Verdicts: k.verdicts}
		if r.Empty.CallRate > 0 {
			f.Ratio = f.CallRate / r.Empty.CallRate
		}
		f.AddedP99 = f.P99 - r.Empty.P99
		f.PerSecond = f.CallRate * float64(c.Batch)
		if r.names = append(r.names, k.name); i == 0 {
			r.Checks = f
		} else {
			r.Forwarded = &f
		}
	}
	return r
}

func (r *benchReport) print(s *streams) {
	where := strings.Join(r.Nodes, ", ")
	switch {
	case r.Forwarded != nil:
		where = "one of several nodes in this process"
	case r.InProcess:
		where = "a node in this process"
	}
	pace := "as fast as answers come"
	if r.Rate > 0 {
		pace = grouped(r.Rate) + " calls/s"
	}
	s.printf("%s, batches of %d, %d calls at a time, %s keys, %s, against %s\n\n", r.Mode, r.Batch, r.Concurrency, grouped(r.Keys), pace, where)
	kinds := []*checkFigure{&r.Checks}
	if r.Forwarded != nil {
		kinds = append(kinds, r.Forwarded)
	}
	t := table{head: []string{"", "CALLS", "CALLS/S", "P50", "P90", "P99", "P99.9", "MAX"}}
	add := func(name string, f *benchFigure) {
		t.add(name, grouped(f.Calls), grouped(int64(f.CallRate)), seconds(f.P50), seconds(f.P90), seconds(f.P99), seconds(f.P999), seconds(f.Max))
	}
	for i, f := range kinds {
		add(r.names[i], &f.benchFigure)
	}
	add("empty calls", &r.Empty)
	t.print(s.out, "  ")
	for i, f := range kinds {
		s.printf("\n  %s: %s checks/s, %.2f × the calls/s of empty ones, p99 %+.3f ms\n", r.names[i], grouped(int64(f.PerSecond)), f.Ratio, 1e3*f.AddedP99)
		v := &f.Verdicts
		s.printf("  of %s verdicts read: %s allowed, %s denied, %s no policy, %s degraded, %s errors\n",
			grouped(v.Read), grouped(v.Allowed), grouped(v.Denied), grouped(v.NoPolicy), grouped(v.Degraded), grouped(v.Errors))
		if v.NoPolicy > v.Read/2 {
			s.printf("  most met no policy, which is less work than a limit: see --domain and --attribute\n")
		}
	}
}
