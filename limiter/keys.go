package limiter

import (
	"context"
	"fmt"
	"slices"

	"github.com/weir-io/weir/policy"
)

// Reset returns the buckets that r would charge to the state of a fresh key, and
// which limits they are of. With a policy's name it means that policy's buckets,
// whether or not the policy matches. The error is an *Error.
func (l *Limiter) Reset(ctx context.Context, r Request, policyName string) ([]LimitStatus, error) {
	var b Batch
	if err := l.find(&b, &r, policyName); err != nil {
		return nil, err
	}
	if len(b.limits) == 0 {
		return nil, nil
	}
	ctx, cancel := l.withTimeout(ctx)
	defer cancel()
	for i := range b.decision.Charges {
		b.decision.Charges[i].Hits = 0
	}
	if err := l.keys.Reset(ctx, b.decision.Charges); err != nil {
		return nil, unreached("reset buckets", err)
	}
	return b.limits, nil
}

// Inspect returns the buckets that r would charge as a check of its hits would see
// them, and the policy version that chose them. Nothing is consumed. policyName is as
// in Reset; the error is an *Error.
func (l *Limiter) Inspect(ctx context.Context, r Request, policyName string) ([]LimitStatus, uint64, error) {
	var b Batch
	if err := l.find(&b, &r, policyName); err != nil {
		return nil, 0, err
	}
	if len(b.limits) == 0 {
		return nil, b.Version, nil
	}
	b.decide(ctx, l)
	if err := b.decision.Items[0].Err; err != nil {
		return nil, 0, undecided(err)
	}
	return b.limits, b.Version, nil
}

// find appends the charges of r, as a peek, to b.
func (l *Limiter) find(b *Batch, r *Request, policyName string) error {
	snapshot := l.policies()
	b.begin(snapshot.Version)
	if r.Domain == "*" && policyName != "" {
		b.checked.domain = "*" // global policies are found by their own name only
	}
	if err := b.checked.validate(r); err != nil {
		return err
	}
	if policyName == "" {
		snapshot.Choose(r.Domain, r.Attributes, &b.choice)
	} else if err := byName(snapshot, r, policyName, &b.choice); err != nil {
		return err
	}
	b.charge(max(r.Hits, 1), true)
	return nil
}

// byName fills in c with the key of one policy.
func byName(s *policy.Snapshot, r *Request, name string, c *policy.Choice) error {
	if err := s.ByName(r.Domain, name, r.Attributes, c); err != nil {
		is := func(p *policy.CompiledPolicy) bool {
			return p.Name == name && (p.Domain == r.Domain || p.Domain == "*")
		}
		if !slices.ContainsFunc(s.Policies, is) {
			return &Error{Code: NotFound, Field: "policy", Message: fmt.Sprintf("domain %s has no policy %q: see the names with `weir policy get`", r.Domain, name)}
		}
		return &Error{Code: InvalidArgument, Field: "attributes", Message: err.Error()}
	}
	return nil
}
