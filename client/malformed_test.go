package client_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-io/weir/client"
)

// malformed are requests that cannot be sent at all, or not beside others: what they say
// is the caller's caller's, who must not get around a limit by it.
var malformed = map[string]struct {
	request client.Request
	field   string
}{
	"value": {client.Request{Domain: "d", Attributes: []client.Attribute{client.Attr("a", "1"), client.Attr("path", "/\xff")}}, "attributes[1].value"},
	"key":   {client.Request{Domain: "d", Attributes: []client.Attribute{client.Attr("a\xff", "1")}}, "attributes[0].key"},
	"name":  {client.Request{Domain: "d\xff"}, "domain"},
	"long":  {client.Request{Domain: "d", Attributes: []client.Attribute{client.Attr("a", strings.Repeat("x", 2<<20))}}, "attributes[0].value"},
}

func TestMalformedRequests(t *testing.T) {
	s := startServer(t, allow)
	c := dial(t, s.addr)
	for name, m := range malformed {
		if _, err := c.Check(t.Context(), m.request); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), m.field) {
			t.Errorf("%s: Check: %v, want INVALID_ARGUMENT that names %s", name, err, m.field)
		}
		good := client.Request{Domain: "d"}
		got, err := c.CheckBatch(t.Context(), []client.Request{good, m.request, good})
		if err != nil || len(got) != 3 {
			t.Fatalf("%s: CheckBatch: %d verdicts, %v", name, len(got), err)
		}
		if !got[0].Allowed || !got[2].Allowed || status.Code(got[1].Err) != codes.InvalidArgument || !strings.Contains(got[1].Err.Error(), m.field) {
			t.Errorf("%s: CheckBatch: %+v, want that its neighbours are unharmed", name, got)
		}
		if got, err := c.CheckBatch(t.Context(), []client.Request{m.request}); err != nil || len(got) != 1 || got[0].Err == nil {
			t.Errorf("%s: CheckBatch of it alone: %+v, %v", name, got, err)
		}
	}
	if n, _ := s.counts(); n != 2*len(malformed) {
		t.Errorf("%d checks at the node, want the good ones alone", n)
	}
}

// What cannot be counted is not served as if nobody had answered.
func TestMiddlewareRefusesWhatIsMalformed(t *testing.T) {
	c := dial(t, startServer(t, allow).addr)
	served := 0
	byPath := func(r *http.Request) client.Request {
		return client.Request{Domain: "d", Attributes: []client.Attribute{client.Attr("path", r.URL.Path), client.Attr("agent", r.UserAgent())}}
	}
	h := client.Middleware(c, byPath, client.MiddlewareOptions{NoAnswer: client.FailOpen})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	for _, row := range []struct {
		path, agent string
		status      int
	}{
		{"/login", "x", http.StatusOK},
		{"/login%ff", "x", http.StatusBadRequest},
		{"/login", strings.Repeat("x", 1<<20), http.StatusBadRequest},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, row.path, nil)
		r.Header.Set("User-Agent", row.agent)
		if h.ServeHTTP(w, r); w.Code != row.status {
			t.Errorf("%s by %.8s: status %d, want %d", row.path, row.agent, w.Code, row.status)
		}
	}
	if served != 1 {
		t.Errorf("%d requests served, want the good one", served)
	}
}
