package bucket_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
)

// oneOfEach is a roomy limit of every algorithm.
var oneOfEach = []bucket.Limit{
	{Algorithm: bucket.TokenBucket, Count: 1e9, Period: time.Second, Burst: 1e9},
	{Algorithm: bucket.LeakyBucket, Count: 1e9, Period: time.Second, Burst: 1e9, MaxWait: -1},
	{Algorithm: bucket.FixedWindow, Count: 1e12, Period: time.Hour},
	{Algorithm: bucket.SlidingWindow, Count: 1e12, Period: time.Hour},
	{Algorithm: bucket.SlidingLog, Count: 1e4, Period: time.Millisecond},
	{Algorithm: bucket.Concurrency, Count: 1e4, TTL: time.Millisecond},
}

// perReading is how many decisions share one reading of the clock, as those of a frame
// do.
const perReading = 64

// BenchmarkWarm takes one hit after the other from one bucket.
func BenchmarkWarm(b *testing.B) {
	for _, l := range oneOfEach {
		b.Run(l.Algorithm.String(), func(b *testing.B) {
			s, r := newStore(), rule(1, l, 1, bucket.FailLocal)
			charges, status := []bucket.Charge{{Hash: key(1), Rule: r, Hits: 1}}, make([]bucket.Status, 1)
			var now int64
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				if i++; i%perReading == 1 {
					now = time.Now().UnixNano()
				}
				s.Take(now, charges, status)
			}
		})
	}
}

// BenchmarkDenied asks a bucket that is empty.
func BenchmarkDenied(b *testing.B) {
	for _, l := range oneOfEach {
		b.Run(l.Algorithm.String(), func(b *testing.B) {
			s := newStore()
			l.Count, l.Burst, l.Period, l.TTL = 10, min(l.Burst, 10), max(l.Period, time.Hour), max(l.TTL, time.Hour)
			r := rule(1, l, 1, bucket.FailLocal)
			take(s, at, key(1), r, 10)
			charges, status := []bucket.Charge{{Hash: key(1), Rule: r, Hits: 1}}, make([]bucket.Status, 1)
			b.ReportAllocs()
			for b.Loop() {
				if s.Take(at, charges, status) {
					b.Fatal("allowed")
				}
			}
		})
	}
}

// BenchmarkTogether takes from several limits of one policy at once.
func BenchmarkTogether(b *testing.B) {
	for _, n := range []int{2, 4} {
		b.Run(fmt.Sprintf("%d limits", n), func(b *testing.B) {
			s, status := newStore(), make([]bucket.Status, n)
			var charges []bucket.Charge
			for i := range n {
				charges = append(charges, bucket.Charge{Hash: key(1), Rule: rule(uint64(i+1), oneOfEach[i], 1, bucket.FailLocal), Hits: 1})
			}
			now := at
			b.ReportAllocs()
			for b.Loop() {
				now += 1000
				s.Take(now, charges, status)
			}
		})
	}
}

const millionKeys = 1_000_000

// million returns a store with a million buckets, those of nth.
func million(b *testing.B, l bucket.Limit) (*bucket.Store, *bucket.Rule) {
	b.Helper()
	s := bucket.NewStore(bucket.Config{Memory: 1 << 30})
	r := rule(1, l, 1, bucket.FailLocal)
	for i := range uint64(millionKeys) {
		if take(s, at, nth(i), r, 1).Degraded != 0 {
			b.Fatal("no room for a million keys")
		}
	}
	return s, r
}

// nth returns a key by its number, at the price of a few multiplications: what a table
// of hashes would cost in cache misses is not what is measured.
func nth(i uint64) bucket.Hash {
	h := bucket.Hash{Hi: (i + 1) * 0x9e3779b97f4a7c15, Lo: (i + 1) * 0xd1342543de82ef95}
	h.Hi = (h.Hi ^ h.Hi>>32) * 0xbf58476d1ce4e5b9
	h.Lo = (h.Lo ^ h.Lo>>29) * 0x94d049bb133111eb
	return bucket.Hash{Hi: h.Hi ^ h.Hi>>29, Lo: h.Lo ^ h.Lo>>32}
}

