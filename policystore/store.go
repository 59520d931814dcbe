package policystore

import (
	"context"
	"log/slog"

	"github.com/hashicorp/raft"

	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

// Config is what a Store is opened with.
type Config struct {
	NodeID string
	Dir    *Dir             // nil = in memory
	Layer  raft.StreamLayer // raft's connections; Layer.Addr is what others dial
	// Forward hands an encoded command to the leader at a peer address.
	Forward func(ctx context.Context, leaderAddr string, command []byte) (result []byte, err error)
	// OnTable is called with every table in the order of the log, before Table
	// returns it. It must not block.
	OnTable func(*ring.Table)
	// OnPolicies is called with every snapshot of policies that came into force.
	OnPolicies func(*policy.Snapshot)
	Log        *slog.Logger
}

// A Dir is an open data directory, locked by this process.
type Dir struct{}

// OpenDir opens or makes a data directory and takes its lock. nodeID may be empty:
// the directory's is used then. A directory of another node is refused.
func OpenDir(path, nodeID string) (*Dir, error) { panic("unwritten") }

func (d *Dir) NodeID() string    { panic("unwritten") } // "" in a new directory until SetNodeID
func (d *Dir) ClusterID() string { panic("unwritten") } // "" before the first entry was applied
func (d *Dir) Boot() uint64      { panic("unwritten") } // of this process
func (d *Dir) Close() error      { panic("unwritten") }

// A Store is one node's part of the replicated log.
type Store struct{}

// Open starts raft on what the directory holds. A store without state waits, for
// Bootstrap here or for a leader that adds this node.
func Open(cfg Config) (*Store, error) { panic("unwritten") }

// Fresh reports whether the store held no raft state when it was opened.
func (s *Store) Fresh() bool { panic("unwritten") }

// Bootstrap starts a new cluster of these voters; all of them must be given the
// same list. The first leader names the cluster and makes its secret.
func (s *Store) Bootstrap(voters []ring.Server) error { panic("unwritten") }

// Leading reports whether this node leads and has applied all that was committed
// before its term.
func (s *Store) Leading() bool { panic("unwritten") }

// Leader returns id and peer address of the leader, empty when none is known.
func (s *Store) Leader() (id, addr string) { panic("unwritten") }

// TransferLead hands the lead to another voter and returns once it is gone.
func (s *Store) TransferLead(ctx context.Context) error { panic("unwritten") }

// ProposeLocal appends an encoded weirv1.Command where this node leads and returns
// the encoded weirv1.CommandResult.
func (s *Store) ProposeLocal(ctx context.Context, command []byte) (result []byte, err error) {
	panic("unwritten")
}

// CommitTable replaces the table whose epoch is from. It returns once the new one
// is applied here, and an error when another change came first.
func (s *Store) CommitTable(ctx context.Context, from uint64, t *ring.Table) error {
	panic("unwritten")
}

// Servers returns raft's newest configuration.
func (s *Store) Servers() ([]ring.Server, error) { panic("unwritten") }

// AddServer adds a non-voter, or makes one a voter. Only a leader can.
func (s *Store) AddServer(ctx context.Context, server ring.Server) error { panic("unwritten") }

// RemoveServer takes a server out. Only a leader can.
func (s *Store) RemoveServer(ctx context.Context, id string) error { panic("unwritten") }

// Policies returns the policies in force, never nil.
func (s *Store) Policies() *policy.Snapshot { panic("unwritten") }

// Documents returns the documents in force, sorted by domain.
func (s *Store) Documents() []*policy.Document { panic("unwritten") }

// Apply makes documents the policies of their domains, through the leader, and
// returns once this node applies the result too.
func (s *Store) Apply(ctx context.Context, change *weirv1.ChangePolicies) (*weirv1.CommandResult, error) {
	panic("unwritten")
}

// Plan says what Apply would do, by what this node has applied.
func (s *Store) Plan(change *weirv1.ChangePolicies) (plan []policy.PlanEntry, warnings []string, err error) {
	panic("unwritten")
}

// ClusterID returns the cluster's id, empty before the first entry is applied.
func (s *Store) ClusterID() string { panic("unwritten") }

// Table returns the newest applied table, never nil.
func (s *Store) Table() *ring.Table { panic("unwritten") }

// Close stops raft and waits for it.
func (s *Store) Close() error { panic("unwritten") }
