package policystore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/weir-io/weir/broadcast"
	"github.com/weir-io/weir/clock"
	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

var (
	// ErrNoLeader is returned by changes when no leader was found in time; the error
	// that wraps it names the voters that do not answer. Whether the change was made
	// is not known. It is safe to try again.
	ErrNoLeader = errors.New("no leader")
	// ErrNotLeader is returned by what only a leader can do. Nothing was changed: ask
	// the node that Leader names.
	ErrNotLeader = errors.New("this node does not lead")
	// ErrStale is returned when another change came first: read again, then try.
	ErrStale = errors.New("another change came first")
	// ErrClosed is returned by a store that was closed.
	ErrClosed = errors.New("the log is closed")
)

// Config is what a Store is opened with.
type Config struct {
	NodeID string
	Dir    *Dir             // nil = in memory
	Layer  raft.StreamLayer // raft's connections; Layer.Addr is what others dial. Close closes it
	// Forward hands an encoded command to the leader at a peer address and returns the
	// encoded weirv1.CommandResult. nil = a cluster of one.
	Forward func(ctx context.Context, leaderAddr string, command []byte) (result []byte, err error)
	// Address returns the newest known peer address of a node, empty for the one in
	// raft's configuration: nodes may come back elsewhere. nil = none is known. It must
	// not block or call the store.
	Address func(nodeID string) string
	// OnTable is called with every table in the order of the log, before Table
	// returns it. It must not block.
	OnTable func(*ring.Table)
	// OnPolicies is called with every snapshot of policies that came into force, in
	// order, after Policies returns it.
	OnPolicies func(*policy.Snapshot)
	Clock      clock.Clock // dates changes; nil = the system's
	Log        *slog.Logger
}

func (c *Config) fill() error {
	switch {
	case c.NodeID == "":
		return errors.New("open the log: the node has no id")
	case c.Layer == nil:
		return errors.New("open the log: raft has no connections")
	case c.Dir != nil && c.Dir.NodeID() != c.NodeID:
		return fmt.Errorf("open the log: node %s in the data dir of node %q", c.NodeID, c.Dir.NodeID())
	}
	if c.OnTable == nil {
		c.OnTable = func(*ring.Table) {}
	}
	if c.OnPolicies == nil {
		c.OnPolicies = func(*policy.Snapshot) {}
	}
	if c.Clock == nil {
		c.Clock = clock.NewSystem()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// A Store is one node's part of the replicated log. It is safe for concurrent use.
type Store struct {
	cfg   Config
	log   *slog.Logger
	group *group // raft and what it stands on
	fresh bool

	applied     atomic.Pointer[state]      // stored by the state machine only
	quarantined atomic.Uint64              // entries whose application panicked
	table       atomic.Pointer[ring.Table] // stored by deliver only, once it runs
	force       atomic.Pointer[inForce]    // stored by activate only
	tried       atomic.Uint64              // newest policy version activate has dealt with
	failure     atomic.Pointer[string]     // why the newest version is not in force; nil = it is
	foreign     atomic.Pointer[error]      // the log is of another cluster than the directory
	led         atomic.Uint64              // newest term this node led with all before it applied
	news        broadcast.Broadcast        // any of the above or raft's leader changed

	tables    chan *ring.Table // from the state machine to deliver; closed by Close
	recompile chan struct{}    // applied has other policies; closed by Close
	unsaved   chan struct{}    // the directory lags; closed when deliver and activate ended
	watch     chan raft.Observation

	drafts  drafts        // what the leader parsed last
	propose chan struct{} // holds one token: changes of policies are checked and appended one by one
	probe   probe

	ctx     context.Context // ends when Close begins
	stop    context.CancelFunc
	mu      sync.Mutex
	ended   bool           // guarded by mu
	work    sync.WaitGroup // goroutines that need raft; added to under mu while !ended
	loops   sync.WaitGroup // deliver and activate, which the state machine needs
	saver   sync.WaitGroup // keep
	closing sync.Once
	err     error // of the close
}

// Open starts raft on what the directory holds. A store without state waits, for
// Bootstrap here or for a leader that adds this node. Before it returns, the last-good
// bundle's table was delivered and its policies are in force.
func Open(cfg Config) (*Store, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, log: cfg.Log,
		tables: make(chan *ring.Table, 64), recompile: make(chan struct{}, 1), unsaved: make(chan struct{}, 1),
		watch: make(chan raft.Observation, 16), propose: make(chan struct{}, 1),
	}
	s.applied.Store(newState())
	s.table.Store(emptyTable(0))
	if err := s.startInForce(); err != nil {
		return nil, err
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.loops.Go(s.deliver)
	s.loops.Go(s.activateAll)
	s.saver.Go(s.keep)
	group, fresh, err := openGroup(&cfg, (*machine)(s))
	if err != nil {
		s.endLoops()
		s.stop()
		return nil, err
	}
	s.group, s.fresh = group, fresh
	observer := raft.NewObserver(s.watch, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	group.raft.RegisterObserver(observer)
	s.work.Go(func() {
		defer group.raft.DeregisterObserver(observer)
		s.followLead()
	})
	return s, nil
}

// begin reports whether the store is open, and keeps Close waiting until the caller
// has called s.work.Done.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return ErrClosed
	}
	s.work.Add(1)
	return nil
}

// endLoops ends the goroutines that raft's state machine feeds; it feeds them no more.
func (s *Store) endLoops() {
	close(s.tables)
	close(s.recompile)
	s.loops.Wait()
	close(s.unsaved)
	s.saver.Wait()
}

// Close stops raft, waits for all the store started and saves what was in force.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
		s.stop()
		// What waits for raft ends while raft still runs: raft answers no future once it
		// is down.
		s.work.Wait()
		s.err = s.group.shutdown()
		s.endLoops()
		s.probe.wait()
		s.err = errors.Join(s.err, s.group.closeStores())
		if s.err != nil {
			s.err = fmt.Errorf("close the log: %w", s.err)
		}
	})
	return s.err
}

