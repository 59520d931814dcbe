package bucket_test

import (
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
)

// hundred returns a limit of 100 an hour.
func hundred(a bucket.Algorithm) bucket.Limit {
	switch a {
	case bucket.TokenBucket, bucket.LeakyBucket:
		return bucket.Limit{Algorithm: a, Count: 100, Period: time.Hour, Burst: 100, MaxWait: -1}
	case bucket.Concurrency:
		return bucket.Limit{Algorithm: a, Count: 100, TTL: time.Hour}
	}
	return bucket.Limit{Algorithm: a, Count: 100, Period: time.Hour}
}

// sized returns a limit with another most.
func sized(l bucket.Limit, n int64) bucket.Limit {
	if l.Burst > 0 {
		l.Burst = n
	} else {
		l.Count = n
	}
	return l
}

var everyAlgorithm = []bucket.Algorithm{
	bucket.TokenBucket, bucket.LeakyBucket, bucket.FixedWindow, bucket.SlidingWindow, bucket.SlidingLog, bucket.Concurrency,
}

// Used stays used, whatever is edited; another algorithm takes over the fraction.
func TestEditKeepsConsumption(t *testing.T) {
	paced := func(l bucket.Limit, count int64, period time.Duration) bucket.Limit {
		if l.Algorithm == bucket.Concurrency {
			l.TTL = period
			return l
		}
		l.Count, l.Period = count, period
		return l
	}
	for _, a := range everyAlgorithm {
		l := hundred(a)
		shut := l
		shut.Count = 0
		tests := []struct {
			name  string
			edits []bucket.Limit // one after the other, each met by a charge
			want  int64          // what remains of the last, of 60 used
		}{
			{"the same", []bucket.Limit{l}, 40},
			{"twice the most", []bucket.Limit{sized(l, 200)}, 140},
			{"less than is used", []bucket.Limit{sized(l, 20)}, 0},
			{"less and back", []bucket.Limit{sized(l, 20), l}, 40},
			{"a longer period", []bucket.Limit{paced(l, 100, 24*time.Hour)}, 40},
			{"a rate of nothing", []bucket.Limit{shut}, 0},
			{"a rate of nothing and back", []bucket.Limit{shut, l}, 40},
			{"a rate of nothing, then twice the most", []bucket.Limit{shut, sized(l, 200)}, 140},
		}
		for _, b := range everyAlgorithm {
			if a != b {
				tests = append(tests, struct {
					name  string
					edits []bucket.Limit
					want  int64
				}{"half of it as " + b.String(), []bucket.Limit{sized(hundred(b), 50)}, 20})
			}
		}
		for _, tt := range tests {
			s := newStore()
			take(s, at, key(1), rule(1, l, 1, bucket.FailLocal), 60)
			for i, edit := range tt.edits {
				got := take(s, at, key(1), rule(1, edit, uint64(2+i), bucket.FailLocal), 0)
				if i == len(tt.edits)-1 && got.Remaining != tt.want {
					t.Errorf("%v, %s: %d remain, want %d", a, tt.name, got.Remaining, tt.want)
				}
			}
		}
	}
}

// A lowered burst keeps its pace: what was said to who was refused still holds.
func TestLoweredBurstKeepsItsWord(t *testing.T) {
	s, low := newStore(), rule(1, sized(hundred(bucket.TokenBucket), 20), 2, bucket.FailLocal)
	take(s, at, key(1), rule(1, hundred(bucket.TokenBucket), 1, bucket.FailLocal), 60)
	refused := take(s, at, key(1), low, 1)
	if refused.Allowed || refused.RetryAfter != 41*36*time.Second {
		t.Errorf("60 used of 20: %+v, want to wait for 41", refused)
	}
	if early := take(s, at+int64(refused.RetryAfter)-1000, key(1), low, 1); early.Allowed {
		t.Errorf("admitted too early: %+v", early)
	}
	if then := take(s, at+int64(refused.RetryAfter), key(1), low, 1); !then.Allowed {
		t.Errorf("waited as told and was refused: %+v", then)
	}
}

// At a slower rate a bucket is at worst empty, never in debt for days.
func TestSlowerRateLeavesNoDebt(t *testing.T) {
	s := newStore()
	take(s, at, key(1), rule(1, bucket.Limit{Algorithm: bucket.TokenBucket, Count: 1e6, Period: time.Second, Burst: 1e6}, 1, bucket.FailLocal), 5e5)
	slow := rule(1, bucket.Limit{Algorithm: bucket.TokenBucket, Count: 10, Period: time.Minute, Burst: 10}, 2, bucket.FailLocal)
	if got := take(s, at, key(1), slow, 1); got.Allowed || got.RetryAfter != 6*time.Second {
		t.Errorf("%+v, want to wait for one token", got)
	}
}

