package policystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

const (
	// patience is how long a change looks for a leader: with the question which voters
	// answer it fails within 2 s. An election takes a second.
	patience = 1600 * time.Millisecond
	// blindness is the longest time raft takes to see that its leader is gone.
	blindness = time.Second
	// pace is how soon a change tries again where nothing new was heard.
	pace = 50 * time.Millisecond
)

// ProposeLocal appends an encoded weirv1.Command where this node leads and returns
// the encoded weirv1.CommandResult; a change the leader's dry run or the log refuses is
// a result that says so. ErrNotLeader says that nothing was appended; with any other
// error the command may or may not come into force. Only changes of policies are taken:
// tables are the leader's own, by CommitTable.
func (s *Store) ProposeLocal(ctx context.Context, command []byte) (result []byte, err error) {
	res, err := s.proposeLocal(ctx, command)
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	return proto.Marshal(res)
}

func (s *Store) proposeLocal(ctx context.Context, command []byte) (*weirv1.CommandResult, error) {
	var c weirv1.Command
	if err := proto.Unmarshal(command, &c); err != nil {
		return s.applied.Load().refuse(codes.InvalidArgument, "not a command: %v", err), nil
	}
	change := c.GetPolicies()
	if change == nil {
		return s.applied.Load().refuse(codes.Unimplemented, "the leader %s takes changes of policies only, not %T", s.cfg.NodeID, c.GetKind()), nil
	}
	if !s.Leading() {
		return nil, s.notLeader()
	}
	select { // the dry run must hold until the change is applied
	case s.propose <- struct{}{}:
		defer func() { <-s.propose }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	refused, err := s.dryRun(ctx, change)
	if refused != nil || err != nil {
		return refused, err
	}
	return s.commit(ctx, &c)
}

// commit puts a command into the log and returns what it gave once it is applied here.
func (s *Store) commit(ctx context.Context, c *weirv1.Command) (*weirv1.CommandResult, error) {
	entry, err := proto.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode a command: %w", err)
	}
	var res any
	err = s.wait(ctx, func() error {
		f := s.group.raft.Apply(entry, transportTimeout)
		err := f.Error()
		if err == nil {
			res = f.Response()
		}
		return err
	})
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return nil, s.notLeader()
	case err != nil:
		return nil, fmt.Errorf("append to the log: %w", err)
	}
	return res.(*weirv1.CommandResult), nil
}

// wait runs what waits for raft until ctx ends. Its goroutine goes on where ctx ends
// first; Close waits for it while raft still runs, which ends it.
func (s *Store) wait(ctx context.Context, f func() error) error {
	if err := s.begin(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer s.work.Done()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return ErrClosed
	}
}

// CommitTable replaces the table whose epoch is from. It returns once the new one is
// applied here; ErrStale when another change came first, ErrNotLeader where this node
// does not lead. With any other error the table may or may not come into force.
func (s *Store) CommitTable(ctx context.Context, from uint64, t *ring.Table) error {
	if !s.Leading() {
		return fmt.Errorf("commit a table: %w", s.notLeader())
	}
	members, rows := TableToProto(t)
	res, err := s.commit(ctx, &weirv1.Command{Kind: &weirv1.Command_Table{Table: &weirv1.ChangeTable{FromEpoch: from, Members: members, Rows: rows}}})
	switch {
	case err != nil:
		return fmt.Errorf("commit a table: %w", err)
	case res.GetCode() == int32(codes.Aborted):
		return fmt.Errorf("commit a table: %s: %w", res.GetRefused(), ErrStale)
	case res.GetRefused() != "":
		return fmt.Errorf("commit a table: %s", res.GetRefused())
	}
	if err := s.await(ctx, func() bool { return s.Table().Epoch >= res.GetEpoch() }); err != nil {
		return fmt.Errorf("commit a table: wait until it is applied: %w", err)
	}
	return nil
}

// Apply makes documents the policies of their domains, through the leader wherever it
// is, and returns once this node applies the result too. A change that was refused is a
// result that says why, not an error. Without a leader it fails within 2 s with
// ErrNoLeader; with another error the change may or may not have been made.
func (s *Store) Apply(ctx context.Context, change *weirv1.ChangePolicies) (*weirv1.CommandResult, error) {
	res, err := s.applyAnywhere(ctx, change)
	if err != nil {
		return nil, fmt.Errorf("apply policies: %w", err)
	}
	if res.GetRefused() != "" {
		return res, nil
	}
	if err := s.await(ctx, func() bool { return s.tried.Load() >= res.GetPolicyVersion() }); err != nil {
		return nil, fmt.Errorf("apply policies: version %d is committed but not in force at %s yet: %w", res.GetPolicyVersion(), s.cfg.NodeID, err)
	}
	if f := s.failure.Load(); f != nil && s.Policies().Version < res.GetPolicyVersion() {
		return nil, fmt.Errorf("apply policies: version %d is committed but does not compile at %s: %s", res.GetPolicyVersion(), s.cfg.NodeID, *f)
	}
	return res, nil
}

