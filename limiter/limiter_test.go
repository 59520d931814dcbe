package limiter_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster"
	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
)

const shop = `domain: shop
policies:
  - name: per-client
    key: [client]
    limits:
      - {name: pace, algorithm: token_bucket, rate: 10/s, burst: 5}
      - {name: day, algorithm: fixed_window, rate: 8/day}
  - name: staff
    match: {tier: staff}
    key: []
    limits: unlimited
    group: per-client
    priority: 10
  - name: canary
    match: {canary: "*"}
    key: [client]
    mode: shadow
    limits:
      - {name: tight, algorithm: fixed_window, rate: 1/day}
`

func TestVerdicts(t *testing.T) {
	w := newWorld(t, shop)
	acme := request("shop", "client", "acme")
	steps := []struct {
		name     string
		request  limiter.Request
		wait     time.Duration // before it
		allowed  bool
		reason   limiter.Reason
		deciding string // name of the deciding limit
		left     int64  // remaining of it
	}{
		{"the least remaining decides", acme, 0, true, limiter.OK, "pace", 4},
		{"hits count", limiter.Request{Domain: "shop", Attributes: acme.Attributes, Hits: 4}, 0, true, limiter.OK, "pace", 0},
		{"the only one that refuses decides", acme, 0, false, limiter.Limited, "pace", 0},
		{"another key", request("shop", "client", "b"), 0, true, limiter.OK, "pace", 4},
		{"a peek consumes nothing", limiter.Request{Domain: "shop", Attributes: acme.Attributes, Hits: 2, Peek: true}, time.Second, true, limiter.OK, "day", 3},
		{"after it all is still there", limiter.Request{Domain: "shop", Attributes: acme.Attributes, Hits: 3}, 0, true, limiter.OK, "day", 0},
		{"the longest to wait decides", limiter.Request{Domain: "shop", Attributes: acme.Attributes, Hits: 4}, 0, false, limiter.Limited, "day", 0},
		{"never is longest", limiter.Request{Domain: "shop", Attributes: acme.Attributes, Hits: 6}, 0, false, limiter.Limited, "pace", 2},
		{"unlimited", request("shop", "client", "acme", "tier", "staff"), 0, true, limiter.Exempt, "", 0},
		{"no key attribute", request("shop", "path", "/"), 0, true, limiter.NoPolicy, "", 0},
		{"unknown domain", request("nowhere", "client", "acme"), 0, true, limiter.NoPolicy, "", 0},
	}
	for _, s := range steps {
		w.local.now.Add(int64(s.wait))
		v := w.check(t, s.request)
		if v.Err != nil {
			t.Fatalf("%s: %v", s.name, v.Err)
		}
		deciding, left := "", int64(0)
		if v.Deciding >= 0 {
			deciding, left = v.Limits[v.Deciding].Limit.Name, v.Limits[v.Deciding].Remaining
		}
		if v.Allowed != s.allowed || v.Reason != s.reason || deciding != s.deciding || left != s.left || v.Degraded != 0 {
			t.Errorf("%s: allowed %v, %v by %q, %d left, degraded %q; want %v, %v by %q, %d left", s.name,
				v.Allowed, v.Reason, deciding, left, limiter.DegradedName(v.Degraded), s.allowed, s.reason, s.deciding, s.left)
		}
	}
}

func TestHitsOverTheBurstAreAClearDeny(t *testing.T) {
	w := newWorld(t, shop)
	v := w.check(t, limiter.Request{Domain: "shop", Attributes: request("", "client", "acme").Attributes, Hits: 1000})
	if v.Err != nil || v.Allowed || v.Reason != limiter.Limited || v.Limits[v.Deciding].RetryAfter != bucket.Never {
		t.Errorf("%+v: want a denial whose retry_after is never", v)
	}
	if v := w.check(t, request("shop", "client", "acme")); v.Limits[v.Deciding].Remaining != 4 {
		t.Errorf("remaining %d after a denied request, want 4: it consumed something", v.Limits[v.Deciding].Remaining)
	}
}

