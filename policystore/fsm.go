package policystore

import (
	"bytes"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"

	"github.com/weir-io/weir/ring"
)

// A machine is a Store as raft's state machine: raft calls it from one goroutine. It
// stores bytes; deliver and activate make tables and policies of them.
type machine Store

var _ raft.FSM = (*machine)(nil)

// Apply applies one entry and returns its *weirv1.CommandResult. raft applies without
// recover, and again on replay: an entry that panicked here would stop every node for
// good. It is skipped instead.
func (m *machine) Apply(entry *raft.Log) (result any) {
	before := m.applied.Load()
	defer func() {
		if r := recover(); r != nil {
			m.quarantined.Add(1)
			m.log.Error("log entry put into quarantine", "index", entry.Index, "panic", r, "stack", string(debug.Stack()))
			result = before.refuse(codes.Internal, "entry %d broke the state machine and was skipped: %v", entry.Index, r)
		}
	}()
	after, res := before.apply(entry.Index, entry.Data)
	if res.GetCode() == int32(codes.Unimplemented) {
		m.log.Warn("log entry skipped", "index", entry.Index, "reason", res.GetRefused())
	}
	m.take(before, after)
	return res
}

// take makes a state the applied one and passes on what is new in it.
func (m *machine) take(before, after *state) {
	m.applied.Store(after)
	if after.table != before.table {
		m.tables <- after.table // deliver takes it until raft is down
	}
	if after.version != before.version || (before.cluster == nil && after.cluster != nil) {
		poke(m.recompile)
		poke(m.unsaved)
	}
	m.news.Send()
}

// Snapshot returns the state of now, which no later entry changes.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot{m.applied.Load()}, nil
}

// Restore replaces the state by one that Snapshot wrote, here or at the leader.
func (m *machine) Restore(from io.ReadCloser) error {
	defer func() { _ = from.Close() }()
	var b bytes.Buffer
	if _, err := io.Copy(&b, from); err != nil {
		return fmt.Errorf("read a snapshot of the log: %w", err)
	}
	st, err := decodeState(b.Bytes())
	if err != nil {
		return fmt.Errorf("read a snapshot of the log: %w", err)
	}
	m.take(m.applied.Load(), st)
	return nil
}

// A snapshot is an immutable state on its way to disk or to a node that lags.
type snapshot struct{ state *state }

// Persist writes the state down.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	b, err := encodeState(s.state)
	if err == nil {
		_, err = sink.Write(b)
	}
	if err != nil {
		_ = sink.Cancel() // the first error says more
		return fmt.Errorf("write a snapshot of the log: %w", err)
	}
	return sink.Close()
}

// Release does nothing: a state is the garbage collector's.
func (s snapshot) Release() {}

// poke signals on a channel with room for one signal, which stands for any number.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// stale reports whether a table is no newer than the one delivered: the log replays
// tables that the last-good bundle has overtaken.
func stale(t, delivered *ring.Table) bool { return t.Epoch <= delivered.Epoch }
