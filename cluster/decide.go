package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster/wire"
	"github.com/weir-io/weir/ring"
)

// Decide decides every item of b by ctx's deadline, each all or nothing, and fills in
// Allowed, Err and the statuses. Charges this node owns are decided here, on one reading
// of the clock; the others travel to their owners. What no owner answers is decided by
// its limit's fail mode, and the statuses say so.
func (n *Node) Decide(ctx context.Context, b *Batch) {
	v := n.view.Load()
	now := n.clock.Now()
	elsewhere := 0
	touched := 0 // charges so far
	for i := range b.Items {
		it := &b.Items[i]
		if int(it.First) >= touched {
			touched = min(int(it.First)+bucket.Abreast, len(b.Charges))
			n.store.Touch(b.Charges[it.First:touched])
		}
		it.Err, it.Allowed = nil, false
		charges, statuses := b.Charges[it.First:it.End], b.Statuses[it.First:it.End]
		if !v.owns(charges) {
			elsewhere++
			continue
		}
		if it.Peek {
			it.Allowed = n.store.Peek(now, charges, statuses)
		} else {
			it.Allowed = n.store.Take(now, charges, statuses)
		}
	}
	if elsewhere > 0 {
		n.decideElsewhere(ctx, v, now, b, elsewhere)
	}
}

// owns reports whether this process owns the partitions of all charges.
func (v *view) owns(charges []bucket.Charge) bool {
	if v.self == ring.None {
		return false
	}
	for i := range charges {
		if v.table.Rows[charges[i].Hash.Partition()].Owner != v.self {
			return false
		}
	}
	return true
}

// decideElsewhere decides the items of b that are not all this node's.
func (n *Node) decideElsewhere(ctx context.Context, v *view, now int64, b *Batch, items int) {
	f := &forwarding{node: n, ctx: ctx, view: v, charges: b.Charges, parts: make([]part, 0, items), order: make([]int32, 0, items)}
	for i := range b.Items {
		it := &b.Items[i]
		if v.owns(b.Charges[it.First:it.End]) {
			continue
		}
		if len(v.table.Members) == 0 {
			it.Err = ErrStarting
			continue
		}
		f.split(int32(i), it)
	}
	f.decideOwn(now)
	f.route()
	f.settle()
	f.decideShadow()
	f.merge(b)
}

// split makes the parts of an item: one for each owner of its charges. Where several
// owners decide together, shadow charges are parts of their own that wait for the
// verdict: to take them first and give them back would deny others meanwhile.
func (f *forwarding) split(item int32, it *Item) {
	kind := wire.Take
	if it.Peek {
		kind = wire.Peek
	}
	owner := func(c int32) int16 { return f.view.table.Rows[f.charges[c].Hash.Partition()].Owner }
	first := ring.None // owner of the enforcing charges, while that is one
	several := false
	for c := it.First; c < it.End; c++ {
		if f.charges[c].Shadow {
			continue
		}
		several = several || first != ring.None && owner(c) != first
		first = owner(c)
	}
	wait := first != ring.None && !it.Peek
	apart := func(c int32) bool { return f.charges[c].Shadow && (several || owner(c) != first) }
	from := len(f.parts)
	for c := it.First; c < it.End; c++ {
		if slices.ContainsFunc(f.parts[from:], func(p part) bool { return p.owner == owner(c) && p.shadow == apart(c) }) {
			continue
		}
		p := part{item: item, kind: kind, owner: owner(c), shadow: apart(c), first: int32(len(f.order))}
		if p.shadow && wait {
			p.state = deferred
		}
		for d := c; d < it.End; d++ {
			if owner(d) == p.owner && apart(d) == p.shadow {
				f.order = append(f.order, d)
			}
		}
		p.end = int32(len(f.order))
		f.parts = append(f.parts, p)
	}
}

// decideShadow takes the shadow charges that waited for the verdict, where it allows,
// else asks how they stand.
func (f *forwarding) decideShadow() {
	if !slices.ContainsFunc(f.parts, func(p part) bool { return p.state == deferred }) {
		return
	}
	refused := map[int32]bool{} // items that are not allowed
	for i := range f.parts {
		if p := &f.parts[i]; !p.shadow && (p.state != decided || !p.allowed) {
			refused[p.item] = true
		}
	}
	for i := range f.parts {
		p := &f.parts[i]
		if p.state != deferred {
			continue
		}
		if p.state = undecided; refused[p.item] {
			p.kind = wire.Peek
		}
	}
	f.route()
	f.settle()
}

// decideOwn decides the parts that are this node's own. Where it refuses one, the others
// are only asked how they stand.
func (f *forwarding) decideOwn(now int64) {
	var refused map[int32]bool // items, here
	for i := range f.parts {
		p := &f.parts[i]
		if p.state != undecided || p.owner == ring.None || p.owner != f.view.self {
			continue
		}
		if f.decideHere(p, now); !p.allowed {
			if refused == nil {
				refused = map[int32]bool{}
			}
			refused[p.item] = true
		}
	}
	if refused == nil {
		return
	}
	for i := range f.parts {
		if p := &f.parts[i]; p.state == undecided && p.kind == wire.Take && refused[p.item] {
			p.kind = wire.Peek
		}
	}
}