func TestShadowsAreReportedAndNeverDecide(t *testing.T) {
	w := newWorld(t, shop)
	for i := range 3 {
		v := w.check(t, request("shop", "client", "acme", "canary", "1"))
		if !v.Allowed || v.Limits[v.Deciding].Shadow {
			t.Fatalf("check %d: allowed %v by %q, want it allowed by an enforcing limit", i, v.Allowed, v.Limits[v.Deciding].Limit.Name)
		}
		last := v.Limits[len(v.Limits)-1]
		if last.Limit.Name != "tight" || !last.Shadow || last.Allowed != (i == 0) {
			t.Errorf("check %d: shadow says %v, want %v", i, last.Allowed, i == 0)
		}
	}
	only := newWorld(t, strings.ReplaceAll(shop, "key: [client]\n    limits:\n      - {name: pace", "mode: shadow\n    key: [client]\n    limits:\n      - {name: pace"))
	for range 7 {
		v := only.check(t, request("shop", "client", "acme"))
		if !v.Allowed || v.Reason != limiter.NoPolicy || v.Deciding != -1 || len(v.Limits) != 2 {
			t.Fatalf("under shadows alone: %+v, want allowed, no_policy, two limits reported", v)
		}
	}
}

func TestNeighboursOfABadItem(t *testing.T) {
	w := newWorld(t, shop)
	refused := &limiter.Error{Code: limiter.InvalidArgument, Message: "the door could not read it"}
	b := &limiter.Batch{Requests: []limiter.Request{
		request("shop", "client", "a"), request("", "client", "a"), request("shop", "client", "a"), {Err: refused}, request("shop", "client", "a"),
	}}
	w.Check(t.Context(), b)
	for i, want := range []int64{4, -1, 3, -1, 2} {
		v := &b.Verdicts[i]
		switch {
		case want < 0 && v.Err == nil:
			t.Errorf("item %d: decided, want an error", i)
		case want >= 0 && (v.Err != nil || v.Limits[v.Deciding].Remaining != want):
			t.Errorf("item %d: %+v, want %d remaining", i, v, want)
		}
	}
	if b.Verdicts[3].Err != refused {
		t.Errorf("the door's error became %v", b.Verdicts[3].Err)
	}
	if b.Version != 1 {
		t.Errorf("policy version %d, want 1", b.Version)
	}
}

func TestWaitIsTheLongestOfAll(t *testing.T) {
	w := newWorld(t, `domain: d
policies:
  - {name: a, key: [k], limits: [{name: slow, algorithm: leaky_bucket, rate: 1/s, burst: 10}, {name: quick, algorithm: leaky_bucket, rate: 10/s, burst: 3}]}
`)
	w.check(t, request("d", "k", "1"))
	v := w.check(t, request("d", "k", "1"))
	if !v.Allowed || v.Limits[v.Deciding].Limit.Name != "quick" || v.Wait != time.Second {
		t.Errorf("wait %v, decided by %q: want 1s, the slow bucket's, and quick", v.Wait, v.Limits[v.Deciding].Limit.Name)
	}
	w.check(t, request("d", "k", "1"))
	if v := w.check(t, request("d", "k", "1")); v.Allowed || v.Wait != 0 {
		t.Errorf("denied with wait %v, want 0: there is no turn to wait for", v.Wait)
	}
}

func TestClientIPIsBroughtToOneSpelling(t *testing.T) {
	w := newWorld(t, "domain: d\npolicies:\n  - {name: a, key: [client_ip], limits: [{algorithm: fixed_window, rate: 2/day}]}\n")
	for i, spelling := range []string{"::ffff:10.0.0.1", "10.0.0.1", "::ffff:a00:1"} {
		if v := w.check(t, request("d", "client_ip", spelling)); v.Err != nil || v.Allowed != (i < 2) {
			t.Errorf("%s: %+v, want allowed %v", spelling, v, i < 2)
		}
	}
}

// scripted answers with what a test says.
type scripted struct {
	answer func(ctx context.Context, b *cluster.Batch)
}

func (s scripted) Decide(ctx context.Context, b *cluster.Batch) { s.answer(ctx, b) }

