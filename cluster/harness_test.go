package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/clock"
	"github.com/weir-io/weir/ring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; a test that runs into it has failed.
const patience = 20 * time.Second

// A quietLog is a replicated log that says nothing by itself: tests hand tables to the
// nodes.
type quietLog struct{ id string }

var errNoLog = errors.New("there is no log in this test")

func (quietLog) Leading() bool                                          { return false }
func (quietLog) Table() *ring.Table                                     { return &ring.Table{} }
func (quietLog) CommitTable(context.Context, uint64, *ring.Table) error { return errNoLog }
func (quietLog) Servers() ([]ring.Server, error)                        { return nil, nil }
func (quietLog) AddServer(context.Context, ring.Server) error           { return errNoLog }
func (quietLog) RemoveServer(context.Context, string) error             { return errNoLog }
func (quietLog) Fresh() bool                                            { return false }
func (quietLog) Bootstrap([]ring.Server) error                          { return errNoLog }
func (l quietLog) ClusterID() string                                    { return l.id }
func (quietLog) ProposeLocal(context.Context, []byte) ([]byte, error)   { return nil, errNoLog }
func (quietLog) Leader() (id, addr string)                              { return "", "" }
func (quietLog) TransferLead(context.Context) error                     { return nil }

// A member is a node of a test and what it was made of.
type member struct {
	*Node
	transport *Transport
	stopped   bool
}

func (m *member) kill() {
	if m.stopped {
		return
	}
	m.stopped = true
	now, cancel := context.WithCancel(context.Background())
	cancel()
	_ = m.Close(now)
	_ = m.transport.Close()
}

// startMembers starts nodes n1, n2, … that have no table yet. They share one clock.
func startMembers(t testing.TB, n int) []*member {
	t.Helper()
	members := make([]*member, n)
	c := clock.NewSystem()
	for i := range members {
		members[i] = startMember(t, "n"+strconv.Itoa(i+1), "c1", c)
	}
	return members
}

func startMember(t testing.TB, id, cluster string, c clock.Clock) *member {
	t.Helper()
	transport, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := transport.Addr().String()
	log := quietLog{cluster}
	node, err := New(Config{
		Self:       ring.Member{ID: id, Boot: 1, PeerAddr: addr, GRPCAddr: addr, HTTPAddr: addr, State: ring.Up},
		GossipAddr: "127.0.0.1:0", Voters: 1,
		Store: bucket.NewStore(bucket.Config{Memory: 64 << 20, Seed: 1}), Rights: bucket.NewStore(bucket.Config{Memory: 8 << 20, Seed: 2}),
		Clock: c, Transport: transport, Log: log, Quorum: log, Founder: log, Proposer: log,
		Policies: func() uint64 { return 0 },
		Logger:   slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", id),
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &member{Node: node, transport: transport}
	t.Cleanup(m.kill)
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	return m
}

// testWriter sends log lines to the test's own log, which is shown when it fails.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) { return w.t.Output().Write(p) }

// tableOf returns a table whose partition p is owned by owner(p), a place in members.
func tableOf(epoch uint64, members []*member, owner func(p int) int) *ring.Table {
	t := &ring.Table{Epoch: epoch}
	for _, m := range members {
		t.Members = append(t.Members, m.cfg.Self)
	}
	for p := range t.Rows {
		t.Rows[p] = ring.Row{Owner: int16(owner(p)), Replica: ring.None, Target: ring.None, State: ring.Steady, Since: epoch}
	}
	return t
}

// route makes every member route by one table, and waits until they have met.
func route(t testing.TB, members []*member, table *ring.Table) {
	t.Helper()
	for _, m := range members {
		m.TableApplied(table)
	}
	meet(t, members)
}

// meet waits until all members of each member's table answer it.
func meet(t testing.TB, members []*member) {
	t.Helper()
	eventually(t, "all members answer each other", func() error {
		for _, m := range members {
			v := m.view.Load()
			for i, p := range v.peers {
				if int16(i) != v.self && (p == nil || !p.state().Answers) {
					return fmt.Errorf("%s does not hear %s", m.cfg.Self.ID, v.table.Members[i].ID)
				}
			}
		}
		return nil
	})
}

func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v until %s: %v", patience, what, err)
		}
	}
}

// keyAt returns the hash of the i-th key of a partition.
func keyAt(partition, i int) bucket.Hash {
	return bucket.Hash{Hi: uint64(i), Lo: uint64(partition) + uint64(i)*bucket.Partitions}
}

// window is a limit of so many hits a day, told apart by a number.
func window(limit int64, own uint64, mode bucket.FailMode) *bucket.Rule {
	return &bucket.Rule{Limit: bucket.Limit{Algorithm: bucket.FixedWindow, Count: limit, Period: 24 * time.Hour}, Hash: bucket.Hash{Hi: own}, Version: 1, FailMode: mode}
}

// decide decides items, each given by its charges, at a node within a time.
func decide(m *member, within time.Duration, peek bool, items ...[]bucket.Charge) *Batch {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	b := &Batch{}
	for _, charges := range items {
		first := int32(len(b.Charges))
		b.Charges = append(b.Charges, charges...)
		b.Items = append(b.Items, Item{First: first, End: int32(len(b.Charges)), Peek: peek})
	}
	b.Statuses = make([]bucket.Status, len(b.Charges))
	m.Decide(ctx, b)
	return b
}

func charge(h bucket.Hash, r *bucket.Rule) bucket.Charge {
	return bucket.Charge{Hash: h, Rule: r, Hits: 1}
}

// A testClock holds up whoever asks it for the time, where a test says so: as a process
// that hangs, it takes items and decides none.
type testClock struct {
	clock.Clock
	held atomic.Pointer[chan struct{}]
}

// Now returns the time once nobody holds the clock.
func (c *testClock) Now() int64 {
	if held := c.held.Load(); held != nil {
		<-*held
	}
	return c.Clock.Now()
}

// hold makes Now wait until release is called.
func (c *testClock) hold() (release func()) {
	held := make(chan struct{})
	c.held.Store(&held)
	return func() {
		c.held.Store(nil)
		close(held)
	}
}
