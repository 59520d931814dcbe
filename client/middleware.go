package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Problem types of draft-ietf-httpapi-ratelimit-headers.
const (
	problemQuota    = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	problemCapacity = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
)

const (
	// unavailableRetry is the Retry-After of an answer 503, in whole seconds: about
	// what a cluster needs to get over the loss of a node.
	unavailableRetry = time.Second
	// releaseTimeout bounds giving permits back after the handler has returned.
	releaseTimeout = 2 * time.Second
)

// A Checker decides requests and takes permits back. [Client] is one.
type Checker interface {
	Check(ctx context.Context, r Request) (Verdict, error)
	Release(ctx context.Context, permits ...Permit) (int, error)
}

var _ Checker = (*Client)(nil)

// A FailMode says what becomes of a request on which no verdict could be had.
type FailMode uint8

// The modes.
const (
	// FailOpen serves it, uncounted: a limiter that is away must not take the
	// service with it. The zero FailMode.
	FailOpen FailMode = iota
	// FailClosed answers 503 with a Retry-After: nothing passes unlimited.
	FailClosed
)

// MiddlewareOptions change how [Middleware] works. The zero value is ready.
type MiddlewareOptions struct {
	// NoAnswer says what happens while no node answers.
	NoAnswer FailMode
	// OnError is told why a request got no verdict, or why its permits could not be
	// given back (they free themselves after their ttl). It must not block; nil
	// ignores errors.
	OnError func(*http.Request, error)
}

// Middleware puts handlers behind c: request makes the check's Request of an HTTP
// request, and only what is allowed reaches the handler.
//
//   - A denied request is answered 429 with a problem+json body and a Retry-After that
//     is never earlier than the verdict's. Where no waiting would help there is no
//     Retry-After, and the body says so.
//   - A leaky bucket's wait is slept before the handler runs.
//   - Permits of concurrency limits are given back when the handler has returned.
//   - Where the verdict is that nobody may decide (reason unavailable) the answer is
//     503, since no quota was exceeded.
//   - Where no verdict could be had, [MiddlewareOptions.NoAnswer] decides. A request
//     that the node refuses as malformed, say for an attribute of more than 2,048
//     bytes, is answered 400 in either mode: it must not be a way around the limit.
func Middleware(c Checker, request func(*http.Request) Request, opts MiddlewareOptions) func(http.Handler) http.Handler {
	if opts.OnError == nil {
		opts.OnError = func(*http.Request, error) {}
	}
	m := &middleware{checker: c, request: request, opts: opts}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next) })
	}
}

type middleware struct {
	checker Checker
	request func(*http.Request) Request
	opts    MiddlewareOptions
}

func (m *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	v, err := m.checker.Check(r.Context(), m.request(r))
	if err != nil {
		m.undecided(w, r, next, err)
		return
	}
	if held := v.Permits(); len(held) > 0 {
		defer m.release(r, held)
	}
	switch {
	case v.Allowed && pause(r.Context(), v.Wait) != nil:
		unavailable(w, "the request was given up while it waited for its turn")
	case v.Allowed:
		next.ServeHTTP(w, r)
	case v.Reason == Unavailable:
		unavailable(w, "the request cannot be counted at the moment, and its policy admits nothing uncounted")
	default:
		deny(w, &v)
	}
}

// undecided answers a request without a verdict.
func (m *middleware) undecided(w http.ResponseWriter, r *http.Request, next http.Handler, err error) {
	m.opts.OnError(r, err)
	switch code := status.Code(err); {
	case code == codes.InvalidArgument, code == codes.ResourceExhausted: // malformed, or too large a message
		write(w, problem{Title: "Bad request", Status: http.StatusBadRequest, Detail: "the request cannot be told apart from others for rate limiting: a value in it is too long or malformed"})
	case m.opts.NoAnswer == FailOpen && r.Context().Err() == nil:
		next.ServeHTTP(w, r)
	default:
		unavailable(w, "the request cannot be counted at the moment")
	}
}

// release gives permits back. The request's context may have ended with its connection.
func (m *middleware) release(r *http.Request, held []Permit) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), releaseTimeout)
	defer cancel()
	if _, err := m.checker.Release(ctx, held...); err != nil {
		m.opts.OnError(r, err)
	}
}

// pause sleeps, and returns an error when ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deny answers 429.
func deny(w http.ResponseWriter, v *Verdict) {
	p := problem{Type: problemQuota, Title: "Too many requests", Status: http.StatusTooManyRequests}
	switch {
	case v.RetryAfter < 0:
		p.Detail = fmt.Sprintf("limit %q of policy %q admits %d at once, less than this request needs: it will not help to repeat it", v.LimitName, v.Policy, v.Limit)
		if v.Limit == 0 || v.Policy == "" {
			p.Detail = "requests like this one are not admitted: it will not help to repeat it"
		}
	default:
		after := wholeSeconds(v.RetryAfter)
		w.Header().Set("Retry-After", after)
		p.Detail = fmt.Sprintf("limit %q of policy %q has no room: try again in %s s", v.LimitName, v.Policy, after)
	}
	write(w, p)
}

// unavailable answers 503.
func unavailable(w http.ResponseWriter, detail string) {
	w.Header().Set("Retry-After", wholeSeconds(unavailableRetry))
	write(w, problem{Type: problemCapacity, Title: "Temporarily reduced capacity", Status: http.StatusServiceUnavailable, Detail: detail})
}

// wholeSeconds returns a Retry-After: whole seconds, rounded up, at least one.
func wholeSeconds(d time.Duration) string {
	s := int64(d / time.Second)
	if d%time.Second > 0 || s == 0 {
		s++
	}
	return strconv.FormatInt(s, 10)
}

// A problem is a body as RFC 9457 has it.
type problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func write(w http.ResponseWriter, p problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the requester may be gone; there is nobody else to tell
}

// RemoteIP returns the address of the peer that sent r, for an attribute client_ip; it
// is empty where the peer has none, as on a unix socket. Behind a proxy this is the
// proxy: take the address from the header that this very proxy sets, and from no
// other, since clients write headers as they like.
func RemoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}