func TestDegradedVerdicts(t *testing.T) {
	w := newWorld(t, shop)
	tests := []struct {
		name     string
		statuses [2]bucket.Status // pace, day
		allowed  bool
		reason   limiter.Reason
		degraded bucket.Degraded
	}{
		{"allowed on own right", [2]bucket.Status{{Allowed: true, Remaining: 1, Degraded: bucket.OwnRight}, {Allowed: true, Remaining: 5}}, true, limiter.OK, bucket.OwnRight},
		{"not the deciding one", [2]bucket.Status{{Allowed: true, Remaining: 9, Degraded: bucket.Open}, {Allowed: true, Remaining: 5}}, true, limiter.OK, bucket.Open},
		{"denied on own right", [2]bucket.Status{{RetryAfter: time.Second, Degraded: bucket.OwnRight}, {Allowed: true}}, false, limiter.Limited, bucket.OwnRight},
		{"closed", [2]bucket.Status{{RetryAfter: time.Second, Degraded: bucket.Closed}, {Allowed: true}}, false, limiter.Unavailable, bucket.Closed},
		{"no memory", [2]bucket.Status{{RetryAfter: time.Second, Degraded: bucket.Memory}, {Allowed: true}}, false, limiter.Limited, bucket.Memory},
		{"limited for longer than closed", [2]bucket.Status{{RetryAfter: time.Second, Degraded: bucket.Closed}, {RetryAfter: time.Hour}}, false, limiter.Limited, bucket.Closed},
	}
	for _, tt := range tests {
		l := limiter.New(limiter.Config{Policies: w.snapshot.Load, Decider: scripted{func(_ context.Context, b *cluster.Batch) {
			copy(b.Statuses, tt.statuses[:])
			b.Items[0].Allowed = tt.allowed
		}}})
		b := &limiter.Batch{Requests: []limiter.Request{request("shop", "client", "a")}}
		l.Check(t.Context(), b)
		if v := &b.Verdicts[0]; v.Allowed != tt.allowed || v.Reason != tt.reason || v.Degraded != tt.degraded {
			t.Errorf("%s: allowed %v, %v, degraded by %q; want %v, %v, %q", tt.name, v.Allowed, v.Reason, limiter.DegradedName(v.Degraded),
				tt.allowed, tt.reason, limiter.DegradedName(tt.degraded))
		}
	}
}

func TestUndecidedItems(t *testing.T) {
	w := newWorld(t, shop)
	for _, tt := range []struct {
		err  error
		code limiter.Code
	}{
		{cluster.ErrShed, limiter.Shed}, {cluster.ErrStarting, limiter.Shed},
		{context.DeadlineExceeded, limiter.DeadlineExceeded}, {context.Canceled, limiter.DeadlineExceeded},
		{context.Cause(context.Background()), 0},
	} {
		l := limiter.New(limiter.Config{Policies: w.snapshot.Load, Decider: scripted{func(_ context.Context, b *cluster.Batch) {
			b.Items[0].Err, b.Items[0].Allowed = tt.err, tt.err == nil
		}}})
		b := &limiter.Batch{Requests: []limiter.Request{request("shop", "client", "a")}}
		l.Check(t.Context(), b)
		v := &b.Verdicts[0]
		if tt.err == nil {
			if v.Err != nil || !v.Allowed {
				t.Errorf("no error became %v", v.Err)
			}
			continue
		}
		if v.Err == nil || v.Err.Code != tt.code || v.Err.Message == "" {
			t.Errorf("%v became %+v, want code %d", tt.err, v.Err, tt.code)
		}
	}
}

