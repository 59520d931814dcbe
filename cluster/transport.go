package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// The first bytes of a connection say whose it is. Both openings have the same
// length, so one read decides and raft finds nothing of it left in the stream.
const (
	raftPreface = "weir-raft/1\n"
	grpcPreface = "PRI * HTTP/2" // what every HTTP/2 client sends first
)

const (
	greeting    = 5 * time.Second // for the first bytes, and until somebody takes the connection
	maxGreeting = 256             // connections that nobody took yet; more are closed at once
)

// A Transport is the peer listener: gRPC and raft on one port.
type Transport struct {
	listener    net.Listener
	raft, peers *inlet

	done chan struct{} // closed by Close
	wg   sync.WaitGroup

	mu       sync.Mutex
	closed   bool                  // guarded by mu
	greeting map[net.Conn]struct{} // guarded by mu; whose first bytes are awaited
	pending  int                   // guarded by mu; those and the ones nobody took yet
	err      error                 // guarded by mu; of the first Close
}

// Listen binds the peer listener. Connections wait until Raft's and Peers' listeners
// take them. The error wraps syscall.EADDRINUSE where the port is taken.
func Listen(addr string) (*Transport, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for peers: %w", err)
	}
	t := &Transport{
		listener: l, raft: newInlet(l.Addr()), peers: newInlet(l.Addr()),
		done: make(chan struct{}), greeting: make(map[net.Conn]struct{}),
	}
	t.wg.Go(t.accept)
	return t, nil
}

// Addr returns where the transport listens.
func (t *Transport) Addr() net.Addr { return t.listener.Addr() }

// Peers returns the connections of gRPC. Closing it leaves raft's alone.
func (t *Transport) Peers() net.Listener { return t.peers }

// Raft returns the connections of raft. advertise is the host:port others dial.
// Closing it leaves gRPC's alone.
func (t *Transport) Raft(advertise string) raft.StreamLayer {
	return raftLayer{inlet: t.raft, advertise: advertised(advertise)}
}

// Close stops listening and waits for all the transport started. Connections that
// were handed out are their takers'. It may be called again.
func (t *Transport) Close() error {
	t.mu.Lock()
	first := !t.closed
	if first {
		t.closed = true
		close(t.done)
		t.err = t.listener.Close()
		for c := range t.greeting {
			_ = c.Close() // nobody has read from it
		}
	}
	err := t.err
	t.mu.Unlock()
	if first {
		err = errors.Join(err, t.raft.Close(), t.peers.Close())
	}
	t.wg.Wait()
	if err != nil {
		return fmt.Errorf("close the peer listener: %w", err)
	}
	return nil
}

func (t *Transport) accept() {
	var pause time.Duration
	for {
		c, err := t.listener.Accept()
		if err == nil {
			pause = 0
			t.greet(c)
			continue
		}
		// Out of file descriptors, most likely: some will be closed again.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		again := time.NewTimer(pause)
		select {
		case <-t.done:
			again.Stop()
			return
		case <-again.C:
		}
	}
}

// greet finds out in a goroutine of its own whose connection it is.
func (t *Transport) greet(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.pending >= maxGreeting {
		_ = c.Close() // nobody has read from it
		return
	}
	t.greeting[c] = struct{}{}
	t.pending++
	t.wg.Go(func() {
		to, routed := t.route(c)
		t.mu.Lock()
		delete(t.greeting, c)
		t.mu.Unlock()
		if to == nil || !to.offer(routed, t.done) {
			_ = c.Close() // its first bytes were all there was of it
		}
		t.mu.Lock()
		t.pending--
		t.mu.Unlock()
	})
}

// route reads the first bytes and returns whose they are, with a connection that
// reads as if nothing had been read, except for raft's preface.
func (t *Transport) route(c net.Conn) (*inlet, net.Conn) {
	if c.SetReadDeadline(time.Now().Add(greeting)) != nil {
		return nil, nil
	}
	head := make([]byte, len(raftPreface))
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, nil
	}
	if c.SetReadDeadline(time.Time{}) != nil {
		return nil, nil
	}
	switch string(head) {
	case raftPreface:
		return t.raft, c
	case grpcPreface:
		return t.peers, &peeked{Conn: c, head: head}
	}
	return nil, nil
}

// A peeked connection gives the bytes back that were read to route it.
type peeked struct {
	net.Conn
	head []byte
}

// Read reads the first bytes, then what came since.
func (p *peeked) Read(b []byte) (int, error) {
	if len(p.head) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.head)
	p.head = p.head[n:]
	return n, nil
}

// An inlet is a listener of connections that another one accepted.
type inlet struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{} // closed by Close
}

func newInlet(addr net.Addr) *inlet {
	return &inlet{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// offer reports whether somebody took the connection in time.
func (i *inlet) offer(c net.Conn, stop <-chan struct{}) bool {
	late := time.NewTimer(greeting)
	defer late.Stop()
	select {
	case i.conns <- c:
		return true
	case <-i.done:
	case <-stop:
	case <-late.C:
	}
	return false
}

// Accept waits for the next connection.
func (i *inlet) Accept() (net.Conn, error) {
	select {
	case <-i.done: // closed wins over what is on offer
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-i.conns:
		return c, nil
	case <-i.done:
		return nil, net.ErrClosed
	}
}

// Close makes Accept return net.ErrClosed. It may be called again.
func (i *inlet) Close() error {
	i.once.Do(func() { close(i.done) })
	return nil
}

// Addr returns where the real listener is bound.
func (i *inlet) Addr() net.Addr { return i.addr }

// advertised is the address others dial, which may be a name.
type advertised string

// Network returns tcp.
func (advertised) Network() string { return "tcp" }

func (a advertised) String() string { return string(a) }

// raftLayer is how raft takes and makes connections.
type raftLayer struct {
	*inlet
	advertise advertised
}

// Addr returns what other servers dial.
func (l raftLayer) Addr() net.Addr { return l.advertise }

// Dial connects to another server and says that this is raft.
func (l raftLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", string(addr))
	if err != nil {
		return nil, fmt.Errorf("dial raft at %s: %w", addr, err)
	}
	end, _ := ctx.Deadline()
	if err = c.SetWriteDeadline(end); err == nil {
		if _, err = io.WriteString(c, raftPreface); err == nil {
			err = c.SetWriteDeadline(time.Time{})
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open raft's connection to %s: %w", addr, err), c.Close())
	}
	return c, nil
}
