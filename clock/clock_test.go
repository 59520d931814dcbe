package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-io/weir/clock"
)

// A System starts at the wall time and goes on with the monotonic one.
func TestSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := clock.NewSystem()
		if got, want := c.Now(), began.UnixNano(); got != want {
			t.Errorf("it starts at %d, want %d", got, want)
		}
		time.Sleep(90 * time.Minute) // of the bubble's clock
		if got, want := c.Now(), began.Add(90*time.Minute).UnixNano(); got != want {
			t.Errorf("after 90 minutes it is %d, want %d", got, want)
		}
	})
}

func TestSystemNeverGoesBack(t *testing.T) {
	c := clock.NewSystem()
	last := c.Now()
	for range 100_000 {
		now := c.Now()
		if now < last {
			t.Fatalf("%d after %d", now, last)
		}
		last = now
	}
}
