package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster/wire"
)

// aCall returns a call of so many items with so many charges each, which is waited for
// during hop.
func aCall(now time.Time, hop time.Duration, items, charges int) *call {
	c := newCall(1)
	rule := window(1, 1, bucket.FailLocal)
	for i := range items {
		c.add(wire.Take, false, int32(i))
		for j := range charges {
			c.charge(bucket.Charge{Hash: bucket.Hash{Hi: uint64(i), Lo: uint64(j)}, Rule: rule, Hits: 1}, 0)
		}
	}
	c.ready(now, hop)
	return c
}

// answerTo answers so many items of a frame.
func answerTo(f *flight, from, to int) []byte {
	b := wire.AppendPart(nil, f.number, 1)
	for i := from; i < to; i++ {
		statuses := make([]bucket.Status, len(f.refs[i].call.charges)/len(f.refs[i].call.items))
		b = wire.AppendAnswer(b, &wire.Answer{Place: uint32(i), Outcome: wire.Decided, Allowed: true, Statuses: statuses})
	}
	return b
}

// While a frame is out what comes gathers, and the next frame takes it all.
func TestNaturalBatching(t *testing.T) {
	o := newOutbox()
	var enc wire.Encoder
	now := time.Now()
	put := func(items int) *call {
		c := aCall(now, time.Second, items, 1)
		if !o.put(t.Context(), c) {
			t.Fatal("no room")
		}
		return c
	}
	put(1)
	first, _, hop, _ := o.take(&enc, now)
	if first == nil || len(first.refs) != 1 || hop != time.Second {
		t.Fatalf("an idle stream: %+v, hop %v, want a frame of one item at once", first, hop)
	}
	put(2)
	put(3)
	if f, _, _, wait := o.take(&enc, now); f != nil || wait != time.Second {
		t.Fatalf("while the first is out: %+v, wait %v", f, wait)
	}
	if o.size() != 5 {
		t.Errorf("%d charges wait, want 5", o.size())
	}
	if n, err := o.answer(answerTo(first, 0, 1)); n != 1 || err != nil {
		t.Fatalf("answered %d, %v", n, err)
	}
	second, _, _, _ := o.take(&enc, now)
	if second == nil || len(second.refs) != 5 || second.number != first.number+1 {
		t.Fatalf("after the answer: %+v, want a frame of all five", second)
	}
	if done := o.done(); done != first.number {
		t.Errorf("done up to %d, want %d", done, first.number)
	}
	// The first part of an answer makes way for the next frame.
	last := put(1)
	if _, err := o.answer(answerTo(second, 0, 1)); err != nil {
		t.Fatal(err)
	}
	third, _, _, _ := o.take(&enc, now)
	if third == nil || len(third.refs) != 1 || third.refs[0].call != last {
		t.Fatalf("after a part of the answer: %+v, want the next frame", third)
	}
	if _, err := o.answer(answerTo(third, 0, 1)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-last.done:
	default:
		t.Error("a call whose items are all answered is not done")
	}
	if done := o.done(); done != first.number {
		t.Errorf("done up to %d, want %d: the second frame is not answered", done, first.number)
	}
}

// A frame takes no more than it may, whole items, and goes on where it ended.
func TestFramesAreBounded(t *testing.T) {
	o := newOutbox()
	var enc wire.Encoder
	now := time.Now()
	c := aCall(now, time.Second, 5000, 3)
	if !o.put(t.Context(), c) {
		t.Fatal("no room")
	}
	seen := 0
	for seen < 5000 {
		f, _, _, _ := o.take(&enc, now)
		if f == nil {
			t.Fatalf("no frame after %d items", seen)
		}
		if n := 3 * len(f.refs); n > wire.MaxCharges {
			t.Fatalf("a frame of %d charges", n)
		}
		if f.refs[0].place != int32(seen) {
			t.Fatalf("the frame begins with item %d, want %d", f.refs[0].place, seen)
		}
		b := enc.Append(nil, &wire.Header{Number: f.number, Hop: time.Second})
		var read wire.Frame
		if err := read.Read(b, &wire.Rules{}); err != nil || len(read.Items) != len(f.refs) {
			t.Fatalf("%d bytes: %d items, %v", len(b), len(read.Items), err)
		}
		seen += len(f.refs)
		if _, err := o.answer(answerTo(f, 0, len(f.refs))); err != nil {
			t.Fatal(err)
		}
	}
	if !o.room.TryAcquire(maxQueued) {
		t.Error("the room of what was sent did not come back")
	}
}

