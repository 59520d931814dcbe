package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

const (
	leaveTry    = 2 * time.Second        // for one leader to answer
	leaveRetry  = 100 * time.Millisecond // between two tries
	leaderless  = 5 * time.Second        // without a leader for so long there is no quorum
	hearTime    = 2 * time.Second        // for peers to hear of the table
	handOnTime  = 2 * time.Second        // for raft's lead to go to another
	hearAgainIn = 20 * time.Millisecond
)

// leave has the leader take a node out of the table, or back in, and returns the epoch of
// the table that says so.
func (n *Node) leave(ctx context.Context, in *weirv1.LeaveRequest) (epoch uint64, err error) {
	err = n.atLeader(ctx, func() (err error) {
		epoch, err = n.keeper.leave(ctx, in.GetNode().GetNodeId(), in.GetNode().GetBoot(), in.GetUndo())
		return err
	}, func(ctx context.Context, leader weirv1.PeerClient) error {
		out, err := leader.Leave(ctx, in)
		epoch = out.GetEpoch()
		return err
	})
	return epoch, err
}

// Leave drains the node: it hands raft's lead on, the table stops naming it, and its
// peers hear of that. What it is asked late it answers with where to go. It returns
// when every peer in reach routes by the new table, or ctx ends. A node that is alone, or
// the last that is up, has nobody to leave to.
func (n *Node) Leave(ctx context.Context) error {
	if v := n.view.Load(); v.self == ring.None || n.alone(v) {
		return nil
	}
	handOn, cancel := context.WithTimeout(ctx, handOnTime)
	if err := n.cfg.Proposer.TransferLead(handOn); err != nil {
		n.log.Warn("raft's lead stays here until the end", "err", err)
	}
	cancel()
	epoch, err := n.leaveTable(ctx)
	if errors.Is(err, errNobody) {
		n.log.Warn("nobody to leave to: the table goes on naming this node", "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	n.awaitEpoch(ctx, epoch)
	n.awaitPeers(ctx, epoch)
	return ctx.Err()
}

// alone reports whether no other member of the table answers.
func (n *Node) alone(v *view) bool {
	for _, p := range v.peers {
		if p != nil && p.state().Answers {
			return false
		}
	}
	return true
}

// errNobody says that a node has nobody to leave to.
var errNobody = errors.New("no other member is up")

// leaveTable asks one leader after the other until the table is changed. It returns
// errNobody when all others are gone, as where a whole cluster is stopped at once.
func (n *Node) leaveTable(ctx context.Context) (epoch uint64, err error) {
	led := time.Now() // when a leader was known last
	for {
		try, cancel := context.WithTimeout(ctx, leaveTry)
		epoch, err = n.leave(try, &weirv1.LeaveRequest{Node: n.nodeBoot()})
		cancel()
		now := time.Now()
		if n.leader() != "" {
			led = now
		}
		switch {
		case err == nil:
			return epoch, nil
		case errors.Is(err, errLastUp) || status.Code(err) == codes.FailedPrecondition || n.alone(n.view.Load()):
			return 0, fmt.Errorf("%w: %w", errNobody, err)
		case now.Sub(led) >= leaderless:
			return 0, fmt.Errorf("no leader takes this node out of the table: %w", err)
		}
		retry := time.NewTimer(leaveRetry)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return 0, fmt.Errorf("no leader takes this node out of the table: %w", errors.Join(ctx.Err(), err))
		}
	}
}

// awaitPeers waits until every peer in reach has applied a table of an epoch.
func (n *Node) awaitPeers(ctx context.Context, epoch uint64) {
	ctx, cancel := context.WithTimeout(ctx, hearTime)
	defer cancel()
	tick := time.NewTicker(hearAgainIn)
	defer tick.Stop()
	for {
		behind := false
		n.mu.Lock()
		for _, p := range n.peers {
			s := p.state()
			behind = behind || s.Answers && s.Epoch < epoch
		}
		n.mu.Unlock()
		if !behind {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
