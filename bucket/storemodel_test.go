package bucket_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-io/weir/bucket"
)

// A taken is what one Take took of one bucket.
type taken struct {
	charge  bucket.Charge
	receipt uint64
	at      int64 // as the bucket's clock had it
	reset   int   // resets of the bucket before it
}

// A world is a store beside a map of models: one a bucket, made when first asked.
type world struct {
	store  *bucket.Store
	models map[bucket.Hash]*model
	resets map[bucket.Hash]int
	taken  []taken
	now    int64
}

func (w *world) of(c *bucket.Charge) *model {
	m := w.models[c.Bucket()]
	if m == nil {
		m = &model{limit: c.Rule.Limit}
		w.models[c.Bucket()] = m
	}
	return m
}

// storeRules are of one policy and of several: their limits count in ways whose refunds
// are exact at any time.
var storeRules = []*bucket.Rule{
	rule(1, bucket.Limit{Algorithm: bucket.TokenBucket, Count: 3, Period: time.Second, Burst: 10}, 1, bucket.FailLocal),
	rule(2, bucket.Limit{Algorithm: bucket.FixedWindow, Count: 12, Period: 10 * time.Second}, 1, bucket.FailLocal),
	rule(3, bucket.Limit{Algorithm: bucket.SlidingWindow, Count: 9, Period: 7 * time.Second}, 1, bucket.FailLocal),
	rule(4, bucket.Limit{Algorithm: bucket.SlidingLog, Count: 8, Period: 5 * time.Second}, 1, bucket.FailLocal),
	rule(5, bucket.Limit{Algorithm: bucket.Concurrency, Count: 7, TTL: 20 * time.Second}, 1, bucket.FailLocal),
	rule(6, bucket.Limit{Algorithm: bucket.LeakyBucket, Count: 2, Period: time.Second, Burst: 6, MaxWait: 2 * time.Second}, 1, bucket.FailLocal),
}

// charges draws a request: several limits of several keys, some twice, some shadow.
func (w *world) charges(t *rapid.T) []bucket.Charge {
	charges := make([]bucket.Charge, rapid.IntRange(1, 5).Draw(t, "charges"))
	for i := range charges {
		r := rapid.IntRange(0, len(storeRules)-1).Draw(t, "rule")
		charges[i] = bucket.Charge{
			Hash: key(uint64(rapid.IntRange(0, 3).Draw(t, "key"))), Rule: storeRules[r],
			Hits: rapid.OneOf(rapid.Int64Range(0, 4), rapid.Int64Range(0, 13)).Draw(t, "hits"),
		}
		if rapid.IntRange(0, 3).Draw(t, "shadow") == 0 {
			charges[i].Shadow = true
			charges[i].Hash = key(uint64(rapid.IntRange(100, 102).Draw(t, "key"))) // shadows have buckets of their own
		}
	}
	return charges
}

// decide says what the models say: all enforcing charges together, of one bucket in sum.
func (w *world) decide(charges []bucket.Charge) (fits []bool, allowed bool) {
	allowed = true
	sums := map[bucket.Hash]int64{}
	for i := range charges {
		c := &charges[i]
		n := c.Hits
		if !c.Shadow {
			sums[c.Bucket()] += n
			n = sums[c.Bucket()]
		}
		fits = append(fits, w.of(c).fits(w.now, n))
		allowed = allowed && (fits[i] || c.Shadow)
	}
	return fits, allowed
}

func (w *world) take(t *rapid.T) {
	charges := w.charges(t)
	statuses := make([]bucket.Status, len(charges))
	fits, want := w.decide(charges)
	peek := rapid.IntRange(0, 3).Draw(t, "peek") == 0
	ask := w.store.Take
	if peek {
		ask = w.store.Peek
	}
	if got := ask(w.now, charges, statuses); got != want {
		t.Fatalf("allowed %v, the models say %v: %+v", got, want, statuses)
	}
	for i := range charges {
		c := &charges[i]
		m := w.of(c)
		if want && !peek {
			fits[i] = m.fits(w.now, c.Hits) // shadows of one bucket one after the other
		}
		if statuses[i].Allowed != fits[i] {
			t.Fatalf("charge %d: %+v, the model says %v", i, statuses[i], fits[i])
		}
		if !want || peek {
			if statuses[i].Receipt != 0 {
				t.Fatalf("charge %d took nothing, but has a receipt: %+v", i, statuses[i])
			}
			continue
		}
		if fits[i] {
			m.take(w.now, c.Hits)
			w.taken = append(w.taken, taken{*c, statuses[i].Receipt, m.last, w.resets[c.Bucket()]})
		}
	}
	for i := range charges { // and what the store says afterwards, of every bucket
		status := make([]bucket.Status, 1)
		w.store.Peek(w.now, charges[i:i+1], status)
		if got, want := status[0].Remaining, w.of(&charges[i]).remaining(w.now); got != want {
			t.Fatalf("charge %d of %+v: %d remain, want %d", i, charges, got, want)
		}
	}
}

// refund gives a recent take back, or one of before a reset, which must be in vain.
func (w *world) refund(t *rapid.T) {
	if len(w.taken) == 0 {
		t.Skip("nothing taken")
	}
	last := len(w.taken) - 1
	k := w.taken[last]
	w.taken = w.taken[:last]
	name := k.charge.Bucket()
	m := w.of(&k.charge)
	void := k.charge.Hits == 0 || k.reset != w.resets[name]
	before := m.remaining(w.now)
	got := w.store.Refund(w.now, &k.charge, k.receipt)
	if got && void {
		t.Fatalf("refunded %+v, taken before a reset or nothing", k)
	}
	if !void && (!m.drains() || k.at == m.last) {
		m.giveBack(w.now, k.at, k.charge.Hits)
	}
	if after := m.remaining(w.now); !got && after > before {
		t.Fatalf("nothing refunded of %+v: the model goes from %d to %d", k, before, after)
	}
}

func (w *world) reset(t *rapid.T) {
	c := bucket.Charge{Hash: key(uint64(rapid.IntRange(0, 3).Draw(t, "key"))), Rule: rapid.SampledFrom(storeRules).Draw(t, "rule")}
	w.store.Reset(w.now, &c)
	m := w.of(&c)
	if m.last > 0 { // time does not go back behind a reset either
		*m = model{limit: m.limit, last: max(w.now, m.last)}
	}
	w.resets[c.Bucket()]++
}

// The store is a map of buckets that decides all or nothing.
func TestStoreAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{store: newStore(), models: map[bucket.Hash]*model{}, resets: map[bucket.Hash]int{}, now: at}
		t.Repeat(map[string]func(*rapid.T){
			"take": w.take,
			// Undone at once, a refund is exact for every algorithm; late ones have a test of
			// their own.
			"refund": w.refund,
			"reset":  w.reset,
			"wait": func(t *rapid.T) {
				w.taken = nil
				w.now += rapid.OneOf(rapid.Int64Range(0, int64(time.Second)), rapid.Int64Range(0, int64(30*time.Second))).Draw(t, "wait")
			},
			"clear": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "sure") != 0 {
					t.Skip("not now")
				}
				for p := range bucket.Partitions {
					w.store.Clear(p)
				}
				w.models, w.resets, w.taken = map[bucket.Hash]*model{}, map[bucket.Hash]int{}, nil
				if u := w.store.Usage(); u != (bucket.Usage{}) {
					t.Fatalf("after clearing all: %+v", u)
				}
			},
		})
	})
}
