package policystore

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

const (
	maxHistory = 256  // changes a state remembers
	maxDomain  = 256  // bytes of a domain's name
	maxActor   = 256  // bytes of who made a change
	maxReason  = 4096 // bytes of why
	maxCluster = 64   // bytes of a cluster's id
	secretSize = len(policy.Secret{})
)

// A state is all that the log has made so far. It is immutable: apply returns a new
// one and shares with the old what stays. It depends on the entries alone, so states
// of all nodes are equal at every index.
type state struct {
	index   uint64                   // of the newest entry
	cluster *weirv1.InitCluster      // nil before the first one
	version uint64                   // of the policies; one more each change
	docs    []*weirv1.Document       // sorted by domain, each with its version; never modified
	history []*weirv1.ChangePolicies // newest last; documents without text
	table   *ring.Table              // never nil
}

func newState() *state { return &state{table: emptyTable(0)} }

// secret returns the cluster's secret, zero before there is one.
func (st *state) secret() policy.Secret {
	var s policy.Secret
	copy(s[:], st.cluster.GetSecret())
	return s
}

// find returns the place of a domain among the documents, or where it would be.
func (st *state) find(domain string) (int, bool) {
	return slices.BinarySearchFunc(st.docs, domain, func(d *weirv1.Document, domain string) int {
		return strings.Compare(d.GetDomain(), domain)
	})
}

// result is what a command gave that changed what it should.
func (st *state) result() *weirv1.CommandResult {
	return &weirv1.CommandResult{PolicyVersion: st.version, Epoch: st.table.Epoch}
}

// refuse is the result of a command that changed nothing.
func (st *state) refuse(code codes.Code, format string, args ...any) *weirv1.CommandResult {
	r := st.result()
	r.Code, r.Refused = int32(code), fmt.Sprintf(format, args...)
	return r
}

// apply makes the state after the entry at index. It checks the envelope of a command
// only and stores what it carries as it came: a document that does not compile must
// never stop the log, today or on replay by another version.
func (st *state) apply(index uint64, entry []byte) (*state, *weirv1.CommandResult) {
	next := *st
	next.index = index
	var c weirv1.Command
	if err := proto.Unmarshal(entry, &c); err != nil {
		return &next, st.refuse(codes.InvalidArgument, "entry %d is not a command: %v", index, err)
	}
	switch kind := c.GetKind().(type) {
	case *weirv1.Command_Init:
		return &next, next.initCluster(kind.Init)
	case *weirv1.Command_Policies:
		return &next, next.changePolicies(kind.Policies)
	case *weirv1.Command_Table:
		return &next, next.changeTable(index, kind.Table)
	default:
		return &next, st.refuse(codes.Unimplemented, "entry %d is of a kind this version does not know: skipped", index)
	}
}

func (st *state) initCluster(c *weirv1.InitCluster) *weirv1.CommandResult {
	switch {
	case st.cluster != nil:
		return st.refuse(codes.AlreadyExists, "the cluster is called %s already", st.cluster.GetClusterId())
	case c.GetClusterId() == "" || len(c.GetClusterId()) > maxCluster:
		return st.refuse(codes.InvalidArgument, "a cluster id has 1 to %d bytes, not %d", maxCluster, len(c.GetClusterId()))
	case len(c.GetSecret()) != secretSize:
		return st.refuse(codes.InvalidArgument, "a cluster's secret has %d bytes, not %d", secretSize, len(c.GetSecret()))
	}
	st.cluster = c
	return st.result()
}

func (st *state) changePolicies(c *weirv1.ChangePolicies) *weirv1.CommandResult {
	if refused := st.checkChange(c); refused != nil {
		return refused
	}
	docs, version := slices.Clone(st.docs), st.version+1
	changed := &weirv1.ChangePolicies{Actor: c.GetActor(), ChangeReason: c.GetChangeReason(), TimeNanos: c.GetTimeNanos(), Seed: c.GetSeed(), IfVersion: c.IfVersion}
	work := state{docs: docs}
	for _, d := range c.GetDocuments() {
		i, there := work.find(d.GetDomain())
		switch {
		case there && work.docs[i].GetText() == d.GetText(), !there && d.GetText() == "":
			continue
		case d.GetText() == "":
			work.docs = slices.Delete(work.docs, i, i+1)
		default:
			doc := &weirv1.Document{Domain: d.GetDomain(), Text: d.GetText(), File: d.GetFile(), Version: version}
			if there {
				work.docs[i] = doc
			} else {
				work.docs = slices.Insert(work.docs, i, doc)
			}
		}
		changed.Documents = append(changed.Documents, &weirv1.Document{Domain: d.GetDomain(), Version: version})
	}
	if len(changed.Documents) == 0 {
		return st.result()
	}
	st.docs, st.version = work.docs, version
	st.history = append(slices.Clone(st.history[max(0, len(st.history)-maxHistory+1):]), changed)
	return st.result()
}

// checkChange refuses a change that is not whole or not for this state, else returns nil.
func (st *state) checkChange(c *weirv1.ChangePolicies) *weirv1.CommandResult {
	switch {
	case st.cluster == nil:
		return st.refuse(codes.FailedPrecondition, "the cluster has no id yet: try again")
	case c.GetSeed() && st.version > 0:
		return st.refuse(codes.FailedPrecondition, "the cluster has policies already, version %d: a seed is for an empty one, use policy apply", st.version)
	case c.IfVersion != nil && c.GetIfVersion() != st.version:
		return st.refuse(codes.Aborted, "the policies are at version %d, not %d: read them again, then apply", st.version, c.GetIfVersion())
	case len(c.GetActor()) > maxActor || len(c.GetChangeReason()) > maxReason:
		return st.refuse(codes.InvalidArgument, "who and why have %d and %d bytes: at most %d and %d are kept", len(c.GetActor()), len(c.GetChangeReason()), maxActor, maxReason)
	}
	seen := make(map[string]bool, len(c.GetDocuments()))
	for _, d := range c.GetDocuments() {
		switch name := d.GetDomain(); {
		case name == "" || len(name) > maxDomain:
			return st.refuse(codes.InvalidArgument, "a domain has 1 to %d bytes, not %d", maxDomain, len(name))
		case seen[name]:
			return st.refuse(codes.InvalidArgument, "domain %q comes twice: a document is one domain, whole", name)
		case len(d.GetText()) > policy.MaxDocument:
			return st.refuse(codes.InvalidArgument, "the document of domain %q has %d bytes: at most %d", name, len(d.GetText()), policy.MaxDocument)
		}
		seen[d.GetDomain()] = true
	}
	return nil
}

func (st *state) changeTable(index uint64, c *weirv1.ChangeTable) *weirv1.CommandResult {
	if c.GetFromEpoch() != st.table.Epoch {
		return st.refuse(codes.Aborted, "the table is at epoch %d, not %d", st.table.Epoch, c.GetFromEpoch())
	}
	t, err := TableFromProto(index, c.GetMembers(), c.GetRows())
	if err != nil {
		return st.refuse(codes.InvalidArgument, "%v", err)
	}
	for p := range t.Rows {
		before, now := st.table.Owner(p), t.Owner(p)
		t.Rows[p].Since = index
		if before != nil && now != nil && before.ID == now.ID && before.Boot == now.Boot {
			t.Rows[p].Since = st.table.Rows[p].Since
		}
	}
	st.table = t
	return st.result()
}
