package ring

// Partitions is the number of rows of every table.
const Partitions = 1024

// None stands in a row for no member.
const None int16 = -1

// A MemberState says whether rows may lie on a member. The numbers are those of
// the wire protocol.
type MemberState uint8

// The states of a member.
const (
	Up      MemberState = iota + 1 // it answers
	Silent                         // gossip calls it dead: no rows, but it counts in M
	Leaving                        // it is being drained
)

// A Member is a node in the table's list.
type Member struct {
	ID       string // unique, without '#'
	Boot     uint64 // of its process
	Zone     string // may be empty
	PeerAddr string // host:port its peers and raft dial
	GRPCAddr string
	HTTPAddr string
	State    MemberState
}

// A RowState says what a row is doing. The numbers are those of the wire protocol.
type RowState uint8

// The states of a row.
const (
	Steady  RowState = iota + 1
	Moving           // to its target
	Filling          // its replica is not in sync yet
)

// A Row is one partition's line. Owner, Replica and Target are places in
// Table.Members, or None.
type Row struct {
	Owner   int16
	Replica int16
	Target  int16
	State   RowState
	Since   uint64 // epoch at which Owner became the owner
}

// A Table says who owns which partition. The zero Table has no members and owns
// nothing.
type Table struct {
	Epoch   uint64   // raft index of the newest change
	Members []Member // sorted by ID
	Rows    [Partitions]Row
}
