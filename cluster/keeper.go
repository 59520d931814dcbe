package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/weir-io/weir/ring"
)

const (
	lookEvery     = time.Second // though nothing was heard
	debounceMost  = 3           // times Debounce, from the first change on
	commitTimeout = 5 * time.Second
	serverTimeout = 2 * time.Second // for one change of raft's configuration
	leaveTries    = 10              // where other changes keep coming first
)

var (
	errNotLeading = errors.New("this node does not lead")
	errLastUp     = errors.New("no other member is up to take its rows")
)

// peerState is what this node knows of another by talking to it.
type peerState struct {
	Agrees        bool   // the handshake found the same cluster, protocol and ring
	Answers       bool   // it is not silent to pings
	Epoch         uint64 // of the table it had applied at its last answer
	PolicyVersion uint64 // likewise
}

type keeperConfig struct {
	Self      ring.Member // State unused
	Durable   bool
	Voters    int // 1, 3 or 5
	Log       Log
	Quorum    Quorum
	ClusterID func() string
	Alive     func() []neighbour
	Peer      func(id string, boot uint64) peerState
	// PolicyVersion is the one this node has applied.
	PolicyVersion func() uint64
	Logger        *slog.Logger // nil = discard
	// Debounce is how long a new list of members must stay the same before it is
	// committed; three times that where it does not. Too low, and rows move for a node
	// that only paused; too high, and those of a dead one wait. Default 1s.
	Debounce time.Duration
	// Forget is how long a member or voter may be silent before it is given up.
	// Default 10m.
	Forget time.Duration
}

// A keeper makes the leader keep the table and raft's configuration in step with the
// nodes that live. Elsewhere it only waits for the lead.
type keeper struct {
	cfg  keeperConfig
	log  *slog.Logger
	news chan struct{} // room for one

	// The rest is run's alone, and starts anew with every lead.
	leads    bool
	gone     map[string]time.Time // since when a node is not alive, by id
	due      map[string]mark      // what a node must have applied to count as current, by gossip name
	wanted   []ring.Member        // not committed yet
	first    time.Time            // when the table began to differ from what is wanted; zero = it does not
	last     time.Time            // when what is wanted changed last
	placed   uint64               // epoch of a table whose rows were found as placement wants them
	isPlaced bool
	said     map[string]time.Time // what was logged, and when
}

// mark is a place in the log.
type mark struct{ epoch, version uint64 }

func newKeeper(cfg keeperConfig) *keeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Debounce == 0 {
		cfg.Debounce = time.Second
	}
	if cfg.Forget == 0 {
		cfg.Forget = 10 * time.Minute
	}
	k := &keeper{cfg: cfg, log: cfg.Logger, news: make(chan struct{}, 1)}
	k.forget()
	return k
}

// wake makes run look again: a node was seen or lost, answers or not, the lead or the
// table changed. It never blocks.
func (k *keeper) wake() { poke(k.news) }

// run keeps table and configuration while this node leads, until ctx ends.
func (k *keeper) run(ctx context.Context) {
	next := time.NewTimer(lookEvery)
	defer next.Stop()
	for {
		wait := lookEvery
		if k.cfg.Log.Leading() {
			wait = k.look(ctx)
		} else if k.leads {
			k.forget()
		}
		next.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-k.news:
		case <-next.C:
		}
	}
}

// forget drops what was seen: a later lead starts its own count of who is silent.
func (k *keeper) forget() {
	k.leads, k.isPlaced = false, false
	k.gone, k.due, k.said = make(map[string]time.Time), make(map[string]mark), make(map[string]time.Time)
	k.settled()
}

// settled notes that the table is as it should be.
func (k *keeper) settled() { k.wanted, k.first, k.last = nil, time.Time{}, time.Time{} }

