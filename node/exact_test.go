package node_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/weir-io/weir/chaos/oracle"
	"github.com/weir-io/weir/node/nodetest"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// everyAlgorithm has one policy for each way to count, and one whose requests meet two
// policies, whose buckets lie at different nodes.
const everyAlgorithm = `domain: shop
policies:
  - {name: fixed, match: {path: /fixed}, key: [client], limits: [{algorithm: fixed_window, rate: 300/day}]}
  - {name: sliding, match: {path: /sliding}, key: [client], limits: [{algorithm: sliding_window, rate: 50/2s}]}
  - {name: log, match: {path: /log}, key: [client], limits: [{algorithm: sliding_log, rate: 200/h}]}
  - {name: token, match: {path: /token}, key: [client], limits: [{algorithm: token_bucket, rate: 50/s, burst: 100}]}
  - {name: leaky, match: {path: /leaky}, key: [client], limits: [{algorithm: leaky_bucket, rate: 40/s, burst: 30}]}
  - {name: permits, match: {path: /permits}, key: [client], limits: [{algorithm: concurrency, permits: 3, ttl: 1h}]}
  - {name: each, match: {path: /both}, key: [client], limits: [{algorithm: fixed_window, rate: 100/day}]}
  - {name: all, match: {path: /both}, key: [], limits: [{algorithm: fixed_window, rate: 450/day}]}
`

// exactLimits is what the oracle knows of everyAlgorithm.
func exactLimits() map[string]oracle.Limit {
	const day = 24 * time.Hour
	return map[string]oracle.Limit{
		"fixed":   {Algorithm: oracle.FixedWindow, Count: 300, Period: day},
		"sliding": {Algorithm: oracle.SlidingWindow, Count: 50, Period: 2 * time.Second},
		"log":     {Algorithm: oracle.SlidingLog, Count: 200, Period: time.Hour},
		"token":   {Algorithm: oracle.TokenBucket, Count: 50, Period: time.Second, Burst: 100},
		"leaky":   {Algorithm: oracle.LeakyBucket, Count: 40, Period: time.Second, Burst: 30, MaxWait: -1},
		"permits": {Algorithm: oracle.Concurrency, Count: 3, TTL: time.Hour},
	}
}

var exactPaths = []string{"fixed", "sliding", "log", "token", "leaky", "permits", "both"}

// witness writes down what clients saw, for the oracle.
type witness struct {
	epoch int64 // wall time at which the load began
	mu    sync.Mutex
	all   []oracle.Event          // guarded by mu
	both  map[string]map[bool]int // guarded by mu: answers of /both by client
	asked map[string]int          // guarded by mu: requests by path
	lost  int                     // guarded by mu: permits that were not given back
}

// heldFor is how long clients keep permits.
const heldFor = 60 * time.Millisecond

