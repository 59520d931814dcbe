package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/weir-io/weir/limiter"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// GRPCConfig is what the gRPC door is made of.
type GRPCConfig struct {
	Limiter *limiter.Limiter
	Admin   *Admin // nil = no Admin service
	// Ready returns nil while the node is ready, else what is missing. Health follows it.
	// nil = always ready.
	Ready func() error
	// Answers returns nil once checks can be answered: until then they are UNAVAILABLE.
	// nil = Ready.
	Answers func() error
}

// GRPC is the gRPC door: Limiter, Admin, health and reflection.
type GRPC struct {
	limiter *limiter.Limiter
	gate    gate
	ready   func() error // nil = always
	server  *grpc.Server
	health  *health.Server

	draining chan struct{}  // closed by Shutdown: streams end
	wg       sync.WaitGroup // readers of streams and the watch of health

	mu   sync.Mutex
	shut bool // guarded by mu: Shutdown has begun
}

// Limits of a connection. What a client may cost before it has said anything is small.
const (
	maxStreams     = 1000 // calls at once
	maxHeaderBytes = 16 << 10
	minPing        = 10 * time.Second // a client that pings more often is sent away
	pingIdle       = 30 * time.Second // connections silent for so long are pinged
	pingTimeout    = 10 * time.Second
	handshake      = 5 * time.Second
)

// NewGRPC returns the gRPC door. Serve opens it.
func NewGRPC(cfg GRPCConfig) *GRPC {
	g := &GRPC{limiter: cfg.Limiter, gate: newGate(cfg.Answers, cfg.Ready), ready: cfg.Ready, health: health.NewServer(), draining: make(chan struct{})}
	g.server = grpc.NewServer(
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxAdminMessage), // the codec refuses earlier for Limiter
		grpc.MaxSendMsgSize(maxAnswer),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(handshake),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingIdle, Timeout: pingTimeout}),
		grpc.WaitForHandlers(true),
	)
	g.server.RegisterService(&limiterService, g)
	if cfg.Admin != nil {
		weirv1.RegisterAdminServer(g.server, cfg.Admin)
	}
	healthv1.RegisterHealthServer(g.server, g.health)
	reflection.Register(g.server)
	g.reportHealth()
	return g
}

// Serve answers calls that come in through l until Shutdown, and closes l.
func (g *GRPC) Serve(l net.Listener) error {
	g.mu.Lock()
	if !g.shut { // else Shutdown may wait already
		g.wg.Go(g.watchHealth)
	}
	g.mu.Unlock()
	if err := g.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC at %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown stops taking calls, sends clients on, and returns when what was taken is
// answered. What is in flight when ctx ends is cut short.
func (g *GRPC) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	if !g.shut {
		g.shut = true
		close(g.draining)
	}
	g.mu.Unlock()
	g.health.Shutdown()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.server.GracefulStop()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("calls in flight were cut short: %w", ctx.Err())
		g.server.Stop()
		<-done
	}
	g.wg.Wait()
	return err
}

// healthPeriod is how late health follows readiness.
const healthPeriod = 200 * time.Millisecond

// watchHealth keeps the health service in step with readiness until Shutdown.
func (g *GRPC) watchHealth() {
	tick := time.NewTicker(healthPeriod)
	defer tick.Stop()
	for {
		select {
		case <-g.draining:
			return
		case <-tick.C:
			g.reportHealth()
		}
	}
}

func (g *GRPC) reportHealth() {
	serving := healthv1.HealthCheckResponse_SERVING
	if g.ready != nil && g.ready() != nil {
		serving = healthv1.HealthCheckResponse_NOT_SERVING
	}
	for _, service := range []string{"", weirv1.Limiter_ServiceDesc.ServiceName, weirv1.Admin_ServiceDesc.ServiceName} {
		g.health.SetServingStatus(service, serving)
	}
}
