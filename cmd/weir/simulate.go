package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weir-io/weir/accesslog"
	"github.com/weir-io/weir/policy"
)

type simulateCmd struct {
	logFlags
	Policies []string `short:"f" name:"policies" placeholder:"FILE" help:"Policy documents, or folders of them."`
	Domain   string   `placeholder:"NAME" help:"Domain of the requests; default: the only one in the documents."`
	Top      int      `default:"3" placeholder:"N" help:"How many of the busiest keys to show for each policy (default ${default})."`
}

// Help is shown by --help.
func (simulateCmd) Help() string {
	return `Reads common and combined logs, gzipped or not, and decides every request at the time the log gives it, in the order of those times. Each request has the attributes client_ip, method, path, status, user_agent and referer. A log does not say when requests ended, so permits of concurrency limits are held for their ttl. Malformed lines are counted and left out. No node is needed.

--generate makes a log up. With -f it is simulated; without, its lines are printed.

Examples:

  weir simulate -f policies.yaml access.log.gz
  weir simulate -f policies.yaml --generate 100000 --seed 7 -o json
  weir simulate --generate 10000 --seed 7 > access.log`
}

// Run simulates, or prints a generated log.
func (c *simulateCmd) Run(ctx context.Context, s *streams) error {
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
	sim, err := newSimulation(docs, domain)
	if err != nil {
		return err
	}
	p := newProgress(s)
	err = log.each(func(rec *accesslog.Record) error {
		sim.request(rec)
		p.say("  %s requests, log time %s", grouped(sim.requests), rec.Time.Format(time.DateTime))
		return ctx.Err()
	})
	p.done()
	if err != nil {
		return err
	}
	r := sim.report(log.summary(int(sim.requests)), c.Top)
	if s.json {
		return s.printJSON(r)
	}
	r.print(s)
	return nil
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
	if c.Domain != "" {
		return c.Domain, nil
	}
	var domains []string
	for _, d := range docs {
		if d.Domain != policy.Global {
			domains = append(domains, d.Domain)
		}
	}
	switch {
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
	Domain   string      `json:"domain"`
	From     time.Time   `json:"from"`
	To       time.Time   `json:"to"`
	Allowed  int64       `json:"allowed"`
	Denied   int64       `json:"denied"`
	NoPolicy int64       `json:"no_policy"`
	Policies []simPolicy `json:"policies"`
}

// A simPolicy is one policy's part. Denied counts the requests that it refused, whatever
// the others said.
type simPolicy struct {
	Policy   string   `json:"policy"`
	Domain   string   `json:"domain"`
	Mode     string   `json:"mode"`
	Requests int64    `json:"requests"`
	Allowed  int64    `json:"allowed"`
	Denied   int64    `json:"denied"`
	Keys     int      `json:"keys"`
	Busiest  []simKey `json:"busiest_keys"`
}

// A simKey is one key's part.
type simKey struct {
	Key      string `json:"key"`
	Requests int64  `json:"requests"`
	Denied   int64  `json:"denied"`
}

// busiest returns the keys with the most requests.
func busiest(keys map[string]*simKey, top int) []simKey {
	all := make([]simKey, 0, len(keys))
	for _, k := range keys {
		all = append(all, *k)
	}
	slices.SortFunc(all, func(a, b simKey) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(b.Denied, a.Denied), cmp.Compare(a.Key, b.Key))
	})
	return all[:max(0, min(top, len(all)))]
}

func (r *simReport) print(s *streams) {
	r.logSummary.print(s)
	if r.Records == 0 {
		return
	}
	s.printf("domain %s, %s to %s\n\n", r.Domain, r.From.Format("2006-01-02 15:04:05"), r.To.Format("2006-01-02 15:04:05 -0700"))
	t := table{head: []string{"POLICY", "MODE", "REQUESTS", "ALLOWED", "DENIED", "DENIED SHARE", "KEYS"}}
	for _, p := range r.Policies {
		t.add(p.Policy, p.Mode, grouped(p.Requests), grouped(p.Allowed), grouped(p.Denied), percent(p.Denied, p.Requests), grouped(p.Keys))
	}
	t.add("all", "", grouped(r.Records), grouped(r.Allowed), grouped(r.Denied), percent(r.Denied, int64(r.Records)), "-")
	t.print(s.out, "  ")
	if r.NoPolicy > 0 {
		s.printf("\n  %s requests met no policy that enforces, and were allowed\n", grouped(r.NoPolicy))
	}
	for _, p := range r.Policies {
		if len(p.Busiest) == 0 {
			continue
		}
		s.printf("\n  busiest keys of %s\n", p.Policy)
		k := table{head: []string{"KEY", "REQUESTS", "DENIED", "DENIED SHARE"}}
		for _, key := range p.Busiest {
			k.add(key.Key, grouped(key.Requests), grouped(key.Denied), percent(key.Denied, key.Requests))
		}
		k.print(s.out, "    ")
	}
}

// keyText names a key for people: its attributes in the order of their names.
func keyText(names []string, attrs []policy.Attribute) string {
	if len(names) == 0 {
		return "(one for all)"
	}
	var parts []string
	for _, name := range names {
		for _, a := range attrs {
			if a.Key == name {
				parts = append(parts, fmt.Sprintf("%s=%s", name, a.Value))
			}
		}
	}
	return strings.Join(parts, " ")
}
