package limiter

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/clock"
	"github.com/weir-io/weir/cluster"
	"github.com/weir-io/weir/policy"
	"github.com/weir-io/weir/ring"
)

// A Decider decides charges, wherever their buckets lie. It must not use ctx or b
// after it has returned.
type Decider interface {
	Decide(ctx context.Context, b *cluster.Batch)
}

// Keys reaches buckets at their owners for others than checks.
type Keys interface {
	Reset(ctx context.Context, charges []bucket.Charge) error
	Release(ctx context.Context, permits []cluster.Permit) (int, error)
}

var (
	_ Decider = (*cluster.Node)(nil)
	_ Keys    = (*cluster.Node)(nil)
)

// Config is what a Limiter is made of.
type Config struct {
	Policies func() *policy.Snapshot // those in force; never nil
	Decider  Decider
	Keys     Keys
	// CheckTimeout is the deadline of a check whose caller set none. Too low, and
	// checks fail that a slow owner would have answered; too high, and they hang on one
	// that died. 0 = none.
	CheckTimeout time.Duration
	Clock        clock.Clock
	// Table and Self tell forwarded checks from local ones in the metrics; where
	// Table is nil all count as local.
	Table func() *ring.Table
	Self  string
	// Metrics is where the metrics are registered; nil = nowhere.
	Metrics prometheus.Registerer
}

// A Limiter decides requests. It is safe for concurrent use and starts no goroutine.
type Limiter struct {
	policies func() *policy.Snapshot
	decider  Decider
	keys     Keys
	timeout  time.Duration
	clock    clock.Clock
	table    func() *ring.Table
	self     string
	metrics  *metrics
}

// New returns a Limiter.
func New(cfg Config) *Limiter {
	l := &Limiter{
		policies: cfg.Policies, decider: cfg.Decider, keys: cfg.Keys, timeout: cfg.CheckTimeout,
		clock: cfg.Clock, table: cfg.Table, self: cfg.Self, metrics: newMetrics(cfg.Metrics),
	}
	if l.clock == nil {
		l.clock = clock.NewSystem()
	}
	return l
}

// Check decides the requests of b, each for itself: the error of one stands in its
// verdict and leaves its neighbours alone. It returns by ctx's deadline, or by
// CheckTimeout where ctx has none. Once b is warm it allocates nothing, unless owners
// elsewhere are to be asked.
func (l *Limiter) Check(ctx context.Context, b *Batch) {
	began := l.clock.Now()
	snapshot := l.policies()
	b.begin(snapshot.Version)
	for i := range b.Requests {
		b.choose(snapshot, &b.Requests[i])
	}
	forwarded := false
	if len(b.decision.Items) > 0 {
		forwarded = l.forwards(&b.decision)
		b.decide(ctx, l)
	}
	b.compose()
	l.metrics.add(snapshot, b)
	l.metrics.observe(time.Duration(l.clock.Now()-began), forwarded)
}

// choose appends a request's verdict as far as it is known before any bucket was asked,
// and its charges.
func (b *Batch) choose(snapshot *policy.Snapshot, r *Request) {
	b.Verdicts = extended(b.Verdicts)
	v := &b.Verdicts[len(b.Verdicts)-1]
	*v = Verdict{Err: b.checked.validate(r), Deciding: -1, first: int32(len(b.limits))}
	if v.Err == nil {
		snapshot.Choose(r.Domain, r.Attributes, &b.choice)
		v.Allowed, v.Reason = true, NoPolicy
		if b.choice.Exempt {
			v.Reason = Exempt
		}
		b.charge(max(r.Hits, 1), r.Peek)
	}
	v.end = int32(len(b.limits))
}

// charge appends the charges of the winners of b.choice as one item. Fields are set in
// place, and those that the decision sets are left as they are: copying would cost as
// much as hashing the key.
func (b *Batch) charge(hits int64, peek bool) {
	first := len(b.limits)
	for i := range b.choice.Winners {
		w := &b.choice.Winners[i]
		for j := range w.Policy.Limits {
			b.limits, b.decision.Charges = extended(b.limits), extended(b.decision.Charges)
			s, c := &b.limits[len(b.limits)-1], &b.decision.Charges[len(b.decision.Charges)-1]
			s.Policy, s.Limit, s.Hash, s.Shadow = w.Policy, &w.Policy.Limits[j], w.Hash, w.Shadow
			c.Hash, c.Rule, c.Hits, c.Shadow = w.Hash, s.Limit.Rule, hits, w.Shadow
		}
	}
	if len(b.limits) == first {
		return
	}
	b.decision.Items = extended(b.decision.Items)
	item := &b.decision.Items[len(b.decision.Items)-1]
	*item = cluster.Item{First: int32(first), End: int32(len(b.limits)), Peek: peek}
}

// extended returns s with one element more, which holds whatever was there before.
func extended[T any](s []T) []T {
	if n := len(s); n < cap(s) {
		return s[:n+1]
	}
	var zero T
	return append(s, zero)
}

// decide has the charges of b decided.
func (b *Batch) decide(ctx context.Context, l *Limiter) {
	n := len(b.decision.Charges)
	if cap(b.decision.Statuses) < n {
		b.decision.Statuses = make([]bucket.Status, n, cap(b.decision.Charges))
	}
	b.decision.Statuses = b.decision.Statuses[:n]
	l.decider.Decide(b.bound(ctx, l.timeout), &b.decision)
	b.unbound()
	for i := range b.limits {
		b.limits[i].Status = b.decision.Statuses[i]
	}
}

// compose finishes the verdicts by what the buckets said.
func (b *Batch) compose() {
	item := 0
	for i := range b.Verdicts {
		v := &b.Verdicts[i]
		if v.end == v.first {
			continue
		}
		v.Limits = b.limits[v.first:v.end:v.end]
		v.compose(&b.decision.Items[item])
		item++
	}
}

// forwards reports whether a charge of b lies at another node.
func (l *Limiter) forwards(b *cluster.Batch) bool {
	if l.table == nil {
		return false
	}
	table := l.table()
	self := table.Find(l.self)
	for i := range b.Charges {
		if int(table.Rows[b.Charges[i].Hash.Partition()].Owner) != self {
			return true
		}
	}
	return false
}

// withTimeout bounds calls that are no checks as checks are bounded.
func (l *Limiter) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok || l.timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, l.timeout)
}
