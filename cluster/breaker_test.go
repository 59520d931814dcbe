package cluster

import (
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	type step struct {
		after            time.Duration // the step before
		answered, missed int           // noted, where one is not 0
		pass             bool          // asked after it
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"five in a row open it", []step{{0, 0, 4, true}, {0, 0, 1, false}}},
		{"an answer between begins the row anew", []step{{0, 0, 4, true}, {0, 1, 0, true}, {0, 0, 4, true}, {0, 0, 1, false}}},
		{"half of twenty open it", []step{{0, 11, 0, true}, {0, 0, 4, true}, {0, 1, 0, true}, {0, 0, 4, true}, {0, 4, 3, true}, {0, 0, 1, true}, {0, 0, 1, false}}},
		{"half of nineteen do not", []step{{0, 9, 4, true}, {0, 1, 0, true}, {0, 0, 4, true}}},
		{"a window is a second long", []step{{0, 10, 4, true}, {time.Second, 1, 4, true}, {0, 4, 4, true}}},
		{"an open one lets one try each 250ms", []step{{0, 0, 5, false}, {249 * time.Millisecond, 0, 0, false}, {time.Millisecond, 0, 0, true}, {0, 0, 0, false}, {250 * time.Millisecond, 0, 0, true}}},
		{"a try without an answer leaves it open", []step{{0, 0, 5, false}, {250 * time.Millisecond, 0, 0, true}, {0, 0, 1, false}}},
		{"an answer closes it", []step{{0, 0, 5, false}, {250 * time.Millisecond, 1, 0, true}, {0, 0, 0, true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b breaker
			now := time.Unix(1e9, 0)
			for i, s := range tt.steps {
				now = now.Add(s.after)
				if s.answered+s.missed > 0 {
					b.note(now, s.answered, s.missed)
				}
				if got := b.pass(now); got != s.pass {
					t.Errorf("step %d: passes %t, want %t", i, got, s.pass)
				}
			}
		})
	}
}
