package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster/wire"
	"github.com/weir-io/weir/ring"
)

// maxRedirects is how often an item follows NOT_OWNER.
const maxRedirects = 2

// A forwarding takes the items of one batch to their owners. One goroutine uses it.
type forwarding struct {
	node    *Node
	ctx     context.Context
	view    *view
	charges []bucket.Charge // of the batch
	parts   []part
	order   []int32 // places in charges, part after part
	late    bool    // a table was waited for in vain: the next item does not wait again
}

// A partState is how far a part has come.
type partState uint8

const (
	undecided  partState = iota
	deferred             // a shadow's: waits for the verdict
	decided              // by its owner, or by a fail mode
	unanswered           // no owner in reach: the fail mode's turn
	failed               // err says why
)

// A part is the charges of one item at one owner: decided together, there.
type part struct {
	item        int32
	first, end  int32 // its charges are forwarding.order[first:end]
	kind        wire.Kind
	owner       int16 // place in the view it was split by; none once it was turned
	state       partState
	shadow      bool // charges that deny nothing, apart from those that do
	onYourRight bool
	redirects   uint8
	askedAgain  bool  // of a receiver that was behind, or that the item reached late
	here        bool  // decided in a store of this node: on
	peer        *peer // who was asked last
	epoch       uint64

	on       *bucket.Store
	allowed  bool
	released uint64
	statuses []bucket.Status
	receipts []uint64
	err      error
}

// chargesOf returns the charges of a part.
func (f *forwarding) chargesOf(p *part) []bucket.Charge {
	places := f.order[p.first:p.end]
	if int(places[len(places)-1]-places[0]) == len(places)-1 {
		return f.charges[places[0] : places[len(places)-1]+1]
	}
	charges := make([]bucket.Charge, len(places))
	for i, c := range places {
		charges[i] = f.charges[c]
	}
	return charges
}

// decideHere decides a part in a store of this node: the one that it was decided in
// before, or that of the rows it owns.
func (f *forwarding) decideHere(p *part, now int64) {
	if p.on == nil {
		p.on = f.node.store
	}
	charges := f.chargesOf(p)
	if p.on == f.node.rights {
		charges, _ = f.node.onRights(f.view, max(f.view.named, 0), charges)
	}
	statuses := make([]bucket.Status, len(charges))
	a := decideItem(p.on, now, p.kind, charges, p.receipts, statuses)
	if p.on == f.node.rights {
		onRight(f.chargesOf(p), statuses)
	}
	p.here, p.state, p.allowed, p.released, p.statuses = true, decided, a.Allowed, a.Released, statuses
}

// route takes undecided parts to their owners, round after round: most need one, those
// that were redirected one more. It returns when none is undecided.
func (f *forwarding) route() {
	for {
		calls := f.gather()
		if len(calls) == 0 {
			return
		}
		f.send(f.ctx, calls)
		for _, pc := range calls {
			f.await(pc)
		}
	}
}

// send queues calls. Those that must wait for room come last: a peer whose queue is full
// holds up nobody but its own.
func (f *forwarding) send(ctx context.Context, calls []*peerCall) {
	waiting := 0
	for _, pc := range calls {
		if pc.sent = pc.peer.out.tryPut(pc.call); !pc.sent {
			waiting++
		}
	}
	if waiting == 0 {
		return
	}
	for _, pc := range calls {
		if !pc.sent {
			pc.sent = pc.peer.out.put(ctx, pc.call)
		}
	}
}

// A peerCall is a call and the peer it goes to.
type peerCall struct {
	peer *peer
	call *call
	sent bool // it found room in the queue
}

