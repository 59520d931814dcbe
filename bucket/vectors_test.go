package bucket_test

import (
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
)

// at is a time of the tests: a Tuesday morning, on every grid that matters here.
var at = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC).UnixNano()

const never = -1.0

// A vector is one charge and what the bucket must say; seconds as in a verdict.
type vector struct {
	t         float64 // seconds since the first charge
	hits      int64
	peek      bool
	allowed   bool
	remaining int64
	reset     float64
	retry     float64
}

func newStore() *bucket.Store { return bucket.NewStore(bucket.Config{Memory: 16 << 20, Seed: 7}) }

func charge(l bucket.Limit, hits int64) []bucket.Charge {
	rule := &bucket.Rule{Limit: l, Hash: bucket.Hash{Hi: 1, Lo: 2}, Version: 1, FailMode: bucket.FailLocal}
	return []bucket.Charge{{Hash: bucket.Hash{Hi: 3 << 60, Lo: 4}, Rule: rule, Hits: hits}}
}

func seconds(s float64) int64 { return int64(s*1e9 + 0.5) }

func inSeconds(d time.Duration) float64 {
	if d == bucket.Never {
		return never
	}
	return d.Seconds()
}

// vectors are judged by eye: each row is a charge and what the bucket must say.
var vectors = []struct {
	name  string
	limit bucket.Limit
	steps []vector
}{
	{"token bucket 5 at 1/s", bucket.Limit{Algorithm: bucket.TokenBucket, Count: 1, Period: time.Second, Burst: 5}, []vector{
		{0, 6, false, false, 5, 0, never},
		{0, 1, false, true, 4, 1, 0},
		{0, 1, false, true, 3, 2, 0},
		{0, 1, false, true, 2, 3, 0},
		{0, 1, false, true, 1, 4, 0},
		{0, 1, false, true, 0, 5, 0},
		{0, 1, false, false, 0, 5, 1},
		{3.0, 1, false, true, 2, 3, 0},
		{3.1, 1, false, true, 1, 3.9, 0},
		{4.0, 1, false, true, 1, 4, 0},
		{8.0, 1, false, true, 4, 1, 0},
		{9.5, 1, false, true, 4, 1, 0},
		{9.5, 1, true, true, 4, 1, 0},
		{9.5, 2, false, true, 2, 3, 0},
		{9.5, 5, false, false, 2, 3, 3},
		{15, 6, false, false, 5, 0, never},
	}},
	{"leaky bucket 10 per 30 s", bucket.Limit{Algorithm: bucket.LeakyBucket, Count: 10, Period: 30 * time.Second, Burst: 10, MaxWait: -1}, []vector{
		{0, 1, false, true, 9, 3, 0},
		{1, 1, false, true, 8, 5, 0},
		{2, 1, false, true, 7, 7, 0},
		{3.5, 0, true, true, 8, 5.5, 0},
		{6.5, 0, true, true, 9, 2.5, 0},
	}},
	{"2000 per 1000 ms loses nothing to division", bucket.Limit{Algorithm: bucket.TokenBucket, Count: 2000, Period: time.Second, Burst: 2000}, []vector{
		{0, 1, false, true, 1999, 0.0005, 0},
		{0, 100, false, true, 1899, 0.0505, 0},
	}},
	{"a third of a second is no whole number of nanoseconds", bucket.Limit{Algorithm: bucket.TokenBucket, Count: 3, Period: time.Second, Burst: 3}, []vector{
		{0, 3, false, true, 0, 1, 0},
		{0, 1, false, false, 0, 1, 0.333334},
		{0.333333, 1, false, false, 0, 0.666667, 0.000001},
		{0.333334, 1, false, true, 0, 1, 0},
		{1, 2, false, true, 0, 1, 0},
	}},
	{"fixed window", bucket.Limit{Algorithm: bucket.FixedWindow, Count: 3, Period: 10 * time.Second}, []vector{
		{2, 2, false, true, 1, 8, 0},
		{3, 2, false, false, 1, 7, 7},
		{3, 4, false, false, 1, 7, never},
		{9.999999, 1, false, true, 0, 0.000001, 0},
		{10, 1, false, true, 2, 10, 0},
	}},
	{"sliding window", bucket.Limit{Algorithm: bucket.SlidingWindow, Count: 10, Period: 10 * time.Second}, []vector{
		{0, 10, false, true, 0, 20, 0},
		{5, 1, false, false, 0, 15, 6},
		{10.5, 1, false, false, 0, 9.5, 0.5},
		{11, 1, false, true, 0, 19, 0},
		{15, 4, false, true, 0, 15, 0},
		{40, 10, true, true, 10, 0, 0},
	}},
	{"sliding log", bucket.Limit{Algorithm: bucket.SlidingLog, Count: 3, Period: 10 * time.Second}, []vector{
		{0, 1, false, true, 2, 10, 0},
		{4, 2, false, true, 0, 10, 0},
		{5, 1, false, false, 0, 9, 5},
		{5, 2, false, false, 0, 9, 9},
		{9.999999, 1, false, false, 0, 4.000001, 0.000001},
		{10, 1, false, true, 0, 10, 0},
		{10, 4, false, false, 0, 10, never},
	}},
	{"concurrency frees a crashed holder", bucket.Limit{Algorithm: bucket.Concurrency, Count: 2, TTL: 10 * time.Second}, []vector{
		{0, 1, false, true, 1, 10, 0},
		{3, 1, false, true, 0, 10, 0},
		{4, 1, false, false, 0, 9, 6},
		{10, 1, false, true, 0, 10, 0},
	}},
	{"a rate of nothing denies", bucket.Limit{Algorithm: bucket.TokenBucket, Count: 0, Period: time.Second}, []vector{
		{0, 1, false, false, 0, 0, never},
	}},
}

