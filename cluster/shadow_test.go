package cluster

import (
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/ring"
)

// A shadow that cannot be decided is reported as such, and changes no verdict.
func TestShadowThatFailsStandsInNobodysWay(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(p int) int { return p % 3 }))
	full := members[0].peer("n3").out
	if !full.room.TryAcquire(maxQueued) {
		t.Fatal("no room in an empty queue")
	}
	defer full.room.Release(maxQueued)
	enforce, shadow := charge(keyAt(1, 1), window(9, 1, bucket.FailLocal)), charge(keyAt(2, 1), window(9, 2, bucket.FailLocal))
	shadow.Shadow = true
	for round := range int64(2) {
		b := decide(members[0], 200*time.Millisecond, false, []bucket.Charge{enforce, shadow})
		if it := &b.Items[0]; it.Err != nil || !it.Allowed || b.Statuses[0].Remaining != 8-round || b.Statuses[0].Degraded != 0 {
			t.Errorf("round %d: %+v %+v, want it allowed by its owner", round, it, b.Statuses[0])
		}
		if s := &b.Statuses[1]; s.Allowed || s.Degraded != bucket.Closed {
			t.Errorf("round %d: the shadow says %+v", round, s)
		}
	}
}

// A member that has a right for what enforces decides, also where it has none for the
// shadow beside it.
func TestShadowWithoutRightStandsInNobodysWay(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(int) int { return 2 }))
	members[2].kill()
	eventually(t, "the dead owner is silent", func() error {
		if !members[0].peer("n3").silent() {
			return errNoLog
		}
		return nil
	})
	members[1].kill() // nobody else can be asked
	eventually(t, "the other is silent", func() error {
		if !members[0].peer("n2").silent() {
			return errNoLog
		}
		return nil
	})
	for k := range 6 {
		key := keyAt(1, k)
		enforce, shadow := charge(key, window(30, 1, bucket.FailLocal)), charge(key, window(1, 2, bucket.FailLocal))
		shadow.Shadow = true
		b := decide(members[0], aWhile, false, []bucket.Charge{enforce, shadow})
		if it := &b.Items[0]; it.Err != nil || !it.Allowed || b.Statuses[0].Degraded != bucket.OwnRight || b.Statuses[0].Remaining != 9 {
			t.Errorf("key %d: %+v %+v, want it allowed on the own right", k, it, b.Statuses[0])
		}
		if want := ring.Right(3, 0, key.Hi, 1) == 1; b.Statuses[1].Allowed != want {
			t.Errorf("key %d: the shadow is allowed %t, want %t", k, b.Statuses[1].Allowed, want)
		}
	}
}

// Who looks for a member with a right leaves the one try of its open breaker to the item
// that is sent.
func TestRightOfAMemberWhoseBreakerIsOpen(t *testing.T) {
	members := startMembers(t, 3)
	route(t, members, tableOf(1, members, func(int) int { return 2 }))
	members[2].kill()
	eventually(t, "the dead owner is silent", func() error {
		if !members[0].peer("n3").silent() {
			return errNoLog
		}
		return nil
	})
	key := keyAt(1, 1)
	for ring.RightFirst(3, key.Hi) != 1 {
		key = keyAt(1, int(key.Hi)+1)
	}
	members[0].peer("n2").breaker.note(time.Now().Add(-time.Minute), 0, breakerRow)
	b := decide(members[0], aWhile, false, []bucket.Charge{charge(key, window(1, 1, bucket.FailLocal))})
	if it := &b.Items[0]; it.Err != nil || !it.Allowed || b.Statuses[0].Degraded != bucket.OwnRight {
		t.Errorf("%+v %+v, want it allowed on the other's right", it, b.Statuses[0])
	}
	if members[0].peer("n2").breaker.isOpen() {
		t.Error("the answer did not close the breaker")
	}
}
