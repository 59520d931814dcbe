package bucket_test

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-io/weir/bucket"
)

func TestValidate(t *testing.T) {
	type l = bucket.Limit
	const s, day = time.Second, 24 * time.Hour
	tests := []struct {
		name  string
		limit l
		want  string // part of the error; "" = none
	}{
		{"token bucket", l{Algorithm: bucket.TokenBucket, Count: 5, Period: s, Burst: 9}, ""},
		{"rate of nothing", l{Algorithm: bucket.TokenBucket, Period: s}, ""},
		{"largest rate", l{Algorithm: bucket.TokenBucket, Count: bucket.MaxCount, Period: s, Burst: bucket.MaxCount}, ""},
		{"rate too large", l{Algorithm: bucket.FixedWindow, Count: bucket.MaxCount + 1, Period: s}, "count"},
		{"negative rate", l{Algorithm: bucket.FixedWindow, Count: -1, Period: s}, "count"},
		{"no burst", l{Algorithm: bucket.TokenBucket, Count: 5, Period: s}, "burst"},
		{"burst too large", l{Algorithm: bucket.TokenBucket, Count: 5, Period: s, Burst: bucket.MaxCount + 1}, "burst"},
		{"ten years from full", l{Algorithm: bucket.LeakyBucket, Count: 1, Period: 366 * day, Burst: 10}, "ten years"},
		{"nine years from full", l{Algorithm: bucket.LeakyBucket, Count: 1, Period: 366 * day, Burst: 9}, ""},
		{"negative wait", l{Algorithm: bucket.LeakyBucket, Count: 1, Period: s, Burst: 1, MaxWait: -2}, "max_wait"},
		{"period too short", l{Algorithm: bucket.FixedWindow, Count: 1, Period: time.Millisecond - 1}, "period"},
		{"period too long", l{Algorithm: bucket.FixedWindow, Count: 1, Period: 367 * day}, "period"},
		{"broken microsecond", l{Algorithm: bucket.FixedWindow, Count: 1, Period: s + 1}, "microseconds"},
		{"calendar", l{Algorithm: bucket.FixedWindow, Count: 1, Calendar: bucket.Month, Zone: time.UTC}, ""},
		{"calendar without zone", l{Algorithm: bucket.FixedWindow, Count: 1, Calendar: bucket.Month}, "zone"},
		{"calendar and period", l{Algorithm: bucket.FixedWindow, Count: 1, Calendar: bucket.Month, Zone: time.UTC, Period: s}, "zone"},
		{"no such unit", l{Algorithm: bucket.FixedWindow, Count: 1, Calendar: bucket.Year + 1, Zone: time.UTC}, "unit"},
		{"longest log", l{Algorithm: bucket.SlidingLog, Count: bucket.MaxHeld, Period: s}, ""},
		{"log too long", l{Algorithm: bucket.SlidingLog, Count: bucket.MaxHeld + 1, Period: s}, "sliding_window"},
		{"permits", l{Algorithm: bucket.Concurrency, Count: bucket.MaxHeld, TTL: s}, ""},
		{"too many permits", l{Algorithm: bucket.Concurrency, Count: bucket.MaxHeld + 1, TTL: s}, "permits"},
		{"no ttl", l{Algorithm: bucket.Concurrency, Count: 1}, "ttl"},
		{"no algorithm", l{Count: 1, Period: s}, "algorithm"},
	}
	for _, tt := range tests {
		err := tt.limit.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

// Parts whose rights add up to a limit never admit more than it, and hardly less.
func TestPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := limits().Draw(t, "limit")
		most := l.Most()
		members := rapid.Int64Range(1, 9).Draw(t, "members")
		sum, rate := int64(0), new(big.Rat)
		for i := range members {
			right := most / members
			if i < most%members {
				right++
			}
			p := l.Part(right)
			if p.Most() != right {
				t.Fatalf("a part of %d has %d: %+v", right, p.Most(), p)
			}
			sum += p.Most()
			if l.Algorithm != bucket.TokenBucket && l.Algorithm != bucket.LeakyBucket || p.Count == 0 {
				continue
			}
			got, want := big.NewRat(p.Count, int64(p.Period)), big.NewRat(l.Count, int64(l.Period))
			want.Mul(want, big.NewRat(right, l.Burst))
			if got.Cmp(want) > 0 {
				t.Fatalf("part %d of %+v runs at %v, faster than %v", right, l, got, want)
			}
			if off := new(big.Rat).Quo(got, want); off.Cmp(big.NewRat(999_999_999, 1_000_000_000)) < 0 {
				t.Fatalf("part %d of %+v runs at %v, want %v", right, l, got, want)
			}
			rate.Add(rate, got)
		}
		if sum != most {
			t.Fatalf("the parts of %+v admit %d, want %d", l, sum, most)
		}
		if rate.Cmp(big.NewRat(l.Count, max(int64(l.Period), 1))) > 0 {
			t.Fatalf("the parts of %+v run at %v together", l, rate)
		}
	})
	l := bucket.Limit{Algorithm: bucket.TokenBucket, Count: 100, Period: time.Second, Burst: 30}
	if p := l.Part(10); p.Burst != 10 || p.Count*int64(time.Second)*3 != 100*int64(p.Period) {
		t.Errorf("a third of %+v is %+v", l, p)
	}
	for _, right := range []int64{0, -1, math.MinInt64} {
		if p := l.Part(right); p.Most() != 0 {
			t.Errorf("%d of %+v is %+v", right, l, p)
		}
	}
	wild := bucket.Limit{Algorithm: bucket.TokenBucket, Count: 999_999_999_989, Period: bucket.MaxPeriod - time.Microsecond, Burst: 999_999_999_961}
	p := wild.Part(333_333_333_331)
	if got := take(newStore(), at, key(1), rule(1, p, 1, bucket.FailLocal), p.Burst); !got.Allowed || got.Remaining != 0 {
		t.Errorf("all of %+v at once: %+v", p, got)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		bucket.TokenBucket.String(): "token_bucket", bucket.Concurrency.String(): "concurrency", bucket.Algorithm(9).String(): "algorithm 9",
		bucket.Month.String(): "month", bucket.Calendar(9).String(): "unknown calendar unit",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