// Fresh reports whether the store held no raft state when it was opened.
func (s *Store) Fresh() bool { return s.fresh }

// Table returns the newest applied table, never nil.
func (s *Store) Table() *ring.Table { return s.table.Load() }

// Policies returns the policies in force, never nil.
func (s *Store) Policies() *policy.Snapshot { return s.force.Load().snapshot }

// Documents returns the documents in force, sorted by domain. The caller must not
// change them.
func (s *Store) Documents() []*policy.Document { return s.force.Load().docs }

// Settled reports whether the newest policies that were applied are in force, or have
// failed to compile.
func (s *Store) Settled() bool { return s.tried.Load() >= s.applied.Load().version }

// ClusterID returns the cluster's id, empty before the first entry was applied here,
// now or by an earlier process of the data directory.
func (s *Store) ClusterID() string {
	if id := s.applied.Load().cluster.GetClusterId(); id != "" || s.cfg.Dir == nil {
		return id
	}
	return s.cfg.Dir.ClusterID()
}

// A Status is what there is to see of a store.
type Status struct {
	State         string // of raft: follower, candidate, leader or shutdown
	Term          uint64
	Commit        uint64 // newest index known to be committed
	Applied       uint64 // newest index applied
	Last          uint64 // newest index in the log
	Leader        string // id, empty when none is known
	PolicyVersion uint64 // in force
	Failure       string // why a newer version is not in force; empty when there is none
	Quarantined   uint64 // entries whose application panicked and was skipped
	Err           error  // the store can not go on: its log is of another cluster
}

// Status returns how the store does.
func (s *Store) Status() Status {
	id, _ := s.Leader()
	r := s.group.raft
	st := Status{
		State: stateNames[r.State()], Term: r.CurrentTerm(), Commit: r.CommitIndex(), Applied: r.AppliedIndex(), Last: r.LastIndex(),
		Leader: id, PolicyVersion: s.Policies().Version, Quarantined: s.quarantined.Load(),
	}
	if f := s.failure.Load(); f != nil {
		st.Failure = *f
	}
	if e := s.foreign.Load(); e != nil {
		st.Err = *e
	}
	return st
}

var stateNames = map[raft.RaftState]string{raft.Follower: "follower", raft.Candidate: "candidate", raft.Leader: "leader", raft.Shutdown: "shutdown"}

// await waits until done returns true, asking again at all news.
func (s *Store) await(ctx context.Context, done func() bool) error {
	for {
		news := s.news.Next()
		if done() {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
}

// history returns the changes the log remembers, oldest first; documents carry no text.
func (s *Store) history() []*weirv1.ChangePolicies { return s.applied.Load().history }
