package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/weir-io/weir/cluster/wire"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// How this node finds out whether a peer is there.
const (
	pingEvery  = 250 * time.Millisecond
	silentTime = 500 * time.Millisecond // without an answer: the peer is silent
	redialTime = 2 * time.Second        // silent for so long: its connections are made anew
)

// protocolVersion of what nodes say to each other; those of different ones part.
const protocolVersion = 1

// A peer is another node, as this one talks to it: a control connection with its pings,
// and the connection that carries checks.
type peer struct {
	id   string
	boot uint64
	addr string
	self func() *weirv1.HelloRequest // what this node says of itself
	ping func() *weirv1.PingRequest
	news func() // called when what state returns has changed
	log  *slog.Logger

	out     *outbox
	breaker breaker
	conns   atomic.Pointer[peerConns]
	known   atomic.Pointer[peerState] // from the newest ping
	heard   atomic.Int64              // when the newest answer came, nanoseconds since begun; 0 = never
	begun   time.Time

	stop context.CancelFunc
	wg   sync.WaitGroup // the goroutines of start
}

// peerConns are the connections to one peer. Checks have their own, so that no load of
// clients holds up a ping.
type peerConns struct{ control, checks *grpc.ClientConn }

func (c *peerConns) close() error { return errors.Join(c.control.Close(), c.checks.Close()) }

// dialPeer returns connections that are made when first used. They try again soon:
// gRPC's own patience grows to minutes, a cluster's to half a second.
func dialPeer(addr string) (*peerConns, error) {
	dial := func() (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:///"+addr,
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
				MinConnectTimeout: time.Second,
			}),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(newCodec()), grpc.MaxCallRecvMsgSize(wire.MaxBytes)),
			grpc.WithInitialWindowSize(maxWindow), grpc.WithInitialConnWindowSize(maxWindow))
	}
	control, err := dial()
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	checks, err := dial()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dial %s: %w", addr, err), control.Close())
	}
	return &peerConns{control, checks}, nil
}

// maxWindow is how much may be on its way on a stream: two frames.
const maxWindow = 2 << 20

// start begins to ping and to send. observe is told the size of each frame.
func (p *peer) start(since time.Time, observe func(items int)) error {
	conns, err := dialPeer(p.addr)
	if err != nil {
		return fmt.Errorf("peer %s: %w", p.id, err)
	}
	p.conns.Store(conns)
	p.begun = time.Now()
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	self := p.self().GetSender()
	s := &sender{
		out: p.out, self: wire.Header{SenderID: self.GetNodeId(), SenderBoot: self.GetBoot()}, since: since,
		dial: p.frames, observe: observe, log: p.log,
	}
	p.wg.Go(func() { s.run(ctx) })
	p.wg.Go(func() { p.pingAll(ctx) })
	return nil
}

// frames opens the stream that carries checks.
func (p *peer) frames(ctx context.Context) (grpc.ClientStream, error) {
	desc := &weirv1.Peer_ServiceDesc.Streams[0]
	return p.conns.Load().checks.NewStream(ctx, desc, weirv1.Peer_Frames_FullMethodName)
}

// control returns the client of the peer's control connection.
func (p *peer) control() weirv1.PeerClient { return weirv1.NewPeerClient(p.conns.Load().control) }

// close stops all that start began and waits for it.
func (p *peer) close() {
	p.stop()
	p.wg.Wait()
	if err := p.conns.Load().close(); err != nil {
		p.log.Debug("close connections to peer", "err", err)
	}
}

// state returns what is known of the peer. Before its first answer it is neither silent
// nor does it agree.
func (p *peer) state() peerState {
	if s := p.known.Load(); s != nil {
		return *s
	}
	return peerState{}
}

// silent reports whether the peer does not answer pings. One that was not asked yet is
// not silent.
func (p *peer) silent() bool {
	s := p.known.Load()
	return s != nil && !s.Answers
}

