package cluster

import (
	"context"
	"fmt"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster/wire"
)

// A Permit names what a concurrency limit handed out.
type Permit struct {
	Hash    bucket.Hash // H of the key
	Limit   bucket.Hash // the limit's own hash
	Receipt uint64
}

// Reset resets buckets at their owners. It is an error where one of them does not
// answer; others may have been reset then.
func (n *Node) Reset(ctx context.Context, charges []bucket.Charge) error {
	_, err := n.forEach(ctx, wire.Reset, charges, nil)
	return err
}

// Release frees permits at their owners and returns how many were held. Those that this
// node gave on its own right, while an owner was out of reach, are freed here.
func (n *Node) Release(ctx context.Context, permits []Permit) (int, error) {
	charges, receipts := make([]bucket.Charge, 0, len(permits)), make([]uint64, 0, len(permits))
	own := 0
	now := n.clock.Now()
	for _, p := range permits {
		c := bucket.Charge{Hash: p.Hash, Rule: releaseRule(p.Limit)}
		if here := n.rights.Release(now, &c, p.Receipt); here > 0 {
			own += int(here)
			continue
		}
		charges, receipts = append(charges, c), append(receipts, p.Receipt)
	}
	if len(charges) == 0 {
		return own, nil
	}
	released, err := n.forEach(ctx, wire.Release, charges, receipts)
	return own + int(released), err
}

// releaseRule returns a limit that names a bucket and can be sent; its numbers are not
// looked at.
func releaseRule(own bucket.Hash) *bucket.Rule {
	return &bucket.Rule{Limit: bucket.Limit{Algorithm: bucket.Concurrency, Count: 1, TTL: bucket.MinPeriod}, Hash: own}
}

// forEach does the same with each charge at its owner, and returns how many permits that
// released.
func (n *Node) forEach(ctx context.Context, kind wire.Kind, charges []bucket.Charge, receipts []uint64) (released uint64, err error) {
	v := n.view.Load()
	if len(v.table.Members) == 0 {
		return 0, ErrStarting
	}
	f := &forwarding{node: n, ctx: ctx, view: v, charges: charges, parts: make([]part, len(charges)), order: make([]int32, len(charges))}
	for i := range charges {
		f.order[i] = int32(i)
		p := &f.parts[i]
		*p = part{item: int32(i), kind: kind, owner: v.table.Rows[charges[i].Hash.Partition()].Owner, first: int32(i), end: int32(i) + 1}
		if receipts != nil {
			p.receipts = receipts[i : i+1]
		}
	}
	f.route()
	for i := range f.parts {
		p := &f.parts[i]
		switch {
		case p.state == decided:
			released += p.released
		case p.err != nil:
			err = p.err
		case err == nil && ctx.Err() != nil:
			err = ctx.Err()
		case err == nil:
			err = ErrUnreached
			if p.peer != nil {
				err = fmt.Errorf("%w: %s", ErrUnreached, p.peer.id)
			}
		}
	}
	return released, err
}