// look brings raft's configuration and the table one step on and returns when to look
// again.
func (k *keeper) look(ctx context.Context) time.Duration {
	k.leads = true
	now := time.Now()
	all := k.cfg.Alive()
	alive := k.ours(all)
	table := k.cfg.Log.Table()
	servers, err := k.cfg.Quorum.Servers()
	if err != nil {
		k.complain("reading raft's configuration", err)
		return lookEvery
	}
	k.notice(now, table, servers, alive)
	servers = k.keepServers(ctx, now, table, servers, alive)
	members := k.members(now, table, servers, alive)
	if !k.differs(table, members) {
		k.settled()
		return lookEvery
	}
	if k.first.IsZero() {
		k.first = now
	}
	if k.last.IsZero() || !slices.Equal(members, k.wanted) {
		k.wanted, k.last = members, now
	}
	at := k.last.Add(k.cfg.Debounce)
	if latest := k.first.Add(debounceMost * k.cfg.Debounce); latest.Before(at) {
		at = latest
	}
	complete := len(table.Members) == 0 && len(members) >= len(all) // a first table, and nobody else is in sight
	if wait := time.Until(at); wait > 0 && !complete {
		return min(wait, lookEvery)
	}
	if err := k.commit(ctx, table, members); err != nil {
		k.complain("committing a table", err)
		if k.cfg.Log.Table().Epoch != table.Epoch {
			k.wake() // another change came first: it may have been this one
		}
		return lookEvery
	}
	k.settled()
	return lookEvery
}

// ours returns the live nodes of this cluster by id, this one included.
func (k *keeper) ours(all []neighbour) map[string]neighbour {
	ours := make(map[string]neighbour)
	cluster := k.cfg.ClusterID()
	for _, n := range all {
		if cluster != "" && n.ClusterID == cluster {
			ours[n.ID] = n
		}
	}
	ours[k.cfg.Self.ID] = neighbour{Member: k.cfg.Self, Durable: k.cfg.Durable, ClusterID: cluster}
	return ours
}

// notice keeps the time since when members and servers are not alive, and drops what
// is kept of others.
func (k *keeper) notice(now time.Time, table *ring.Table, servers []ring.Server, alive map[string]neighbour) {
	before := k.gone
	k.gone = make(map[string]time.Time)
	note := func(id string) {
		if _, lives := alive[id]; lives {
			return
		}
		if since, known := before[id]; known {
			k.gone[id] = since
		} else {
			k.gone[id] = now
		}
	}
	for _, m := range table.Members {
		note(m.ID)
	}
	for _, s := range servers {
		note(s.ID)
	}
	here := make(map[string]bool, len(alive))
	for _, n := range alive {
		here[gossipName(n.ID, n.Boot)] = true
	}
	for name := range k.due {
		if !here[name] {
			delete(k.due, name)
		}
	}
}

// givenUp reports whether a node has not been alive for so long that it is given up.
func (k *keeper) givenUp(now time.Time, id string) bool {
	since, gone := k.gone[id]
	return gone && now.Sub(since) >= k.cfg.Forget
}

// current reports whether a node's log is: whether it has applied what was in force
// here when it was first looked at. Once it was, it is.
func (k *keeper) current(n neighbour) bool {
	if n.ID == k.cfg.Self.ID {
		return true
	}
	name := gossipName(n.ID, n.Boot)
	due, known := k.due[name]
	if !known {
		due = mark{epoch: k.cfg.Log.Table().Epoch, version: k.cfg.PolicyVersion()}
		k.due[name] = due
	}
	p := k.cfg.Peer(n.ID, n.Boot)
	return p.Agrees && p.Answers && p.Epoch >= due.epoch && p.PolicyVersion >= due.version
}

