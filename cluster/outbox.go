package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/weir-io/weir/cluster/wire"
)

// Bounds of what waits for one peer.
const (
	maxQueued = 65_536 // charges, some 4 MiB
	maxFlying = 48     // frames without a whole answer; the receiver remembers 64
)

// An outbox is what waits for one peer's stream and what is on its way. It does no I/O:
// a [sender] takes frames from it and gives it answers. Batching is natural: a frame goes
// out at once while no other waits for the first part of its answer; meanwhile calls
// gather, and the next frame takes them all. There is no timer and no added wait.
type outbox struct {
	room *semaphore.Weighted // charges that may still queue; waiters are served in their order

	mu     sync.Mutex
	queue  []queued           // guarded by mu, in order of arrival
	flying map[uint64]*flight // guarded by mu, by number
	busy   *flight            // guarded by mu: the newest frame while no part of its answer is here
	number uint64             // guarded by mu: of the newest frame
	closed bool               // guarded by mu

	wake chan struct{} // gets a token when there may be something to send
}

// queued is the rest of a call: its items from next on.
type queued struct {
	call *call
	next int32
}

// A flight is a frame on its way.
type flight struct {
	number uint64
	refs   []ref     // by place in the frame
	left   int       // guarded by outbox.mu: items without an answer
	until  time.Time // callers wait for an answer until then, and moreTime at the most
	raw    []byte    // as it was sent, to be sent again on another stream
	resent bool      // guarded by outbox.mu
}

// A ref says whose an item of a frame is.
type ref struct {
	call  *call // nil when it was answered
	place int32
}

func newOutbox() *outbox {
	return &outbox{room: semaphore.NewWeighted(maxQueued), flying: map[uint64]*flight{}, wake: make(chan struct{}, 1)}
}

// poke wakes the sender.
func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// put queues a call. It waits for room until ctx or the call's time ends and reports
// whether it found some.
func (o *outbox) put(ctx context.Context, c *call) bool {
	ctx, cancel := context.WithDeadline(ctx, c.until)
	defer cancel()
	if o.room.Acquire(ctx, roomOf(c)) != nil {
		return false
	}
	o.enqueue(c)
	return true
}

// tryPut queues a call where there is room now, and reports whether there was.
func (o *outbox) tryPut(c *call) bool {
	if !o.room.TryAcquire(roomOf(c)) {
		return false
	}
	o.enqueue(c)
	return true
}

// roomOf returns the room that a call takes; one that is larger than all of it takes all.
func roomOf(c *call) int64 { return min(int64(len(c.charges)), maxQueued) }

// enqueue appends a call that has room. A closed outbox answers it with silence.
func (o *outbox) enqueue(c *call) {
	o.mu.Lock()
	closed := o.closed
	if !closed {
		o.queue = append(o.queue, queued{call: c})
	}
	o.mu.Unlock()
	if closed {
		o.room.Release(roomOf(c))
		for i := range c.items {
			c.lose(int32(i))
		}
		return
	}
	o.poke()
}

// size returns how many charges wait.
func (o *outbox) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for i := range o.queue {
		q := &o.queue[i]
		n += len(q.call.charges) - int(q.call.items[q.next].first)
	}
	return n
}

// take moves what waits into a frame, written by enc as far as it can be without its
// header; nil where nothing may be sent now. wait says when to ask again although nothing
// woke the sender: 0 = never.
func (o *outbox) take(enc *wire.Encoder, now time.Time) (f *flight, epoch uint64, hop, wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expireLocked(now)
	o.dropOverLocked()
	if len(o.queue) == 0 {
		return nil, 0, 0, 0
	}
	if o.busy != nil && now.Before(o.busy.until) {
		return nil, 0, 0, o.busy.until.Sub(now)
	}
	if len(o.flying) >= maxFlying {
		return nil, 0, 0, time.Millisecond
	}
	f = &flight{refs: make([]ref, 0, o.itemsLocked())}
	hop = o.longestHopLocked(now)
	enc.Begin()
	full := false
	for len(o.queue) > 0 && !full {
		q := &o.queue[0]
		c := q.call
		epoch = max(epoch, c.epoch)
		left := c.until.Sub(now)
		first := c.items[q.next].first
		for int(q.next) < len(c.items) {
			it := &c.items[q.next]
			charges := c.charges[it.first:it.end]
			if !enc.Fits(charges) {
				full = true
				break
			}
			own := time.Duration(0)
			if left < hop {
				own = max(left, time.Microsecond)
			}
			enc.Add(it.kind, it.onYourRight, own, charges, c.receiptsOf(it))
			f.refs = append(f.refs, ref{c, q.next})
			q.next++
		}
		end := int32(len(c.charges))
		if int(q.next) < len(c.items) {
			end = c.items[q.next].first
		}
		o.releaseLocked(c, first, end)
		if f.until.Before(c.until) {
			f.until = c.until
		}
		if int(q.next) == len(c.items) {
			o.queue[0] = queued{}
			o.queue = o.queue[1:]
		}
	}
	f.left = len(f.refs)
	o.number++
	f.number = o.number
	o.flying[f.number], o.busy = f, f
	return f, epoch, hop, 0
}

