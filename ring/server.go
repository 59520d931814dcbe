package ring

// A Server is a node in raft's configuration, which may be ahead of or behind the
// table's list of members.
type Server struct {
	ID    string
	Addr  string // peer address
	Voter bool
}
