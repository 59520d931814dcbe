package cluster

import (
	"testing"
	"time"
)

func TestInboxRemembers(t *testing.T) {
	var b inbox
	out := &outlet{}
	r, fate, _ := b.begin(1, 0, 0, time.Second, out)
	if fate != isNew {
		t.Fatalf("the first frame: fate %d", fate)
	}
	b.add(r, []byte("first part"))
	other := &outlet{}
	again, fate, parts := b.begin(1, 0, 0, time.Second, other)
	if fate != isKnown || again != r || len(parts) != 1 || string(parts[0]) != "first part" {
		t.Errorf("sent again: fate %d, parts %q", fate, parts)
	}
	if got := b.add(r, []byte("second part")); got != other {
		t.Error("later parts go where the frame came from last")
	}
	if _, fate, parts := b.begin(1, 0, 0, time.Second, out); fate != isKnown || len(parts) != 2 {
		t.Errorf("sent a third time: fate %d, parts %q", fate, parts)
	}
	if _, fate, _ := b.begin(2, 1, 0, time.Second, out); fate != isNew {
		t.Errorf("the next frame: fate %d", fate)
	}
	if _, fate, _ := b.begin(1, 1, 0, time.Second, out); fate != isStale {
		t.Errorf("a frame that its sender is done with: fate %d, want stale", fate)
	}
}

func TestInboxForgets(t *testing.T) {
	t.Run("when the time is over", func(t *testing.T) {
		var b inbox
		b.begin(1, 0, 0, time.Second, nil)
		if _, fate, _ := b.begin(1, 0, 2*time.Second-1, 0, nil); fate != isKnown {
			t.Errorf("a second after the frame's time: fate %d, want known", fate)
		}
		if _, fate, _ := b.begin(1, 0, 2*time.Second, 0, nil); fate != isStale {
			t.Errorf("later: fate %d, want stale", fate)
		}
	})
	t.Run("the oldest of too many", func(t *testing.T) {
		var b inbox
		for n := uint64(1); n <= maxRemembered+1; n++ {
			b.begin(n, 0, 0, time.Second, nil)
		}
		if _, fate, _ := b.begin(1, 0, 0, time.Second, nil); fate != isStale {
			t.Errorf("the oldest: fate %d, want stale", fate)
		}
		if _, fate, _ := b.begin(3, 0, 0, time.Second, nil); fate != isKnown {
			t.Errorf("one that fits: fate %d, want known", fate)
		}
	})
	t.Run("what takes too much memory", func(t *testing.T) {
		var b inbox
		for n := uint64(1); n <= 3; n++ {
			r, _, _ := b.begin(n, 0, 0, time.Second, nil)
			b.add(r, make([]byte, maxAnswers/2))
		}
		b.begin(4, 0, 0, time.Second, nil)
		if _, fate, _ := b.begin(1, 0, 0, time.Second, nil); fate != isStale {
			t.Errorf("the oldest of three halves: fate %d, want stale", fate)
		}
		if b.bytes > maxAnswers {
			t.Errorf("%d bytes are kept, at most %d may be", b.bytes, maxAnswers)
		}
	})
	t.Run("and keeps no count of what it forgot", func(t *testing.T) {
		var b inbox
		out := &outlet{}
		r, _, _ := b.begin(1, 0, 0, time.Second, out)
		b.begin(2, 1, 0, time.Second, nil) // the sender gave the first one up
		if b.add(r, []byte("a late part")) != out || b.bytes != 0 {
			t.Errorf("%d bytes are counted, none are kept", b.bytes)
		}
	})
}

func TestDelay(t *testing.T) {
	var d delay
	steps := []struct {
		diff, now, want time.Duration
	}{
		{5 * time.Second, 0, 0}, // clocks that began apart
		{5*time.Second + 3, 1, 3},
		{5*time.Second - 2, 2, 0}, // a quicker way
		{5 * time.Second, 3, 2},
		{6 * time.Second, 31 * time.Second, time.Second + 2}, // the span before counts
		{6 * time.Second, 62 * time.Second, 0},               // and then no more
		{9 * time.Second, 300 * time.Second, 0},              // nothing came for long
	}
	for i, s := range steps {
		if got := d.over(s.diff, s.now); got != s.want {
			t.Errorf("step %d: %v over the least, want %v", i, got, s.want)
		}
	}
}

func TestOldProcessesAreRefused(t *testing.T) {
	var boxes inboxes
	first := boxes.open("n1", 3)
	if first == nil || boxes.open("n1", 2) != nil {
		t.Error("an older process is let in beside a newer one")
	}
	newer := boxes.open("n1", 4)
	if newer == nil || newer == first {
		t.Error("a new process shares the memory of the old one")
	}
	if boxes.open("n1", 4) != newer {
		t.Error("two streams of one process do not share their memory")
	}
	// A node that lost its data counts from 1 again, once its last process is gone.
	boxes.close(newer)
	boxes.close(newer)
	if again := boxes.open("n1", 1); again == nil || again == newer {
		t.Error("a process of a lower boot is refused although no other one is there")
	}
}