func TestVectors(t *testing.T) {
	for _, tt := range vectors {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore()
			status := make([]bucket.Status, 1)
			for i, v := range tt.steps {
				c := charge(tt.limit, v.hits)
				if v.peek {
					s.Peek(at+seconds(v.t), c, status)
				} else {
					s.Take(at+seconds(v.t), c, status)
				}
				got := status[0]
				if got.Allowed != v.allowed || got.Remaining != v.remaining || inSeconds(got.Reset) != v.reset || inSeconds(got.RetryAfter) != v.retry {
					t.Errorf("step %d, %d hits at %v s: allowed %v remaining %d reset %v retry %v, want %v %d %v %v", i, v.hits, v.t,
						got.Allowed, got.Remaining, inSeconds(got.Reset), inSeconds(got.RetryAfter), v.allowed, v.remaining, v.reset, v.retry)
				}
			}
		})
	}
}

func TestLeakyBucketShapes(t *testing.T) {
	s := newStore()
	limit := bucket.Limit{Algorithm: bucket.LeakyBucket, Count: 10, Period: 10 * time.Second, Burst: 10, MaxWait: 2 * time.Second}
	status := make([]bucket.Status, 1)
	for i, want := range []struct {
		allowed bool
		wait    time.Duration
	}{{true, 0}, {true, time.Second}, {true, 2 * time.Second}, {false, 0}} {
		s.Take(at, charge(limit, 1), status)
		if status[0].Allowed != want.allowed || status[0].Wait != want.wait {
			t.Errorf("request %d: allowed %v wait %v, want %v %v", i+1, status[0].Allowed, status[0].Wait, want.allowed, want.wait)
		}
	}
	if status[0].RetryAfter != time.Second {
		t.Errorf("retry after %v, want 1s: the queue is then 2 s long", status[0].RetryAfter)
	}
}

func TestCalendarWindows(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("this machine has no time zone data: install tzdata")
	}
	date := func(y int, m time.Month, d, h, min int) time.Time { return time.Date(y, m, d, h, min, 0, 0, berlin) }
	tests := []struct {
		name string
		unit bucket.Calendar
		now  time.Time
		want time.Duration // length of the window that holds now
		left time.Duration // until it ends
	}{
		{"day the clock goes forward", bucket.Day, date(2026, 3, 29, 1, 0), 23 * time.Hour, 22 * time.Hour},
		{"day the clock goes back", bucket.Day, date(2026, 10, 25, 1, 0), 25 * time.Hour, 24 * time.Hour},
		{"plain day", bucket.Day, date(2026, 6, 1, 23, 0), 24 * time.Hour, time.Hour},
		{"February", bucket.Month, date(2026, 2, 10, 0, 0), 28 * 24 * time.Hour, 19 * 24 * time.Hour},
		{"leap February", bucket.Month, date(2028, 2, 29, 0, 0), 29 * 24 * time.Hour, 24 * time.Hour},
		{"March loses an hour", bucket.Month, date(2026, 3, 31, 0, 0), 31*24*time.Hour - time.Hour, 24 * time.Hour},
		{"October gains one", bucket.Month, date(2026, 10, 31, 0, 0), 31*24*time.Hour + time.Hour, 24 * time.Hour},
		{"April", bucket.Month, date(2026, 4, 30, 23, 59), 30 * 24 * time.Hour, time.Minute},
		{"week from Monday", bucket.Week, date(2026, 11, 29, 12, 0), 7 * 24 * time.Hour, 12 * time.Hour},
		{"year", bucket.Year, date(2026, 12, 31, 23, 0), 365 * 24 * time.Hour, time.Hour},
		{"hour", bucket.Hour, date(2026, 5, 5, 10, 45), time.Hour, 15 * time.Minute},
		{"minute", bucket.Minute, date(2026, 5, 5, 10, 45).Add(15 * time.Second), time.Minute, 45 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			limit := bucket.Limit{Algorithm: bucket.FixedWindow, Calendar: tt.unit, Zone: berlin, Count: 1}
			s, status := newStore(), make([]bucket.Status, 1)
			now := tt.now.UnixNano()
			s.Take(now, charge(limit, 1), status)
			if status[0].Reset != tt.left {
				t.Errorf("reset %v, want %v", status[0].Reset, tt.left)
			}
			end := now + int64(tt.left)
			if s.Take(end-1000, charge(limit, 1), status); status[0].Allowed {
				t.Error("admitted a microsecond before the window's end")
			}
			if s.Take(end-int64(tt.want)-1, charge(limit, 1), status); status[0].Allowed {
				t.Error("time that went back opened a window")
			}
			if s.Take(end, charge(limit, 1), status); !status[0].Allowed {
				t.Error("denied at the start of the next window")
			}
			fresh := newStore()
			fresh.Take(end-int64(tt.want), charge(limit, 1), status)
			if status[0].Reset != tt.want {
				t.Errorf("window of %v, want %v", status[0].Reset, tt.want)
			}
		})
	}
}
