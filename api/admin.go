package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
	"github.com/weir-io/weir/policystore"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

// Policies reads and changes what the cluster enforces.
type Policies interface {
	Documents() []*policy.Document
	Plan(change *weirv1.ChangePolicies) ([]policy.PlanEntry, []string, error)
	Apply(ctx context.Context, change *weirv1.ChangePolicies) (*weirv1.CommandResult, error)
}

// Log is what there is to see of the replicated log.
type Log interface {
	Leader() (id, addr string)
	Servers() ([]ring.Server, error)
	ClusterID() string
}

var (
	_ Policies = (*policystore.Store)(nil)
	_ Log      = (*policystore.Store)(nil)
)

// AdminConfig is what an Admin is made of.
type AdminConfig struct {
	NodeID   string
	Limiter  *limiter.Limiter
	Policies Policies
	Log      Log
	Snapshot func() *policy.Snapshot // the policies this node applies
	Table    func() *ring.Table      // the table this node routes by
}

// Admin reads and changes what a cluster enforces, and shows what it is. It is the
// service weir.v1.Admin and what HTTP has of it.
type Admin struct {
	weirv1.UnimplementedAdminServer
	cfg AdminConfig
}

var _ weirv1.AdminServer = (*Admin)(nil)

// NewAdmin returns an Admin for both doors.
func NewAdmin(cfg AdminConfig) *Admin { return &Admin{cfg: cfg} }

// writeTimeout bounds a change. Without a leader the log itself gives up within 2 s; a
// leader that is there is given time to compile a hundred thousand policies.
const writeTimeout = 30 * time.Second

// ApplyPolicies plans a change and makes it, unless only the plan is wanted.
func (a *Admin) ApplyPolicies(ctx context.Context, in *weirv1.ApplyPoliciesRequest) (*weirv1.ApplyPoliciesResponse, error) {
	out, err := a.apply(ctx, in)
	if err != nil {
		return nil, statusOf(err)
	}
	return out, nil
}

func (a *Admin) apply(ctx context.Context, in *weirv1.ApplyPoliciesRequest) (*weirv1.ApplyPoliciesResponse, *limiter.Error) {
	if len(in.GetDocuments()) == 0 {
		return nil, &limiter.Error{Code: limiter.InvalidArgument, Field: "documents", Message: "there are none: send the documents to apply; one with `policies: []` empties its domain"}
	}
	change := &weirv1.ChangePolicies{Documents: in.GetDocuments(), IfVersion: in.IfVersion, Actor: in.GetActor(), ChangeReason: in.GetChangeReason()}
	version := a.cfg.Snapshot().Version
	plan, warnings, err := a.cfg.Policies.Plan(change)
	if err != nil {
		return nil, changeError(ctx, err)
	}
	if !in.GetDryRun() {
		bound, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		result, err := a.cfg.Policies.Apply(bound, change)
		if err != nil {
			return nil, changeError(ctx, err)
		}
		if why := result.GetRefused(); why != "" {
			return nil, &limiter.Error{Code: limiter.Code(result.GetCode()), Message: why}
		}
		version = result.GetPolicyVersion()
	}
	out := &weirv1.ApplyPoliciesResponse{PolicyVersion: version, Warnings: warnings}
	addPlan(out, plan)
	return out, nil
}

// maxPlan is how many bytes of a plan are told, some less than an answer may have: a
// change that was made must not fail because it is long.
const maxPlan = maxAnswer * 3 / 4

// addPlan adds a plan to an answer, as far as there is room.
func addPlan(out *weirv1.ApplyPoliciesResponse, plan []policy.PlanEntry) {
	size := 0
	for i := range plan {
		p := &plan[i]
		entry := &weirv1.PlanEntry{
			Domain: p.Domain, Policy: p.Policy, Action: weirv1.PlanEntry_Action(p.Action), Changes: p.Changes, FreshKeys: p.FreshKeys,
		}
		if size += proto.Size(entry); size > maxPlan {
			out.Warnings = append(out.Warnings, fmt.Sprintf("the plan is too long to be shown whole: %d more policies change", len(plan)-i))
			return
		}
		out.Plan = append(out.Plan, entry)
	}
}

// Codes that only changes of policies have.
const (
	codeStale         = limiter.Code(codes.Aborted)
	codeUnimplemented = limiter.Code(codes.Unimplemented)
)

// changeError classes what the log says of a change it did not make. ctx is the caller's.
func changeError(ctx context.Context, err error) *limiter.Error {
	if problems, ok := errors.AsType[policy.Problems](err); ok {
		return &limiter.Error{Code: limiter.InvalidArgument, Message: problems.Error()}
	}
	switch {
	case errors.Is(err, policystore.ErrStale):
		return &limiter.Error{Code: codeStale, Message: err.Error() + ": read the policies again, then decide"}
	case ctx.Err() != nil:
		return &limiter.Error{Code: limiter.DeadlineExceeded, Message: "the deadline was over before the change was confirmed; it may still come into force: " + err.Error()}
	case errors.Is(err, policystore.ErrNoLeader), errors.Is(err, policystore.ErrNotLeader), errors.Is(err, policystore.ErrClosed),
		errors.Is(err, context.DeadlineExceeded):
		return &limiter.Error{Code: limiter.Shed, Message: err.Error()}
	}
	return &limiter.Error{Code: limiter.Internal, Message: err.Error()}
}

