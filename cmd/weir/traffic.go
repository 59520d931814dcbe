package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc"

	"github.com/weir-io/weir/chaos/oracle"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// callTime is how long a client of the demo waits for an answer.
const callTime = 2 * time.Second

// demoTraffic drives the nodes and writes down what its clients saw.
type demoTraffic struct {
	cmd     *demoCmd
	conns   []*grpc.ClientConn // one a node
	origin  time.Time          // events count from here on the monotonic clock
	seconds float64            // it took
	checks  atomic.Int64

	mu        sync.Mutex
	events    []oracle.Event                     // guarded by mu until drive returns
	latency   map[string]*hdrhistogram.Histogram // by policy, in µs; guarded as events
	shown     map[string]uint64                  // degraded answers by reason; guarded as events
	failed    int                                // calls without an answer; guarded as events
	firstFail error                              // guarded as events
}

func newTraffic(cmd *demoCmd, conns []*grpc.ClientConn) *demoTraffic {
	return &demoTraffic{cmd: cmd, conns: conns, origin: time.Now(), latency: map[string]*hdrhistogram.Histogram{}, shown: map[string]uint64{}}
}

// drive asks from all clients until the time is over or ctx ends, and returns when all
// answers are there and all permits given back.
func (t *demoTraffic) drive(ctx context.Context, p *progress) {
	began := time.Now()
	run, cancel := context.WithTimeout(ctx, t.cmd.Duration)
	defer cancel()
	var wg sync.WaitGroup
	for i := range t.cmd.Clients {
		c := &demoClient{
			traffic: t, id: uint64(i), limiter: weirv1.NewLimiterClient(t.conns[i%len(t.conns)]),
			rng: rand.New(rand.NewPCG(t.cmd.Seed, uint64(i))), latency: map[string]*hdrhistogram.Histogram{}, degraded: map[string]uint64{},
		}
		wg.Go(func() { c.run(run) })
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for run.Err() == nil {
		select {
		case <-tick.C:
			p.say("  %.0f of %.0f s, %s checks", time.Since(began).Seconds(), t.cmd.Duration.Seconds(), grouped(t.checks.Load()))
		case <-run.Done():
		}
	}
	wg.Wait()
	p.done()
	t.seconds = time.Since(began).Seconds()
}

// now returns the time as events have it: the wall clock of the origin and the monotonic
// time since, so that a step of the wall clock cannot confuse the judge.
func (t *demoTraffic) now() int64 { return t.origin.UnixNano() + int64(time.Since(t.origin)) }

// collect takes over what a client saw.
func (t *demoTraffic) collect(c *demoClient) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, c.events...)
	for policy, h := range c.latency {
		if t.latency[policy] == nil {
			t.latency[policy] = newHistogram()
		}
		t.latency[policy].Merge(h)
	}
	for reason, n := range c.degraded {
		t.shown[reason] += n
	}
	t.failed += c.failed
	if t.firstFail == nil {
		t.firstFail = c.firstFail
	}
}

// newHistogram returns a histogram of microseconds up to a minute.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

// A demoClient asks one node, at a steady pace.
type demoClient struct {
	traffic *demoTraffic
	id      uint64
	limiter weirv1.LimiterClient
	rng     *rand.Rand
	asked   uint64

	events    []oracle.Event
	latency   map[string]*hdrhistogram.Histogram
	degraded  map[string]uint64
	failed    int
	firstFail error

	holds sync.WaitGroup // releases under way
	mu    sync.Mutex     // guards the release times of events
}