// A full queue makes callers wait for room within their time, and no longer.
func TestQueueIsBounded(t *testing.T) {
	o := newOutbox()
	var enc wire.Encoder
	now := time.Now()
	full := aCall(now, time.Minute, maxQueued, 1)
	if !o.put(t.Context(), full) {
		t.Fatal("no room in an empty queue")
	}
	if o.put(t.Context(), aCall(time.Now(), 10*time.Millisecond, 1, 1)) {
		t.Error("a call found room in a full queue")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o.put(ctx, aCall(time.Now(), time.Minute, 1, 1)) {
		t.Error("a caller that has gone found room in a full queue")
	}
	put := make(chan bool)
	go func() { put <- o.put(t.Context(), aCall(time.Now(), time.Minute, 1, 1)) }()
	if f, _, _, _ := o.take(&enc, now); f == nil {
		t.Fatal("no frame")
	}
	if !<-put {
		t.Error("no room although a frame went out")
	}
}

// Calls that nobody waits for are not sent, and their room comes back.
func TestAbandonedCallsAreDropped(t *testing.T) {
	o := newOutbox()
	var enc wire.Encoder
	now := time.Now()
	c := aCall(now, time.Second, 3, 2)
	if !o.put(t.Context(), c) {
		t.Fatal("no room")
	}
	if left := c.abandon(); left != 3 {
		t.Errorf("%d items without an answer, want 3", left)
	}
	if f, _, _, _ := o.take(&enc, now); f != nil {
		t.Error("it was sent")
	}
	if !o.room.TryAcquire(maxQueued) {
		t.Error("its room did not come back")
	}
}

// What comes late, twice or from nowhere changes nothing.
func TestAnswersOutOfPlace(t *testing.T) {
	o := newOutbox()
	var enc wire.Encoder
	now := time.Now()
	c := aCall(now, time.Second, 2, 1)
	o.put(t.Context(), c)
	f, _, _, _ := o.take(&enc, now)
	part := answerTo(f, 0, 1)
	for i := range 3 {
		want := 0
		if i == 0 {
			want = 1
		}
		if n, err := o.answer(part); n != want || err != nil {
			t.Errorf("part %d: %d answered, %v, want %d", i, n, err, want)
		}
	}
	unknown := wire.AppendAnswer(wire.AppendPart(nil, f.number+1, 1), &wire.Answer{Outcome: wire.Decided})
	beyond := wire.AppendAnswer(wire.AppendPart(nil, f.number, 1), &wire.Answer{Place: 99, Outcome: wire.Decided})
	for _, b := range [][]byte{unknown, beyond} {
		if n, err := o.answer(b); n != 0 || err != nil {
			t.Errorf("%d answered, %v", n, err)
		}
	}
	// One with another number of statuses than charges is as good as none.
	odd := wire.AppendAnswer(wire.AppendPart(nil, f.number, 1), &wire.Answer{Place: 1, Outcome: wire.Decided, Statuses: make([]bucket.Status, 2)})
	if _, err := o.answer(odd); err != nil {
		t.Error(err)
	}
	<-c.done
	if c.items[1].outcome != wire.Silent || c.items[0].outcome != wire.Decided {
		t.Errorf("outcomes %d and %d", c.items[0].outcome, c.items[1].outcome)
	}
	if _, err := o.answer([]byte{0xff}); err == nil {
		t.Error("what is no message was taken")
	}
}

// A frame whose stream broke is sent once more under its number, and only once.
func TestAgain(t *testing.T) {
	o := newOutbox()
	var enc wire.Encoder
	now := time.Now()
	c := aCall(now, time.Second, 1, 1)
	o.put(t.Context(), c)
	f, _, _, _ := o.take(&enc, now)
	if again := o.again(now); len(again) != 1 || again[0] != f {
		t.Fatalf("again %v", again)
	}
	if again := o.again(now); len(again) != 0 {
		t.Error("it was sent a third time")
	}
	<-c.done
	if it := &c.items[0]; it.outcome != wire.Silent || !it.lost {
		t.Errorf("given up with outcome %d", it.outcome)
	}
	late := aCall(now, time.Second, 1, 1)
	o.put(t.Context(), late)
	o.take(&enc, now)
	if again := o.again(now.Add(time.Second + moreTime)); len(again) != 0 {
		t.Error("a frame that nobody waits for was sent again")
	}
}

func TestClosedOutbox(t *testing.T) {
	o := newOutbox()
	before := aCall(time.Now(), time.Second, 1, 1)
	o.put(t.Context(), before)
	o.close()
	<-before.done
	after := aCall(time.Now(), time.Second, 1, 1)
	if !o.put(t.Context(), after) {
		t.Error("shed, want silence")
	}
	<-after.done
	if after.items[0].outcome != wire.Silent {
		t.Errorf("outcome %d, want silent", after.items[0].outcome)
	}
}
