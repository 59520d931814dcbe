package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

const longest = 30 * time.Second // bounds every wait; a test that runs into it has failed

// within returns a context that ends when the test has failed.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	t.Cleanup(cancel)
	return ctx
}

// await waits until done returns true.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(longest)
	defer late.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("waited %v for %s", longest, what)
		}
	}
}

func listen(t testing.TB) *Transport {
	t.Helper()
	tr, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return tr
}

// dial connects to a transport and says what it is given.
func dial(t testing.TB, tr *Transport, says string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", tr.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(longest)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, says); err != nil {
		t.Fatal(err)
	}
	return c
}

// mustBeClosed fails unless the other side closes c. A reset is as good as an end:
// bytes may have been left unread.
func mustBeClosed(t testing.TB, c net.Conn, what string) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q: read %d bytes, %v; want a closed connection", what, n, err)
	}
}

func TestOnePortForGRPCAndRaft(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	tr, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	var served sync.WaitGroup
	served.Go(func() {
		if err := server.Serve(tr.Peers()); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	layer := tr.Raft("127.0.0.1:99")
	if got := layer.Addr().String(); got != "127.0.0.1:99" {
		t.Errorf("raft advertises %s, want what it was told", got)
	}

	conn, err := grpc.NewClient("passthrough:///"+tr.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := healthpb.NewHealthClient(conn).Check(within(t), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("gRPC through the shared port: %v", err)
	}

	out, err := layer.Dial(raft.ServerAddress(tr.Addr().String()), longest)
	if err != nil {
		t.Fatal(err)
	}
	in, err := layer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(out, "vote"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "vote" {
		t.Errorf("raft reads %q, %v; want what was written after the preface", got, err)
	}
	if err := errors.Join(out.Close(), in.Close(), conn.Close(), layer.Close()); err != nil {
		t.Error(err)
	}
	server.Stop()
	served.Wait()
	if err := errors.Join(tr.Close(), tr.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
}

func TestCloseUnblocksAccept(t *testing.T) {
	tr := listen(t)
	for name, l := range map[string]net.Listener{"raft": tr.Raft("x:1"), "peers": tr.Peers()} {
		failed := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			failed <- err
		}()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Accept: %v, want %v", name, err, net.ErrClosed)
		}
	}
}

func TestTransportCloseEndsAll(t *testing.T) {
	tr := listen(t)
	peers := tr.Peers()
	accepted := make(chan error, 1)
	go func() {
		_, err := peers.Accept()
		accepted <- err
	}()
	silent := dial(t, tr, "")
	unwanted := dial(t, tr, raftPreface) // nobody accepts raft's
	await(t, "both to be taken in", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.pending == 2 && len(tr.greeting) == 1
	})
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want %v", err, net.ErrClosed)
	}
	for _, c := range []net.Conn{silent, unwanted} {
		mustBeClosed(t, c, "after Close")
	}
}

func TestForeignProtocolIsClosed(t *testing.T) {
	tr := listen(t)
	for _, says := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "weir-raft/2\n", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\x00"} {
		mustBeClosed(t, dial(t, tr, says), says)
	}
}

func TestGreetingsAreBounded(t *testing.T) {
	tr := listen(t)
	for range maxGreeting {
		dial(t, tr, "")
	}
	mustBeClosed(t, dial(t, tr, ""), "one more silent connection than allowed")
}

func TestTakenPort(t *testing.T) {
	tr := listen(t)
	if _, err := Listen(tr.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listen on a taken port: %v, want %v inside", err, syscall.EADDRINUSE)
	}
}

func TestDialFails(t *testing.T) {
	tr := listen(t)
	addr := tr.Addr().String()
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := tr.Raft(addr).Dial(raft.ServerAddress(addr), time.Second); err == nil {
		t.Error("dialled a closed port", c.Close())
	}
}