// releaseLocked gives back the room of charges first to end of a call. A call that is
// larger than all the room had taken all of it: it gives back no more than it took.
func (o *outbox) releaseLocked(c *call, first, end int32) {
	if end = min(end, maxQueued); end > first {
		o.room.Release(int64(end - first))
	}
}

// itemsLocked returns how many items the next frame may have.
func (o *outbox) itemsLocked() int {
	n := 0
	for i := range o.queue {
		n += len(o.queue[i].call.items) - int(o.queue[i].next)
	}
	return min(n, wire.MaxCharges)
}

// longestHopLocked returns the most time that a call of the queue has left.
func (o *outbox) longestHopLocked(now time.Time) time.Duration {
	hop := time.Microsecond
	for i := range o.queue {
		hop = max(hop, o.queue[i].call.until.Sub(now))
	}
	return hop
}

// dropOverLocked takes calls out of the queue that nobody waits for.
func (o *outbox) dropOverLocked() {
	kept := o.queue[:0]
	for _, q := range o.queue {
		q.call.mu.Lock()
		over := q.call.over
		q.call.mu.Unlock()
		if over {
			o.releaseLocked(q.call, q.call.items[q.next].first, int32(len(q.call.charges)))
			continue
		}
		kept = append(kept, q)
	}
	clear(o.queue[len(kept):])
	o.queue = kept
}

// expireLocked forgets frames for whose answers nobody waits any more.
func (o *outbox) expireLocked(now time.Time) {
	for _, f := range o.flying {
		if !now.Before(f.until.Add(moreTime)) {
			o.endLocked(f)
		}
	}
}

func (o *outbox) endLocked(f *flight) {
	delete(o.flying, f.number)
	if o.busy == f {
		o.busy = nil
	}
}

// done returns the number up to which all frames are answered or given up.
func (o *outbox) done() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	done := o.number
	for n := range o.flying {
		done = min(done, n-1)
	}
	return done
}

// answer takes in a part of a frame's answer. Parts of frames that are not known, late
// ones above all, change nothing. It returns how many items were answered, and an error
// where the part cannot be read.
func (o *outbox) answer(b []byte) (answered int, err error) {
	part, err := wire.ReadPart(b)
	if err != nil {
		return 0, err
	}
	o.mu.Lock()
	f := o.flying[part.Number]
	if f != nil && o.busy == f {
		o.busy = nil
	}
	o.mu.Unlock()
	if f == nil {
		return 0, nil
	}
	defer o.poke()
	answered, err = f.answer(&part)
	o.mu.Lock()
	if f.left -= answered; f.left == 0 {
		o.endLocked(f)
	}
	o.mu.Unlock()
	return answered, err
}

// answer hands a part's answers to the calls. One goroutine does it: refs are its own.
func (f *flight) answer(part *wire.Part) (answered int, err error) {
	var a wire.Answer
	var locked *call
	defer func() {
		if locked != nil {
			locked.mu.Unlock()
		}
	}()
	for {
		ok, err := part.Next(&a)
		if err != nil || !ok {
			return answered, err
		}
		if int(a.Place) >= len(f.refs) || f.refs[a.Place].call == nil {
			continue
		}
		r := &f.refs[a.Place]
		if locked != r.call {
			if locked != nil {
				locked.mu.Unlock()
			}
			locked = r.call
			locked.mu.Lock()
		}
		locked.answerLocked(r.place, &a, part.Epoch)
		r.call = nil
		answered++
	}
}

// again returns the frames to send once more on a new stream, in order, after the one
// they were sent on broke; those that were sent twice already are given up.
func (o *outbox) again(now time.Time) []*flight {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expireLocked(now)
	var frames []*flight
	for _, n := range slices.Sorted(maps.Keys(o.flying)) {
		f := o.flying[n]
		if f.resent {
			o.giveUpLocked(f)
			continue
		}
		f.resent = true
		frames = append(frames, f)
	}
	return frames
}

// giveUpLocked answers what a frame still waits for with silence.
func (o *outbox) giveUpLocked(f *flight) {
	o.endLocked(f)
	for _, r := range f.refs {
		if r.call != nil {
			r.call.lose(r.place)
		}
	}
}

// giveUp answers all that waits or is on its way with silence. No stream may be read
// meanwhile.
func (o *outbox) giveUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.giveUpAllLocked()
}

func (o *outbox) giveUpAllLocked() {
	for _, f := range o.flying {
		o.giveUpLocked(f)
	}
	for _, q := range o.queue {
		o.releaseLocked(q.call, q.call.items[q.next].first, int32(len(q.call.charges)))
		for i := int(q.next); i < len(q.call.items); i++ {
			q.call.lose(int32(i))
		}
	}
	clear(o.queue)
	o.queue = o.queue[:0]
}

// close gives all up and refuses what comes later.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.giveUpAllLocked()
}