// members returns the list the table should have, sorted.
func (k *keeper) members(now time.Time, table *ring.Table, servers []ring.Server, alive map[string]neighbour) []ring.Member {
	var list []ring.Member
	up := false
	take := func(m ring.Member, state ring.MemberState) {
		m.State = state
		list = append(list, m)
		up = up || state == ring.Up
	}
	inLog := func(id string) bool {
		return slices.ContainsFunc(servers, func(s ring.Server) bool { return s.ID == id })
	}
	for _, m := range table.Members {
		n, lives := alive[m.ID]
		switch {
		case lives && n.Boot == m.Boot && m.State != ring.Silent:
			take(n.Member, m.State) // up or leaving, as long as it lives
		case lives && inLog(m.ID) && k.current(n):
			take(n.Member, ring.Up) // back, or a new boot
		case m.State == ring.Leaving:
			// It was drained, and is gone.
		case !k.givenUp(now, m.ID):
			take(m, ring.Silent)
		}
	}
	for id, n := range alive {
		if table.Find(id) < 0 && inLog(id) && k.current(n) {
			take(n.Member, ring.Up)
		}
	}
	if !up {
		return table.Members // somebody must own the rows, were it in name only
	}
	slices.SortFunc(list, func(a, b ring.Member) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// differs reports whether the table must change for members. Placement is computed
// only where the list is the same and the rows were not compared yet.
func (k *keeper) differs(table *ring.Table, members []ring.Member) bool {
	if !slices.Equal(members, table.Members) {
		return true
	}
	if !slices.ContainsFunc(members, func(m ring.Member) bool { return m.State == ring.Up }) {
		return false
	}
	if !k.isPlaced || k.placed != table.Epoch {
		if !ring.Place(table, members).Equal(table) {
			return true
		}
		k.placed, k.isPlaced = table.Epoch, true
	}
	return false
}

// commit replaces the table by the one that placement wants for members.
func (k *keeper) commit(ctx context.Context, table *ring.Table, members []ring.Member) error {
	next := ring.Place(table, members)
	if next.Equal(table) {
		return nil
	}
	call, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := k.cfg.Log.CommitTable(call, table.Epoch, next); err != nil {
		return err
	}
	k.log.Info("table committed", "epoch", k.cfg.Log.Table().Epoch, "members", describe(members))
	return nil
}

// describe writes members down for the log.
func describe(members []ring.Member) string {
	states := map[ring.MemberState]string{ring.Silent: " silent", ring.Leaving: " leaving"}
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = gossipName(m.ID, m.Boot) + states[m.State]
	}
	return strings.Join(names, ", ")
}

// leave commits a table in which a node is leaving and has no rows, at once, and
// returns its epoch; boot 0 is whichever is a member. undo makes it up again. A node
// that is no member has nothing to leave. It may run beside run.
func (k *keeper) leave(ctx context.Context, id string, boot uint64, undo bool) (epoch uint64, err error) {
	for range leaveTries {
		if !k.cfg.Log.Leading() {
			return 0, fmt.Errorf("drain %s: %w", id, errNotLeading)
		}
		table := k.cfg.Log.Table()
		place := table.Find(id)
		if place < 0 || boot != 0 && table.Members[place].Boot != boot {
			return table.Epoch, nil
		}
		members := slices.Clone(table.Members)
		if leaving := members[place].State == ring.Leaving; leaving != undo {
			return table.Epoch, nil // it is already, or was not
		}
		members[place].State = ring.Leaving
		if undo {
			members[place].State = ring.Up
		}
		if !slices.ContainsFunc(members, func(m ring.Member) bool { return m.State == ring.Up }) {
			return 0, fmt.Errorf("drain %s: %w", id, errLastUp)
		}
		err = k.commit(ctx, table, members)
		now := k.cfg.Log.Table().Epoch
		if err == nil {
			k.wake()
			return now, nil
		}
		if now == table.Epoch || ctx.Err() != nil {
			break
		}
	}
	return 0, fmt.Errorf("drain %s: %w", id, err)
}

// complain logs an error that comes back with every look, now and then.
func (k *keeper) complain(what string, err error) {
	text := what + ": " + err.Error()
	if at, known := k.said[text]; known && time.Since(at) < sayAgain {
		return
	}
	if len(k.said) > 100 {
		clear(k.said)
	}
	k.said[text] = time.Now()
	k.log.Warn("keeping table and voters", "doing", what, "err", err)
}
