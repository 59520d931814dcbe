package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

const (
	// DefaultTimeout bounds a call whose context has no deadline.
	DefaultTimeout = 500 * time.Millisecond

	// maxAnswer is how large an answer may grow, in bytes: a full batch with the
	// status of several limits each.
	maxAnswer = 8 << 20
	// maxBackoff lies between two attempts to connect to a node that is away. A node
	// that restarts should be found again within about a second.
	maxBackoff = time.Second
)

// A Client talks to the nodes of one cluster.
type Client struct {
	nodes   []*node
	prefer  atomic.Int64 // place in nodes of the one to ask first
	timeout time.Duration
}

// A node is one address and its connection.
type node struct {
	addr    string
	conn    *grpc.ClientConn
	limiter weirv1.LimiterClient
}

// An Option changes how a Client works.
type Option func(*settings)

type settings struct {
	timeout time.Duration
	grpc    []grpc.DialOption
}

// WithTimeout bounds calls whose context has no deadline; the default is
// [DefaultTimeout]. Too low, and a slow moment of a node becomes a request without a
// verdict; too high, and callers queue up behind a node that hangs.
func WithTimeout(d time.Duration) Option {
	return func(s *settings) { s.timeout = d }
}

// WithGRPC adds options to every connection, after the client's own. Without
// transport credentials among them, connections are not encrypted.
func WithGRPC(opts ...grpc.DialOption) Option {
	return func(s *settings) { s.grpc = append(s.grpc, opts...) }
}

// Dial returns a client of the nodes at the given gRPC addresses, each host:port. It
// does not wait for any of them: connections are made by the first calls, and made
// again when they break.
func Dial(addrs ...string) (*Client, error) {
	return New(addrs)
}

// New is [Dial] with options.
func New(addrs []string, opts ...Option) (*Client, error) {
	s := settings{timeout: DefaultTimeout}
	for _, opt := range opts {
		opt(&s)
	}
	switch {
	case len(addrs) == 0:
		return nil, errors.New("client: no address: give the gRPC address of at least one node")
	case s.timeout <= 0:
		return nil, fmt.Errorf("client: timeout %v is not positive", s.timeout)
	}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // another attempt is another address
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: maxBackoff,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	}, s.grpc...)
	c := &Client{timeout: s.timeout}
	for _, addr := range addrs {
		conn, err := grpc.NewClient(addr, dial...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("client: address %q: %w", addr, err), c.Close())
		}
		c.nodes = append(c.nodes, &node{addr: addr, conn: conn, limiter: weirv1.NewLimiterClient(conn)})
	}
	return c, nil
}

// DialContext is [New] that waits until one of the nodes is connected. Where ctx ends
// before that, its error wraps [ErrNoNode] and there is no client.
func DialContext(ctx context.Context, addrs []string, opts ...Option) (*Client, error) {
	c, err := New(addrs, opts...)
	if err != nil {
		return nil, err
	}
	if err := c.awaitAny(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// awaitAny waits until a node is connected and prefers the one that was first.
func (c *Client) awaitAny(ctx context.Context) error {
	wait, stop := context.WithCancel(ctx)
	defer stop()
	first := make(chan int, len(c.nodes))
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() {
			for {
				state := n.conn.GetState()
				switch state {
				case connectivity.Ready:
					first <- i
					stop()
					return
				case connectivity.Idle:
					n.conn.Connect()
				}
				if !n.conn.WaitForStateChange(wait, state) {
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case i := <-first:
		c.prefer.Store(int64(i))
		return nil
	default:
		return fmt.Errorf("connect to any of %d addresses: %w: %w", len(c.nodes), ErrNoNode, context.Cause(ctx))
	}
}

// Close closes the connections. Calls under way fail.
func (c *Client) Close() error {
	var errs []error
	for _, n := range c.nodes {
		if err := n.conn.Close(); err != nil {
			errs = append(errs, fmt.Errorf("client: close the connection to %s: %w", n.addr, err))
		}
	}
	return errors.Join(errs...)
}