// settle has fail modes decide what no owner did. What they ask of other members' rights
// is routed once more.
func (f *forwarding) settle() {
	n := f.node
	v, now := n.view.Load(), n.clock.Now()
	asking := false
	for i := range f.parts {
		p := &f.parts[i]
		if p.state != unanswered {
			continue
		}
		if f.ctx.Err() != nil {
			p.state, p.err = failed, f.ctx.Err()
			continue
		}
		charges := f.chargesOf(p)
		p.here, p.on, p.state = true, n.rights, decided
		p.statuses = make([]bucket.Status, len(charges))
		var ask int16
		p.allowed, ask = n.byFailMode(v, now, p.kind == wire.Peek, charges, p.statuses)
		if ask == ring.None {
			continue
		}
		asking = true
		p.here, p.state, p.onYourRight, p.peer = false, undecided, true, v.peers[ask]
	}
	if !asking {
		return
	}
	f.route()
	for i := range f.parts {
		p := &f.parts[i]
		if p.state != unanswered {
			continue
		}
		p.here, p.on, p.state = true, n.rights, decided
		p.statuses = make([]bucket.Status, p.end-p.first)
		p.allowed = refuse(f.chargesOf(p), p.statuses)
	}
}

// merge makes the parts of each item its answer. Where one refused or failed, who took
// gives back, so that a refusal consumes nothing.
func (f *forwarding) merge(b *Batch) {
	slices.SortStableFunc(f.parts, func(a, b part) int { return int(a.item) - int(b.item) })
	var back []int
	for first, end := 0, 0; first < len(f.parts); first = end {
		it := &b.Items[f.parts[first].item]
		it.Allowed = true
		for end = first; end < len(f.parts) && f.parts[end].item == f.parts[first].item; end++ {
			p := &f.parts[end]
			if p.state == failed && p.shadow { // it stands in nobody's way
				p.state, p.statuses = decided, make([]bucket.Status, p.end-p.first)
				refuse(f.chargesOf(p), p.statuses)
			}
			it.Allowed = it.Allowed && p.state == decided && (p.allowed || p.shadow)
			if p.state == failed && it.Err == nil {
				it.Err = p.err
			}
		}
		if it.Allowed {
			continue
		}
		for i := first; i < end; i++ {
			if p := &f.parts[i]; p.kind == wire.Take && p.state == decided && p.allowed {
				back = append(back, i)
			}
		}
	}
	f.refund(back)
	for i := range f.parts {
		p := &f.parts[i]
		if p.statuses == nil {
			continue
		}
		for j, c := range f.order[p.first:p.end] {
			b.Statuses[c] = p.statuses[j]
		}
	}
}

// refund gives back what parts took. It waits one hop's time for the answers, so that who
// was refused finds nothing consumed when it asks again, and still hears of it in time. A
// refund on its way goes on without anybody waiting for it.
func (f *forwarding) refund(parts []int) {
	if len(parts) == 0 {
		return
	}
	now := f.node.clock.Now()
	taken := make(map[int][]bucket.Status, len(parts))
	for _, i := range parts {
		p := &f.parts[i]
		if p.receipts = receiptsOf(p.statuses); p.receipts == nil {
			continue
		}
		taken[i] = p.statuses
		p.kind, p.state = wire.Refund, undecided
		if p.here {
			f.decideHere(p, now)
		}
	}
	calls := f.gather()
	ctx, cancel := context.WithTimeout(f.ctx, f.hop(time.Now()))
	defer cancel()
	for _, pc := range calls {
		pc.call.until = time.Now().Add(f.node.forwardTimeout)
	}
	f.send(ctx, calls)
	for _, pc := range calls {
		if pc.sent && pc.call.wait(ctx, pc.call.until) {
			for i := range pc.call.items {
				f.take(int(pc.call.items[i].part), pc.call, &pc.call.items[i])
			}
		}
	}
	for i, statuses := range taken {
		if p := &f.parts[i]; p.state != decided {
			f.node.metrics.refundsUnsure.Inc()
			p.statuses = statuses
		}
	}
}

// receiptsOf returns the receipts of what was taken, nil where nothing was.
func receiptsOf(statuses []bucket.Status) []uint64 {
	receipts, some := make([]uint64, len(statuses)), false
	for i := range statuses {
		receipts[i] = statuses[i].Receipt
		some = some || receipts[i] != 0
	}
	if !some {
		return nil
	}
	return receipts
}

// hop returns how long one item waits for one hop: at most the forward timeout, and half
// of what is left of the deadline, so that there is time to decide without an answer.
func (f *forwarding) hop(now time.Time) time.Duration {
	hop := f.node.forwardTimeout
	if end, ok := f.ctx.Deadline(); ok {
		hop = min(hop, end.Sub(now)/2)
	}
	return max(hop, time.Microsecond)
}
