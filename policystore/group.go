package policystore

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// Raft's numbers. A leader that dies is replaced within 1.5 s; one that loses its
// quorum knows it within 250 ms.
const (
	logFile          = "raft.db" // in raftFolder
	heartbeat        = 500 * time.Millisecond
	leaderLease      = 250 * time.Millisecond
	commitTimeout    = 10 * time.Millisecond // followers learn of a commit one or two of these late
	transportTimeout = 2 * time.Second
	batch            = 16 // entries a message: a document may have 4 MiB
	cachedEntries    = 64 // of the log on disk
	keptEntries      = 512
	snapshotEntries  = 1024
	snapshotEvery    = 30 * time.Second
	keptSnapshots    = 2
)

// A group is raft and what it stands on.
type group struct {
	raft      *raft.Raft
	transport *raft.NetworkTransport
	logs      raft.LogStore
	bolt      *raftboltdb.BoltStore // nil in memory
}

// openGroup starts raft on what the directory holds and reports whether that was
// nothing. Where it fails it leaves nothing open.
func openGroup(cfg *Config, fsm raft.FSM) (opened *group, fresh bool, err error) {
	g := &group{}
	logger := newRaftLog(cfg.Log)
	directory := &addresses{newest: cfg.Address}
	g.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: newStreams(cfg.Layer), MaxPool: 3, Timeout: transportTimeout, Logger: logger, ServerAddressProvider: directory.provider(),
	})
	defer func() {
		if err != nil {
			err = errors.Join(err, g.transport.Close(), g.closeStores())
		}
	}()
	logs, stable, snapshots, err := g.openStores(cfg)
	if err != nil {
		return nil, false, err
	}
	existing, err := raft.HasExistingState(logs, stable, snapshots)
	if err != nil {
		return nil, false, fmt.Errorf("read raft's log: %w", err)
	}
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(cfg.NodeID)
	conf.HeartbeatTimeout, conf.ElectionTimeout = heartbeat, heartbeat
	conf.LeaderLeaseTimeout, conf.CommitTimeout = leaderLease, commitTimeout
	conf.MaxAppendEntries = batch
	conf.SnapshotInterval, conf.SnapshotThreshold, conf.TrailingLogs = snapshotEvery, snapshotEntries, keptEntries
	conf.ShutdownOnRemove = false // the store's owner closes it
	conf.Logger = logger
	g.logs = logs
	r, err := raft.NewRaft(conf, fsm, logs, stable, snapshots, g.transport)
	if err != nil {
		return nil, false, fmt.Errorf("start raft: %w", err)
	}
	g.raft = r
	directory.raft.Store(r)
	return g, !existing, nil
}

// openStores opens what raft keeps its log, its vote and its snapshots in.
func (g *group) openStores(cfg *Config) (logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore, err error) {
	if cfg.Dir == nil {
		mem, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		return snapshotLog{mem, snapshots}, mem, snapshots, nil
	}
	folder := filepath.Join(cfg.Dir.path, raftFolder)
	if g.bolt, err = openBolt(filepath.Join(folder, logFile)); err != nil {
		return nil, nil, nil, err
	}
	if logs, err = raft.NewLogCache(cachedEntries, g.bolt); err != nil {
		return nil, nil, nil, fmt.Errorf("cache raft's log: %w", err)
	}
	if snapshots, err = raft.NewFileSnapshotStoreWithLogger(folder, keptSnapshots, newRaftLog(cfg.Log)); err != nil {
		return nil, nil, nil, fmt.Errorf("open raft's snapshots in %s: %w", folder, err)
	}
	return snapshotLog{logs, snapshots}, g.bolt, snapshots, nil
}

// A snapshotLog knows also the entry that the newest snapshot ends with. A follower that
// begins with a snapshot is asked whether it has that entry, by every append of the next
// one. raft v1.8 looks for it in the log alone: where the answer to the first append is
// lost it refuses the second, and is sent the same snapshot for ever.
type snapshotLog struct {
	raft.LogStore
	snapshots raft.SnapshotStore
}

// GetLog reads an entry; of the snapshot's last one there are index and term only.
func (l snapshotLog) GetLog(index uint64, entry *raft.Log) error {
	err := l.LogStore.GetLog(index, entry)
	if !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	newest, listErr := l.snapshots.List()
	if listErr != nil || len(newest) == 0 || newest[0].Index != index {
		return err
	}
	*entry = raft.Log{Index: index, Term: newest[0].Term, Type: raft.LogNoop}
	return nil
}

func openBolt(path string) (store *raftboltdb.BoltStore, err error) {
	defer recovered("open raft's log "+path, &err) // a file that is cut short
	store, err = raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second},
	})
	if err != nil {
		return nil, fmt.Errorf("open raft's log %s: %w", path, err)
	}
	return store, nil
}

// shutdown stops raft and its connections. The state machine is not called any more.
func (g *group) shutdown() error {
	err := g.raft.Shutdown().Error()
	g.transport.CloseStreams()
	return errors.Join(err, g.transport.Close())
}

func (g *group) closeStores() error {
	if g.bolt == nil {
		return nil
	}
	return g.bolt.Close()
}

// addresses tells raft where a server is by the newest that is known.
type addresses struct {
	newest func(nodeID string) string
	raft   atomic.Pointer[raft.Raft] // nil while it starts
}

var errNoAddress = errors.New("no address is known")

// provider returns nil where raft's own configuration is all that is known.
func (a *addresses) provider() raft.ServerAddressProvider {
	if a.newest == nil {
		return nil
	}
	return a
}

// ServerAddr returns the newest address of a server, else the one in raft's
// configuration.
func (a *addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if addr := a.newest(string(id)); addr != "" {
		return raft.ServerAddress(addr), nil
	}
	if r := a.raft.Load(); r != nil {
		for _, s := range r.GetConfiguration().Configuration().Servers {
			if s.ID == id {
				return s.Address, nil
			}
		}
	}
	return "", errNoAddress
}

// streams is a StreamLayer whose Close ends all its connections: raft's transport
// leaves those it accepted to the other side.
type streams struct {
	raft.StreamLayer
	mu     sync.Mutex
	conns  map[*stream]struct{} // guarded by mu; the open ones
	closed bool                 // guarded by mu
}

func newStreams(l raft.StreamLayer) *streams {
	return &streams{StreamLayer: l, conns: make(map[*stream]struct{})}
}

// Accept waits for the next connection of another server.
func (s *streams) Accept() (net.Conn, error) {
	c, err := s.StreamLayer.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(c)
}

// Dial connects to another server.
func (s *streams) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := s.StreamLayer.Dial(addr, timeout)
	if err != nil {
		return nil, err
	}
	return s.track(c)
}

func (s *streams) track(c net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	t := &stream{Conn: c, of: s}
	s.conns[t] = struct{}{}
	return t, nil
}

// Close stops accepting and closes every connection.
func (s *streams) Close() error {
	s.mu.Lock()
	s.closed = true
	open := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close() // raft is down: nothing is lost
	}
	return s.StreamLayer.Close()
}

type stream struct {
	net.Conn
	of *streams
}

// Read ends in io.EOF where the streams were closed: raft's transport takes anything
// else for a broken message.
func (c *stream) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

// Close closes the connection.
func (c *stream) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
