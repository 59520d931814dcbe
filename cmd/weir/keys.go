package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

type keysCmd struct {
	Inspect inspectCmd `cmd:"" help:"Show the buckets that a request would charge, and who owns them."`
	Reset   resetCmd   `cmd:"" help:"Make the buckets that a request would charge those of a fresh key."`
}

// keyArgs say which key.
type keyArgs struct {
	nodeFlags
	Domain     string   `arg:"" help:"Domain of the policies."`
	Attributes []string `arg:"" optional:"" placeholder:"KEY=VALUE" help:"What the request is, as for weir check."`
	Policy     string   `placeholder:"NAME" help:"Take this policy, whether or not it matches."`
}

type inspectCmd struct{ keyArgs }

// Help is shown by --help.
func (inspectCmd) Help() string {
	return `Names a key as check does: by domain and attributes. Nothing is consumed. Exits 1 where no policy applies.

Example:

  weir keys inspect demo user=alice --policy per-user`
}

// Run shows the buckets.
func (c *inspectCmd) Run(ctx context.Context, s *streams) error {
	attrs, err := attributes(c.Attributes)
	if err != nil {
		return err
	}
	var r *weirv1.InspectKeyResponse
	err = c.ask(ctx, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		r, err = weirv1.NewAdminClient(conn).InspectKey(ctx, &weirv1.InspectKeyRequest{Domain: c.Domain, Attributes: attrs, Policy: c.Policy})
		return err
	})
	if err != nil {
		return err
	}
	type bucketJSON struct {
		limitJSON
		Partition uint32 `json:"partition"`
		Owner     string `json:"owner"`
	}
	buckets := make([]bucketJSON, 0, len(r.GetBuckets()))
	t := table{head: []string{"POLICY", "LIMIT", "ALGORITHM", "OF", "LEFT", "FULL AGAIN", "MODE", "PARTITION", "OWNER"}}
	for _, b := range r.GetBuckets() {
		j := bucketJSON{statusOf(b.GetStatus()), b.GetPartition(), b.GetOwner()}
		buckets = append(buckets, j)
		t.add(j.Policy, j.LimitName, j.Algorithm, grouped(j.Limit), grouped(j.Remaining), seconds(j.Reset), j.Mode, fmt.Sprint(j.Partition), j.Owner)
	}
	if s.json {
		if err := s.printJSON(map[string]any{"policy_version": r.GetPolicyVersion(), "buckets": buckets}); err != nil {
			return err
		}
	} else if len(buckets) > 0 {
		t.print(s.out, "")
	}
	if len(buckets) == 0 {
		return noBucket(c.Domain)
	}
	return nil
}

// noBucket says that a request charges nothing.
func noBucket(domain string) error {
	return fmt.Errorf("no policy of domain %q with a limit applies to this: see weir policy get %s, or name one with --policy", domain, domain)
}

type resetCmd struct{ keyArgs }

// Help is shown by --help.
func (resetCmd) Help() string {
	return `What the key has used is forgotten. Exits 1 where no policy applies.

Example:

  weir keys reset demo user=alice`
}

// Run resets the buckets.
func (c *resetCmd) Run(ctx context.Context, s *streams) error {
	attrs, err := attributes(c.Attributes)
	if err != nil {
		return err
	}
	var r *weirv1.ResetResponse
	err = c.ask(ctx, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		r, err = weirv1.NewLimiterClient(conn).Reset(ctx, &weirv1.ResetRequest{Domain: c.Domain, Attributes: attrs, Policy: c.Policy})
		return err
	})
	if err != nil {
		return err
	}
	type limitName struct {
		Policy    string `json:"policy"`
		LimitName string `json:"limit_name"`
	}
	limits := make([]limitName, 0, len(r.GetLimits()))
	for _, l := range r.GetLimits() {
		limits = append(limits, limitName{l.GetPolicy(), l.GetLimitName()})
		if !s.json {
			s.printf("reset %s/%s\n", l.GetPolicy(), l.GetLimitName())
		}
	}
	if s.json {
		if err := s.printJSON(map[string]any{"limits": limits}); err != nil {
			return err
		}
	}
	if len(limits) == 0 {
		return noBucket(c.Domain)
	}
	return nil
}
