package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/weir-io/weir/api"
	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster"
	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policystore"
	"github.com/weir-io/weir/ring"
)

// rightsShare is the part of the bucket memory that is kept for what the node admits on
// its rights while owners are out of reach: one in twenty.
const rightsShare = 20

// start makes the rooms of the node, the lower ones first. What was made when it fails
// Kill takes down.
func (n *Node) start(ctx context.Context) error {
	if err := n.openDir(); err != nil {
		return err
	}
	grpcListener, httpListener, err := n.bind()
	if err != nil {
		return err
	}
	doors := []net.Listener{grpcListener, httpListener}
	defer func() { // those not handed to a door that serves
		for _, l := range doors {
			_ = l.Close() // nothing came in yet
		}
	}()
	if err := n.identify(); err != nil {
		return err
	}
	if err := n.openLog(); err != nil {
		return err
	}
	if err := n.makeCluster(); err != nil {
		return err
	}
	if err := n.makeDoors(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := n.cluster.Start(); err != nil {
		return taken("gossip-addr", n.cfg.GossipAddr, err)
	}
	n.addr.Gossip = n.cluster.GossipAddr()
	doors = nil
	n.wg.Go(func() { n.served(n.grpc.Serve(grpcListener)) })
	n.wg.Go(func() { n.served(n.http.Serve(httpListener)) })
	n.log.Info("node started", "node", n.self.ID, "boot", n.self.Boot, "grpc", n.addr.GRPC, "http", n.addr.HTTP, "peers", n.addr.Peer, "gossip", n.addr.Gossip)
	return nil
}

// openDir opens the data directory and settles the node's id.
func (n *Node) openDir() error {
	n.self = ring.Member{ID: n.cfg.NodeID, Zone: n.cfg.Zone, State: ring.Up}
	if n.cfg.DataDir != "" {
		dir, err := policystore.OpenDir(n.cfg.DataDir, n.cfg.NodeID)
		if err != nil {
			return fmt.Errorf("--data-dir: %w", err)
		}
		n.dir, n.self.ID = dir, dir.NodeID()
	}
	if n.self.ID == "" {
		id, err := hostID()
		if err != nil {
			return err
		}
		n.self.ID = id
	}
	if n.dir == nil {
		n.self.Boot = uint64(time.Now().UnixNano()) // rises from process to process
		return nil
	}
	n.self.Boot = n.dir.Boot()
	if err := n.dir.SetNodeID(n.self.ID); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	return nil
}

// bind binds the listeners of clients and peers.
func (n *Node) bind() (grpc, http net.Listener, err error) {
	if grpc, err = listen("grpc-addr", n.cfg.GRPCAddr); err != nil {
		return nil, nil, err
	}
	if http, err = listen("http-addr", n.cfg.HTTPAddr); err != nil {
		return nil, nil, errors.Join(err, grpc.Close())
	}
	if n.transport, err = cluster.Listen(n.cfg.PeerAddr); err != nil {
		return nil, nil, errors.Join(taken("peer-addr", n.cfg.PeerAddr, err), grpc.Close(), http.Close())
	}
	n.addr = Addresses{GRPC: grpc.Addr().String(), HTTP: http.Addr().String(), Peer: n.transport.Addr().String()}
	return grpc, http, nil
}

// identify works out what others dial for this node.
func (n *Node) identify() error {
	for _, a := range []struct {
		bound string
		dial  *string
	}{{n.addr.Peer, &n.self.PeerAddr}, {n.addr.GRPC, &n.self.GRPCAddr}, {n.addr.HTTP, &n.self.HTTPAddr}} {
		host, err := advertised(n.cfg.Advertise, a.bound)
		if err != nil {
			return err
		}
		*a.dial = dialled(host, a.bound)
	}
	return nil
}

// openLog opens the replicated log on the data directory.
func (n *Node) openLog() (err error) {
	n.store, err = policystore.Open(policystore.Config{
		NodeID: n.self.ID, Dir: n.dir, Layer: n.transport.Raft(n.self.PeerAddr), Clock: n.cfg.Clock, Log: n.log,
		OnTable: n.tables.apply,
		Forward: func(ctx context.Context, leaderAddr string, command []byte) ([]byte, error) {
			if c := n.reach.Load(); c != nil {
				return c.Propose(ctx, leaderAddr, command)
			}
			return nil, errors.New("the node is starting")
		},
		Address: func(id string) string {
			if c := n.reach.Load(); c != nil {
				return c.PeerAddr(id)
			}
			return ""
		},
	})
	return err
}

// makeCluster makes the node's part of the cluster, which routes by the log's tables from
// now on.
func (n *Node) makeCluster() (err error) {
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return fmt.Errorf("make a seed for receipts: %w", err)
	}
	rights := n.cfg.BucketMemory / rightsShare
	n.cluster, err = cluster.New(cluster.Config{
		Self: n.self, Durable: n.dir != nil, GossipAddr: n.cfg.GossipAddr, Advertise: n.cfg.Advertise, Join: n.cfg.Join,
		Expect: n.cfg.expect(), Voters: n.cfg.Voters, ForwardTimeout: n.cfg.ForwardTimeout,
		Store:  bucket.NewStore(bucket.Config{Memory: n.cfg.BucketMemory - rights, Seed: binary.BigEndian.Uint64(seed[:])}),
		Rights: bucket.NewStore(bucket.Config{Memory: rights, Seed: ^binary.BigEndian.Uint64(seed[:])}),
		Clock:  n.cfg.Clock, Transport: n.transport,
		Log: n.store, Quorum: n.store, Founder: n.store, Proposer: n.store,
		Policies: func() uint64 { return n.store.Policies().Version },
		Metrics:  n.cfg.Registry, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.tables.connect(n.cluster)
	n.reach.Store(n.cluster)
	return nil
}

// makeDoors makes the front doors over a limiter.
func (n *Node) makeDoors() error {
	l := limiter.New(limiter.Config{
		Policies: n.store.Policies, Decider: n.cluster, Keys: n.cluster, CheckTimeout: n.cfg.CheckTimeout, Clock: n.cfg.Clock,
		Table: n.cluster.Table, Self: n.self.ID, Metrics: n.cfg.Registry,
	})
	admin := api.NewAdmin(api.AdminConfig{
		NodeID: n.self.ID, Limiter: l, Policies: n.store, Log: n.store, Snapshot: n.store.Policies, Table: n.cluster.Table,
	})
	n.grpc = api.NewGRPC(api.GRPCConfig{Limiter: l, Admin: admin, Ready: n.Ready, Answers: n.answers})
	n.http = api.NewHTTP(api.HTTPConfig{Limiter: l, Admin: admin, Ready: n.Ready, Answers: n.answers, Metrics: n.cfg.Registry, Insecure: n.beyondLoopback(), Logger: n.log})
	return n.register()
}

// beyondLoopback reports whether others than this machine reach a listener.
func (n *Node) beyondLoopback() bool {
	for _, addr := range []string{n.addr.GRPC, n.addr.HTTP, n.addr.Peer, n.cfg.GossipAddr} {
		if host, _, err := net.SplitHostPort(addr); err != nil || !loopback(host) {
			return true
		}
	}
	return false
}

// served notes that a front door serves no more: by itself only when it broke.
func (n *Node) served(err error) {
	if err == nil {
		return
	}
	n.log.Error("a front door broke", "err", err)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err == nil {
		n.err = err
		close(n.broken)
	}
}
