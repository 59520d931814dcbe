package node_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// pace of each client of a load that must not be degraded: it leaves the machine some air.
// On one that is out of breath the nodes would rightly give degraded answers.
const pace = 20 * time.Millisecond

// A loadClient sends checks one after the other to one node of its choice at a time.
type loadClient struct {
	limiters func() []weirv1.LimiterClient // the nodes to choose from, now
	pace     time.Duration                 // between two checks; 0 = one after the other
	request  func(r *rand.Rand) *weirv1.CheckRequest
	// answered is called with every answer; sent and received are as [load.now] tells the
	// time. It may use the answer to release a permit.
	answered func(ctx context.Context, l *load, via weirv1.LimiterClient, req *weirv1.CheckRequest, resp *weirv1.CheckResponse, sent, received time.Duration)
}

// A load is many clients at once.
type load struct {
	checks   atomic.Int64
	degraded atomic.Int64
	slowest  atomic.Int64 // nanoseconds that the slowest answer took
	mu       sync.Mutex
	failures []error // guarded by mu

	start time.Time
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

// startLoad runs n clients until Stop.
func startLoad(t *testing.T, n int, client loadClient) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{start: time.Now(), stop: stop}
	for i := range n {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		l.wg.Go(func() { l.run(ctx, client, r) })
	}
	t.Cleanup(l.Stop)
	return l
}

// run sends checks until ctx ends. One that is late does not make up for it.
func (l *load) run(ctx context.Context, client loadClient, r *rand.Rand) {
	var tick <-chan time.Time
	if client.pace > 0 {
		t := time.NewTicker(client.pace)
		defer t.Stop()
		tick = t.C
	}
	for ctx.Err() == nil {
		l.one(client, r)
		if tick == nil {
			continue
		}
		select {
		case <-tick:
		case <-ctx.Done():
		}
	}
}

// now returns the time since the load began.
func (l *load) now() time.Duration { return time.Since(l.start) }

// one sends one check; it is never cut short, so that every answer is known.
func (l *load) one(client loadClient, r *rand.Rand) {
	limiters := client.limiters()
	via := limiters[r.IntN(len(limiters))]
	req := client.request(r)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	sent := l.now()
	resp, err := via.Check(ctx, req)
	received := l.now()
	l.checks.Add(1)
	for took := int64(received - sent); ; {
		if most := l.slowest.Load(); took <= most || l.slowest.CompareAndSwap(most, took) {
			break
		}
	}
	if err != nil {
		l.mu.Lock()
		l.failures = append(l.failures, err)
		l.mu.Unlock()
		return
	}
	if resp.GetDegraded() {
		l.degraded.Add(1)
	}
	if client.answered != nil {
		client.answered(ctx, l, via, req, resp, sent, received)
	}
}

// Stop ends the load and waits for the answers under way.
func (l *load) Stop() {
	l.stop()
	l.wg.Wait()
}

// Failures returns how many calls failed, and the first of them.
func (l *load) Failures() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) == 0 {
		return 0, nil
	}
	return len(l.failures), l.failures[0]
}

// WaitChecks waits until that many more checks were answered.
func (l *load) WaitChecks(t *testing.T, more int64) {
	t.Helper()
	want := l.checks.Load() + more
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for l.checks.Load() < want {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the load came to a stand")
		}
	}
}
