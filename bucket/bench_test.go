package bucket_test

import (
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
)

// BenchmarkTake takes one hit after the other from a warm bucket.
func BenchmarkTake(b *testing.B) {
	for _, l := range []bucket.Limit{
		{Algorithm: bucket.TokenBucket, Count: 1e9, Period: time.Second, Burst: 1e9},
		{Algorithm: bucket.LeakyBucket, Count: 1e9, Period: time.Second, Burst: 1e9, MaxWait: -1},
		{Algorithm: bucket.FixedWindow, Count: 1e12, Period: time.Hour},
		{Algorithm: bucket.SlidingWindow, Count: 1e12, Period: time.Hour},
		{Algorithm: bucket.SlidingLog, Count: 1e4, Period: time.Microsecond * 1000},
	} {
		b.Run(l.Algorithm.String(), func(b *testing.B) {
			s, r := newStore(), rule(1, l, 1, bucket.FailLocal)
			charges, status := []bucket.Charge{{Hash: key(1), Rule: r, Hits: 1}}, make([]bucket.Status, 1)
			now := at
			b.ReportAllocs()
			for b.Loop() {
				now += 1000
				s.Take(now, charges, status)
			}
		})
	}
}

// BenchmarkMillionKeys takes from a million buckets in random order, and says what a
// bucket costs.
func BenchmarkMillionKeys(b *testing.B) {
	const keys = 1_000_000
	s := bucket.NewStore(bucket.Config{Memory: 1 << 30})
	r := rule(1, bucket.Limit{Algorithm: bucket.TokenBucket, Count: 10, Period: time.Second, Burst: 1e6}, 1, bucket.FailLocal)
	hashes := make([]bucket.Hash, keys)
	for i := range hashes {
		hashes[i] = key(uint64(i))
		take(s, at, hashes[i], r, 1000)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		charges, status := []bucket.Charge{{Rule: r, Hits: 1}}, make([]bucket.Status, 1)
		for i := uint64(time.Now().UnixNano()); pb.Next(); i = i*6364136223846793005 + 1442695040888963407 {
			charges[0].Hash = hashes[(i>>33)%keys]
			s.Take(at, charges, status)
		}
	})
	b.ReportMetric(float64(s.Usage().Bytes)/keys, "B/key")
}