func TestDeadline(t *testing.T) {
	w := newWorld(t, shop)
	var seen context.Context
	var checkInside func(ctx context.Context)
	l := limiter.New(limiter.Config{Policies: w.snapshot.Load, CheckTimeout: 20 * time.Millisecond, Decider: scripted{func(ctx context.Context, b *cluster.Batch) {
		seen = ctx
		b.Items[0].Allowed = true
		checkInside(ctx)
	}}})
	b := &limiter.Batch{}
	check := func(ctx context.Context, inside func(ctx context.Context)) {
		b.Reset()
		b.Requests = append(b.Requests, request("shop", "client", "a"))
		checkInside = inside
		l.Check(ctx, b)
	}
	own, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	check(own, func(ctx context.Context) {
		if ctx != own {
			t.Error("a deadline of the caller's own was replaced")
		}
	})
	check(t.Context(), func(ctx context.Context) {
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > 20*time.Millisecond {
			t.Errorf("deadline %v, %v: want one within 20ms", end, ok)
		}
		if err := ctx.Err(); err != nil {
			t.Errorf("over at once: %v", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Error("Done is not closed at the deadline")
		}
		if err := ctx.Err(); err != context.DeadlineExceeded {
			t.Errorf("Err = %v after the deadline", err)
		}
	})
	was := seen
	check(t.Context(), func(ctx context.Context) {
		if ctx == was {
			t.Error("a context that was waited for is used again")
		}
		if err := ctx.Err(); err != nil {
			t.Errorf("the next check begins with %v", err)
		}
	})
	gone, leave := context.WithCancel(t.Context())
	leave()
	check(gone, func(ctx context.Context) {
		if err := ctx.Err(); err != context.Canceled {
			t.Errorf("Err = %v where the caller is gone", err)
		}
	})
}

func TestKeys(t *testing.T) {
	w := newWorld(t, shop, `domain: "*"
policies:
  - {name: cap, key: [], limits: [{name: all, algorithm: fixed_window, rate: 100/day}]}
`)
	acme := request("shop", "client", "acme")
	for range 5 {
		w.check(t, acme)
	}
	look := func() map[string]int64 {
		t.Helper()
		limits, version, err := w.Inspect(t.Context(), acme, "")
		if err != nil || version != 1 {
			t.Fatalf("Inspect: version %d, %v", version, err)
		}
		left := map[string]int64{}
		for _, s := range limits {
			left[s.Limit.Name] = s.Remaining
		}
		return left
	}
	if left := look(); left["pace"] != 0 || left["day"] != 3 || left["all"] != 95 {
		t.Errorf("left %v, want 0, 3 and 95", left)
	}
	limits, err := w.Reset(t.Context(), acme, "per-client")
	if err != nil || len(limits) != 2 {
		t.Fatalf("Reset = %d limits, %v; want 2", len(limits), err)
	}
	if left := look(); left["pace"] != 5 || left["day"] != 8 || left["all"] != 95 {
		t.Errorf("left %v after a reset of per-client, want 5, 8 and 95", left)
	}
	if _, err := w.Reset(t.Context(), acme, ""); err != nil {
		t.Fatal(err)
	}
	if left := look(); left["all"] != 100 {
		t.Errorf("left %v after a reset of all that applies", left)
	}
	for name, tt := range map[string]struct {
		r      limiter.Request
		policy string
		code   limiter.Code
	}{
		"no such policy":   {acme, "nope", limiter.NotFound},
		"no key attribute": {request("shop", "path", "/"), "per-client", limiter.InvalidArgument},
		"bad domain":       {request("*", "client", "acme"), "", limiter.InvalidArgument},
	} {
		_, _, err := w.Inspect(t.Context(), tt.r, tt.policy)
		var e *limiter.Error
		if !errors.As(err, &e) || e.Code != tt.code {
			t.Errorf("%s: %v, want code %d", name, err, tt.code)
		}
	}
}

func TestPermits(t *testing.T) {
	w := newWorld(t, `domain: d
policies:
  - {name: a, key: [k], limits: [{name: held, algorithm: concurrency, permits: 3, ttl: 60s}]}
`)
	take := func(hits int64, peek bool) *limiter.LimitStatus {
		r := request("d", "k", "1")
		r.Hits, r.Peek = hits, peek
		v := w.check(t, r)
		if v.Err != nil {
			t.Fatal(v.Err)
		}
		return &v.Limits[0]
	}
	if take(1, true).HasPermit() {
		t.Error("a peek got a permit")
	}
	first := take(2, false)
	if !first.HasPermit() {
		t.Fatal("no permit")
	}
	permit := first.AppendPermit(nil)
	if len(permit) > 64 {
		t.Errorf("a permit of %d bytes, want at most 64", len(permit))
	}
	if s := take(2, false); s.Allowed || s.HasPermit() {
		t.Errorf("two more of three: allowed %v, permit %v", s.Allowed, s.HasPermit())
	}
	if n, err := w.Release(t.Context(), [][]byte{permit}); n != 2 || err != nil {
		t.Errorf("Release = %d, %v, want 2", n, err)
	}
	if n, err := w.Release(t.Context(), [][]byte{permit}); n != 0 || err != nil {
		t.Errorf("a second Release = %d, %v, want 0", n, err)
	}
	if s := take(3, false); !s.Allowed {
		t.Error("released permits are not free")
	}
	for _, bad := range [][]byte{nil, {1}, append([]byte{9}, permit[1:]...), append(permit, 0)} {
		_, err := w.Release(t.Context(), [][]byte{permit, bad})
		var e *limiter.Error
		if !errors.As(err, &e) || e.Code != limiter.InvalidArgument || e.Field != "permits[1]" {
			t.Errorf("Release of %x: %v, want InvalidArgument of permits[1]", bad, err)
		}
	}
	if _, err := w.Release(t.Context(), make([][]byte, limiter.MaxItems+1)); err == nil {
		t.Error("10,001 permits were taken")
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t, shop)
	many := request("shop")
	for i := range limiter.MaxAttributes + 1 {
		many.Attributes = append(many.Attributes, policy.Attribute{Key: "a" + strings.Repeat("b", i), Value: "1"})
	}
	full := request("shop")
	full.Attributes = many.Attributes[:limiter.MaxAttributes]
	tests := []struct {
		name    string
		request limiter.Request
		field   string // "" = fine
	}{
		{"all there is of names", request("A-z_0.9:", "A-z_0.9:", "x"), ""},
		{"longest", request(strings.Repeat("d", 64), strings.Repeat("n", 64), strings.Repeat("v", 2048)), ""},
		{"32 attributes", full, ""},
		{"no attributes", request("shop"), ""},
		{"no domain", request(""), "domain"},
		{"long domain", request(strings.Repeat("d", 65)), "domain"},
		{"domain with a space", request("my shop"), "domain"},
		{"global domain", request("*"), "domain"},
		{"33 attributes", many, "attributes"},
		{"no name", request("shop", "a", "1", "", "1"), "attributes[1].key"},
		{"long name", request("shop", strings.Repeat("n", 65), "1"), "attributes[0].key"},
		{"name with a letter of another script", request("shop", "größe", "1"), "attributes[0].key"},
		{"name twice", request("shop", "a", "1", "b", "2", "a", "3"), "attributes[2].key"},
		{"no value", request("shop", "a", "1", "b", ""), "attributes[1].value"},
		{"long value", request("shop", "a", strings.Repeat("v", 2049)), "attributes[0].value"},
		{"value that is no UTF-8", request("shop", "a", "1", "b", "2", "c", "a\xff"), "attributes[2].value"},
		{"no address", request("shop", "client_ip", "localhost"), "attributes[0].value"},
		{"address with a port", request("shop", "a", "1", "client_ip", "10.0.0.1:80"), "attributes[1].value"},
		{"negative hits", limiter.Request{Domain: "shop", Hits: -1}, "hits"},
	}
	together := &limiter.Batch{}
	for _, tt := range tests {
		v := w.check(t, tt.request)
		switch {
		case tt.field == "" && v.Err != nil:
			t.Errorf("%s: %v", tt.name, v.Err)
		case tt.field != "" && (v.Err == nil || v.Err.Field != tt.field || v.Err.Code != limiter.InvalidArgument || !strings.Contains(v.Err.Message, " ")):
			t.Errorf("%s: %+v, want InvalidArgument of %s", tt.name, v.Err, tt.field)
		}
		together.Requests = append(together.Requests, request("shop", "a", "1"), tt.request, tt.request)
	}
	w.Check(t.Context(), together)
	for i, tt := range tests {
		for j, want := range []bool{false, tt.field != "", tt.field != ""} {
			if got := together.Verdicts[3*i+j].Err; (got != nil) != want {
				t.Errorf("%s, in a batch, place %d: %v", tt.name, j, got)
			}
		}
	}
}
