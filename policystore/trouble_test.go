package policystore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/hashicorp/raft"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

// What the rooms above need of a Store, as they say it.
var (
	_ interface {
		Leading() bool
		Table() *ring.Table
		CommitTable(ctx context.Context, from uint64, t *ring.Table) error
	} = (*Store)(nil)
	_ interface {
		Servers() ([]ring.Server, error)
		AddServer(ctx context.Context, s ring.Server) error
		RemoveServer(ctx context.Context, id string) error
	} = (*Store)(nil)
	_ interface {
		Fresh() bool
		Bootstrap(voters []ring.Server) error
		ClusterID() string
	} = (*Store)(nil)
	_ interface {
		ProposeLocal(ctx context.Context, command []byte) (result []byte, err error)
		Leader() (id, addr string)
		TransferLead(ctx context.Context) error
	} = (*Store)(nil)
)

func (c *testCluster) lone(path string) *testNode {
	c.t.Helper()
	n := c.start("n1", path)
	if err := n.Bootstrap([]ring.Server{{ID: n.id, Addr: n.addr, Voter: true}}); err != nil {
		c.t.Fatal(err)
	}
	return c.leader(n)
}

func TestDamagedBundle(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.lone(t.TempDir())
	n.mustApply(change(document("shop", "a")))
	n.stop()
	bundle := filepath.Join(n.path, bundleFile)
	raw, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string][]byte{"cut": raw[:len(raw)/2], "empty": {}, "flipped": append([]byte{raw[0] ^ 1}, raw[1:]...)} {
		if err := os.WriteFile(bundle, spoil, 0o600); err != nil {
			t.Fatal(err)
		}
		n = c.start("n1", n.path)
		eventually(t, name+": the log has what the bundle lost", func() bool { return n.Policies().Version == 1 })
		n.stop()
		if mended, err := os.ReadFile(bundle); err != nil || len(mended) != len(raw) {
			t.Errorf("%s: the bundle is not mended: %d of %d bytes, %v", name, len(mended), len(raw), err)
		}
	}
}

func TestLaggingNodeGetsASnapshot(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.lone("")
	for i := range 8 {
		if err := n.CommitTable(within(t, long), n.Table().Epoch, ring.Place(nil, members(fmt.Sprintf("m%d", i)))); err != nil {
			t.Fatal(err)
		}
	}
	again, err := nameCluster() // entries that change nothing push the others out of the log
	if err != nil {
		t.Fatal(err)
	}
	for range keptEntries + 2 {
		if _, err := n.commit(within(t, long), again); err != nil {
			t.Fatal(err)
		}
	}
	n.mustApply(change(document("shop", "a")))
	if err := n.group.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	late := c.start("n2", t.TempDir())
	if err := n.AddServer(within(t, long), ring.Server{ID: "n2", Addr: late.addr}); err != nil {
		t.Fatal(err)
	}
	agree(t, n, late)
	late.mu.Lock()
	delivered := len(late.epochs)
	late.mu.Unlock()
	if delivered != 1 {
		t.Errorf("%d tables delivered, want the snapshot's alone: it followed the log instead", delivered)
	}
	// And a restart begins with that snapshot.
	late.stop()
	n.mustApply(change(document("shop", "b")))
	late = c.start("n2", late.path)
	agree(t, n, late)

	// Where the answer to the first entry behind the snapshot was lost, the leader asks
	// about the snapshot's end once more.
	newest, err := late.group.logs.(snapshotLog).snapshots.List()
	if err != nil || len(newest) == 0 || newest[0].Index >= late.group.raft.LastIndex() {
		t.Fatalf("snapshots %v, %v, and a log up to %d: the log must go on behind the snapshot", newest, err, late.group.raft.LastIndex())
	}
	n.stop()
	var answer raft.AppendEntriesResponse
	err = late.group.transport.AppendEntries("n2", raft.ServerAddress(late.addr), &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.id), Addr: []byte(n.addr)},
		Term:      late.group.raft.CurrentTerm() + 1, PrevLogEntry: newest[0].Index, PrevLogTerm: newest[0].Term,
	}, &answer)
	if err != nil || !answer.Success {
		t.Errorf("asked about the end of its snapshot it answers %+v, %v", answer, err)
	}
}

