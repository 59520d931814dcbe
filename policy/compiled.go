package policy

import "github.com/weir-io/weir/bucket"

// An Attribute is one name and value of a request. Values may be views of a
// buffer that its owner reuses: who keeps one copies it.
type Attribute struct{ Key, Value string }

// A Secret keys the hash that spreads keys over partitions. It is born with the
// cluster and never changes.
type Secret [16]byte

// A CompiledLimit is one limit of a policy, ready to be charged.
type CompiledLimit struct {
	Name string
	Rule *bucket.Rule
	// Wire holds the fields policy, limit_name, algorithm and limit (3 to 6) of a
	// CheckResponse or LimitStatus, encoded once.
	Wire []byte
}

// A CompiledPolicy is one policy of a Snapshot.
type CompiledPolicy struct {
	Domain    string
	Name      string
	Mode      Mode
	Unlimited bool            // wins its group and charges nothing
	Limits    []CompiledLimit // in document order
	Ordinal   int             // dense number within its Snapshot, from 0; document order within a domain

	spec *Policy
}

// Spec returns the policy as it was written.
func (p *CompiledPolicy) Spec() *Policy { return p.spec }

// A Winner is a policy that applies to a request.
type Winner struct {
	Policy *CompiledPolicy
	Hash   bucket.Hash // H of the request's key under this policy
	Shadow bool        // reported only
}

// A Choice is what applies to one request. Choose reuses its memory; the zero
// Choice is ready. It keeps nothing of a request's attributes.
type Choice struct {
	Known   bool     // the domain has a document, or domain "*" has
	Exempt  bool     // an unlimited policy won a group
	Winners []Winner // in document order: own domain first, then "*"; unlimited ones left out

	scratch choiceScratch
}
