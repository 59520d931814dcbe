package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster/wire"
)

// A call is items of one caller for one peer. The caller fills it in, hands it to an
// outbox and waits for done; whoever reads the peer's stream fills in the answers. A
// caller that waits no longer abandons the call, and no answer touches it any more.
type call struct {
	items    []callItem
	charges  []bucket.Charge // of all items; not changed once the call is sent
	receipts []uint64        // one a charge, or nil
	epoch    uint64          // the newest table the items were routed by
	hop      time.Duration   // how long the caller waits
	until    time.Time       // when it stops waiting

	mu       sync.Mutex
	statuses []bucket.Status // guarded by mu until done: of all items, one a charge
	left     int             // guarded by mu: items without an answer
	over     bool            // guarded by mu: abandoned or done
	done     chan struct{}   // gets one token when left is 0

	one oneItem // the memory of a call of one item with one charge
}

// oneItem is what most calls of single checks need.
type oneItem struct {
	items    [1]callItem
	charges  [1]bucket.Charge
	statuses [1]bucket.Status
}

// A callItem is one item of a call and what became of it.
type callItem struct {
	kind        wire.Kind
	onYourRight bool
	first, end  int32 // its charges are call.charges[first:end]
	part        int32 // the caller's

	// Guarded by mu until done. The zero outcome is no answer.
	outcome  wire.Outcome
	lost     bool // the outcome is Silent, and this node says so
	allowed  bool
	released uint64
	owner    string // of NotOwner
	epoch    uint64 // of the answerer's table
}

// newCall returns a call with memory for so many items, of one charge each mostly.
func newCall(items int) *call {
	c := &call{done: make(chan struct{}, 1)}
	if items <= 1 {
		c.items, c.charges = c.one.items[:0], c.one.charges[:0]
	} else {
		c.items, c.charges = make([]callItem, 0, items), make([]bucket.Charge, 0, items)
	}
	return c
}

// add appends an item with charges to be appended to c.charges by the caller next.
func (c *call) add(kind wire.Kind, onYourRight bool, part int32) {
	n := int32(len(c.charges))
	c.items = append(c.items, callItem{kind: kind, onYourRight: onYourRight, first: n, end: n, part: part})
}

// charge appends a charge to the newest item. A call has receipts for all charges or for
// none, which is said by 0.
func (c *call) charge(charge bucket.Charge, receipt uint64) {
	c.charges = append(c.charges, charge)
	if receipt != 0 {
		c.receipts = append(c.receipts, receipt)
	}
	c.items[len(c.items)-1].end++
}

// receiptsOf returns the receipts of an item, nil where the call has none.
func (c *call) receiptsOf(it *callItem) []uint64 {
	if c.receipts == nil {
		return nil
	}
	return c.receipts[it.first:it.end]
}

// ready makes the call ready to be sent.
func (c *call) ready(now time.Time, hop time.Duration) {
	c.hop, c.until, c.left = hop, now.Add(hop), len(c.items)
	if c.statuses = c.one.statuses[:]; len(c.charges) > 1 {
		c.statuses = make([]bucket.Status, len(c.charges))
	}
}

// answerLocked fills in the answer to one item; mu is held. An answer that does not fit the
// question counts as silence.
func (c *call) answerLocked(place int32, a *wire.Answer, epoch uint64) {
	it := &c.items[place]
	if c.over || it.outcome != 0 {
		return
	}
	it.outcome, it.allowed, it.released, it.owner, it.epoch = a.Outcome, a.Allowed, a.Released, a.Owner, epoch
	if a.Outcome == wire.Decided && it.kind <= wire.Refund {
		if err := a.ReadStatuses(c.statuses[it.first:it.end]); err != nil {
			it.outcome = wire.Silent
		}
	}
	c.finishLocked(1)
}

// lose says that an item will have no answer.
func (c *call) lose(place int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it := &c.items[place]; !c.over && it.outcome == 0 {
		it.outcome, it.lost = wire.Silent, true
		c.finishLocked(1)
	}
}

func (c *call) finishLocked(n int) {
	if c.left -= n; c.left == 0 {
		c.over = true
		c.done <- struct{}{}
	}
}

// wait waits for all answers, until ctx ends or a time, and reports whether they came. The
// call is not abandoned.
func (c *call) wait(ctx context.Context, until time.Time) bool {
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	select {
	case <-c.done:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}

// abandon ends the wait: answers that come later are dropped. It returns how many items
// have none.
func (c *call) abandon() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	return c.left
}
