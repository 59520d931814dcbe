package cluster

import (
	"context"

	"github.com/weir-io/weir/ring"
)

// A Log is the replicated log, as the cluster needs it to keep the table.
type Log interface {
	// Leading reports whether this node leads and has applied all that was
	// committed before its term.
	Leading() bool
	// Table returns the newest applied table, never nil.
	Table() *ring.Table
	// CommitTable replaces the table whose epoch is from. It returns once the new
	// one is applied here, and an error when another change came first.
	CommitTable(ctx context.Context, from uint64, t *ring.Table) error
}

// A Quorum is raft's configuration, which the leader keeps in step with the
// members.
type Quorum interface {
	// Servers returns raft's newest configuration.
	Servers() ([]ring.Server, error)
	// AddServer adds a non-voter, or makes one a voter. Only a leader can.
	AddServer(ctx context.Context, s ring.Server) error
	// RemoveServer takes a server out. Only a leader can.
	RemoveServer(ctx context.Context, id string) error
}

// A Founder starts a log where there is none.
type Founder interface {
	// Fresh reports whether this node held no state of any log when it started.
	Fresh() bool
	// Bootstrap starts a new log of these voters; all of them are given the same list.
	Bootstrap(voters []ring.Server) error
	// ClusterID returns the id of the log's cluster, empty before its first entry.
	ClusterID() string
}

// A Proposer is what peers reach of the replicated log: the leader's ear.
type Proposer interface {
	// ProposeLocal appends an encoded command where this node leads and returns
	// its encoded result; an error where it does not lead or loses the lead.
	ProposeLocal(ctx context.Context, command []byte) (result []byte, err error)
	// Leader returns id and peer address of the leader, empty when none is known.
	Leader() (id, addr string)
	// TransferLead hands the lead to another voter and returns once it is gone.
	TransferLead(ctx context.Context) error
}
