package bucket_test

import (
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
)

// fill charges new keys until one finds no room, and returns how many did.
func fill(s *bucket.Store, r *bucket.Rule, hits int64) (known uint64) {
	for take(s, at, key(known), r, hits).Degraded != bucket.Memory {
		known++
	}
	return known
}

// homeless returns a key after a number that finds no room.
func homeless(s *bucket.Store, r *bucket.Rule, after uint64) bucket.Hash {
	for i := after + 1; ; i++ {
		if peek(s, at, key(i), r).Degraded == bucket.Memory {
			return key(i)
		}
	}
}

// A store without room gives new keys what fail_mode says and keeps every old one.
func TestFullStore(t *testing.T) {
	for _, tt := range []struct {
		mode bucket.FailMode
		want int64 // admitted of 1,000 new keys when full
	}{{bucket.FailOpen, 1000}, {bucket.FailClosed, 0}, {bucket.FailLocal, 9}} {
		const memory = 1 << 20
		s := bucket.NewStore(bucket.Config{Memory: memory})
		r := rule(1, tenAnHour, 1, tt.mode)
		known := fill(s, rule(2, tenAnHour, 1, bucket.FailOpen), 10)
		if known < memory/128 {
			t.Errorf("full after %d keys in %d bytes", known, memory)
		}
		var full, admitted int64
		for i := known + 1; full < 1000; i++ { // partitions fill one by one: some still have room
			status := take(s, at, key(i), r, 1)
			if status.Degraded != bucket.Memory {
				continue
			}
			if full++; status.Allowed {
				admitted++
			} else if status.RetryAfter <= 0 {
				t.Fatalf("denied, but %+v", status)
			}
			if status.Limit != 10 {
				t.Fatalf("limit %d, want that of the rule: %+v", status.Limit, status)
			}
		}
		if tt.mode == bucket.FailLocal {
			tt.want = 10 // all share one bucket
		}
		if admitted != tt.want {
			t.Errorf("mode %v: %d of 1000 new keys admitted, want %d", tt.mode, admitted, tt.want)
		}
		if u := s.Usage(); u.Bytes > memory {
			t.Errorf("%d bytes used, more than the %d that it may", u.Bytes, memory)
		}
		old := rule(2, tenAnHour, 1, bucket.FailOpen)
		for i := range known {
			if status := take(s, at, key(i), old, 1); status.Allowed || status.Degraded != 0 {
				t.Fatalf("old key %d lost its state: %+v", i, status)
			}
		}
		if status := take(s, at, key(1<<40), r, 11); status.Degraded != 0 || status.RetryAfter != bucket.Never {
			t.Errorf("what can never fit needs no room to be denied: %+v", status)
		}
		if take(s, at+int64(time.Hour), key(1<<40), r, 1).Degraded != 0 {
			t.Error("neutral buckets make no room for new keys")
		}
	}
}

// What was taken of the reserve goes back to the reserve, and is known not to be the
// key's own.
func TestReserveGetsBackWhatItGave(t *testing.T) {
	for _, a := range everyAlgorithm {
		s, r := bucket.NewStore(bucket.Config{Memory: 1 << 20}), rule(1, sized(hundred(a), 10), 1, bucket.FailLocal)
		last := fill(s, rule(2, tenAnHour, 1, bucket.FailOpen), 10)
		k := homeless(s, r, last)
		c := bucket.Charge{Hash: k, Rule: r, Hits: 4}
		first := take(s, at, k, r, 4)
		if first.Degraded != bucket.Memory || !first.Allowed || first.Remaining != 6 || first.Receipt == 0 {
			t.Fatalf("%v: %+v, want 4 of the reserve's 10", a, first)
		}
		// Another policy may have a limit of the same name: its reserve is another.
		other := rule(1, sized(hundred(a), 50), 9, bucket.FailLocal)
		if got := take(s, at, k, other, 1); got.Degraded != bucket.Memory || got.Remaining != 49 {
			t.Errorf("%v: %+v, want the reserve of another limit", a, got)
		}
		if !s.Refund(at, &c, first.Receipt) {
			t.Errorf("%v: the reserve took nothing back", a)
		}
		if got := peek(s, at, k, r).Remaining; got != 10 {
			t.Errorf("%v: %d remain of the reserve, want 10", a, got)
		}
		second := take(s, at, k, r, 4)
		if a == bucket.Concurrency {
			named := bucket.Charge{Hash: k, Rule: &bucket.Rule{Hash: r.Hash}}
			if n := s.Release(at, &named, second.Receipt); n != 4 {
				t.Errorf("released %d permits of the reserve, want 4", n)
			}
			if n := s.Release(at, &named, second.Receipt); n != 0 {
				t.Errorf("released %d permits of the reserve again", n)
			}
			continue
		}
		s.Clear(k.Partition()) // now the key has a bucket of its own
		if own := take(s, at, k, r, 5); own.Degraded != 0 {
			t.Fatalf("%v: no room in an empty partition", a)
		}
		s.Refund(at, &c, second.Receipt)
		if got := peek(s, at, k, r).Remaining; got != 5 {
			t.Errorf("%v: %d remain of the key's own, want 5: the refund was the reserve's", a, got)
		}
	}
}