// gather makes calls of the undecided parts, for each peer as many as it takes. Parts
// whose owner is out of reach become unanswered.
func (f *forwarding) gather() []*peerCall {
	var calls []*peerCall
	now := time.Now()
	hop := f.hop(now)
	newest := func(to *peer) *peerCall {
		for _, pc := range slices.Backward(calls) { // as many as there are peers, mostly
			if pc.peer == to {
				return pc
			}
		}
		return nil
	}
	for i := 0; i < len(f.parts); i++ { // destination may append parts
		to := f.destination(i, now)
		if to == nil {
			continue
		}
		p := &f.parts[i]
		if p.end-p.first > wire.MaxLimits {
			p.state, p.err = failed, ErrTooMany
			continue
		}
		pc := newest(to)
		if pc == nil || len(pc.call.charges) >= wire.MaxCharges {
			pc = &peerCall{peer: to, call: newCall(f.undecidedFor(p.owner, i))}
			calls = append(calls, pc)
		}
		c := pc.call
		c.epoch = max(c.epoch, f.view.table.Epoch, p.epoch)
		c.add(p.kind, p.onYourRight, int32(i))
		for j, at := range f.order[p.first:p.end] {
			receipt := uint64(0)
			if p.receipts != nil {
				receipt = p.receipts[j]
			}
			c.charge(f.charges[at], receipt)
		}
	}
	for _, pc := range calls {
		pc.call.ready(now, hop)
	}
	return calls
}

// undecidedFor returns how many parts from the i-th on are one owner's and undecided.
func (f *forwarding) undecidedFor(owner int16, i int) int {
	n := 0
	for ; i < len(f.parts); i++ {
		if p := &f.parts[i]; p.owner == owner && p.state == undecided {
			n++
		}
	}
	return min(n, wire.MaxCharges)
}

// destination returns who to ask for the i-th part now, nil where there is nobody to ask
// or nothing to ask for: what is this node's own is decided here.
func (f *forwarding) destination(i int, now time.Time) *peer {
	p := &f.parts[i]
	if p.state != undecided {
		return nil
	}
	if p.peer == nil && p.owner != ring.None {
		if p.owner == f.view.self {
			f.decideHere(p, f.node.clock.Now())
			return nil
		}
		p.peer = f.view.peers[p.owner]
	}
	if p.peer != nil && p.peer.reachable(now) {
		return p.peer
	}
	// The owner may be another one by now.
	if v := f.node.view.Load(); v.table.Epoch > f.view.table.Epoch && f.mayTurn(p) {
		was := p.peer
		f.follow(i, v)
		if p = &f.parts[i]; p.state == undecided && p.peer != was && p.peer != nil && p.peer.reachable(now) {
			return p.peer
		}
		if p.state != undecided {
			return nil
		}
	}
	p.state = unanswered
	return nil
}

// mayTurn reports whether a part may go to another owner than it was sent to.
func (f *forwarding) mayTurn(p *part) bool {
	return !p.onYourRight && p.kind != wire.Refund && p.redirects < maxRedirects
}

// follow turns the i-th part to its owners by a view. Where they are several, the part
// keeps the charges of its first one's and new parts take the others.
func (f *forwarding) follow(i int, v *view) {
	p := &f.parts[i]
	p.redirects++
	p.epoch = max(p.epoch, v.table.Epoch)
	ownerOf := func(c int32) int16 { return v.table.Rows[f.charges[c].Hash.Partition()].Owner }
	owner := ownerOf(f.order[p.first])
	var stay, leave []int32
	for _, c := range f.order[p.first:p.end] {
		if ownerOf(c) == owner {
			stay = append(stay, c)
		} else {
			leave = append(leave, c)
		}
	}
	if len(leave) > 0 {
		copy(f.order[p.first:], stay)
		copy(f.order[int(p.first)+len(stay):], leave)
		rest := *p
		rest.redirects--
		rest.first += int32(len(stay))
		p.end = rest.first
		f.parts = append(f.parts, rest)
		f.follow(len(f.parts)-1, v)
		p = &f.parts[i]
	}
	p.owner, p.peer = ring.None, nil
	switch owner {
	case ring.None:
	case v.self:
		f.decideHere(p, f.node.clock.Now())
	default:
		p.peer = v.peers[owner]
	}
}