// applyAnywhere tries one leader after the other until one answers.
func (s *Store) applyAnywhere(ctx context.Context, change *weirv1.ChangePolicies) (*weirv1.CommandResult, error) {
	command, err := proto.Marshal(&weirv1.Command{Kind: &weirv1.Command_Policies{Policies: change}})
	if err != nil {
		return nil, fmt.Errorf("encode the change: %w", err)
	}
	limit := patience
	if end, ok := ctx.Deadline(); ok { // keep time to say which voters are missing
		limit = min(limit, max(time.Until(end)-probeTime-pace, time.Until(end)/2))
	}
	before := s.applied.Load().version
	since := time.Now() // without a leader
	unsure := false     // an earlier try may have made the change
	for {
		if err := s.over(); err != nil {
			return nil, err
		}
		news, began := s.news.Next(), time.Now()
		res, err := s.tryLeader(ctx, command)
		if err == nil {
			if unsure && res.GetRefused() != "" {
				return s.afterDoubt(ctx, change, res, before)
			}
			return res, nil
		}
		switch cause := ctx.Err(); {
		case cause != nil && errors.Is(err, cause):
			return nil, err
		case cause != nil:
			return nil, fmt.Errorf("%w: %w: %w", ErrNoLeader, cause, err)
		}
		unsure = unsure || !errors.Is(err, ErrNotLeader) && !errors.Is(err, errNobody)
		if time.Since(began) > blindness { // a leader was at work, maybe until just now
			since = time.Now().Add(-blindness)
		}
		left := limit - time.Since(since)
		if left <= 0 {
			return nil, s.noLeader(ctx, err)
		}
		again := time.NewTimer(min(left, pace))
		select {
		case <-news:
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
	}
}

// over returns why no change will ever be made here again, nil while one can.
func (s *Store) over() error {
	if e := s.foreign.Load(); e != nil {
		return *e
	}
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

// errNobody is why a change is not even tried: no leader is known.
var errNobody = errors.New("no leader is known")

// tryLeader has the leader of now decide on a command, as long as it is the leader.
func (s *Store) tryLeader(ctx context.Context, command []byte) (*weirv1.CommandResult, error) {
	if s.Leading() {
		return s.proposeLocal(ctx, command)
	}
	id, addr := s.Leader()
	if addr == "" || id == s.cfg.NodeID || s.cfg.Forward == nil {
		return nil, errNobody
	}
	hop, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	if err := s.begin(); err != nil {
		return nil, err
	}
	go func() {
		defer s.work.Done()
		for {
			news := s.news.Next()
			if now, _ := s.Leader(); now != id {
				cancel(fmt.Errorf("%s does not lead any more", id))
				return
			}
			select {
			case <-news:
			case <-stop:
				return
			case <-s.ctx.Done():
				cancel(ErrClosed)
				return
			}
		}
	}()
	raw, err := s.cfg.Forward(hop, addr, command)
	if err != nil {
		if cause := context.Cause(hop); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return nil, fmt.Errorf("hand the change to the leader %s at %s: %w", id, addr, err)
	}
	res := new(weirv1.CommandResult)
	if err := proto.Unmarshal(raw, res); err != nil {
		return nil, fmt.Errorf("answer of the leader %s at %s: %w", id, addr, err)
	}
	return res, nil
}

// afterDoubt says whether a refusal is only the echo of an earlier try that was made
// although its answer was lost: the log then holds this very change after version
// before.
func (s *Store) afterDoubt(ctx context.Context, change *weirv1.ChangePolicies, refused *weirv1.CommandResult, before uint64) (*weirv1.CommandResult, error) {
	if change.IfVersion == nil && !change.GetSeed() {
		return refused, nil // nothing an earlier try did can refuse it
	}
	if err := s.await(ctx, func() bool { return s.applied.Load().version >= refused.GetPolicyVersion() }); err != nil {
		return nil, err
	}
	st := s.applied.Load()
	for _, made := range st.history {
		if v, same := st.madeBy(made, change); same && v > before {
			return &weirv1.CommandResult{PolicyVersion: v, Epoch: st.table.Epoch}, nil
		}
	}
	return refused, nil
}

// madeBy reports whether a change of the history is the one that was asked for, and
// the version it made. Documents are compared where no later change replaced them.
func (st *state) madeBy(made, asked *weirv1.ChangePolicies) (version uint64, same bool) {
	version = made.GetDocuments()[0].GetVersion()
	if made.GetActor() != asked.GetActor() || made.GetChangeReason() != asked.GetChangeReason() ||
		(made.IfVersion == nil) != (asked.IfVersion == nil) || made.GetIfVersion() != asked.GetIfVersion() || made.GetSeed() != asked.GetSeed() {
		return 0, false
	}
	for _, d := range st.docs {
		if d.GetVersion() == version && !slices.ContainsFunc(asked.GetDocuments(), func(a *weirv1.Document) bool { return a.GetText() == d.GetText() }) {
			return 0, false
		}
	}
	return version, true
}
