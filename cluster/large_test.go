package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
)

// A batch as large as batches get costs what its items cost, also where its items meet
// several owners, shadows wait for verdicts and this node refuses some.
func TestLargeBatchesCostWhatTheirItemsCost(t *testing.T) {
	members := startMembers(t, 2)
	route(t, members, tableOf(1, members, func(p int) int { return p % 2 }))
	rule, shut := window(1e9, 1, bucket.FailLocal), window(0, 2, bucket.FailLocal)
	batch := func(items int) *Batch {
		b := &Batch{}
		for i := range items {
			own, far, shadow := charge(keyAt(2*i%1024, i), rule), charge(keyAt(2*i%1024+1, i), rule), charge(keyAt(2*i%1024+1, i), rule)
			shadow.Shadow = true
			if i%2 == 0 {
				own.Rule = shut
			}
			b.Items = append(b.Items, Item{First: int32(3 * i), End: int32(3*i + 3)})
			b.Charges = append(b.Charges, own, far, shadow)
		}
		b.Statuses = make([]bucket.Status, len(b.Charges))
		return b
	}
	took := func(items int) time.Duration {
		b := batch(items)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		began := time.Now()
		members[0].Decide(ctx, b)
		d := time.Since(began)
		for i := range b.Items {
			if b.Items[i].Err != nil || b.Items[i].Allowed != (i%2 == 1) {
				t.Fatalf("item %d of %d: %+v", i, items, b.Items[i])
			}
		}
		return d
	}
	best := func(items int) time.Duration { return min(took(items), took(items), took(items)) }
	few, many := best(500), best(16_000)
	if many > 130*few { // 32 times is what it should be, 1,000 times what looking at all for each costs
		t.Errorf("500 items take %v and 16,000 items %v", few, many)
	}
}