// await waits for the answers to a call, not longer than its time, and acts on them.
func (f *forwarding) await(pc *peerCall) {
	c := pc.call
	if !pc.sent {
		f.shed(c)
		return
	}
	var gone error // why the caller waits no longer, where it is not the call's time
	missed := 0
	if !c.wait(f.ctx, c.until) && !f.stoodStill(c) {
		left := c.abandon()
		if gone = f.ctx.Err(); gone == nil {
			missed = left
		}
	}
	answered := 0
	for i := range c.items {
		it := &c.items[i]
		switch {
		case it.lost:
			missed++
		case it.outcome != 0:
			answered++
		}
		if p := &f.parts[it.part]; it.outcome == 0 && gone != nil {
			p.state, p.err = failed, gone
		} else {
			f.take(int(it.part), c, it)
		}
	}
	if missed > 0 {
		f.node.log.Debug("owner did not answer in time", "peer", pc.peer.id, "missed", missed, "of", len(c.items), "waited", c.hop+time.Since(c.until))
	}
	if c.hop < f.node.forwardTimeout/4 {
		missed = 0 // a caller in a hurry says nothing about the peer
	}
	pc.peer.breaker.note(time.Now(), answered, missed)
}

// How late a wait may end before it says more about this process than about the peer,
// and how much longer the peer is waited for then.
const (
	standstill = 5 * time.Millisecond
	moreTime   = 100 * time.Millisecond
)

// stoodStill reports whether a call was answered after all although its time is over:
// where the timer rang late this process did not run, and answers may lie where it only
// has to read them.
func (f *forwarding) stoodStill(c *call) bool {
	now := time.Now()
	if f.ctx.Err() != nil || now.Sub(c.until) < standstill {
		return false
	}
	return c.wait(f.ctx, now.Add(min(moreTime, f.hop(now))))
}

// shed says of the parts of a call that there was no room for them, or no time to wait
// for some.
func (f *forwarding) shed(c *call) {
	for i := range c.items {
		p := &f.parts[c.items[i].part]
		if p.state, p.err = failed, ErrShed; f.ctx.Err() != nil {
			p.err = f.ctx.Err()
		}
	}
}

// take acts on what became of the i-th part's item. Nobody else touches the item any
// more.
func (f *forwarding) take(i int, c *call, it *callItem) {
	p := &f.parts[i]
	switch it.outcome {
	case wire.Decided:
		p.state, p.allowed, p.released = decided, it.allowed, it.released
		p.statuses = c.statuses[it.first:it.end]
	case wire.NotOwner:
		if p.state = unanswered; f.mayTurn(p) {
			f.redirect(i, it)
		}
	case wire.Behind, wire.Late: // it was not applied
		if p.askedAgain {
			p.state = unanswered
		}
		p.askedAgain = true
	case wire.Shed:
		p.state, p.err = failed, ErrShed
	default: // Silent, Stale, NoRight, or no answer
		p.state = unanswered
	}
}

// redirect turns a part to the owner that an answer names. One whose charges lie in
// several partitions, or that is said to be this node's own, waits for the answerer's
// table: its charges may have parted.
func (f *forwarding) redirect(i int, it *callItem) {
	p := &f.parts[i]
	v := f.node.view.Load()
	place := v.find(it.owner)
	if v.table.Epoch < it.epoch && !f.late && (place == ring.None || place == v.self || v.peers[place] == nil || f.scattered(p)) {
		ctx, cancel := context.WithTimeout(f.ctx, min(catchUpTime, f.hop(time.Now())))
		f.node.awaitEpoch(ctx, it.epoch)
		cancel()
		v = f.node.view.Load()
		f.late = v.table.Epoch < it.epoch
		place = v.find(it.owner)
	}
	p.state = undecided
	if v.table.Epoch >= it.epoch {
		was := p.peer
		f.follow(i, v)
		if p = &f.parts[i]; p.state == undecided && p.peer == was && v.table.Epoch == it.epoch {
			p.state = unanswered // it said that it is not the owner, and knows no better than we do
		}
		return
	}
	p.redirects++
	p.epoch = it.epoch
	if place == ring.None || v.peers[place] == nil {
		p.state = unanswered
		return
	}
	p.peer = v.peers[place]
}

// scattered reports whether the charges of a part lie in several partitions.
func (f *forwarding) scattered(p *part) bool {
	for _, c := range f.order[p.first+1 : p.end] {
		if f.charges[c].Hash.Partition() != f.charges[f.order[p.first]].Hash.Partition() {
			return true
		}
	}
	return false
}
