package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// Close drains the node, answers what it took, leaves the table and stops. It
// returns when nothing of the node runs any more; what had to be cut short because
// ctx ended is in the error. Where the table cannot be left, for lack of a quorum, the
// node stops all the same: its rows move once the others have a leader again.
func (n *Node) Close(ctx context.Context) error {
	var err error
	n.closing.Do(func() {
		n.log.Info("stopping: draining")
		n.draining.Store(true)
		drain, cancel := context.WithTimeout(ctx, drainTime)
		if leaveErr := n.cluster.Leave(drain); leaveErr != nil {
			n.log.Warn("the table goes on naming this node", "err", leaveErr)
		}
		cancel()
		finish, cancel := context.WithTimeout(ctx, finishTime)
		defer cancel()
		err = n.shutdown(finish)
		n.log.Info("stopped")
	})
	<-n.done
	return err
}

// Kill stops the node as a crash would: nothing is drained, nobody is told.
func (n *Node) Kill() {
	n.closing.Do(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		if err := n.shutdown(now); err != nil {
			n.log.Warn("killed", "err", err)
		}
	})
	<-n.done
}

// shutdown stops all that was started, front doors first, and waits for it. What is
// in flight may finish until ctx ends.
func (n *Node) shutdown(ctx context.Context) error {
	defer close(n.done)
	var errs []error
	step := func(what string, err error) {
		if err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("stop %s: %w", what, err))
		}
	}
	if n.stop != nil {
		n.stop()
	}
	if n.grpc != nil {
		step("the gRPC door", n.grpc.Shutdown(ctx))
	}
	if n.http != nil {
		step("the HTTP door", n.http.Shutdown(ctx))
	}
	if n.cluster != nil {
		step("the cluster", n.cluster.Close(ctx))
	}
	if n.store != nil {
		step("the log", n.store.Close())
	}
	if n.transport != nil {
		step("the peer listener", n.transport.Close())
	}
	n.wg.Wait()
	if n.dir != nil {
		step("the data dir", n.dir.Close())
	}
	return errors.Join(errs...)
}

// seed gives an empty cluster its first documents. It tries until the log says
// whether it took them.
func (n *Node) seed(ctx context.Context, docs []*weirv1.Document) {
	retry := time.NewTicker(seedRetry)
	defer retry.Stop()
	for {
		if n.Ready() == nil {
			try, cancel := context.WithTimeout(ctx, seedTimeout)
			res, err := n.store.Apply(try, &weirv1.ChangePolicies{Documents: docs, Actor: n.self.ID, ChangeReason: "seed of an empty cluster", Seed: true})
			cancel()
			switch {
			case err == nil && res.GetRefused() == "":
				n.log.Info("empty cluster seeded with policies", "documents", len(docs), "policy_version", res.GetPolicyVersion())
				n.seeded.Store(true)
				return
			case err == nil:
				n.log.Warn("policies not seeded", "reason", res.GetRefused())
				n.seeded.Store(true)
				return
			case ctx.Err() != nil:
				return
			}
			n.log.Warn("seeding policies", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
		}
	}
}

// errNotSeeded is what Seeded says while the log has not answered.
var errNotSeeded = errors.New("the policies to seed are not offered to the cluster yet")

// Seeded returns nil once the cluster has taken or refused the documents that were to
// seed it.
func (n *Node) Seeded() error {
	if n.seeded.Load() {
		return nil
	}
	return errNotSeeded
}
