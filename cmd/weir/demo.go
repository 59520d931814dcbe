package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weir-io/weir/chaos/oracle"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// demoPolicies is what the demo applies; demoLimits says the same to the oracle.
//
//go:embed demo.yaml
var demoPolicies string

type demoCmd struct {
	Duration time.Duration `default:"8s" help:"How long to drive traffic."`
	Clients  int           `default:"24" help:"How many clients ask at the same time, spread over the nodes."`
	Rate     int           `default:"2400" help:"Checks a second of all clients together."`
	Seed     uint64        `default:"1" help:"Seed of the traffic."`
	Verbose  bool          `short:"v" help:"Show the logs of the nodes."`
}

// Help is shown by --help.
func (demoCmd) Help() string {
	return `Starts three nodes in this process, on free ports of loopback and with real sockets between them, applies policies of every algorithm through raft, and asks all three nodes at once for hot and cold keys. Then it compares what was admitted with what an exact limiter would have admitted, worked out from the outside by an oracle that shares no code with the limiter. Nothing is left behind.

Exits 0 when every answer was exact, 1 when not.

Example:

  weir demo --duration 20s --clients 64`
}

// Run runs the demo.
func (c *demoCmd) Run(ctx context.Context, s *streams) (err error) {
	if c.Clients < 1 || c.Rate < 1 || c.Duration <= 0 {
		return usage("--clients, --rate and --duration must be positive")
	}
	log := slog.New(slog.DiscardHandler)
	if c.Verbose {
		log = slog.New(slog.NewTextHandler(s.err, nil))
	}
	began := time.Now()
	s.step("starting three nodes on loopback")
	cluster, err := startLocal(ctx, 3, log)
	defer func() { err = errors.Join(err, cluster.Close()) }()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	s.step("one cluster after %v; applying the policies through raft", time.Since(began).Round(10*time.Millisecond))
	last := cluster.nodes[len(cluster.nodes)-1]
	version, err := cluster.apply(ctx, last, &weirv1.Document{Text: demoPolicies, File: "demo.yaml"})
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	clients := "1 client drives"
	if c.Clients > 1 {
		clients = grouped(c.Clients) + " clients drive"
	}
	s.step("policy version %d is in force on all nodes; %s traffic for %v", version, clients, c.Duration)
	t := newTraffic(c, cluster.conns())
	t.drive(ctx, newProgress(s))
	if ctx.Err() != nil {
		return errors.New("stopped before the end; the nodes are gone and nothing is left")
	}
	nodes, err := cluster.measure(ctx)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return t.report(s, nodes)
}

// step says what happens now. Where JSON is wanted nobody reads along.
func (s *streams) step(format string, args ...any) {
	if !s.json {
		s.printf("• "+format+"\n", args...)
	}
}

// report judges the traffic and prints what came out.
func (t *demoTraffic) report(s *streams, nodes []demoNode) error {
	judged, err := oracle.Judge(demoLimits(), t.events, oracle.Config{Skew: 2 * time.Millisecond})
	if err != nil {
		return fmt.Errorf("demo: judge the answers: %w", err)
	}
	r := newDemoReport(judged, nodes, t)
	if s.json {
		if err := s.printJSON(r); err != nil {
			return err
		}
	} else {
		r.print(s)
	}
	if r.Exact {
		return nil
	}
	if s.json {
		return &exitCode{code: exitError}
	}
	return errors.New("demo: " + r.judgement())
}

// A demoStream is the traffic for one policy.
type demoStream struct {
	policy    string
	limit     oracle.Limit
	path      string
	weight    int           // of the requests of all streams
	keys      int           // cold ones
	hotShare  int           // percent of requests for the one hot key
	hold      time.Duration // longest time a permit is held
	shadowing string        // the stream whose requests this one's policy only watches
}

// demoStreams are the policies of demo.yaml and how they are asked.
var demoStreams = []demoStream{
	{policy: "checkout", path: "/checkout", weight: 20, keys: 40, hotShare: 50, limit: oracle.Limit{Algorithm: oracle.FixedWindow, Count: 60, Period: 2 * time.Second}},
	{policy: "search", path: "/search", weight: 20, keys: 40, hotShare: 50, limit: oracle.Limit{Algorithm: oracle.SlidingWindow, Count: 40, Period: time.Second}},
	{policy: "login", path: "/login", weight: 15, keys: 40, hotShare: 50, limit: oracle.Limit{Algorithm: oracle.SlidingLog, Count: 25, Period: 3 * time.Second}},
	{policy: "api", path: "/api/v1/items", weight: 20, keys: 60, hotShare: 50, limit: oracle.Limit{Algorithm: oracle.TokenBucket, Count: 40, Period: time.Second, Burst: 80}},
	{policy: "mail", path: "/mail", weight: 15, keys: 30, hotShare: 50, limit: oracle.Limit{Algorithm: oracle.LeakyBucket, Count: 30, Period: time.Second, Burst: 20, MaxWait: -1}},
	{policy: "export", path: "/export", weight: 10, keys: 20, hotShare: 50, hold: 60 * time.Millisecond, limit: oracle.Limit{Algorithm: oracle.Concurrency, Count: 2, TTL: 30 * time.Second}},
	{policy: "api-tighter", shadowing: "api", limit: oracle.Limit{Algorithm: oracle.TokenBucket, Count: 15, Period: time.Second, Burst: 30}},
}

// demoLimits are the limits of the streams by their policies.
func demoLimits() map[string]oracle.Limit {
	limits := map[string]oracle.Limit{}
	for _, d := range demoStreams {
		limits[d.policy] = d.limit
	}
	return limits
}
