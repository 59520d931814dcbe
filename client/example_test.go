package client_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/weir-io/weir/client"
	"github.com/weir-io/weir/node"
)

// The README and docs/client.md quote the bodies of these examples; readme_test.go keeps
// them equal.

// Example puts a handler behind the policies of domain shop-api.
func Example() {
	addrs, stop := runNode() // yours run already, and listen at --grpc-addr
	defer stop()
	weir, err := client.Dial(addrs...)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = weir.Close() }()

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
		_, _ = io.WriteString(w, "your orders")
	})
	service := httptest.NewServer(limit(orders))
	defer service.Close()

	for range 4 {
		req, err := http.NewRequest(http.MethodGet, service.URL+"/v1/orders/7", nil)
		if err != nil {
			log.Fatal(err)
		}
		req.Header.Set("X-Client", "acme")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		_ = resp.Body.Close()
		fmt.Println(resp.StatusCode, resp.Header["Retry-After"])
	}
	// Output:
	// 200 []
	// 200 []
	// 200 []
	// 429 [60]
}

// runNode runs a node of three requests a minute for each client until stop.
func runNode() (addrs []string, stop func()) {
	cfg := node.Default()
	cfg.NodeID, cfg.BucketMemory = "example", node.MinBucketMemory
	cfg.GRPCAddr, cfg.PeerAddr, cfg.HTTPAddr, cfg.GossipAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.SeedDocument = `domain: shop-api
policies:
  - name: client-rate
    match: {path: /v1/orders/**}
    key: [client]
    limits:
      - {name: pace, algorithm: sliding_log, rate: 3/m}
`
	n, err := node.Start(context.Background(), cfg)
	if err != nil {
		log.Fatal(err)
	}
	for tick := time.Tick(10 * time.Millisecond); n.Ready() != nil || n.Seeded() != nil; <-tick {
	}
	return []string{n.Addresses().GRPC}, n.Kill
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
