package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-io/weir/ring"
)

// errNameTaken is of a stranger with the id of a member that lives elsewhere: let in,
// it would take that member's place in raft.
var errNameTaken = errors.New("another node is called that: give --node-id")

// join lets a node follow the log: a new one as a non-voter, a known one at its new
// address. Only the leader can. It may run beside run.
func (k *keeper) join(ctx context.Context, server ring.Server) error {
	if !k.cfg.Log.Leading() {
		return fmt.Errorf("let %s in: %w", server.ID, errNotLeading)
	}
	if n, ok := k.ours(k.cfg.Alive())[server.ID]; ok && n.PeerAddr != server.Addr && k.answers(n) {
		return fmt.Errorf("let %s in at %s, while %s answers: %w", server.ID, server.Addr, n.PeerAddr, errNameTaken)
	}
	servers, err := k.cfg.Quorum.Servers()
	if err != nil {
		return fmt.Errorf("let %s in: %w", server.ID, err)
	}
	server.Voter = false
	if i := findServer(servers, server.ID); i >= 0 {
		if server.Voter = servers[i].Voter; servers[i] == server {
			return nil
		}
	}
	call, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	if err := k.cfg.Quorum.AddServer(call, server); err != nil {
		return fmt.Errorf("let %s in: %w", server.ID, err)
	}
	k.log.Info("let in", "peer", server.ID, "addr", server.Addr, "voter", server.Voter)
	k.wake()
	return nil
}

func findServer(servers []ring.Server, id string) int {
	return slices.IndexFunc(servers, func(s ring.Server) bool { return s.ID == id })
}

// A serverChange is one change of raft's configuration.
type serverChange struct {
	server ring.Server
	remove bool
	why    string
}

// keepServers brings raft's configuration in step with the live nodes and returns it.
// Every change is made on the configuration that the one before it gave, and after one
// that failed none is tried until the next look.
func (k *keeper) keepServers(ctx context.Context, now time.Time, table *ring.Table, servers []ring.Server, alive map[string]neighbour) []ring.Server {
	limit := 2*len(alive) + len(servers) + 8 // there are fewer changes than that
	for range limit {
		change, ok := k.nextChange(now, table, servers, alive)
		if !ok || ctx.Err() != nil {
			break
		}
		if err := k.apply(ctx, change); err != nil {
			k.complain(change.why+" "+change.server.ID, err)
			break
		}
		k.log.Info("raft's servers changed", "change", change.why, "peer", change.server.ID, "addr", change.server.Addr, "voter", change.server.Voter)
		after, err := k.cfg.Quorum.Servers()
		if err != nil {
			k.complain("reading raft's configuration", err)
			break
		}
		servers = after
	}
	return servers
}

func (k *keeper) apply(ctx context.Context, c serverChange) error {
	call, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	if c.remove {
		return k.cfg.Quorum.RemoveServer(call, c.server.ID)
	}
	return k.cfg.Quorum.AddServer(call, c.server)
}

// nextChange returns the most urgent change of raft's configuration.
func (k *keeper) nextChange(now time.Time, table *ring.Table, servers []ring.Server, alive map[string]neighbour) (serverChange, bool) {
	for _, s := range servers {
		if n, ok := alive[s.ID]; ok && n.PeerAddr != "" && n.PeerAddr != s.Addr && k.agrees(n) {
			s.Addr = n.PeerAddr
			return serverChange{server: s, why: "new address of"}, true
		}
	}
	for _, id := range sortedIDs(alive) {
		n := alive[id]
		if findServer(servers, id) < 0 && n.PeerAddr != "" && k.agrees(n) {
			return serverChange{server: ring.Server{ID: id, Addr: n.PeerAddr}, why: "new non-voter"}, true
		}
	}
	if c, ok := k.nextVoter(now, table, servers, alive); ok {
		return c, true
	}
	for _, s := range servers {
		if !s.Voter && table.Find(s.ID) < 0 && k.givenUp(now, s.ID) {
			return serverChange{server: s, remove: true, why: "forgotten non-voter"}, true
		}
	}
	return serverChange{}, false
}

func (k *keeper) agrees(n neighbour) bool {
	return n.ID == k.cfg.Self.ID || k.cfg.Peer(n.ID, n.Boot).Agrees
}

func (k *keeper) answers(n neighbour) bool {
	return n.ID == k.cfg.Self.ID || k.cfg.Peer(n.ID, n.Boot).Answers
}

func sortedIDs(alive map[string]neighbour) []string {
	ids := make([]string, 0, len(alive))
	for id := range alive {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// nextVoter returns the next step to the number of voters: an odd one, reached two at a
// time by the oldest servers that can vote. A voter that is silent for long is replaced,
// not just removed: without a successor it is still wanted back.
func (k *keeper) nextVoter(now time.Time, table *ring.Table, servers []ring.Server, alive map[string]neighbour) (serverChange, bool) {
	var ready []ring.Server // to vote, oldest first
	var dead *ring.Server
	voters := 0
	for i, s := range servers {
		n, lives := alive[s.ID]
		switch {
		case s.Voter:
			voters++
			if dead == nil && k.givenUp(now, s.ID) {
				dead = &servers[i]
			}
		case lives && n.Durable && isUp(table, n):
			ready = append(ready, s)
		}
	}
	promote := func(why string) (serverChange, bool) {
		s := ready[0]
		s.Voter = true
		return serverChange{server: s, why: why}, true
	}
	switch {
	case voters == 1 && !k.cfg.Durable:
		return serverChange{}, false // what it forgets with its process, the others could not make up for
	case dead != nil && (voters > k.cfg.Voters || voters%2 == 0):
		return serverChange{server: *dead, remove: true, why: "voter replaced"}, true
	case dead != nil && voters == k.cfg.Voters && len(ready) > 0:
		return promote("successor of a silent voter")
	case voters >= k.cfg.Voters || len(ready) == 0:
		return serverChange{}, false
	case voters%2 == 0 || len(ready) >= 2:
		return promote("new voter")
	case dead != nil:
		return promote("successor of a silent voter")
	}
	return serverChange{}, false
}

// isUp reports whether the table lists this very process as up.
func isUp(table *ring.Table, n neighbour) bool {
	place := table.Find(n.ID)
	return place >= 0 && table.Members[place].Boot == n.Boot && table.Members[place].State == ring.Up
}