// BenchmarkMillionKeys takes from a million buckets in random order, and says what a
// bucket costs.
func BenchmarkMillionKeys(b *testing.B) {
	for _, l := range []bucket.Limit{oneOfEach[0], oneOfEach[3]} {
		b.Run(l.Algorithm.String(), func(b *testing.B) {
			s, r := million(b, l)
			charges, status := []bucket.Charge{{Rule: r, Hits: 1}}, make([]bucket.Status, 1)
			i, now := uint64(1), at
			b.ReportAllocs()
			for b.Loop() {
				if i = next(i); i%perReading == 1 {
					now += int64(time.Microsecond)
				}
				charges[0].Hash = nth((i >> 33) % millionKeys)
				s.Take(now, charges, status)
			}
			b.ReportMetric(float64(s.Usage().Bytes)/millionKeys, "bytes/key")
		})
	}
}

// BenchmarkMillionKeysParallel is the same from all processors at once, which is how a
// node decides.
func BenchmarkMillionKeysParallel(b *testing.B) {
	s, r := million(b, oneOfEach[0])
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		charges, status := []bucket.Charge{{Rule: r, Hits: 1}}, make([]bucket.Status, 1)
		now := time.Now().UnixNano()
		i, n := uint64(now), 0
		for pb.Next() {
			if n++; n%perReading == 0 {
				now = time.Now().UnixNano()
			}
			i = next(i)
			charges[0].Hash = nth((i >> 33) % millionKeys)
			s.Take(now, charges, status)
		}
	})
}

// BenchmarkWarmParallel takes from buckets that stay in the caches.
func BenchmarkWarmParallel(b *testing.B) {
	s, r := newStore(), rule(1, oneOfEach[0], 1, bucket.FailLocal)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		charges, status := []bucket.Charge{{Rule: r, Hits: 1}}, make([]bucket.Status, 1)
		now := time.Now().UnixNano()
		var keys [64]bucket.Hash
		for i := range keys {
			keys[i] = key(uint64(now) + uint64(i))
		}
		for n := 0; pb.Next(); n++ {
			if n%perReading == 0 {
				now = time.Now().UnixNano()
			}
			charges[0].Hash = keys[n%len(keys)]
			s.Take(now, charges, status)
		}
	})
}

// BenchmarkNewKeys makes buckets that are soon neutral, and frees them.
func BenchmarkNewKeys(b *testing.B) {
	s := newStore()
	r := rule(1, bucket.Limit{Algorithm: bucket.TokenBucket, Count: 10, Period: time.Millisecond, Burst: 10}, 1, bucket.FailLocal)
	charges, status := []bucket.Charge{{Rule: r, Hits: 1}}, make([]bucket.Status, 1)
	now, i := at, uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		now += 1000
		i = next(i)
		charges[0].Hash = bucket.Hash{Hi: i, Lo: i >> 20}
		s.Take(now, charges, status)
	}
}

// next is one step of a linear congruential generator: cheap beside a decision.
func next(i uint64) uint64 { return i*6364136223846793005 + 1442695040888963407 }

// BenchmarkMemory fills a store with keys and says what a key costs, by the store's own
// count and in the heap with all that is around it.
func BenchmarkMemory(b *testing.B) {
	for _, n := range []uint64{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("%d keys", n), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				s, r := bucket.NewStore(bucket.Config{Memory: 2 << 30}), rule(1, oneOfEach[0], 1, bucket.FailLocal)
				for i := range n {
					if take(s, at, nth(i), r, 1).Degraded != 0 {
						b.Fatalf("no room for key %d", i)
					}
				}
				inHeap := heap() - before
				b.ReportMetric(float64(s.Usage().Bytes)/float64(n), "bytes/key")
				b.ReportMetric(float64(inHeap)/float64(n), "heap-bytes/key")
				b.ReportMetric(float64(inHeap)/(1<<20), "heap-MiB")
			}
		})
	}
}

// heap returns the bytes of the heap that are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}
