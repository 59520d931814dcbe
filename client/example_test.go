package client_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/weir-io/weir/client"
)

// The README and docs/client.md quote the bodies of these examples; readme_test.go keeps
// them equal.

// Example puts a handler behind the policies of domain shop-api.
func Example() {
	weir, err := client.Dial("127.0.0.1:7070", "127.0.0.1:7080", "127.0.0.1:7090")
	if err != nil {
		log.Fatal(err)
	}
	limit := client.Middleware(weir, func(r *http.Request) client.Request {
		return client.Request{
			Domain: "shop-api",
			Attributes: []client.Attribute{
				client.Attr("client", r.Header.Get("X-Client")),
				client.Attr("method", r.Method),
				client.Attr("path", r.URL.Path),
			},
		}
	}, client.MiddlewareOptions{})
	orders := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "your orders\n")
	})
	http.Handle("/v1/orders/", limit(orders))
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}

// ExampleClient_Check asks about one request and reads the verdict.
func ExampleClient_Check() {
	weir, err := client.Dial("127.0.0.1:7070")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	v, err := weir.Check(ctx, client.Request{
		Domain:     "shop-api",
		Attributes: []client.Attribute{client.Attr("client", "acme"), client.Attr("path", "/v1/orders/7")},
		Hits:       5,
	})
	switch {
	case err != nil:
		log.Print("no verdict: ", err)
	case v.Allowed:
		time.Sleep(v.Wait) // a leaky bucket's; 0 for all others
		log.Printf("%d of %d left", v.Remaining, v.Limit)
	case v.RetryAfter == client.Never:
		log.Printf("5 hits never fit into %s/%s", v.Policy, v.LimitName)
	default:
		log.Printf("denied by %s/%s: again in %v", v.Policy, v.LimitName, v.RetryAfter)
	}
}

// ExampleClient_Release holds a place in a concurrency limit while it works.
func ExampleClient_Release() {
	weir, err := client.Dial("127.0.0.1:7070")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	v, err := weir.Check(ctx, client.Request{
		Domain:     "demo",
		Attributes: []client.Attribute{client.Attr("user", "alice"), client.Attr("path", "/v1/exports/9")},
	})
	if err != nil || !v.Allowed {
		return
	}
	// Work. Where the process dies here, the place frees itself after the limit's ttl.
	if _, err := weir.Release(ctx, v.Permits()...); err != nil {
		log.Print("the ttl will free it: ", err)
	}
}