// answered notes one answer, and gives a permit back after a while.
func (w *witness) answered(ctx context.Context, l *load, via weirv1.LimiterClient, req *weirv1.CheckRequest, resp *weirv1.CheckResponse, sent, received time.Duration) {
	path, client := req.GetAttributes()[1].GetValue()[1:], req.GetAttributes()[0].GetValue()
	e := oracle.Event{
		Limit: path, Key: client, N: 1, Send: w.epoch + int64(sent), Recv: w.epoch + int64(received),
		Allowed: resp.GetAllowed(), Degraded: resp.GetDegraded(),
	}
	released := true
	if path == "permits" && e.Allowed {
		held := time.NewTimer(heldFor)
		<-held.C
		releaseSend := w.epoch + int64(l.now())
		r, err := via.Release(ctx, &weirv1.ReleaseRequest{Permits: [][]byte{resp.GetPermit()}})
		released = err == nil && r.GetReleased() == 1
		e.ReleaseSend, e.ReleaseRecv = releaseSend, w.epoch+int64(l.now())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[path]++
	if !released {
		w.lost++
	}
	if path != "both" {
		e.ID = uint64(len(w.all))
		w.all = append(w.all, e)
		return
	}
	if w.both[client] == nil {
		w.both[client] = map[bool]int{}
	}
	w.both[client][e.Allowed]++
}

// 64 clients ask three nodes for hot and cold keys of every algorithm for ten seconds.
// What is admitted is what an exact limiter admits, no more and no less, and every answer
// is an owner's.
func TestThreeNodesAreExact(t *testing.T) {
	const clients, run = 64, 10 * time.Second
	c := nodetest.Start(t, 3)
	c.Apply(c.Nodes[0], everyAlgorithm)
	var limiters []weirv1.LimiterClient
	for _, n := range c.Nodes {
		limiters = append(limiters, n.Limiter)
	}
	// The day must not end meanwhile: a window of a day would begin anew.
	w := &witness{epoch: time.Now().UnixNano(), both: map[string]map[bool]int{}, asked: map[string]int{}}
	if end := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour); time.Until(end) < 2*run {
		nodetest.EventuallyWithin(t, 3*run, "the next day begins", func() error {
			if time.Now().Before(end) {
				return context.DeadlineExceeded
			}
			return nil
		})
		w.epoch = time.Now().UnixNano()
	}
	l := startLoad(t, clients, loadClient{
		limiters: func() []weirv1.LimiterClient { return limiters },
		pace:     2 * pace,
		request: func(r *rand.Rand) *weirv1.CheckRequest {
			client := "hot"
			if r.IntN(2) == 0 {
				client = strconv.Itoa(r.IntN(40))
			}
			return &weirv1.CheckRequest{Domain: "shop", Attributes: attributes("client", client, "path", "/"+exactPaths[r.IntN(len(exactPaths))])}
		},
		answered: w.answered,
	})
	timeUp := time.NewTimer(run)
	defer timeUp.Stop()
	<-timeUp.C
	l.Stop()

	if n, err := l.Failures(); n != 0 {
		t.Errorf("%d of %d calls failed, the first: %v", n, l.checks.Load(), err)
	}
	if d := l.degraded.Load(); d != 0 {
		t.Errorf("%d of %d answers were degraded", d, l.checks.Load())
	}
	if w.lost != 0 {
		t.Errorf("%d permits were not there to be given back", w.lost)
	}
	t.Logf("%d checks", l.checks.Load())
	w.judge(t)
	w.wholeNumbers(t)
	w.bothLimits(t)
}

// judge has the oracle judge every answer.
func (w *witness) judge(t *testing.T) {
	t.Helper()
	report, err := oracle.Judge(exactLimits(), w.all, oracle.Config{Skew: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for name := range exactLimits() {
		r := report.Limit(name)
		decided := r.All.Allowed + r.All.Denied
		t.Logf("%s: %d asked, exact answer %v, off by %d, %d ambiguous", name, w.asked[name], r.Reachable, r.Difference(), r.All.Ambiguous)
		// Where much is ambiguous little is judged: who asks at once with whom a limit
		// refuses may have come before it or after.
		if 20*r.All.Ambiguous > decided {
			t.Errorf("%s: %d of %d decisions are ambiguous", name, r.All.Ambiguous, decided)
		}
		if !r.Exact() {
			t.Errorf("%s is not exact: off by %d", name, r.Difference())
			for _, f := range r.Findings {
				t.Log(f)
			}
		}
	}
}

// wholeNumbers checks the windows by hand: a saturated key of a window that does not end
// admits its limit, to the hit.
func (w *witness) wholeNumbers(t *testing.T) {
	t.Helper()
	for limit, want := range map[string]int{"fixed": 300, "log": 200} {
		offered, admitted := 0, 0
		for _, e := range w.all {
			if e.Limit == limit && e.Key == "hot" {
				offered++
				if e.Allowed {
					admitted++
				}
			}
		}
		if admitted != min(want, offered) {
			t.Errorf("%s: %d of %d admitted for the hot key, want %d", limit, admitted, offered, min(want, offered))
		}
		if offered < want {
			t.Errorf("%s: the hot key was asked for %d times, too few for its limit of %d", limit, offered, want)
		}
	}
}

// bothLimits checks requests that meet two policies: no client has more than its own
// limit, all together have exactly the common one.
func (w *witness) bothLimits(t *testing.T) {
	t.Helper()
	total := 0
	for client, n := range w.both {
		total += n[true]
		if n[true] > 100 {
			t.Errorf("client %s: %d admitted, its limit is 100", client, n[true])
		}
	}
	if total != 450 {
		t.Errorf("%d admitted of a common limit of 450", total)
	}
}
