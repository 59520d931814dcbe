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

Without --addr a node is started in this process, with a limit that is never reached in domain "bench".

Examples:

  weir bench
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

// turns is how many times measuring changes between checks and empty calls.
const turns = 5

// Run measures.
func (c *benchCmd) Run(ctx context.Context, s *streams) (err error) {
	if err := c.valid(); err != nil {
		return err
	}
	addrs := c.Addr
	if len(addrs) == 0 {
		cluster, err := startLocal(ctx, 1, slog.New(slog.DiscardHandler))
		defer func() { err = errors.Join(err, cluster.Close()) }()
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		if _, err := cluster.apply(ctx, cluster.nodes[0], &weirv1.Document{Text: benchPolicies, File: "bench.yaml"}); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		addrs = []string{cluster.nodes[0].Addresses().GRPC}
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
	r, err := c.measure(ctx, s, conns)
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
	if c.Concurrency < 1 || c.Connections < 1 || c.Duration <= 0 || c.Keys < 1 || c.Rate < 0 {
		return usage("--concurrency, --connections, --duration and --keys must be positive, --rate 0 or more")
	}
	return nil
}

// measure measures checks and empty calls in turns.
func (c *benchCmd) measure(ctx context.Context, s *streams, conns []*grpc.ClientConn) (*benchReport, error) {
	requests := c.encode()
	checks, empty := newMeasured(), newMeasured()
	p := newProgress(s)
	defer p.done()
	// A first round warms up: connections, pools, the buckets of the keys.
	warmup := min(c.Duration/10, time.Second)
	if err := c.run(ctx, conns, warmup, newMeasured(), c.check(requests)); err != nil {
		return nil, err
	}
	for turn := range turns {
		p.say("  turn %d of %d", turn+1, turns)
		if err := c.run(ctx, conns, c.Duration/turns, empty, emptyCall); err != nil {
			return nil, err
		}
		if err := c.run(ctx, conns, c.Duration/turns, checks, c.check(requests)); err != nil {
			return nil, err
		}
	}
	return c.report(checks, empty), nil
}

// A benchReport is what was measured.
type benchReport struct {
	Nodes       []string    `json:"nodes"`
	InProcess   bool        `json:"in_process"`
	Mode        string      `json:"mode"`
	Batch       int         `json:"batch"`
	Concurrency int         `json:"concurrency"`
	Keys        int         `json:"keys"`
	Rate        int         `json:"rate,omitempty"`
	Checks      benchFigure `json:"checks"`
	Empty       benchFigure `json:"empty_calls"`
	Ratio       float64     `json:"calls_ratio"`         // of calls a second, checks to empty ones
	AddedP99    float64     `json:"added_p99_seconds"`   // p99 of checks less that of empty calls
	PerSecond   float64     `json:"checks_per_second"`   // calls × batch
	Verdicts    verdicts    `json:"verdicts_of_samples"` // of the answers that were read
}

// A benchFigure is throughput and latency of one kind of call.
type benchFigure struct {
	Calls     int64   `json:"calls"`
	PerSecond float64 `json:"calls_per_second"`
	P50       float64 `json:"p50_seconds"`
	P90       float64 `json:"p90_seconds"`
	P99       float64 `json:"p99_seconds"`
	P999      float64 `json:"p99_9_seconds"`
	Max       float64 `json:"max_seconds"`
}

func (c *benchCmd) report(checks, empty *measured) *benchReport {
	r := &benchReport{
		Mode: c.Mode, Batch: c.Batch, Concurrency: c.Concurrency, Keys: c.Keys, Rate: c.Rate,
		Checks: checks.figure(), Empty: empty.figure(), Verdicts: checks.verdicts,
	}
	if r.Empty.PerSecond > 0 {
		r.Ratio = r.Checks.PerSecond / r.Empty.PerSecond
	}
	r.AddedP99 = r.Checks.P99 - r.Empty.P99
	r.PerSecond = r.Checks.PerSecond * float64(c.Batch)
	return r
}

func (r *benchReport) print(s *streams) {
	where := strings.Join(r.Nodes, ", ")
	if r.InProcess {
		where = "a node in this process"
	}
	pace := "as fast as answers come"
	if r.Rate > 0 {
		pace = grouped(r.Rate) + " calls/s"
	}
	s.printf("%s, batches of %d, %d calls at a time, %s keys, %s, against %s\n\n", r.Mode, r.Batch, r.Concurrency, grouped(r.Keys), pace, where)
	t := table{head: []string{"", "CALLS", "CALLS/S", "P50", "P90", "P99", "P99.9", "MAX"}}
	for _, f := range []struct {
		name string
		benchFigure
	}{{"checks", r.Checks}, {"empty calls", r.Empty}} {
		t.add(f.name, grouped(f.Calls), grouped(int64(f.PerSecond)), seconds(f.P50), seconds(f.P90), seconds(f.P99), seconds(f.P999), seconds(f.Max))
	}
	t.print(s.out, "  ")
	s.printf("\n  %s checks/s, %.2f × the calls/s of empty ones, p99 %+.3f ms\n", grouped(int64(r.PerSecond)), r.Ratio, 1e3*r.AddedP99)
	s.printf("  of %s verdicts read: %s allowed, %s denied, %s no policy, %s degraded, %s errors\n",
		grouped(r.Verdicts.Read), grouped(r.Verdicts.Allowed), grouped(r.Verdicts.Denied), grouped(r.Verdicts.NoPolicy), grouped(r.Verdicts.Degraded), grouped(r.Verdicts.Errors))
	if r.Verdicts.NoPolicy > r.Verdicts.Read/2 {
		s.printf("  most met no policy, which is less work than a limit: see --domain and --attribute\n")
	}
}
