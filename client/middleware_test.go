package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-io/weir/client"
)

// A double answers checks without a network.
type double struct {
	verdict  client.Verdict
	err      error
	asked    []client.Request
	released []client.Permit
	gone     error // error of Release
}

func (d *double) Check(_ context.Context, r client.Request) (client.Verdict, error) {
	d.asked = append(d.asked, r)
	return d.verdict, d.err
}

func (d *double) Release(ctx context.Context, permits ...client.Permit) (int, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	d.released = append(d.released, permits...)
	return len(permits), d.gone
}

func byClient(r *http.Request) client.Request {
	return client.Request{Domain: "shop", Attributes: []client.Attribute{client.Attr("client", r.Header.Get("X-Client"))}}
}

// get asks the middleware for a page and returns the answer, and whether the handler ran.
func get(ctx context.Context, d *double, opts client.MiddlewareOptions, inside func()) (resp *http.Response, served bool) {
	h := client.Middleware(d, byClient, opts)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		served = true
		if inside != nil {
			inside()
		}
	}))
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/orders", nil)
	r.Header.Set("X-Client", "acme")
	h.ServeHTTP(w, r)
	return w.Result(), served
}

func detail(t *testing.T, r *http.Response) string {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" || p.Status != r.StatusCode {
		t.Errorf("body %+v as %s of an answer %d, want its problem+json", p, ct, r.StatusCode)
	}
	return p.Type + " " + p.Detail
}

func denied(retry time.Duration) client.Verdict {
	return client.Verdict{Reason: client.Limited, LimitStatus: client.LimitStatus{Policy: "client-rate", LimitName: "day", Limit: 100, RetryAfter: retry}}
}

func TestMiddlewareAllows(t *testing.T) {
	d := &double{verdict: client.Verdict{LimitStatus: client.LimitStatus{Allowed: true}}}
	resp, served := get(t.Context(), d, client.MiddlewareOptions{}, nil)
	if !served || resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, served %v; want the handler's answer", resp.StatusCode, served)
	}
	if len(d.asked) != 1 || d.asked[0].Domain != "shop" || d.asked[0].Attributes[0].Value != "acme" {
		t.Errorf("asked %+v, want what the function made of the request", d.asked)
	}
}

func TestMiddlewareDenies(t *testing.T) {
	for _, row := range []struct {
		retry time.Duration
		after string // the Retry-After
		body  string
	}{
		{time.Second, "1", "try again in 1 s"},
		{time.Second + time.Microsecond, "2", "try again in 2 s"},
		{time.Microsecond, "1", "try again in 1 s"},
		{0, "1", "try again in 1 s"},
		{31200 * time.Millisecond, "32", "try again in 32 s"},
		{client.Never, "", "it will not help"},
	} {
		resp, served := get(t.Context(), &double{verdict: denied(row.retry)}, client.MiddlewareOptions{}, nil)
		if served || resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != row.after {
			t.Errorf("retry after %v: status %d, Retry-After %q, served %v; want 429, %q", row.retry, resp.StatusCode, resp.Header.Get("Retry-After"), served, row.after)
		}
		if body := detail(t, resp); !strings.Contains(body, row.body) || !strings.Contains(body, "#quota-exceeded") {
			t.Errorf("retry after %v: body %q, want %q", row.retry, body, row.body)
		}
	}
}

func TestMiddlewareWithoutAnswer(t *testing.T) {
	for _, row := range []struct {
		name   string
		err    error
		mode   client.FailMode
		status int
		served bool
	}{
		{"open", client.ErrNoNode, client.FailOpen, 200, true},
		{"closed", client.ErrNoNode, client.FailClosed, 503, false},
		{"broken, open", status.Error(codes.Internal, "broken"), client.FailOpen, 200, true},
		{"malformed, open", status.Error(codes.InvalidArgument, "attributes[0].value: too long"), client.FailOpen, 400, false},
		{"too large, open", status.Error(codes.ResourceExhausted, "the message has 2000000 bytes"), client.FailOpen, 400, false},
		{"malformed, closed", status.Error(codes.InvalidArgument, "attributes[0].value: too long"), client.FailClosed, 400, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var told error
			opts := client.MiddlewareOptions{NoAnswer: row.mode, OnError: func(_ *http.Request, err error) { told = err }}
			resp, served := get(t.Context(), &double{err: row.err}, opts, nil)
			if resp.StatusCode != row.status || served != row.served {
				t.Errorf("status %d, served %v; want %d, %v", resp.StatusCode, served, row.status, row.served)
			}
			if !errors.Is(told, row.err) {
				t.Errorf("the hook was told %v, want %v", told, row.err)
			}
			if row.status == 503 && (resp.Header.Get("Retry-After") != "1" || !strings.Contains(detail(t, resp), "#temporary-reduced-capacity")) {
				t.Errorf("Retry-After %q, want 1, and the problem's type", resp.Header.Get("Retry-After"))
			}
			if row.status == 400 && detail(t, resp) == "" {
				t.Error("no detail")
			}
		})
	}
	t.Run("no hook", func(t *testing.T) {
		if _, served := get(t.Context(), &double{err: client.ErrNoNode}, client.MiddlewareOptions{}, nil); !served {
			t.Error("not served")
		}
	})
	t.Run("the requester is gone", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, served := get(ctx, &double{err: ctx.Err()}, client.MiddlewareOptions{}, nil); served {
			t.Error("the handler ran for nobody")
		}
	})
}

