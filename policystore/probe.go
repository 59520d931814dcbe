package policystore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/weir-io/weir/ring"
)

// probeTime is how long a voter may take to answer before it counts as missing.
const probeTime = 300 * time.Millisecond

// A probe asks raft's voters whether they are there. One round runs at a time, and all
// that ask meanwhile share its answer.
type probe struct {
	mu    sync.Mutex
	round chan struct{} // guarded by mu; closed when the round is over; nil = none runs
	last  []string      // guarded by mu; who did not answer in the newest round
	wg    sync.WaitGroup
}

func (p *probe) wait() { p.wg.Wait() }

// missing returns which voters do not answer, by asking them unless that is being done.
func (p *probe) missing(ctx context.Context, ask func() []string) ([]string, error) {
	p.mu.Lock()
	round := p.round
	if round == nil {
		round = make(chan struct{})
		p.round = round
		p.wg.Go(func() {
			silent := ask()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.last, p.round = silent, nil
			close(round)
		})
	}
	p.mu.Unlock()
	select {
	case <-round:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, nil
}

// noLeader explains ErrNoLeader by the voters that do not answer.
func (s *Store) noLeader(ctx context.Context, cause error) error {
	if err := s.begin(); err != nil { // Close waits for the probe after this
		return err
	}
	defer s.work.Done()
	servers, err := s.Servers()
	if err != nil {
		return errors.Join(ErrNoLeader, err)
	}
	var voters []ring.Server
	for _, v := range servers {
		if v.Voter && v.ID != s.cfg.NodeID {
			voters = append(voters, v)
		}
	}
	if len(servers) == 0 {
		return fmt.Errorf("%w: this node follows no log yet: bootstrap it or let it join a cluster", ErrNoLeader)
	}
	silent, err := s.probe.missing(ctx, func() []string { return s.silentOf(voters) })
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w: %w", ErrNoLeader, cause, err)
	case len(silent) == 1:
		return fmt.Errorf("%w: voter %s does not answer", ErrNoLeader, silent[0])
	case len(silent) > 1:
		return fmt.Errorf("%w: voters %s do not answer", ErrNoLeader, strings.Join(silent, ", "))
	case errors.Is(cause, errNobody):
		return fmt.Errorf("%w: all voters answer, but they have not elected one: try again", ErrNoLeader)
	default:
		return fmt.Errorf("%w that takes the change: %w", ErrNoLeader, cause)
	}
}

// silentOf asks each voter for a vote of a term long gone, which changes nothing but is
// answered by raft itself: a process that hangs takes connections but does not answer.
func (s *Store) silentOf(voters []ring.Server) []string {
	answered := make([]chan bool, len(voters))
	for i, v := range voters {
		answered[i] = make(chan bool, 1)
		s.probe.wg.Go(func() {
			header := raft.RPCHeader{
				ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(s.cfg.NodeID),
				Addr: s.group.transport.EncodePeer(raft.ServerID(s.cfg.NodeID), s.group.transport.LocalAddr()),
			}
			err := s.group.transport.RequestPreVote(raft.ServerID(v.ID), raft.ServerAddress(v.Addr),
				&raft.RequestPreVoteRequest{RPCHeader: header}, new(raft.RequestPreVoteResponse))
			answered[i] <- err == nil
		})
	}
	late := time.NewTimer(probeTime)
	defer late.Stop()
	var silent []string
	over := false
	for i, v := range voters {
		ok := false
		if over {
			select {
			case ok = <-answered[i]:
			default:
			}
		} else {
			select {
			case ok = <-answered[i]:
			case <-late.C:
				over = true
			}
		}
		if !ok {
			silent = append(silent, v.ID)
		}
	}
	return silent
}