// GetPolicies returns the documents in force.
func (a *Admin) GetPolicies(_ context.Context, in *weirv1.GetPoliciesRequest) (*weirv1.GetPoliciesResponse, error) {
	out, err := a.policies(in.GetDomain())
	if err != nil {
		return nil, statusOf(err)
	}
	if n := proto.Size(out); n > maxAnswer {
		return nil, statusOf(&limiter.Error{Code: codeTooLarge, Field: "domain",
			Message: fmt.Sprintf("all documents together have %d bytes, an answer at most %d: ask for one domain at a time, or HTTP for /v1/policies", n, maxAnswer)})
	}
	return out, nil
}

// policies returns the documents of one domain, or all for "".
func (a *Admin) policies(domain string) (*weirv1.GetPoliciesResponse, *limiter.Error) {
	snapshot := a.cfg.Snapshot()
	docs := a.cfg.Policies.Documents()
	for range 10 { // both of one version; changes are rare
		again := a.cfg.Snapshot()
		if again == snapshot {
			break
		}
		snapshot, docs = again, a.cfg.Policies.Documents()
	}
	out := &weirv1.GetPoliciesResponse{PolicyVersion: snapshot.Version, PolicyHash: snapshot.Hash}
	for _, d := range docs {
		if domain == "" || d.Domain == domain {
			out.Documents = append(out.Documents, &weirv1.Document{Domain: d.Domain, Text: string(d.Text), Version: d.Version, File: d.File})
		}
	}
	if domain != "" && len(out.Documents) == 0 {
		return nil, &limiter.Error{Code: limiter.NotFound, Field: "domain", Message: fmt.Sprintf("there are no policies of domain %q: `weir policy get` lists those there are", domain)}
	}
	return out, nil
}

// InspectKey shows the buckets a request would charge and who owns them.
func (a *Admin) InspectKey(ctx context.Context, in *weirv1.InspectKeyRequest) (*weirv1.InspectKeyResponse, error) {
	r := limiter.Request{Domain: in.GetDomain(), Attributes: attributesOf(in.GetAttributes())}
	limits, version, err := a.cfg.Limiter.Inspect(ctx, r, in.GetPolicy())
	if err != nil {
		return nil, statusOf(errorOf(err))
	}
	table := a.cfg.Table()
	out := &weirv1.InspectKeyResponse{PolicyVersion: version}
	for i := range limits {
		s := &limits[i]
		bucket := &weirv1.BucketStatus{Status: &weirv1.LimitStatus{}, Partition: uint32(s.Hash.Partition())}
		if err := proto.Unmarshal(appendLimitStatus(nil, s), bucket.Status); err != nil {
			return nil, statusOf(&limiter.Error{Code: limiter.Internal, Message: "encode the status of a bucket: " + err.Error()})
		}
		if owner := table.Rows[bucket.Partition].Owner; owner != ring.None && int(owner) < len(table.Members) {
			bucket.Owner = table.Members[owner].ID
		}
		out.Buckets = append(out.Buckets, bucket)
	}
	return out, nil
}

// ListMembers shows the nodes of the table.
func (a *Admin) ListMembers(context.Context, *weirv1.ListMembersRequest) (*weirv1.ListMembersResponse, error) {
	table, snapshot := a.cfg.Table(), a.cfg.Snapshot()
	members, _ := a.members(table)
	leader, _ := a.cfg.Log.Leader()
	return &weirv1.ListMembersResponse{
		Members: members, NodeId: a.cfg.NodeID, Leader: leader, ClusterId: a.cfg.Log.ClusterID(),
		TableEpoch: table.Epoch, PolicyVersion: snapshot.Version, PolicyHash: snapshot.Hash,
	}, nil
}

// GetTable shows which node owns which partition.
func (a *Admin) GetTable(context.Context, *weirv1.GetTableRequest) (*weirv1.GetTableResponse, error) {
	table := a.cfg.Table()
	members, rows := a.members(table)
	return &weirv1.GetTableResponse{Epoch: table.Epoch, Members: members, Rows: rows}, nil
}

// members returns a table's members, with their place in raft, and its rows.
func (a *Admin) members(table *ring.Table) ([]*weirv1.Member, []*weirv1.Row) {
	members, rows := policystore.TableToProto(table)
	suffrage := map[string]string{}
	servers, err := a.cfg.Log.Servers() // where raft cannot say, nobody is in it
	if err == nil {
		for _, s := range servers {
			suffrage[s.ID] = "non-voter"
			if s.Voter {
				suffrage[s.ID] = "voter"
			}
		}
	}
	for _, m := range members {
		m.RaftSuffrage = "none"
		if s, ok := suffrage[m.GetNodeId()]; ok {
			m.RaftSuffrage = s
		}
	}
	return members, rows
}
