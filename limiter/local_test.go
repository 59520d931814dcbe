package limiter_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster"
	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
)

// A local decides everything in one store, as the node of a cluster of one does.
type local struct {
	store *bucket.Store
	now   atomic.Int64
}

func (l *local) Decide(_ context.Context, b *cluster.Batch) {
	now := l.now.Load()
	touched := 0
	for i := range b.Items {
		it := &b.Items[i]
		if int(it.First) >= touched {
			touched = min(int(it.First)+bucket.Abreast, len(b.Charges))
			l.store.Touch(b.Charges[it.First:touched])
		}
		charges, statuses := b.Charges[it.First:it.End], b.Statuses[it.First:it.End]
		if it.Peek {
			it.Allowed = l.store.Peek(now, charges, statuses)
		} else {
			it.Allowed = l.store.Take(now, charges, statuses)
		}
	}
}

func (l *local) Reset(_ context.Context, charges []bucket.Charge) error {
	for i := range charges {
		l.store.Reset(l.now.Load(), &charges[i])
	}
	return nil
}

func (l *local) Release(_ context.Context, permits []cluster.Permit) (int, error) {
	var n int64
	for _, p := range permits {
		n += l.store.Release(l.now.Load(), &bucket.Charge{Hash: p.Hash, Rule: &bucket.Rule{Hash: p.Limit}}, p.Receipt)
	}
	return int(n), nil
}

// Now makes a local the clock of its limiter.
func (l *local) Now() int64 { return l.now.Load() }

const start = int64(1_700_000_000) * int64(time.Second)

// A world is a limiter over one store, with a clock that stands still.
type world struct {
	*limiter.Limiter
	local    *local
	registry *prometheus.Registry
	snapshot atomic.Pointer[policy.Snapshot]
	version  uint64
}

func newWorld(t testing.TB, documents ...string) *world {
	t.Helper()
	w := &world{local: &local{store: bucket.NewStore(bucket.Config{Memory: 256 << 20})}, registry: prometheus.NewRegistry()}
	w.local.now.Store(start)
	w.apply(t, documents...)
	w.Limiter = limiter.New(limiter.Config{
		Policies: w.snapshot.Load, Decider: w.local, Keys: w.local, CheckTimeout: time.Second, Clock: w.local, Metrics: w.registry,
	})
	return w
}

// apply makes documents all the policies there are.
func (w *world) apply(t testing.TB, documents ...string) {
	t.Helper()
	w.version++
	var docs []*policy.Document
	for _, text := range documents {
		d, err := policy.Parse("test.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d.Version = w.version
		docs = append(docs, d)
	}
	s, _, err := policy.Compile(w.snapshot.Load(), docs, w.version, policy.Secret{1})
	if err != nil {
		t.Fatal(err)
	}
	w.snapshot.Store(s)
}

func request(domain string, pairs ...string) limiter.Request {
	r := limiter.Request{Domain: domain}
	for i := 0; i < len(pairs); i += 2 {
		r.Attributes = append(r.Attributes, policy.Attribute{Key: pairs[i], Value: pairs[i+1]})
	}
	return r
}

// check decides one request.
func (w *world) check(t testing.TB, r limiter.Request) *limiter.Verdict {
	t.Helper()
	b := &limiter.Batch{Requests: []limiter.Request{r}}
	w.Check(t.Context(), b)
	if len(b.Verdicts) != 1 {
		t.Fatalf("%d verdicts for one request", len(b.Verdicts))
	}
	return &b.Verdicts[0]
}
