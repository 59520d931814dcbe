package policystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/weir-io/weir/ring"
)

// Bootstrap starts a new cluster of these voters; all of them must be given the same
// list, in any order. The first leader names the cluster and makes its secret. A store
// that has a log refuses.
func (s *Store) Bootstrap(voters []ring.Server) error {
	voters = slices.SortedFunc(slices.Values(voters), func(a, b ring.Server) int { return strings.Compare(a.ID, b.ID) })
	var c raft.Configuration
	for _, v := range voters {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(v.ID), Address: raft.ServerAddress(v.Addr)})
	}
	err := s.wait(s.ctx, func() error { return s.group.raft.BootstrapCluster(c).Error() })
	if errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("bootstrap %d voters: this node has a log already: %w", len(voters), err)
	}
	if err != nil {
		return fmt.Errorf("bootstrap %d voters: %w", len(voters), err)
	}
	s.log.Info("new cluster bootstrapped", "voters", len(voters))
	return nil
}

// Servers returns raft's newest configuration.
func (s *Store) Servers() ([]ring.Server, error) {
	f := s.group.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, fmt.Errorf("read raft's configuration: %w", err)
	}
	var servers []ring.Server
	for _, v := range f.Configuration().Servers {
		servers = append(servers, ring.Server{ID: string(v.ID), Addr: string(v.Address), Voter: v.Suffrage == raft.Voter})
	}
	return servers, nil
}

// AddServer adds a non-voter, or makes one a voter; a server that is there already gets
// its new address. Only a leader can, else ErrNotLeader.
func (s *Store) AddServer(ctx context.Context, server ring.Server) error {
	add := s.group.raft.AddNonvoter
	if server.Voter {
		add = s.group.raft.AddVoter
	}
	err := s.change(ctx, func(timeout time.Duration) raft.IndexFuture {
		return add(raft.ServerID(server.ID), raft.ServerAddress(server.Addr), 0, timeout)
	})
	if err != nil {
		return fmt.Errorf("add %s at %s to raft, voter %t: %w", server.ID, server.Addr, server.Voter, err)
	}
	return nil
}

// RemoveServer takes a server out. Only a leader can, else ErrNotLeader.
func (s *Store) RemoveServer(ctx context.Context, id string) error {
	err := s.change(ctx, func(timeout time.Duration) raft.IndexFuture {
		return s.group.raft.RemoveServer(raft.ServerID(id), 0, timeout)
	})
	if err != nil {
		return fmt.Errorf("remove %s from raft: %w", id, err)
	}
	return nil
}

// change changes raft's configuration and returns once the change is committed.
func (s *Store) change(ctx context.Context, start func(timeout time.Duration) raft.IndexFuture) error {
	err := s.wait(ctx, func() error { return start(transportTimeout).Error() })
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		return s.notLeader()
	}
	return err
}

// TransferLead hands the lead to another voter and returns once it is gone, at once
// where this node does not lead. The only voter cannot.
func (s *Store) TransferLead(ctx context.Context) error {
	r := s.group.raft
	if r.State() != raft.Leader {
		return nil
	}
	err := s.wait(ctx, func() error { return r.LeadershipTransfer().Error() })
	if err == nil {
		err = s.await(ctx, func() bool { return r.State() != raft.Leader })
	}
	if err != nil && r.State() == raft.Leader {
		return fmt.Errorf("hand raft's lead on: %w", err)
	}
	return nil
}
