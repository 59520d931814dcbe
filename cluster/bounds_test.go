package cluster

import (
	"errors"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster/wire"
)

// An item that no frame has room for is refused by name, and breaks no stream that others
// use.
func TestItemLargerThanAFrame(t *testing.T) {
	members := startMembers(t, 2)
	members[0].forwardTimeout = aWhile // many charges take long under the race detector
	route(t, members, tableOf(1, members, func(int) int { return 1 }))
	one := []bucket.Charge{charge(keyAt(1, 1), window(9, 1, bucket.FailLocal))}
	var many []bucket.Charge
	for i := range wire.MaxLimits + 1 {
		many = append(many, charge(keyAt(1, 1), window(9, uint64(i)+2, bucket.FailLocal)))
	}
	b := decide(members[0], aWhile, false, one, many, one)
	if !errors.Is(b.Items[1].Err, ErrTooMany) {
		t.Errorf("the large item: %v, want %v", b.Items[1].Err, ErrTooMany)
	}
	for _, i := range []int{0, 2} {
		if it := &b.Items[i]; it.Err != nil || !it.Allowed || b.Statuses[it.First].Degraded != 0 {
			t.Errorf("item %d: %+v %+v, want its owner's answer", i, it, b.Statuses[it.First])
		}
	}
	most := many[:wire.MaxLimits]
	wantDecided(t, decide(members[0], aWhile, false, most, most, one))
}

func TestRefusalsAreSaidOnceAMinute(t *testing.T) {
	var r refusals
	now := time.Unix(1e9, 0)
	for _, s := range []struct {
		after time.Duration
		why   string
		want  bool
	}{{0, "a", true}, {time.Second, "a", false}, {0, "b", true}, {58 * time.Second, "a", false}, {time.Second, "a", true}, {0, "b", false}} {
		now = now.Add(s.after)
		if got := r.news(s.why, now); got != s.want {
			t.Errorf("%s at %v: said %t, want %t", s.why, now, got, s.want)
		}
	}
	for i := range 10 * maxRefusals {
		r.news(string(rune(i)), now)
	}
	if len(r.said) > maxRefusals {
		t.Errorf("%d reasons are kept, at most %d may be", len(r.said), maxRefusals)
	}
}
