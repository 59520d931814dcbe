package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	maxDatagram   = 65536
	datagramBytes = 2 << 20 // of the kernel's receive buffer, or as much as it gives
	portTries     = 10      // for one number that is free for tcp and udp
)

// A gossipNet is memberlist's way to the network. The library's own hides why a port
// cannot be bound, takes a host name for every address, and leaves connections open
// when it is shut down, and with them goroutines.
type gossipNet struct {
	listener  *net.TCPListener
	datagrams *net.UDPConn
	advertise net.IP
	log       *slog.Logger

	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context // ends with Shutdown
	stop    context.CancelFunc
	wg      sync.WaitGroup // the two readers

	mu     sync.Mutex
	conns  map[*gossipConn]struct{} // guarded by mu; the open ones; nil after Shutdown
	closed bool                     // guarded by mu
}

var _ memberlist.NodeAwareTransport = (*gossipNet)(nil)

// openGossipNet binds one port for tcp and udp; 0 picks one. The error wraps
// syscall.EADDRINUSE where it is taken.
func openGossipNet(ctx context.Context, bind, advertise string, log *slog.Logger) (*gossipNet, error) {
	n := &gossipNet{
		log: log, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		conns: make(map[*gossipConn]struct{}),
	}
	if err := n.bind(bind); err != nil {
		return nil, fmt.Errorf("listen for gossip: %w", err)
	}
	var err error
	if n.advertise, err = gossipIP(ctx, n.listener.Addr().(*net.TCPAddr).IP, advertise); err != nil {
		return nil, errors.Join(err, n.listener.Close(), n.datagrams.Close())
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.wg.Go(n.accept)
	n.wg.Go(n.receive)
	return n, nil
}

func (n *gossipNet) bind(addr string) error {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		if n.listener, err = net.ListenTCP("tcp", tcp); err != nil {
			return err
		}
		bound := n.listener.Addr().(*net.TCPAddr)
		if n.datagrams, err = net.ListenUDP("udp", &net.UDPAddr{IP: tcp.IP, Port: bound.Port, Zone: tcp.Zone}); err == nil {
			break
		}
		err = errors.Join(err, n.listener.Close())
		if tcp.Port != 0 || try == portTries || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	for size := datagramBytes; size > 0 && n.datagrams.SetReadBuffer(size) != nil; size /= 2 { // what the kernel gives will do
	}
	return nil
}

// gossipIP returns the address others are told to dial: memberlist wants a number.
func gossipIP(ctx context.Context, bound net.IP, advertise string) (net.IP, error) {
	if advertise == "" {
		if bound.IsUnspecified() {
			return nil, errors.New("gossip binds every address: give --advertise with the host that others dial")
		}
		return shortIP(bound), nil
	}
	if ip := net.ParseIP(advertise); ip != nil {
		return shortIP(ip), nil
	}
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", advertise)
	if err != nil {
		return nil, fmt.Errorf("--advertise: look up %q: %w", advertise, err)
	}
	return shortIP(ips[0]), nil
}

func shortIP(ip net.IP) net.IP {
	if four := ip.To4(); four != nil {
		return four
	}
	return ip
}

// port is the one number bound for both.
func (n *gossipNet) port() int { return n.listener.Addr().(*net.TCPAddr).Port }

// FinalAdvertiseAddr returns what others dial.
func (n *gossipNet) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return n.advertise, n.port(), nil
}

// PacketCh returns where datagrams arrive.
func (n *gossipNet) PacketCh() <-chan *memberlist.Packet { return n.packets }

// StreamCh returns where connections arrive.
func (n *gossipNet) StreamCh() <-chan net.Conn { return n.streams }

// WriteTo sends a datagram.
func (n *gossipNet) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = n.datagrams.WriteTo(b, to)
	return time.Now(), err
}

// WriteToAddress sends a datagram.
func (n *gossipNet) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return n.WriteTo(b, a.Addr)
}

// DialTimeout opens a connection.
func (n *gossipNet) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	c, err := d.DialContext(n.ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return n.track(c)
}

// DialAddressTimeout opens a connection.
func (n *gossipNet) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return n.DialTimeout(a.Addr, timeout)
}

// Shutdown closes all sockets and waits for the readers. It may be called again.
func (n *gossipNet) Shutdown() error {
	n.mu.Lock()
	open := n.conns
	n.conns, n.closed = nil, true
	n.mu.Unlock()
	n.stop()
	for c := range open {
		_ = c.Conn.Close() // gossip that is cut short is repeated by others
	}
	_, _ = n.listener.Close(), n.datagrams.Close() // nothing to lose, and closed twice at the second call
	n.wg.Wait()
	return nil
}

func (n *gossipNet) accept() {
	for {
		c, err := n.listener.Accept()
		if err != nil {
			if !n.pauseAfter(err) {
				return
			}
			continue
		}
		tracked, err := n.track(c)
		if err != nil {
			return
		}
		select {
		case n.streams <- tracked:
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *gossipNet) receive() {
	buf := make([]byte, maxDatagram)
	for {
		size, from, err := n.datagrams.ReadFrom(buf)
		at := time.Now()
		if err != nil {
			if !n.pauseAfter(err) {
				return
			}
			continue
		}
		if size == 0 {
			continue
		}
		select {
		case n.packets <- &memberlist.Packet{Buf: append([]byte(nil), buf[:size]...), From: from, Timestamp: at}:
		case <-n.ctx.Done():
			return
		}
	}
}

// pauseAfter waits a little after an error and reports whether to go on.
func (n *gossipNet) pauseAfter(err error) bool {
	if n.ctx.Err() != nil {
		return false
	}
	n.log.Debug("gossip socket", "err", err)
	again := time.NewTimer(50 * time.Millisecond)
	defer again.Stop()
	select {
	case <-again.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

func (n *gossipNet) track(c net.Conn) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	t := &gossipConn{Conn: c, of: n}
	n.conns[t] = struct{}{}
	return t, nil
}

// A gossipConn is closed with its gossipNet at the latest.
type gossipConn struct {
	net.Conn
	of *gossipNet
}

// Close closes the connection.
func (c *gossipConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
