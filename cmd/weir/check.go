package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

type checkCmd struct {
	nodeFlags
	Domain     string   `arg:"" help:"Domain of the policies."`
	Attributes []string `arg:"" optional:"" placeholder:"KEY=VALUE" help:"What the request is, as user=42 path=/v1/orders."`
	Hits       uint32   `default:"1" help:"What the request costs."`
	Peek       bool     `help:"Say whether it would fit, consume nothing."`
}

// Help is shown by --help.
func (checkCmd) Help() string {
	return `Exits 0 when the request is allowed, 3 when it is denied, 2 when it was not a request that can be checked, 1 when no node could say.

Examples:

  weir check demo user=alice path=/login
  weir check shop-api client=acme method=GET path=/v1/orders/7 --hits 5 --peek -o json
  weir check demo user=alice >/dev/null && deploy`
}

// Run asks and prints the verdict.
func (c *checkCmd) Run(ctx context.Context, s *streams) error {
	attrs, err := attributes(c.Attributes)
	if err != nil {
		return err
	}
	if c.Hits == 0 {
		return usage("--hits: 0 hits cost nothing: give --peek to ask without consuming")
	}
	var r *weirv1.CheckResponse
	err = c.ask(ctx, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		r, err = weirv1.NewLimiterClient(conn).Check(ctx, &weirv1.CheckRequest{Domain: c.Domain, Attributes: attrs, Hits: c.Hits, Peek: c.Peek})
		return err
	})
	if err != nil {
		return err
	}
	if s.json {
		if err := s.printJSON(verdictOf(r)); err != nil {
			return err
		}
	} else {
		printVerdict(s, r, c.Domain)
	}
	if !r.GetAllowed() {
		return denied
	}
	return nil
}

// printVerdict says a verdict about a request of a domain in words.
func printVerdict(s *streams, r *weirv1.CheckResponse, domain string) {
	answer := "denied"
	if r.GetAllowed() {
		answer = "allowed"
	}
	reason := word(r.GetReason(), "REASON_")
	switch r.GetReason() {
	case weirv1.Reason_REASON_NO_POLICY:
		reason += fmt.Sprintf(": no policy of domain %q applies, see weir policy get %s", domain, domain)
	case weirv1.Reason_REASON_EXEMPT:
		reason += ": the policy that applies is unlimited"
	}
	degraded := ""
	if r.GetDegraded() {
		degraded = ", degraded: " + word(r.GetDegradedReason(), "DEGRADED_REASON_")
	}
	s.printf("%s (%s%s)\n", answer, reason, degraded)
	var t table
	t.head = []string{"POLICY", "LIMIT", "ALGORITHM", "OF", "LEFT", "FULL AGAIN", "RETRY", "WAIT", ""}
	row := func(l limitFields, remark string) {
		retry := "-"
		if v := l.GetRetryAfter(); v < 0 {
			retry = "never"
		} else if v > 0 {
			retry = seconds(v)
		}
		wait := "-"
		if l.GetWait() > 0 {
			wait = seconds(l.GetWait())
		}
		t.add(l.GetPolicy(), l.GetLimitName(), word(l.GetAlgorithm(), "ALGORITHM_"), grouped(l.GetLimit()), grouped(l.GetRemaining()), seconds(l.GetReset_()), retry, wait, remark)
	}
	if r.GetPolicy() != "" {
		row(r, "decided")
	}
	for _, o := range r.GetOthers() {
		remark := ""
		if o.GetMode() == weirv1.Mode_MODE_SHADOW {
			remark = "shadow"
			if !o.GetAllowed() {
				remark = "shadow: would deny"
			}
		}
		row(o, remark)
	}
	if len(t.rows) > 0 {
		t.print(s.out, "  ")
	}
	if p := r.GetPermit(); len(p) > 0 {
		s.printf("  permit %x\n", p)
	}
}

