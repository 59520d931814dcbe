package cluster

import (
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster/wire"
	"github.com/weir-io/weir/ring"
)

// unavailableRetry is the RetryAfter of what nobody in reach may decide: an owner that
// died is replaced within seconds.
const unavailableRetry = time.Second

// A member's right is its part of every limit: all rights of one limit sum to it. While
// the owner of a row is out of reach, each member may admit its right and no more, and
// counts it in a store of its own: slots of a row are written by their owner alone.

// rightOf returns the right of the member at place for a charge.
func rightOf(v *view, place int16, c *bucket.Charge) int64 {
	return ring.Right(len(v.table.Members), int(place), c.Hash.Hi, c.Rule.Limit.Most())
}

// onRights returns charges that ask for the rights of the member at place instead of the
// whole limits, and the first enforcing one that it has no right for, -1 for none.
func (n *Node) onRights(v *view, place int16, charges []bucket.Charge) (rights []bucket.Charge, none int) {
	rights, none = make([]bucket.Charge, len(charges)), -1
	for i := range charges {
		c := &charges[i]
		right := rightOf(v, place, c)
		if right == 0 && c.Rule.Limit.Most() > 0 && none < 0 && !c.Shadow {
			none = i
		}
		rights[i] = *c
		rights[i].Rule = n.rights.Intern(&bucket.Rule{Limit: c.Rule.Limit.Part(right), Hash: c.Rule.Hash, Version: c.Rule.Version, FailMode: c.Rule.FailMode})
	}
	return rights, none
}

// answerOnRight decides an item that asks for this node's right.
func (n *Node) answerOnRight(v *view, now int64, kind wire.Kind, charges []bucket.Charge, receipts []uint64, statuses []bucket.Status) wire.Answer {
	if v.named == ring.None || kind > wire.Refund {
		return wire.Answer{Outcome: wire.NoRight}
	}
	rights, none := n.onRights(v, v.named, charges)
	if none >= 0 {
		return wire.Answer{Outcome: wire.NoRight}
	}
	a := decideItem(n.rights, now, kind, rights, receipts, statuses)
	onRight(charges, statuses)
	return a
}

// onRight says in statuses that they are of a right: the limit is as it is written.
func onRight(charges []bucket.Charge, statuses []bucket.Status) {
	for i := range statuses {
		statuses[i].Degraded, statuses[i].Limit = bucket.OwnRight, charges[i].Rule.Limit.Most()
	}
}

// byFailMode decides charges of one item whose owner is out of reach, each by its limit's
// fail mode: open ones allow and count nothing, closed ones deny, local ones are taken
// together on this node's right. ask is the member to ask instead where this node has no
// right for one of them; ring.None where it decided, or no member has.
func (n *Node) byFailMode(v *view, now int64, peek bool, charges []bucket.Charge, statuses []bucket.Status) (allowed bool, ask int16) {
	allowed = true
	var local []bucket.Charge
	var places []int
	for i := range charges {
		c, most := &charges[i], charges[i].Rule.Limit.Most()
		switch c.Rule.FailMode {
		case bucket.FailOpen:
			statuses[i] = bucket.Status{Allowed: true, Degraded: bucket.Open, Limit: most, Remaining: most}
		case bucket.FailClosed:
			statuses[i] = bucket.Status{Degraded: bucket.Closed, Limit: most, RetryAfter: unavailableRetry}
			allowed = allowed && c.Shadow
		default:
			local, places = append(local, *c), append(places, i)
		}
	}
	if len(local) == 0 {
		return allowed, ring.None
	}
	if v.named == ring.None {
		return refuse(charges, statuses), ring.None
	}
	rights, none := n.onRights(v, v.named, local)
	if none >= 0 {
		if ask = n.memberWithRight(v, &local[none]); ask == ring.None || len(local) < len(charges) {
			return refuse(charges, statuses), ring.None
		}
		return false, ask
	}
	own := make([]bucket.Status, len(rights))
	kind := wire.Take
	if peek || !allowed {
		kind = wire.Peek
	}
	a := decideItem(n.rights, now, kind, rights, nil, own)
	onRight(local, own)
	for i, p := range places {
		statuses[p] = own[i]
	}
	return allowed && a.Allowed, ring.None
}

// refuse denies charges that nobody in reach may decide.
func refuse(charges []bucket.Charge, statuses []bucket.Status) bool {
	allowed := true
	for i := range charges {
		statuses[i] = bucket.Status{Degraded: bucket.Closed, Limit: charges[i].Rule.Limit.Most(), RetryAfter: unavailableRetry}
		allowed = allowed && charges[i].Shadow
	}
	return allowed
}

// memberWithRight returns the reachable member of lowest rank that has a right for a
// charge, ring.None where there is none.
func (n *Node) memberWithRight(v *view, c *bucket.Charge) int16 {
	members := len(v.table.Members)
	first := ring.RightFirst(members, c.Hash.Hi)
	now := time.Now()
	for rank := range members {
		place := int16((first + rank) % members)
		if rightOf(v, place, c) == 0 {
			return ring.None // higher ranks have none either
		}
		if p := v.peers[place]; place != v.named && p != nil && p.mayReach(now) {
			return place
		}
	}
	return ring.None
}
