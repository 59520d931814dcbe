package client_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// A server is a node as a client sees it: real sockets, answers as told.
type server struct {
	weirv1.UnimplementedLimiterServer
	addr string
	grpc *grpc.Server

	mu       sync.Mutex
	check    func(context.Context, *weirv1.CheckRequest) (*weirv1.CheckResponse, error) // guarded by mu
	checks   int                                                                        // guarded by mu
	released [][]byte                                                                   // guarded by mu
}

// allow answers every check with yes.
func allow(context.Context, *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
	return &weirv1.CheckResponse{Allowed: true, Reason: weirv1.Reason_REASON_OK}, nil
}

// answer always gives the same answer.
func answer(r *weirv1.CheckResponse) func(context.Context, *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
	return func(context.Context, *weirv1.CheckRequest) (*weirv1.CheckResponse, error) { return r, nil }
}

// refuse always fails.
func refuse(err error) func(context.Context, *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
	return func(context.Context, *weirv1.CheckRequest) (*weirv1.CheckResponse, error) { return nil, err }
}

func startServer(t testing.TB, check func(context.Context, *weirv1.CheckRequest) (*weirv1.CheckResponse, error)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, check)
}

func serveOn(t testing.TB, l net.Listener, check func(context.Context, *weirv1.CheckRequest) (*weirv1.CheckResponse, error)) *server {
	t.Helper()
	s := &server{addr: l.Addr().String(), grpc: grpc.NewServer(), check: check}
	weirv1.RegisterLimiterServer(s.grpc, s)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.grpc.Serve(l); err != nil {
			t.Errorf("serve on %s: %v", s.addr, err)
		}
	})
	t.Cleanup(func() {
		s.grpc.Stop()
		wg.Wait()
	})
	return s
}

func (s *server) Check(ctx context.Context, r *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
	s.mu.Lock()
	s.checks++
	check := s.check
	s.mu.Unlock()
	return check(ctx, r)
}

func (s *server) CheckBatch(ctx context.Context, r *weirv1.CheckBatchRequest) (*weirv1.CheckBatchResponse, error) {
	resp := &weirv1.CheckBatchResponse{}
	for _, item := range r.GetRequests() {
		one, err := s.Check(ctx, item)
		if err != nil {
			return nil, err
		}
		resp.Responses = append(resp.Responses, one)
	}
	return resp, nil
}

func (s *server) Release(_ context.Context, r *weirv1.ReleaseRequest) (*weirv1.ReleaseResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = append(s.released, r.GetPermits()...)
	return &weirv1.ReleaseResponse{Released: uint32(len(r.GetPermits()))}, nil
}

// counts returns how many checks came in and which permits came back.
func (s *server) counts() (checks int, released [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checks, s.released
}

// deadAddr returns an address that refuses connections.
func deadAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return addr
}

// silentAddr returns an address that takes connections and never says a word, as one
// behind a firewall that drops packets.
func silentAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
