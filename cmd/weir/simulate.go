package main

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weir-io/weir/accesslog"
	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/policy"
)

type simulateCmd struct {
	logFlags
	Policies []string `short:"f" name:"policies" placeholder:"FILE" help:"Policy documents, or folders of them."`
	Domain   string   `placeholder:"NAME" help:"Domain of the requests; default: the only one in the documents."`
	Top      int      `default:"3" placeholder:"N" help:"How many of the busiest and of the most denied keys to show for each policy (default ${default})."`
}

// Help is shown by --help.
func (simulateCmd) Help() string {
	return `Reads common and combined logs, gzipped or not, and decides every request at the time the log gives it, in the order of those times. Each request has the attributes client_ip, method, path, status, user_agent and referer; a policy with another key applies to none. A log does not say when requests ended, so permits of concurrency limits are held for their ttl. Malformed lines are counted and left out. No node is needed.

For each policy the busiest keys are shown, and those denied most. 256 keys of a policy are counted at a time: where there are more, REQUESTS of a rare key is a range.

--generate makes a log up. With -f it is simulated; without, its lines are printed.

Examples:

  weir simulate -f policies.yaml access.log.gz
  weir simulate -f policies.yaml --generate 100000 --seed 7 -o json
  weir simulate --generate 10000 --seed 7 > access.log`
}

// Run simulates, or prints a generated log.
func (c *simulateCmd) Run(ctx context.Context, s *streams) error {
	if c.Top < 0 {
		return usage("--top: %d keys cannot be shown", c.Top)
	}
	if len(c.Policies) == 0 {
		if c.Generate > 0 && c.Log == "" {
			return c.printLog(s.out)
		}
		return usage("give policies with -f")
	}
	if fromStdin(c.Policies) && c.Log == "-" {
		return usage("standard input cannot be both policies and log")
	}
	texts, err := readDocuments(c.Policies, s.in)
	if err != nil {
		return err
	}
	docs, _, problems := load(texts)
	if len(problems) > 0 {
		return problems
	}
	domain, err := c.domain(docs)
	if err != nil {
		return err
	}
	log, err := c.open(s.in)
	if err != nil {
		return err
	}
	defer func() { _ = log.close() }() // it was only read
	r, err := c.simulate(ctx, s, docs, domain, log)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(r)
	}
	r.print(s)
	return nil
}

// simulationMemory bounds the buckets of a simulation, in bytes.
const simulationMemory = 1 << 30

// simulate steps through the log.
func (c *simulateCmd) simulate(ctx context.Context, s *streams, docs []*policy.Document, domain string, log *logInput) (*simReport, error) {
	snapshot, _, err := policy.Compile(nil, docs, 1, policy.Secret{})
	if err != nil {
		return nil, err
	}
	sim := policy.NewSimulation(snapshot, bucket.NewStore(bucket.Config{Memory: simulationMemory}))
	r := &simReport{Domain: domain}
	p := newProgress(s)
	defer p.done()
	records := 0
	var attrs []policy.Attribute
	err = log.each(func(rec *accesslog.Record) error {
		if records == 0 {
			r.From = rec.Time
		}
		records++
		r.To = rec.Time
		attrs = attrs[:0]
		for name, value := range rec.Attributes() {
			attrs = append(attrs, policy.Attribute{Key: name, Value: value})
		}
		sim.Step(rec.Time.UnixNano(), domain, attrs)
		p.say("  %s requests, log time %s", grouped(records), rec.Time.Format(time.DateTime))
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	r.logSummary, r.SimulationResult = log.summary(records), sim.Result(c.Top)
	if err := r.readable(); err != nil {
		return nil, err
	}
	// Policies of other domains, and those that are off, cannot have applied.
	r.Policies = slices.DeleteFunc(r.Policies, func(t policy.Tally) bool {
		return t.Mode == policy.Off.String() || t.Domain != domain && t.Domain != policy.Global
	})
	return r, nil
}

func (c *simulateCmd) printLog(w io.Writer) error {
	buffered := bufio.NewWriter(w)
	if _, err := accesslog.NewGenerator(c.Generate, c.Seed).WriteTo(buffered); err != nil {
		return err
	}
	return buffered.Flush()
}

// domain returns the domain that was asked for, or the only one there is.
func (c *simulateCmd) domain(docs []*policy.Document) (string, error) {
	var domains []string
	for _, d := range docs {
		if d.Domain != policy.Global {
			domains = append(domains, d.Domain)
		}
	}
	switch {
	case c.Domain != "" && len(domains) == len(docs) && !slices.Contains(domains, c.Domain):
		return "", usage("--domain: no document is of domain %q, those there are of %s", c.Domain, strings.Join(domains, ", "))
	case c.Domain != "":
		return c.Domain, nil // domain * applies to any
	case len(domains) == 1:
		return domains[0], nil
	case len(domains) == 0 && len(docs) > 0:
		return policy.Global, nil
	}
	return "", usage("--domain: the documents are of the domains %s: name one", strings.Join(domains, ", "))
}

// A simReport is what policies would have done.
type simReport struct {
	logSummary
	policy.SimulationResult
	Domain string    `json:"domain"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
}

func (r *simReport) print(s *streams) {
	r.logSummary.print(s)
	if r.Records == 0 {
		return
	}
	s.printf("domain %s, %s to %s\n\n", r.Domain, r.From.Format("2006-01-02 15:04:05"), r.To.Format("2006-01-02 15:04:05 -0700"))
	t := table{head: []string{"POLICY", "MODE", "REQUESTS", "ALLOWED", "DENIED", "DENIED SHARE"}}
	for _, p := range r.Policies {
		t.add(p.Policy, p.Mode, grouped(p.Requests), grouped(p.Allowed), grouped(p.Denied), percent(p.Denied, p.Requests))
	}
	t.add("all", "", grouped(r.Records), grouped(r.Allowed), grouped(r.Denied), percent(r.Denied, int64(r.Records)))
	t.print(s.out, "  ")
	if r.NoPolicy > 0 {
		s.printf("\n  %s requests met no policy that enforces, and were allowed\n", grouped(r.NoPolicy))
	}
	for _, p := range r.Policies {
		if p.Requests == 0 {
			s.printf("\n  %s applied to no request: see its match, and whether a log knows the attributes of its key\n", p.Policy)
		}
	}
	for _, p := range r.Policies {
		printKeys(s, "busiest keys of "+p.Policy, p.Busiest)
		if len(p.MostDenied) > 0 && !slices.Equal(p.MostDenied, p.Busiest) {
			printKeys(s, "most denied keys of "+p.Policy, p.MostDenied)
		}
	}
}

// printKeys prints a table of keys, nothing where there are none.
func printKeys(s *streams, title string, keys []policy.KeyTally) {
	if len(keys) == 0 {
		return
	}
	s.printf("\n  %s\n", title)
	t := table{head: []string{"KEY", "REQUESTS", "DENIED", "DENIED SHARE"}}
	for _, key := range keys {
		t.add(key.Key, interval(key.Requests-key.Over, key.Requests), grouped(key.Denied), percent(key.Denied, key.Requests))
	}
	t.print(s.out, "    ")
}