func TestPoisonedDocumentKeepsTheLastGood(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.lone("")
	n.mustApply(change(document("shop", "a")))
	// As a leader of another version would have taken it: past the dry run.
	res, err := n.commit(within(t, long), &weirv1.Command{Kind: &weirv1.Command_Policies{Policies: change(text("poison", "nonsense: [\n"))}})
	if err != nil || res.GetPolicyVersion() != 2 {
		t.Fatalf("%v, %v", res, err)
	}
	eventually(t, "the failure is reported", func() bool { return n.Status().Failure != "" })
	if n.Policies().Version != 1 || len(n.Documents()) != 1 {
		t.Errorf("version %d with %d documents in force, want the last good", n.Policies().Version, len(n.Documents()))
	}
	if got := n.mustApply(change(document("poison", "b"))); got != 3 || n.Status().Failure != "" {
		t.Errorf("the remedy: version %d, failure %q", got, n.Status().Failure)
	}
}

func TestForeignLogIsRefused(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	path := t.TempDir()
	d := openDir(t, path, "n2")
	if err := d.SetClusterID("another"); err != nil {
		t.Fatal(err)
	}
	closeDir(t, d)
	n := c.lone("")
	stray := c.start("n2", path)
	if err := n.AddServer(within(t, long), ring.Server{ID: "n2", Addr: stray.addr}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stray node says so", func() bool { return stray.Status().Err != nil })
	if _, err := stray.Apply(within(t, long), change(document("shop", "a"))); err == nil || !strings.Contains(err.Error(), "belongs to cluster another") {
		t.Errorf("apply: %v", err)
	}
}

// lossy forwards, but loses the first answer.
func lossy(c *testCluster) func(context.Context, string, []byte) ([]byte, error) {
	lost := false
	return func(ctx context.Context, addr string, command []byte) ([]byte, error) {
		res, err := c.forward(ctx, addr, command)
		if err == nil && !lost {
			lost = true
			return nil, errors.New("connection reset")
		}
		return res, err
	}
}

func TestLostAnswerIsNoRefusal(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := c.voters(3)
	nodes[0].mustApply(change(document("shop", "a")))
	for i, spoil := range []func(*weirv1.ChangePolicies){
		func(ch *weirv1.ChangePolicies) { ch.IfVersion = new(uint64(1)) },
		func(*weirv1.ChangePolicies) {},
	} {
		agree(t, nodes...)
		at := nodes[1]
		at.cfg.Forward = lossy(c)
		ch := change(document("shop", fmt.Sprintf("b%d", i)))
		spoil(ch)
		if got, want := at.mustApply(ch), uint64(i+2); got != want {
			t.Errorf("version %d, want %d", got, want)
		}
	}
	// A refusal in earnest stays one, however often it was asked.
	at := nodes[1]
	agree(t, nodes...)
	at.cfg.Forward = lossy(c)
	ch := change(document("shop", "other"))
	ch.IfVersion = new(uint64(1))
	res, err := at.Apply(within(t, long), ch)
	if err != nil || res.GetCode() != int32(codes.Aborted) {
		t.Errorf("stale after a lost answer: %v, %v", res, err)
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	n := newTestCluster(t).lone("")
	n.mustApply(change(document("shop", "a")))
	plan, _, err := n.Plan(change(document("other", "b")))
	if err != nil || len(plan) != 1 || plan[0].Domain != "other" {
		t.Errorf("plan %v, %v", plan, err)
	}
	stale := change(document("shop", "b"))
	stale.IfVersion = new(uint64(9))
	if _, _, err := n.Plan(stale); !errors.Is(err, ErrStale) {
		t.Errorf("stale plan: %v", err)
	}
	if _, _, err := n.Plan(change(document("shop", "a"), &weirv1.Document{Text: "nonsense: 1\n", File: "bad.yaml"}, document("shop", "b"))); err == nil || !strings.Contains(err.Error(), "bad.yaml") || !strings.Contains(err.Error(), "shop") {
		t.Errorf("plan of three bad documents: %v", err)
	}
	if n.Policies().Version != 1 || len(n.Documents()) != 1 {
		t.Error("a plan changed what is in force")
	}
}

// What is wrong with thousands of documents is no answer that anybody reads, or can be
// sent.
func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	n := newTestCluster(t).lone("")
	bad := change()
	for range 5000 {
		bad.Documents = append(bad.Documents, &weirv1.Document{Text: "nonsense: 1\n"})
	}
	_, _, err := n.Plan(bad)
	if err == nil || len(err.Error()) > 32<<10 || !strings.Contains(err.Error(), "documents[7]") || !strings.Contains(err.Error(), "mend these first") {
		t.Errorf("%d bytes: %.200v; want the first problems, and that there are more", len(fmt.Sprint(err)), err)
	}
}

// The leader parses documents before they have come through the log, and must show what
// all others show.
func TestDocumentsAreThoseOfTheLog(t *testing.T) {
	t.Parallel()
	n := newTestCluster(t).lone("")
	named := document("c", "c")
	named.File = "c.yaml"
	n.mustApply(change(document("a", "a"), document("b", "b"), named))
	logged := n.applied.Load().docs
	for i, d := range n.Documents() {
		if l := logged[i]; d.File != l.GetFile() || d.Domain != l.GetDomain() || d.Version != l.GetVersion() || string(d.Text) != l.GetText() {
			t.Errorf("document %d: %s of %q, version %d; the log has %s of %q, version %d", i, d.Domain, d.File, d.Version, l.GetDomain(), l.GetFile(), l.GetVersion())
		}
	}
}

func TestClosedStore(t *testing.T) {
	t.Parallel()
	n := newTestCluster(t).lone("")
	n.stop()
	for name, err := range map[string]error{
		"apply":     second(n.Apply(within(t, long), change(document("shop", "a")))),
		"propose":   second(n.ProposeLocal(within(t, long), policiesEntry(t, change(document("shop", "a"))))),
		"table":     n.CommitTable(within(t, long), 0, ring.Place(nil, nil)),
		"bootstrap": n.Bootstrap(nil),
		"add":       n.AddServer(within(t, long), ring.Server{ID: "x", Addr: "x:1"}),
	} {
		if err == nil {
			t.Errorf("%s at a closed store succeeds", name)
		}
	}
	if err := n.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestOpenRefusesWhatCannotWork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	d := openDir(t, t.TempDir(), "n2")
	defer closeDir(t, d)
	for name, cfg := range map[string]Config{"no id": {Layer: layer{l}}, "no layer": {NodeID: "n1"}, "another's dir": {NodeID: "n1", Layer: layer{l}, Dir: d}} {
		if s, err := Open(cfg); err == nil {
			t.Errorf("%s: opened (%v)", name, s.Close())
		}
	}
}

func TestDamagedLogIsAnError(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.lone(t.TempDir())
	n.mustApply(change(document("shop", "a")))
	n.stop()
	if err := os.WriteFile(filepath.Join(n.path, raftFolder, logFile), slices.Repeat([]byte("nonsense"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.tryStart("n1", n.path); err == nil || !strings.Contains(err.Error(), logFile) {
		t.Errorf("started on a damaged log: %v", err)
	}
}

func TestDeadlineIsKept(t *testing.T) {
	t.Parallel()
	n := newTestCluster(t).start("n1", "")
	ctx := within(t, 300*time.Millisecond)
	began := time.Now()
	if _, err := n.Apply(ctx, change(document("shop", "a"))); !errors.Is(err, ErrNoLeader) {
		t.Errorf("apply: %v", err)
	}
	if took := time.Since(began); took > 300*time.Millisecond+pace {
		t.Errorf("failed after %v, want 300 ms at most", took)
	}
}
