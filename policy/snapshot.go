package policy

type choiceScratch struct{}

// A Document is one parsed policy document: a domain, whole.
type Document struct {
	Domain  string
	File    string // for messages
	Text    []byte // as written
	Version uint64 // policy version that made it what it is; set by the log
}

// Parse reads one document strictly. The error lists every problem with file, line
// and remedy; it is of type Problems.
func Parse(file string, text []byte) (*Document, error) { panic("unwritten") }

// A Snapshot is all policies in force, compiled. It is immutable.
type Snapshot struct {
	Version  uint64
	Hash     string            // of all documents; equal where they are
	Policies []*CompiledPolicy // by Ordinal
}

// Compile turns documents, one a domain, into a Snapshot. prev may be nil; what has
// not changed since is taken over from it, so that a change of one domain among many
// costs what that domain costs. Warnings do not stop it.
func Compile(prev *Snapshot, docs []*Document, version uint64, secret Secret) (s *Snapshot, warnings []string, err error) {
	panic("unwritten")
}

// Choose finds the policies that apply to a request and fills in c. It does not
// allocate once c is warm.
func (s *Snapshot) Choose(domain string, attributes []Attribute, c *Choice) { panic("unwritten") }

// ByName fills in c with one policy's key for the attributes, whether or not it
// matches; it reports what is missing.
func (s *Snapshot) ByName(domain, policy string, attributes []Attribute, c *Choice) error {
	panic("unwritten")
}

// An Action is what a change does to a policy. The numbers are those of the wire
// protocol.
type Action uint8

const (
	Add Action = iota + 1
	Change
	Remove
)

// A PlanEntry is what happens to one policy.
type PlanEntry struct {
	Domain, Policy string
	Action         Action
	Changes        []string // "limits[pace].rate: 100/s -> 200/s"
	FreshKeys      string   // why its keys start fresh; empty when counts stay
}

// Diff returns what turns old into new; either may be nil for none.
func Diff(old, new *Document) []PlanEntry { panic("unwritten") }
