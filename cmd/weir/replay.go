package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-io/weir/accesslog"
	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

type replayCmd struct {
	logFlags
	Addr     []string      `env:"WEIR_ADDR" default:"127.0.0.1:7070" placeholder:"HOST:PORT" help:"gRPC addresses of nodes; one is enough, it names the others (default ${default}, ${env})."`
	Domain   string        `placeholder:"NAME" help:"Domain to ask in; default: the only one the cluster has."`
	Speed    float64       `default:"0" placeholder:"FACTOR" help:"Pace: 1 as the log, 60 sixty times as fast, 0 as fast as the cluster answers."`
	InFlight int           `default:"64" placeholder:"N" help:"How many checks may wait for an answer at a time (default ${default})."`
	Timeout  time.Duration `default:"5s" help:"How long to wait for one answer."`
}

// Help is shown by --help.
func (replayCmd) Help() string {
	return `Sends every request of the log as a check, in the order of its timestamps and in turn through all nodes. Time is the cluster's, not the log's: without --speed a day passes in a second, and much is denied; weir simulate keeps to the log's own time. Malformed lines are counted and left out.

Exits 1 when a check got no answer.

Examples:

  weir replay access.log.gz
  weir replay access.log --addr 10.0.0.1:7070,10.0.0.2:7070 --domain shop-api --speed 60
  weir replay --generate 100000 --seed 7 -o json`
}

// Run replays.
func (c *replayCmd) Run(ctx context.Context, s *streams) error {
	if c.InFlight < 1 || c.Speed < 0 {
		return usage("--in-flight must be 1 or more, --speed 0 or more")
	}
	log, err := c.open(s.in)
	if err != nil {
		return err
	}
	defer func() { _ = log.close() }() // it was only read
	r := &replay{cmd: c, policies: map[string]*replayPolicy{}}
	defer r.closeConns()
	if err := r.connect(ctx); err != nil {
		return err
	}
	p := newProgress(s)
	began := time.Now()
	records, err := r.send(ctx, log, p)
	p.done()
	if err != nil && ctx.Err() == nil {
		return err
	}
	read := log.summary(records)
	if err := read.readable(); err != nil && ctx.Err() == nil {
		return err
	}
	sum := r.summary(read, time.Since(began))
	if s.json {
		if err := s.printJSON(sum); err != nil {
			return err
		}
	} else {
		sum.print(s)
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("stopped before the end of the log")
	case sum.Errors > 0 && s.json:
		return &exitCode{code: exitError}
	case sum.Errors > 0:
		return fmt.Errorf("%s checks got no answer; the first: %w", grouped(sum.Errors), r.firstErr)
	}
	return nil
}

// A replay is one run.
type replay struct {
	cmd    *replayCmd
	domain string
	addrs  []string
	conns  []*grpc.ClientConn

	mu       sync.Mutex
	policies map[string]*replayPolicy // by name, "" where none decided; guarded by mu
	degraded map[string]int64         // by reason; guarded by mu
	errs     int64                    // guarded by mu
	firstErr error                    // guarded by mu
}

// A replayPolicy counts the verdicts that a policy decided.
type replayPolicy struct {
	Policy  string `json:"policy"`
	Allowed int64  `json:"allowed"`
	Denied  int64  `json:"denied"`
}

// connect dials the nodes that were given, or those that the one given names, and finds
// the domain.
func (r *replay) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.cmd.Timeout)
	defer cancel()
	for _, addr := range r.cmd.Addr {
		if err := r.dial(addr); err != nil {
			return err
		}
	}
	admin := weirv1.NewAdminClient(r.conns[0])
	if len(r.conns) == 1 {
		m, err := admin.ListMembers(ctx, &weirv1.ListMembersRequest{})
		if err != nil {
			return explain(err, r.addrs[0])
		}
		for _, member := range m.GetMembers() {
			if member.GetNodeId() != m.GetNodeId() && member.GetState() == weirv1.Member_STATE_UP {
				if err := r.dial(member.GetGrpcAddr()); err != nil {
					return err
				}
			}
		}
	}
	r.domain = r.cmd.Domain
	if r.domain != "" {
		return nil
	}
	docs, err := admin.GetPolicies(ctx, &weirv1.GetPoliciesRequest{})
	if err != nil {
		return explain(err, r.addrs[0])
	}
	var domains []string
	for _, d := range docs.GetDocuments() {
		if d.GetDomain() != policy.Global {
			domains = append(domains, d.GetDomain())
		}
	}
	if len(domains) == 0 {
		return usage("--domain: the cluster has policies of no domain: apply some with weir policy apply, or name a domain")
	}
	if len(domains) > 1 {
		return usage("--domain: the cluster has the domains %s: name one", strings.Join(domains, ", "))
	}
	r.domain = domains[0]
	return nil
}

func (r *replay) dial(addr string) error {
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	r.conns, r.addrs = append(r.conns, conn), append(r.addrs, addr)
	return nil
}

