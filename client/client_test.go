package client_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-io/weir/client"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t testing.TB, addrs ...string) *client.Client {
	t.Helper()
	c, err := client.Dial(addrs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// A door turns connections away until it is open.
type door struct {
	net.Listener
	open atomic.Bool
}

func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil || d.open.Load() {
			return conn, err
		}
		_ = conn.Close()
	}
}

func TestCheckCarriesEverything(t *testing.T) {
	var got *weirv1.CheckRequest
	s := startServer(t, func(_ context.Context, r *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
		got = r
		return &weirv1.CheckResponse{
			Allowed: true, Reason: weirv1.Reason_REASON_OK, Policy: "client-rate", LimitName: "day", Algorithm: weirv1.Algorithm_ALGORITHM_SLIDING_WINDOW,
			Limit: 10000, Remaining: 7, Reset_: 102413.5, RetryAfter: 0, Wait: 0.25, PolicyVersion: 9,
			Degraded: true, DegradedReason: weirv1.DegradedReason_DEGRADED_REASON_OWN_RIGHT,
			Others: []*weirv1.LimitStatus{{
				Policy: "exports", LimitName: "1", Algorithm: weirv1.Algorithm_ALGORITHM_CONCURRENCY, Limit: 2, Mode: weirv1.Mode_MODE_SHADOW, RetryAfter: -1, Permit: []byte("p"),
			}},
		}, nil
	})
	c := dial(t, s.addr)
	v, err := c.Check(t.Context(), client.Request{
		Domain: "shop", Hits: 3, Peek: true, Attributes: []client.Attribute{client.Attr("client", "acme"), client.Attr("tier", "")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.GetAttributes()) != 1 || got.GetAttributes()[0].GetValue() != "acme" || got.GetDomain() != "shop" || got.GetHits() != 3 || !got.GetPeek() {
		t.Errorf("the node got %v; want client=acme alone, for an attribute without a value is none", got)
	}
	want := client.Verdict{
		LimitStatus: client.LimitStatus{
			Allowed: true, Policy: "client-rate", LimitName: "day", Algorithm: "sliding_window", Limit: 10000, Remaining: 7,
			Reset: 102413500 * time.Millisecond, Wait: 250 * time.Millisecond, Degraded: true, DegradedReason: "own_right",
		},
		Reason: client.OK, PolicyVersion: 9,
		Others: []client.LimitStatus{{Policy: "exports", LimitName: "1", Algorithm: "concurrency", Limit: 2, RetryAfter: client.Never, Shadow: true, Permit: client.Permit("p")}},
	}
	if !reflect.DeepEqual(v, want) {
		t.Errorf("verdict\n%+v, want\n%+v", v, want)
	}
	if held := v.Permits(); len(held) != 1 || !bytes.Equal(held[0], []byte("p")) {
		t.Errorf("permits %q, want that of exports", held)
	}
}

func TestRetryAfterIsNeverEarly(t *testing.T) {
	for _, row := range []struct {
		seconds float64
		want    time.Duration
	}{
		{0, 0},
		{0.1, 100 * time.Millisecond},
		{1.000001, 1000001 * time.Microsecond},
		{31.2, 31200 * time.Millisecond},
		{1e-9, time.Microsecond}, // finer than the protocol promises
		{86399.999999, 86399999999 * time.Microsecond},
		{-1, client.Never},
		{1e12, math.MaxInt64},
	} {
		s := startServer(t, answer(&weirv1.CheckResponse{Reason: weirv1.Reason_REASON_LIMITED, RetryAfter: row.seconds}))
		v, err := dial(t, s.addr).Check(t.Context(), client.Request{Domain: "d"})
		if err != nil || v.RetryAfter != row.want {
			t.Errorf("retry_after %v s = %v (%v), want %v", row.seconds, v.RetryAfter, err, row.want)
		}
	}
}

func TestFailover(t *testing.T) {
	unavailable := status.Error(codes.Unavailable, "starting")
	t.Run("first address refuses connections", func(t *testing.T) {
		s := startServer(t, allow)
		c := dial(t, deadAddr(t), s.addr)
		for range 3 {
			if ok, err := c.Allow(t.Context(), "d", client.Attr("user", "1")); !ok || err != nil {
				t.Fatalf("Allow = %v, %v; want the second address to answer", ok, err)
			}
		}
		if n, _ := s.counts(); n != 3 {
			t.Errorf("%d checks at the second address, want 3", n)
		}
	})
	t.Run("first address keeps silent", func(t *testing.T) {
		s := startServer(t, allow)
		c := dial(t, silentAddr(t), s.addr)
		if ok, err := c.Allow(t.Context(), "d"); !ok || err != nil {
			t.Fatalf("Allow = %v, %v; want the second address to answer within the deadline", ok, err)
		}
	})
	t.Run("the one that answered is asked first", func(t *testing.T) {
		a, b := startServer(t, refuse(unavailable)), startServer(t, allow)
		c := dial(t, a.addr, b.addr)
		for range 3 {
			if ok, err := c.Allow(t.Context(), "d"); !ok || err != nil {
				t.Fatalf("Allow = %v, %v", ok, err)
			}
		}
		if n, _ := a.counts(); n != 1 {
			t.Errorf("%d checks at the address that is unavailable, want 1", n)
		}
	})
	t.Run("each address once", func(t *testing.T) {
		a, b, gone := startServer(t, refuse(unavailable)), startServer(t, refuse(unavailable)), deadAddr(t)
		_, err := dial(t, a.addr, gone, b.addr).Allow(t.Context(), "d")
		if !errors.Is(err, client.ErrNoNode) || status.Code(err) != codes.Unavailable {
			t.Errorf("error %v, want ErrNoNode with status UNAVAILABLE", err)
		}
		for _, addr := range []string{a.addr, gone, b.addr} {
			if err == nil || strings.Count(err.Error(), addr+": rpc error") != 1 {
				t.Errorf("error %v, want %s in it once", err, addr)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("error %q, want one line", err)
		}
		na, _ := a.counts()
		nb, _ := b.counts()
		if na != 1 || nb != 1 {
			t.Errorf("%d and %d attempts, want 1 each", na, nb)
		}
	})
	t.Run("a wrong request is wrong everywhere", func(t *testing.T) {
		a, b := startServer(t, refuse(status.Error(codes.InvalidArgument, "domain: is empty"))), startServer(t, allow)
		_, err := dial(t, a.addr, b.addr).Check(t.Context(), client.Request{})
		if status.Code(err) != codes.InvalidArgument || errors.Is(err, client.ErrNoNode) {
			t.Errorf("error %v, want INVALID_ARGUMENT alone", err)
		}
		if n, _ := b.counts(); n != 0 {
			t.Errorf("%d checks at the second address, want none", n)
		}
	})
	t.Run("a node that comes back is found", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		door := &door{Listener: l}
		c := dial(t, serveOn(t, door, allow).addr)
		if _, err := c.Allow(t.Context(), "d"); !errors.Is(err, client.ErrNoNode) {
			t.Fatalf("error %v, want ErrNoNode", err)
		}
		door.open.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for {
			ok, err := c.Allow(ctx, "d")
			if ok {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("not found again: %v", err)
			}
		}
	})
}

func TestDeadline(t *testing.T) {
	hang := func(ctx context.Context, _ *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	t.Run("of the caller", func(t *testing.T) {
		c := dial(t, startServer(t, hang).addr)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := c.Check(ctx, client.Request{Domain: "d"})
		if !errors.Is(err, client.ErrNoNode) || status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("error %v, want ErrNoNode with status DEADLINE_EXCEEDED", err)
		}
	})
	t.Run("of the client", func(t *testing.T) {
		left := make(chan time.Duration, 1)
		s := startServer(t, func(ctx context.Context, r *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
			deadline, _ := ctx.Deadline()
			left <- time.Until(deadline)
			return allow(ctx, r)
		})
		c := dial(t, s.addr)
		if _, err := c.Allow(t.Context(), "d"); err != nil {
			t.Fatal(err)
		}
		if d := <-left; d <= 0 || d > client.DefaultTimeout {
			t.Errorf("the node was told %v, want at most %v", d, client.DefaultTimeout)
		}
	})
	t.Run("a silent node does not cost the next call its time", func(t *testing.T) {
		a, b := startServer(t, hang), startServer(t, allow)
		c := dial(t, a.addr, b.addr)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := c.Allow(ctx, "d"); !errors.Is(err, client.ErrNoNode) {
			t.Fatalf("error %v, want ErrNoNode", err)
		}
		if ok, err := c.Allow(t.Context(), "d"); !ok || err != nil {
			t.Errorf("Allow = %v, %v; want the other node to answer", ok, err)
		}
		if n, _ := a.counts(); n != 1 {
			t.Errorf("%d checks at the silent node, want 1", n)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		b := startServer(t, allow)
		ctx, cancel := context.WithCancel(t.Context())
		a := startServer(t, func(own context.Context, r *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
			cancel()
			return hang(own, r)
		})
		_, err := dial(t, a.addr, b.addr).Check(ctx, client.Request{Domain: "d"})
		if !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrNoNode) {
			t.Errorf("error %v, want context.Canceled and no other", err)
		}
		if n, _ := b.counts(); n != 0 {
			t.Errorf("%d checks at the second address, want none", n)
		}
	})
}

func TestCheckBatch(t *testing.T) {
	s := startServer(t, func(_ context.Context, r *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
		if r.GetDomain() == "" {
			return &weirv1.CheckResponse{Error: &weirv1.ItemError{Code: int32(codes.InvalidArgument), Field: "domain", Message: "is empty"}}, nil
		}
		return &weirv1.CheckResponse{Allowed: r.GetHits() < 2}, nil
	})
	c := dial(t, deadAddr(t), s.addr)
	got, err := c.CheckBatch(t.Context(), []client.Request{{Domain: "d"}, {}, {Domain: "d", Hits: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || !got[0].Allowed || got[0].Err != nil || got[2].Allowed || got[2].Err != nil {
		t.Errorf("verdicts %+v, want yes, error, no", got)
	}
	if err := got[1].Err; status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "domain: is empty") {
		t.Errorf("error of the second: %v, want INVALID_ARGUMENT that names the field", err)
	}
}

func TestRelease(t *testing.T) {
	s := startServer(t, allow)
	c := dial(t, deadAddr(t), s.addr)
	if n, err := c.Release(t.Context(), client.Permit("a"), client.Permit("b")); n != 2 || err != nil {
		t.Errorf("Release = %d, %v; want 2", n, err)
	}
	if n, err := c.Release(t.Context()); n != 0 || err != nil {
		t.Errorf("Release of nothing = %d, %v", n, err)
	}
	if _, released := s.counts(); len(released) != 2 || string(released[0]) != "a" || string(released[1]) != "b" {
		t.Errorf("released %q, want a and b", released)
	}
}

// An answer grows beyond what gRPC takes by default.
func TestLargeAnswer(t *testing.T) {
	name := strings.Repeat("n", 64)
	full := &weirv1.CheckResponse{Allowed: true, Policy: name, LimitName: name}
	for range 4 {
		full.Others = append(full.Others, &weirv1.LimitStatus{Allowed: true, Policy: name, LimitName: name})
	}
	s := startServer(t, answer(full))
	c := dial(t, s.addr)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := c.CheckBatch(ctx, make([]client.Request, 10_000))
	if err != nil || len(got) != 10_000 || len(got[9_999].Others) != 4 {
		t.Fatalf("%d verdicts, %v; want 10,000 with the status of five limits each", len(got), err)
	}
}

func TestDial(t *testing.T) {
	if _, err := client.Dial(); err == nil {
		t.Error("Dial of nothing succeeded")
	}
	if _, err := client.New([]string{"127.0.0.1:1"}, client.WithTimeout(0)); err == nil {
		t.Error("New with a timeout of 0 succeeded")
	}
	s := startServer(t, allow)
	c, err := client.DialContext(t.Context(), []string{deadAddr(t), s.addr}, client.WithTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := c.Allow(t.Context(), "d"); !ok || err != nil {
		t.Errorf("Allow = %v, %v", ok, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Allow(t.Context(), "d"); err == nil {
		t.Error("Allow after Close succeeded")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.DialContext(ctx, []string{deadAddr(t)}); !errors.Is(err, client.ErrNoNode) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("DialContext of a dead address: %v, want ErrNoNode and the context's error", err)
	}
}
