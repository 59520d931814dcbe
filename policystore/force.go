package policystore

import (
	"fmt"
	"runtime/debug"

	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// inForce is the policies a node decides by. It is immutable.
type inForce struct {
	state    *state // whose documents they are
	docs     []*policy.Document
	snapshot *policy.Snapshot
}

// startInForce puts the last-good bundle in force, or nothing where there is none that
// can be read.
func (s *Store) startInForce() error {
	empty, _, err := compile(nil, nil, 0, policy.Secret{})
	if err != nil {
		return fmt.Errorf("compile no policies: %w", err)
	}
	s.force.Store(&inForce{state: newState(), snapshot: empty})
	if s.cfg.Dir == nil {
		return nil
	}
	st, err := readBundle(s.cfg.Dir)
	if err != nil {
		s.log.Error("last-good policies are lost: none are in force until the log is read", "err", err)
		return nil
	}
	if st == nil {
		return nil
	}
	s.activate(st)
	if t := st.table; !stale(t, s.Table()) {
		s.cfg.OnTable(t)
		s.table.Store(t)
	}
	s.log.Info("last-good policies and table are in force until the log is read", "policy_version", s.Policies().Version, "table_epoch", s.Table().Epoch)
	return nil
}

// deliver hands on every table, in the order of the log. Tables have a goroutine of
// their own: to compile many policies takes seconds, and no row may wait for that.
func (s *Store) deliver() {
	for t := range s.tables {
		if stale(t, s.Table()) {
			continue
		}
		s.cfg.OnTable(t)
		s.table.Store(t)
		poke(s.unsaved)
		s.news.Send()
	}
}

// activateAll puts policies in force, the newest when several came at once.
func (s *Store) activateAll() {
	for range s.recompile {
		s.activate(s.applied.Load())
	}
}

// activate puts the policies of a state in force where they are newer. When they do
// not compile, the last good ones stay.
func (s *Store) activate(st *state) {
	if st.version <= s.tried.Load() {
		return
	}
	was := s.force.Load()
	now, err := s.build(was, st)
	if err != nil {
		reason := err.Error()
		s.failure.Store(&reason)
		s.log.Error("policies do not compile here: the last good ones stay in force", "policy_version", st.version, "in_force", was.snapshot.Version, "err", err)
	} else {
		s.failure.Store(nil)
		s.force.Store(now)
		s.cfg.OnPolicies(now.snapshot)
		s.log.Info("policies in force", "policy_version", st.version, "documents", len(now.docs), "policy_hash", now.snapshot.Hash)
	}
	s.tried.Store(st.version)
	poke(s.unsaved)
	s.news.Send()
}

// build parses the documents of a state that were not parsed before, and compiles all.
func (s *Store) build(was *inForce, st *state) (*inForce, error) {
	now := &inForce{state: st, docs: make([]*policy.Document, len(st.docs))}
	for i, d := range st.docs {
		doc, err := s.parsed(was, d)
		if err != nil {
			return nil, err
		}
		now.docs[i] = doc
	}
	var err error
	now.snapshot, _, err = compile(was.snapshot, now.docs, st.version, st.secret())
	return now, err
}

// parsed returns a document as it was parsed before, else parses it.
func (s *Store) parsed(was *inForce, d *weirv1.Document) (*policy.Document, error) {
	if i, there := was.state.find(d.GetDomain()); there && was.docs[i].Version == d.GetVersion() {
		return was.docs[i], nil
	}
	doc := s.drafts.take(func(doc *policy.Document) bool {
		return doc.Domain == d.GetDomain() && string(doc.Text) == d.GetText()
	})
	if doc == nil {
		var err error
		if doc, err = parse(d.GetFile(), []byte(d.GetText())); err != nil {
			return nil, err
		}
	}
	doc.Version, doc.File = d.GetVersion(), d.GetFile() // a draft has a name for messages where it came without one
	return doc, nil
}

// keep brings the data directory up to what is applied and in force. The disk is
// waited for here alone: while it hangs, tables and policies go on.
func (s *Store) keep() {
	for range s.unsaved {
		st, force := s.applied.Load(), s.force.Load()
		if s.cfg.Dir == nil || st.cluster == nil {
			continue
		}
		if err := s.cfg.Dir.SetClusterID(st.cluster.GetClusterId()); err != nil {
			s.foreign.Store(&err)
			s.log.Error("this node follows the log of a foreign cluster: stop it", "err", err)
			s.news.Send()
			continue
		}
		good := &state{
			index: st.index, cluster: st.cluster, version: force.snapshot.Version,
			docs: force.state.docs, table: s.Table(),
		}
		if err := writeBundle(s.cfg.Dir, good); err != nil {
			s.log.Warn("last-good policies are not saved: after a restart without quorum this node serves older ones", "err", err)
		}
	}
}

// compile is policy.Compile, which a document must not be able to stop the node with.
func compile(prev *policy.Snapshot, docs []*policy.Document, version uint64, secret policy.Secret) (snapshot *policy.Snapshot, warnings []string, err error) {
	defer recovered("compile policies", &err)
	return policy.Compile(prev, docs, version, secret)
}

// parse is policy.Parse, as safe.
func parse(file string, text []byte) (doc *policy.Document, err error) {
	defer recovered("parse "+file, &err)
	return policy.Parse(file, text)
}

// recovered turns a panic into an error.
func recovered(doing string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s: broken invariant: %v\n%s", doing, r, debug.Stack())
	}
}
