package limiter_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/weir-io/weir/clock"
	"github.com/weir-io/weir/limiter"
)

const benchPolicies = `domain: bench
policies:
  - name: per-user
    match: {path: /v1/orders}
    key: [user]
    limits:
      - {name: pace, algorithm: token_bucket, rate: 1000000/s, burst: 1000000}
`

// batches is how many checks share one reading of the clock.
const perBatch = 64

// warmKeys is how many keys there are where each core keeps to one.
const warmKeys = 64

// user writes the name of a user into text. A name is a view of the buffer it came in, as
// in a front door: what a table of a million names costs in cache misses is not measured.
func user(text *[12]byte, i int) string {
	copy(text[:], "user-")
	for at := len(text) - 1; at >= 5; at-- {
		text[at] = '0' + byte(i%10)
		i /= 10
	}
	return unsafe.String(&text[0], len(text))
}

// benchmark decides batches of checks on all cores at once. keys is how many keys there
// are; each check draws one at random, or with few of them each core keeps to its own.
func benchmark(b *testing.B, keys int) {
	w := newWorld(b, benchPolicies)
	system := clock.NewSystem()
	fill := &limiter.Batch{}
	for i := range keys {
		fill.Requests = append(fill.Requests, request("bench", "user", user(new([12]byte), i), "path", "/v1/orders", "method", "GET"))
		if len(fill.Requests) == 1000 || i == keys-1 {
			w.Check(b.Context(), fill)
			fill.Reset()
		}
	}
	var cores atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		batch, texts := &limiter.Batch{}, new([perBatch][12]byte)
		for i := range texts {
			batch.Requests = append(batch.Requests, request("bench", "user", user(&texts[i], 0), "path", "/v1/orders", "method", "GET"))
		}
		own := int(cores.Add(1)) % keys
		random := rand.New(rand.NewPCG(1, uint64(own)))
		n := 0
		for pb.Next() {
			if n++; n < perBatch {
				continue
			}
			n = 0
			for i := range batch.Requests {
				key := own
				if keys > warmKeys {
					key = random.IntN(keys)
				}
				batch.Requests[i].Attributes[0].Value = user(&texts[i], key)
			}
			w.local.now.Store(system.Now())
			w.Check(b.Context(), batch)
		}
	})
}

func BenchmarkDecisionWarm(b *testing.B)   { benchmark(b, warmKeys) }
func BenchmarkDecision1MKeys(b *testing.B) { benchmark(b, 1_000_000) }

func TestNoAllocationOnTheWarmPath(t *testing.T) {
	w := newWorld(t, shop)
	batch := &limiter.Batch{}
	for i := range 8 {
		batch.Requests = append(batch.Requests, request("shop", "client", fmt.Sprint(i), "client_ip", "::1"))
	}
	ctx := t.Context()
	w.Check(ctx, batch)
	if n := testing.AllocsPerRun(100, func() { w.Check(ctx, batch) }); n != 0 {
		t.Errorf("%v allocations for a batch of warm keys, want none", n)
	}
}