// limitFields are the fields that a verdict and a limit's status share.
type limitFields interface {
	GetAllowed() bool
	GetPolicy() string
	GetLimitName() string
	GetAlgorithm() weirv1.Algorithm
	GetLimit() uint64
	GetRemaining() uint64
	GetReset_() float64
	GetRetryAfter() float64
	GetWait() float64
	GetDegradedReason() weirv1.DegradedReason
	GetPermit() []byte
}

var (
	_ limitFields  = (*weirv1.CheckResponse)(nil)
	_ limitFields  = (*weirv1.LimitStatus)(nil)
	_ fmt.Stringer = weirv1.Algorithm(0)
)

// A limitJSON is one limit in the words of the HTTP interface.
type limitJSON struct {
	Allowed        bool    `json:"allowed"`
	Policy         string  `json:"policy"`
	LimitName      string  `json:"limit_name"`
	Algorithm      string  `json:"algorithm"`
	Limit          uint64  `json:"limit"`
	Remaining      uint64  `json:"remaining"`
	Reset          float64 `json:"reset"`
	RetryAfter     float64 `json:"retry_after"`
	Wait           float64 `json:"wait"`
	Degraded       bool    `json:"degraded,omitempty"`
	DegradedReason string  `json:"degraded_reason,omitempty"`
	Permit         []byte  `json:"permit,omitempty"`
	Mode           string  `json:"mode,omitempty"`
}

func limitOf(l limitFields) limitJSON {
	return limitJSON{
		Allowed: l.GetAllowed(), Policy: l.GetPolicy(), LimitName: l.GetLimitName(), Algorithm: word(l.GetAlgorithm(), "ALGORITHM_"),
		Limit: l.GetLimit(), Remaining: l.GetRemaining(), Reset: l.GetReset_(), RetryAfter: l.GetRetryAfter(), Wait: l.GetWait(),
		DegradedReason: word(l.GetDegradedReason(), "DEGRADED_REASON_"), Permit: l.GetPermit(),
	}
}

// statusOf is limitOf with what only the status of a limit has.
func statusOf(l *weirv1.LimitStatus) limitJSON {
	j := limitOf(l)
	j.Degraded, j.Mode = l.GetDegraded(), word(l.GetMode(), "MODE_")
	return j
}

// A verdictJSON is a verdict in the words of the HTTP interface; the limit's fields are
// absent when none decided.
type verdictJSON struct {
	Allowed        bool        `json:"allowed"`
	Reason         string      `json:"reason"`
	Policy         string      `json:"policy,omitempty"`
	LimitName      string      `json:"limit_name,omitempty"`
	Algorithm      string      `json:"algorithm,omitempty"`
	Limit          *uint64     `json:"limit,omitempty"`
	Remaining      *uint64     `json:"remaining,omitempty"`
	Reset          *float64    `json:"reset,omitempty"`
	RetryAfter     *float64    `json:"retry_after,omitempty"`
	Wait           *float64    `json:"wait,omitempty"`
	Degraded       bool        `json:"degraded"`
	DegradedReason string      `json:"degraded_reason,omitempty"`
	PolicyVersion  uint64      `json:"policy_version"`
	Permit         []byte      `json:"permit,omitempty"`
	Others         []limitJSON `json:"others,omitempty"`
}

func verdictOf(r *weirv1.CheckResponse) verdictJSON {
	v := verdictJSON{
		Allowed: r.GetAllowed(), Reason: word(r.GetReason(), "REASON_"), Degraded: r.GetDegraded(),
		DegradedReason: word(r.GetDegradedReason(), "DEGRADED_REASON_"), PolicyVersion: r.GetPolicyVersion(), Permit: r.GetPermit(),
	}
	if r.GetPolicy() != "" {
		l := limitOf(r)
		v.Policy, v.LimitName, v.Algorithm = l.Policy, l.LimitName, l.Algorithm
		v.Limit, v.Remaining, v.Reset, v.RetryAfter, v.Wait = &l.Limit, &l.Remaining, &l.Reset, &l.RetryAfter, &l.Wait
	}
	for _, o := range r.GetOthers() {
		v.Others = append(v.Others, statusOf(o))
	}
	return v
}
