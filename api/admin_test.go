package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weir-io/weir/api"
	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

func TestAdmin(t *testing.T) {
	d := open(t, shop)
	members, err := d.admin.ListMembers(t.Context(), &weirv1.ListMembersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	n1 := &weirv1.Member{NodeId: "n1", Boot: 1, State: weirv1.Member_STATE_UP, GrpcAddr: "127.0.0.1:1", Owned: 1024, RaftSuffrage: "voter"}
	same(t, "ListMembers", members, &weirv1.ListMembersResponse{
		Members: []*weirv1.Member{n1}, NodeId: "n1", Leader: "n1", ClusterId: "c1", TableEpoch: 3, PolicyVersion: 7, PolicyHash: d.log.Policies().Hash,
	})
	table, err := d.admin.GetTable(t.Context(), &weirv1.GetTableRequest{})
	if err != nil || table.GetEpoch() != 3 || len(table.GetRows()) != 1024 || len(table.GetMembers()) != 1 {
		t.Errorf("GetTable: epoch %d, %d rows, %d members, %v", table.GetEpoch(), len(table.GetRows()), len(table.GetMembers()), err)
	}
	docs, err := d.admin.GetPolicies(t.Context(), &weirv1.GetPoliciesRequest{Domain: "shop"})
	if err != nil || len(docs.GetDocuments()) != 1 || docs.GetDocuments()[0].GetText() != shop || docs.GetPolicyVersion() != 7 {
		t.Errorf("GetPolicies: %v, %v", docs, err)
	}
	if _, err := d.admin.GetPolicies(t.Context(), &weirv1.GetPoliciesRequest{Domain: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("GetPolicies of a domain without: %v, want NOT_FOUND", err)
	}
	acme := request("shop", "client", "acme")
	for range 2 { // to look consumes nothing
		got, err := d.admin.InspectKey(t.Context(), &weirv1.InspectKeyRequest{Domain: "shop", Attributes: acme.GetAttributes()})
		if err != nil || len(got.GetBuckets()) != 2 || got.GetPolicyVersion() != 7 {
			t.Fatalf("InspectKey: %v, %v", got, err)
		}
		pace := got.GetBuckets()[0]
		if s := pace.GetStatus(); s.GetLimitName() != "pace" || s.GetRemaining() != 5 || s.GetMode() != weirv1.Mode_MODE_ENFORCE || pace.GetOwner() != "n1" {
			t.Errorf("InspectKey: %v, want pace with all 5 left at n1", pace)
		}
	}
	stale := &weirv1.ApplyPoliciesRequest{Documents: []*weirv1.Document{{Text: "domain: other\npolicies: []\n"}}, IfVersion: new(uint64(6))}
	if _, err := d.admin.ApplyPolicies(t.Context(), stale); status.Code(err) != codes.Aborted {
		t.Errorf("ApplyPolicies of another version: %v, want ABORTED", err)
	}
	if _, err := d.admin.ApplyPolicies(t.Context(), &weirv1.ApplyPoliciesRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("ApplyPolicies of nothing: %v, want INVALID_ARGUMENT", err)
	}
}

// A planned is policies whose plan is what a test says.
type planned struct {
	*log
	plan []policy.PlanEntry
}

func (p *planned) Plan(*weirv1.ChangePolicies) ([]policy.PlanEntry, []string, error) {
	return p.plan, nil, nil
}

func (p *planned) Apply(context.Context, *weirv1.ChangePolicies) (*weirv1.CommandResult, error) {
	return &weirv1.CommandResult{PolicyVersion: 8}, nil
}

// A change that was made must not fail because its plan is long.
func TestLongPlansAreCut(t *testing.T) {
	d := open(t, shop)
	p := &planned{log: d.log}
	for i := range 150 {
		p.plan = append(p.plan, policy.PlanEntry{Domain: "shop", Policy: fmt.Sprint(i), Action: policy.Change, Changes: []string{strings.Repeat("x", 120<<10)}})
	}
	admin := api.NewAdmin(api.AdminConfig{Policies: p, Log: p, Snapshot: d.log.Policies})
	got, err := admin.ApplyPolicies(t.Context(), &weirv1.ApplyPoliciesRequest{Documents: []*weirv1.Document{{Text: "any"}}})
	if err != nil || got.GetPolicyVersion() != 8 {
		t.Fatalf("version %d, %v", got.GetPolicyVersion(), err)
	}
	if size := proto.Size(got); size > 8<<20 {
		t.Errorf("an answer of %d bytes, want at most 8 MiB", size)
	}
	rest := fmt.Sprintf("%d more policies", 150-len(got.GetPlan()))
	if n := len(got.GetPlan()); n < 40 || len(got.GetWarnings()) != 1 || !strings.Contains(got.GetWarnings()[0], rest) {
		t.Errorf("%d entries, warnings %q; want as many as fit and how many are missing", n, got.GetWarnings())
	}
}

func TestDocumentsThatAreTooLargeTogether(t *testing.T) {
	d := open(t)
	var docs []*policy.Document
	for _, domain := range []string{"a", "b", "c"} {
		docs = append(docs, &policy.Document{Domain: domain, Text: []byte("domain: " + domain + "\npolicies: []\n" + strings.Repeat("# filler\n", 3<<20/9))})
	}
	d.log.docs.Store(&docs)
	if _, err := d.admin.GetPolicies(t.Context(), &weirv1.GetPoliciesRequest{}); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "one domain") {
		t.Errorf("9 MB of documents: %.200v; want RESOURCE_EXHAUSTED and what to do", err)
	}
	for _, doc := range docs {
		got, err := d.admin.GetPolicies(t.Context(), &weirv1.GetPoliciesRequest{Domain: doc.Domain})
		if err != nil || got.GetDocuments()[0].GetText() != string(doc.Text) {
			t.Errorf("domain %s: %v", doc.Domain, err)
		}
	}
	if got := d.do(t, "GET", "/v1/policies", ""); got.StatusCode != 200 { // HTTP has no such bound
		t.Errorf("over HTTP: status %d", got.StatusCode)
	}
}