func (c *demoClient) run(ctx context.Context) {
	every := time.Duration(float64(time.Second) * float64(c.traffic.cmd.Clients) / float64(c.traffic.cmd.Rate))
	tick := time.NewTicker(max(every, 1))
	defer tick.Stop()
	for ctx.Err() == nil {
		c.ask()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	c.holds.Wait()
	c.traffic.collect(c)
}

// A client leaves the edges of fixed windows alone: on which side of one a request is
// decided nobody outside can tell, and the exact answer would not be one number.
const (
	beforeEdge = 40 * time.Millisecond
	afterEdge  = 5 * time.Millisecond
)

// atEdge reports whether now is at the edge of a stream's windows.
func (d *demoStream) atEdge(now int64) bool {
	if d.limit.Algorithm != oracle.FixedWindow {
		return false
	}
	into := now % int64(d.limit.Period)
	return into < int64(afterEdge) || into > int64(d.limit.Period-beforeEdge)
}

// pick chooses a stream by weight, and a key: the hot one or one of the cold.
func (c *demoClient) pick() (d *demoStream, key string) {
	sum := 0
	for i := range demoStreams {
		sum += demoStreams[i].weight
	}
	for d == nil || d.atEdge(c.traffic.now()) {
		n := c.rng.IntN(sum)
		for i := range demoStreams {
			d = &demoStreams[i]
			if n -= d.weight; n < 0 {
				break
			}
		}
	}
	if c.rng.IntN(100) < d.hotShare {
		return d, "hot"
	}
	return d, fmt.Sprintf("cold-%d", c.rng.IntN(d.keys))
}

// ask sends one check. It is not cut short at the end of the run: every answer counts.
func (c *demoClient) ask() {
	d, key := c.pick()
	c.asked++
	e := oracle.Event{ID: c.id<<32 | c.asked, Limit: d.policy, Key: key, N: 1}
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	req := &weirv1.CheckRequest{Domain: "demo", Attributes: []*weirv1.Attribute{{Key: "user", Value: key}, {Key: "path", Value: d.path}}}
	e.Send = c.traffic.now()
	r, err := c.limiter.Check(ctx, req)
	e.Recv = c.traffic.now()
	c.traffic.checks.Add(1)
	if err != nil {
		e.Unknown = true
		c.failed++
		if c.firstFail == nil {
			c.firstFail = err
		}
		c.record(e)
		return
	}
	e.Allowed, e.Degraded = r.GetAllowed(), r.GetDegraded()
	if e.Degraded {
		c.degraded[word(r.GetDegradedReason(), "DEGRADED_REASON_")]++
	}
	if c.latency[d.policy] == nil {
		c.latency[d.policy] = newHistogram()
	}
	// Longer than the histogram's minute no call can take.
	_ = c.latency[d.policy].RecordValue((e.Recv - e.Send) / int64(time.Microsecond))
	at := c.record(e)
	if e.Allowed && d.hold > 0 {
		c.hold(at, r.GetPermit(), time.Duration(c.rng.Int64N(int64(d.hold))))
	}
	c.watch(d, e, r)
}

// watch writes down what shadow policies said. They are charged only where the request
// was allowed.
func (c *demoClient) watch(d *demoStream, e oracle.Event, r *weirv1.CheckResponse) {
	for _, o := range r.GetOthers() {
		for i := range demoStreams {
			if s := &demoStreams[i]; s.shadowing == d.policy && s.policy == o.GetPolicy() && e.Allowed {
				e.Limit, e.Allowed, e.Degraded = s.policy, o.GetAllowed(), o.GetDegraded()
				c.record(e)
			}
		}
	}
}

func (c *demoClient) record(e oracle.Event) (place int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
	return len(c.events) - 1
}

// hold gives a permit back after a while.
func (c *demoClient) hold(event int, permit []byte, d time.Duration) {
	c.holds.Go(func() {
		time.Sleep(d)
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		defer cancel()
		sent := c.traffic.now()
		_, err := c.limiter.Release(ctx, &weirv1.ReleaseRequest{Permits: [][]byte{permit}})
		received := c.traffic.now()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.events[event].ReleaseSend = sent
		if err == nil {
			c.events[event].ReleaseRecv = received
		}
	})
}
