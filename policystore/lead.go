package policystore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

const (
	leadTimeout = 5 * time.Second        // for one try to take the lead
	leadRetry   = 100 * time.Millisecond // between two
)

// Leading reports whether this node leads and has applied all that was committed
// before its term.
func (s *Store) Leading() bool {
	term, r := s.led.Load(), s.group.raft
	return term != 0 && r.CurrentTerm() == term && r.State() == raft.Leader && s.foreign.Load() == nil
}

// Leader returns id and peer address of the leader, empty when none is known.
func (s *Store) Leader() (id, addr string) {
	a, i := s.group.raft.LeaderWithID()
	return string(i), string(a)
}

// notLeader wraps ErrNotLeader with who leads.
func (s *Store) notLeader() error {
	switch id, addr := s.Leader(); id {
	case "":
		return fmt.Errorf("%w, and it knows no leader", ErrNotLeader)
	case s.cfg.NodeID:
		return fmt.Errorf("%w yet: it was just elected", ErrNotLeader)
	default:
		return fmt.Errorf("%w: %s at %s does", ErrNotLeader, id, addr)
	}
}

// followLead tells all that wait when raft's leader changes, and takes the lead up
// when it is this node's.
func (s *Store) followLead() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.watch:
		case <-s.group.raft.LeaderCh(): // keeps the newest change when several come at once
			s.takeLead()
		}
		s.news.Send()
	}
}

// takeLead makes Leading true once all of earlier terms is applied and the cluster
// has a name, or returns when another leads.
func (s *Store) takeLead() {
	r := s.group.raft
	for r.State() == raft.Leader && s.ctx.Err() == nil {
		term := r.CurrentTerm()
		ctx, cancel := context.WithTimeout(s.ctx, leadTimeout)
		err := s.catchUp(ctx)
		cancel()
		if err == nil {
			s.led.Store(term) // of no use when the term is over: Leading compares
			s.log.Info("leading", "term", term, "table_epoch", s.Table().Epoch, "policy_version", s.applied.Load().version)
			return
		}
		if s.ctx.Err() == nil && r.State() == raft.Leader {
			s.log.Warn("elected, but earlier entries are not applied yet", "term", term, "err", err)
		}
		retry := time.NewTimer(leadRetry)
		select {
		case <-retry.C:
		case <-s.ctx.Done():
		}
		retry.Stop()
	}
}

// catchUp returns once this leader has applied all that was committed before it, and
// the log names the cluster.
func (s *Store) catchUp(ctx context.Context) error {
	if err := s.wait(ctx, func() error { return s.group.raft.Barrier(transportTimeout).Error() }); err != nil {
		return fmt.Errorf("wait for earlier entries: %w", err)
	}
	if s.applied.Load().cluster == nil {
		first, err := nameCluster()
		if err != nil {
			return err
		}
		res, err := s.commit(ctx, first)
		if err != nil {
			return fmt.Errorf("name the cluster: %w", err)
		}
		if res.GetRefused() != "" {
			return errors.New("name the cluster: " + res.GetRefused())
		}
		s.log.Info("cluster founded", "cluster", s.ClusterID())
	}
	return s.await(ctx, func() bool { return s.Table().Epoch >= s.applied.Load().table.Epoch })
}

// nameCluster makes the first entry of a log: id and secret of a new cluster.
func nameCluster() (*weirv1.Command, error) {
	var id [8]byte
	secret := make([]byte, secretSize)
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("make a cluster id: %w", err)
	}
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("make the cluster's secret: %w", err)
	}
	return &weirv1.Command{Kind: &weirv1.Command_Init{Init: &weirv1.InitCluster{ClusterId: hex.EncodeToString(id[:]), Secret: secret}}}, nil
}