// reachable reports whether an item may be sent to the peer now. Where its breaker is
// open, the one who is told so is the one that tries.
func (p *peer) reachable(now time.Time) bool { return !p.silent() && p.breaker.pass(now) }

// mayReach reports what reachable would, and leaves the try to others.
func (p *peer) mayReach(now time.Time) bool { return !p.silent() && p.breaker.mayPass(now) }

// pingAll pings until ctx ends. A connection begins with a handshake, and begins anew
// after an error: another process may answer there.
func (p *peer) pingAll(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	greeted, redialled := false, time.Now()
	for {
		var err error
		if !greeted {
			err = p.greet(ctx)
			greeted = err == nil
		}
		if err == nil {
			if err = p.pingOnce(ctx); err != nil {
				greeted = false
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			p.lost(err)
			if now := time.Now(); now.Sub(p.lastHeard()) >= redialTime && now.Sub(redialled) >= redialTime {
				redialled = now
				p.redial()
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// lastHeard returns when the newest answer came; when the peer was begun where none did.
func (p *peer) lastHeard() time.Time { return p.begun.Add(time.Duration(p.heard.Load())) }

// greet compares what both must agree on.
func (p *peer) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, silentTime)
	defer cancel()
	mine := p.self()
	res, err := p.control().Hello(ctx, mine)
	if err != nil {
		return fmt.Errorf("greet %s at %s: %w", p.id, p.addr, err)
	}
	if r := res.GetReceiver(); r.GetNodeId() != p.id || r.GetBoot() != p.boot {
		return fmt.Errorf("greet %s at %s: %s of boot %d answers instead of boot %d", p.id, p.addr, r.GetNodeId(), r.GetBoot(), p.boot)
	}
	return nil
}

func (p *peer) pingOnce(ctx context.Context) error {
	res, err := p.pingInTime(ctx)
	if err != nil {
		return fmt.Errorf("ping %s at %s: %w", p.id, p.addr, err)
	}
	p.heard.Store(int64(time.Since(p.begun)))
	p.learn(peerState{Agrees: true, Answers: true, Epoch: res.GetEpoch(), PolicyVersion: res.GetPolicyVersion()})
	return nil
}

// pingInTime pings, and once more where the time was over although this process stood still
// for some of it: else a node that was stopped for a second, or starved, would take all its
// peers for silent when it wakes.
func (p *peer) pingInTime(ctx context.Context) (res *weirv1.PingResponse, err error) {
	for range 2 {
		try, cancel := context.WithTimeout(ctx, silentTime)
		res, err = p.control().Ping(try, p.ping())
		end, _ := try.Deadline()
		late := time.Since(end)
		cancel()
		if status.Code(err) != codes.DeadlineExceeded || late < standstill {
			break
		}
	}
	return res, err
}

// lost notes that a ping was not answered. The peer is silent when the connection is
// refused, or no answer came for silentTime.
func (p *peer) lost(err error) {
	was := p.state()
	refused := status.Code(err) == codes.Unavailable
	if !refused && was.Answers && time.Since(p.lastHeard()) < silentTime {
		return
	}
	now := was
	now.Answers = false
	if status.Code(err) == codes.FailedPrecondition { // it answers, but will have nothing to do with us
		now.Agrees = false
	}
	p.learn(now)
	if was.Answers || p.known.Load() == nil {
		p.log.Info("peer is silent", "err", err)
	}
}

// learn stores what is known now and tells of it where it is new.
func (p *peer) learn(now peerState) {
	was := p.known.Swap(&now)
	if was == nil || *was != now {
		p.news()
	}
}

// redial makes the connections anew: one that was cut may hang for minutes.
func (p *peer) redial() {
	conns, err := dialPeer(p.addr)
	if err != nil {
		p.log.Warn("redial peer", "err", err)
		return
	}
	old := p.conns.Swap(conns)
	if err := old.close(); err != nil {
		p.log.Debug("close connections to peer", "err", err)
	}
}