func (r *replay) closeConns() {
	for _, conn := range r.conns {
		_ = conn.Close() // nothing is under way
	}
}

// send sends the log and returns when all answers are there.
func (r *replay) send(ctx context.Context, log *logInput, p *progress) (records int, err error) {
	var wg sync.WaitGroup
	defer wg.Wait()
	free := make(chan struct{}, r.cmd.InFlight)
	pace := pacer{speed: r.cmd.Speed}
	return records, log.each(func(rec *accesslog.Record) error {
		if err := pace.wait(ctx, rec.Time); err != nil {
			return err
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		req := &weirv1.CheckRequest{Domain: r.domain}
		for name, value := range rec.Attributes() {
			req.Attributes = append(req.Attributes, &weirv1.Attribute{Key: name, Value: value})
		}
		conn, addr := r.conns[records%len(r.conns)], r.addrs[records%len(r.addrs)]
		records++
		p.say("  %s requests, log time %s", grouped(records), rec.Time.Format(time.DateTime))
		wg.Go(func() {
			defer func() { <-free }()
			call, cancel := context.WithTimeout(ctx, r.cmd.Timeout)
			defer cancel()
			answer, err := weirv1.NewLimiterClient(conn).Check(call, req)
			r.count(answer, explain(err, addr))
		})
		return nil
	})
}

// count counts one answer.
func (r *replay) count(answer *weirv1.CheckResponse, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs++
		if r.firstErr == nil {
			r.firstErr = err
		}
		return
	}
	if answer.GetDegraded() {
		if r.degraded == nil {
			r.degraded = map[string]int64{}
		}
		r.degraded[word(answer.GetDegradedReason(), "DEGRADED_REASON_")]++
	}
	p := r.policies[answer.GetPolicy()]
	if p == nil {
		p = &replayPolicy{Policy: answer.GetPolicy()}
		r.policies[answer.GetPolicy()] = p
	}
	if answer.GetAllowed() {
		p.Allowed++
	} else {
		p.Denied++
	}
}

// A pacer holds records back until their time, sped up.
type pacer struct {
	speed   float64 // 0 = do not hold back
	began   time.Time
	logFrom time.Time
}

func (p *pacer) wait(ctx context.Context, at time.Time) error {
	if p.speed == 0 {
		return ctx.Err()
	}
	if p.began.IsZero() {
		p.began, p.logFrom = time.Now(), at
	}
	due := p.began.Add(time.Duration(float64(at.Sub(p.logFrom)) / p.speed))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A replaySummary is what came of a replay.
type replaySummary struct {
	logSummary
	Domain   string           `json:"domain"`
	Nodes    []string         `json:"nodes"`
	Seconds  float64          `json:"seconds"`
	Allowed  int64            `json:"allowed"`
	Denied   int64            `json:"denied"`
	Errors   int64            `json:"errors"`
	Degraded map[string]int64 `json:"degraded,omitempty"`
	Policies []*replayPolicy  `json:"policies"`
}

func (r *replay) summary(log logSummary, took time.Duration) *replaySummary {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := &replaySummary{logSummary: log, Domain: r.domain, Nodes: r.addrs, Seconds: took.Seconds(), Errors: r.errs, Degraded: r.degraded}
	sum.Policies = slices.SortedFunc(maps.Values(r.policies), func(a, b *replayPolicy) int {
		return cmp.Or(cmp.Compare(b.Allowed+b.Denied, a.Allowed+a.Denied), cmp.Compare(a.Policy, b.Policy))
	})
	for _, p := range sum.Policies {
		sum.Allowed += p.Allowed
		sum.Denied += p.Denied
	}
	return sum
}

func (sum *replaySummary) print(s *streams) {
	sum.logSummary.print(s)
	s.printf("domain %s, through %s, in %.1f s\n\n", sum.Domain, strings.Join(sum.Nodes, ", "), sum.Seconds)
	t := table{head: []string{"DECIDED BY", "REQUESTS", "ALLOWED", "DENIED", "DENIED SHARE"}}
	for _, p := range sum.Policies {
		name := p.Policy
		if name == "" {
			name = "(no policy)"
		}
		t.add(name, grouped(p.Allowed+p.Denied), grouped(p.Allowed), grouped(p.Denied), percent(p.Denied, p.Allowed+p.Denied))
	}
	t.add("all", grouped(sum.Allowed+sum.Denied), grouped(sum.Allowed), grouped(sum.Denied), percent(sum.Denied, sum.Allowed+sum.Denied))
	t.print(s.out, "  ")
	s.printf("\n  %s without an answer", grouped(sum.Errors))
	if len(sum.Degraded) == 0 {
		s.printf(", 0 degraded\n")
	}
	for _, reason := range slices.Sorted(maps.Keys(sum.Degraded)) {
		s.printf(", %s degraded by %s", grouped(sum.Degraded[reason]), reason)
	}
	if len(sum.Degraded) > 0 {
		s.printf("\n")
	}
}