// Nothing was exceeded where nobody may decide.
func TestMiddlewareUnavailable(t *testing.T) {
	d := &double{verdict: client.Verdict{Reason: client.Unavailable, LimitStatus: client.LimitStatus{Degraded: true}}}
	resp, served := get(t.Context(), d, client.MiddlewareOptions{}, nil)
	if served || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q, served %v; want 503 with one", resp.StatusCode, resp.Header.Get("Retry-After"), served)
	}
}

func TestMiddlewareReleases(t *testing.T) {
	held := client.Verdict{
		LimitStatus: client.LimitStatus{Allowed: true, Permit: client.Permit("a")},
		Others:      []client.LimitStatus{{Allowed: true, Shadow: true, Permit: client.Permit("b")}, {Allowed: true}},
	}
	t.Run("when the handler returns", func(t *testing.T) {
		d := &double{verdict: held}
		get(t.Context(), d, client.MiddlewareOptions{}, func() {
			if len(d.released) != 0 {
				t.Error("released while the handler ran")
			}
		})
		if len(d.released) != 2 || string(d.released[0]) != "a" || string(d.released[1]) != "b" {
			t.Errorf("released %q, want a and b", d.released)
		}
	})
	t.Run("when it panics", func(t *testing.T) {
		d := &double{verdict: held}
		func() {
			defer func() { _ = recover() }()
			get(t.Context(), d, client.MiddlewareOptions{}, func() { panic("handler") })
		}()
		if len(d.released) != 2 {
			t.Errorf("released %q, want a and b", d.released)
		}
	})
	t.Run("when the requester is gone", func(t *testing.T) {
		d := &double{verdict: held, gone: client.ErrNoNode}
		ctx, cancel := context.WithCancel(t.Context())
		var told error
		opts := client.MiddlewareOptions{OnError: func(_ *http.Request, err error) { told = err }}
		get(ctx, d, opts, cancel)
		if len(d.released) != 2 || !errors.Is(told, client.ErrNoNode) {
			t.Errorf("released %q, told %v; want both, and the hook told that it failed", d.released, told)
		}
	})
}

func TestMiddlewareWaits(t *testing.T) {
	slow := client.Verdict{LimitStatus: client.LimitStatus{Allowed: true, Wait: 3 * time.Second, Permit: client.Permit("a")}}
	t.Run("for its turn", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			if _, served := get(t.Context(), &double{verdict: slow}, client.MiddlewareOptions{}, nil); !served || time.Since(began) != 3*time.Second {
				t.Errorf("served %v after %v, want after 3 s", served, time.Since(began))
			}
		})
	})
	t.Run("no longer than the requester", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			d := &double{verdict: slow}
			if _, served := get(ctx, d, client.MiddlewareOptions{}, nil); served || time.Since(began) != time.Second {
				t.Errorf("served %v after %v, want given up after 1 s", served, time.Since(began))
			}
			if len(d.released) != 1 {
				t.Error("the permit was not given back")
			}
		})
	})
}

func TestRemoteIP(t *testing.T) {
	for addr, want := range map[string]string{"192.0.2.1:1234": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "@": "", "": ""} {
		if got := client.RemoteIP(&http.Request{RemoteAddr: addr}); got != want {
			t.Errorf("RemoteIP(%q) = %q, want %q", addr, got, want)
		}
	}
}