// Of several charges none is taken, where one finds no room.
func TestFullStoreTakesAllOrNothing(t *testing.T) {
	s := bucket.NewStore(bucket.Config{Memory: 1 << 20})
	known := rule(2, tenAnHour, 1, bucket.FailOpen)
	last := fill(s, known, 1)
	local, closed := rule(3, sized(tenAnHour, 5), 1, bucket.FailLocal), rule(4, tenAnHour, 1, bucket.FailClosed)
	k := homeless(s, local, last)
	status := make([]bucket.Status, 3)
	charges := []bucket.Charge{{Hash: key(0), Rule: known, Hits: 2}, {Hash: k, Rule: local, Hits: 1}, {Hash: k, Rule: closed, Hits: 1}}
	if s.Take(at, charges, status) || status[2].Allowed || status[2].Degraded != bucket.Memory {
		t.Errorf("taken though one is closed: %+v", status)
	}
	// Two keys without a slot share the reserve: each would fit, not both.
	other := homeless(s, local, last+100)
	charges = []bucket.Charge{{Hash: key(0), Rule: known, Hits: 2}, {Hash: k, Rule: local, Hits: 3}, {Hash: other, Rule: local, Hits: 3}}
	if s.Take(at, charges, status) || status[2].Allowed || status[2].RetryAfter <= 0 {
		t.Errorf("6 of the reserve's 5 were taken: %+v", status)
	}
	if got := peek(s, at, key(0), known).Remaining; got != 9 {
		t.Errorf("%d remain of the old key, want 9", got)
	}
	if got := peek(s, at, k, local).Remaining; got != 5 {
		t.Errorf("%d remain of the reserve, want 5", got)
	}
}

// A log that may not grow counts on with what it has, too long but never too little.
func TestLogWithoutRoomCountsOn(t *testing.T) {
	s := bucket.NewStore(bucket.Config{Memory: 1 << 20})
	l := rule(1, bucket.Limit{Algorithm: bucket.SlidingLog, Count: 10, Period: time.Minute}, 1, bucket.FailOpen)
	take(s, at, key(1<<50), l, 1)
	fill(s, rule(2, tenAnHour, 1, bucket.FailOpen), 1)
	for i := uint64(0); s.Usage().Bytes < 1<<20-1<<20/100-64; i++ { // use up what is left, in small pieces
		if i > 1<<16 {
			break
		}
		take(s, at, key(1<<41+i), l, 1)
	}
	degraded := false
	for i := range int64(9) {
		got := take(s, at+i+1, key(1<<50), l, 1)
		if !got.Allowed || got.Remaining != 8-i {
			t.Fatalf("hit %d: %+v, want %d to remain", i+2, got, 8-i)
		}
		degraded = degraded || got.Degraded == bucket.Memory
	}
	if !degraded {
		t.Error("the log grew: the store was not full")
	}
	if got := take(s, at+20, key(1<<50), l, 1); got.Allowed {
		t.Errorf("an 11th hit was admitted: %+v", got)
	}
	if got := take(s, at+20+int64(time.Minute), key(1<<50), l, 10); !got.Allowed {
		t.Errorf("denied after all was over: %+v", got)
	}
}

// Where memory has no room for the shape of an edit, the older numbers decide on: no
// edit makes a key fresh.
func TestEditWithoutRoomForgetsNothing(t *testing.T) {
	s := bucket.NewStore(bucket.Config{Memory: 1 << 20})
	last := fill(s, rule(1, hundred(bucket.TokenBucket), 1, bucket.FailOpen), 100)
	edited := rule(1, bucket.Limit{Algorithm: bucket.Concurrency, Count: 100, TTL: time.Hour}, 2, bucket.FailOpen)
	for i := range last {
		if got := take(s, at, key(i), edited, 1); got.Allowed {
			t.Fatalf("key %d of %d, used up, is fresh after an edit: %+v", i, last, got)
		}
	}
}