// What was over under the old numbers does not count again under a longer period.
func TestLongerLogCountsNothingTwice(t *testing.T) {
	s := newStore()
	minute := bucket.Limit{Algorithm: bucket.SlidingLog, Count: 10, Period: time.Minute}
	hour := minute
	hour.Period = time.Hour
	take(s, at, key(1), rule(1, minute, 1, bucket.FailLocal), 10)
	if got := peek(s, at+int64(2*time.Minute), key(1), rule(1, hour, 2, bucket.FailLocal)); got.Remaining != 10 {
		t.Errorf("%d remain of the hour's, want 10: the minute was over", got.Remaining)
	}
}

// The newer version's numbers decide, whoever asks, and equal numbers convert nothing.
func TestNewerVersionDecides(t *testing.T) {
	s := newStore()
	old, newer := rule(1, tenAnHour, 1, bucket.FailLocal), rule(1, sized(tenAnHour, 3), 2, bucket.FailLocal)
	take(s, at, key(1), newer, 3)
	if got := take(s, at, key(1), old, 1); got.Allowed || got.Limit != 3 {
		t.Errorf("a charge by older numbers: %+v, want denied by the newer limit of 3", got)
	}
	take(s, at, key(2), old, 3)
	if got := take(s, at, key(2), newer, 1); got.Allowed || got.Limit != 3 {
		t.Errorf("a charge by newer numbers: %+v, want denied by the newer limit of 3", got)
	}
	if u := s.Usage(); u.Rules != 1 || u.Buckets != 2 {
		t.Errorf("%+v, want the newer rule alone", u)
	}
}

// A receipt of another pace or algorithm gives back nothing that others took.
func TestRefundAcrossAnEdit(t *testing.T) {
	slow := bucket.Limit{Algorithm: bucket.TokenBucket, Count: 1, Period: 10 * time.Second, Burst: 10}
	fast := bucket.Limit{Algorithm: bucket.TokenBucket, Count: 1, Period: time.Second, Burst: 10}
	s, first := newStore(), rule(1, slow, 1, bucket.FailLocal)
	receipt := take(s, at, key(1), first, 10).Receipt
	second := rule(1, fast, 2, bucket.FailLocal)
	take(s, at+int64(time.Second), key(1), second, 0)
	later := at + int64(20*time.Second) // what was taken first has drained at the new pace
	take(s, later, key(1), second, 5)
	if c := (bucket.Charge{Hash: key(1), Rule: first, Hits: 10}); s.Refund(later, &c, receipt) {
		t.Errorf("gave back what others took: %d remain", peek(s, later, key(1), second).Remaining)
	}
	third := rule(1, sized(tenAnHour, 20), 3, bucket.FailLocal)
	receipt = take(s, later, key(1), second, 1).Receipt
	take(s, later, key(1), third, 1)
	if c := (bucket.Charge{Hash: key(1), Rule: second, Hits: 1}); s.Refund(later, &c, receipt) {
		t.Error("a token's receipt gave back hits of a window")
	}
	// The first hit of a log may come when a window began.
	s = newStore()
	receipt = take(s, at, key(1), rule(1, tenAnHour, 1, bucket.FailLocal), 6).Receipt
	log := rule(1, sized(hundred(bucket.SlidingLog), 20), 2, bucket.FailLocal)
	take(s, at, key(1), log, 1)
	if c := (bucket.Charge{Hash: key(1), Rule: rule(1, tenAnHour, 1, bucket.FailLocal), Hits: 6}); s.Refund(at, &c, receipt) {
		t.Error("a window's receipt gave back hits of a log")
	}
}

// A charge by an older rule is decided by the newer: its refund still finds it.
func TestRefundByAnOlderRule(t *testing.T) {
	s, older := newStore(), rule(1, sized(tenAnHour, 50), 2, bucket.FailLocal)
	take(s, at, key(1), rule(1, sized(tenAnHour, 20), 3, bucket.FailLocal), 1)
	status := take(s, at, key(1), older, 2)
	if c := (bucket.Charge{Hash: key(1), Rule: older, Hits: 2}); !s.Refund(at, &c, status.Receipt) || peek(s, at, key(1), older).Remaining != 19 {
		t.Error("a charge by an older rule cannot be given back")
	}
}

// Intern gives one rule for all that are equal, while it is in use.
func TestIntern(t *testing.T) {
	s, a, b := newStore(), rule(1, tenAnHour, 1, bucket.FailLocal), rule(1, tenAnHour, 1, bucket.FailLocal)
	if s.Intern(a) != a {
		t.Error("a rule that is not in use was changed")
	}
	take(s, at, key(1), a, 1)
	if s.Intern(b) != a || s.Intern(rule(1, tenAnHour, 2, bucket.FailLocal)) == a {
		t.Error("rules are told apart by identity, or not at all")
	}
	if got := take(s, at, key(1), b, 1); got.Remaining != 8 || s.Usage().Rules != 1 {
		t.Errorf("an equal rule: %+v, %+v", got, s.Usage())
	}
}
