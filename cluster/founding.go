package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/weir-io/weir/ring"
)

const (
	askTimeout    = 2 * time.Second
	askRetry      = 50 * time.Millisecond // doubled up to askRetryMost
	askRetryMost  = time.Second
	askAgain      = 3 * time.Second       // a member let us in, but the log does not come
	foundingPoll  = 50 * time.Millisecond // for the log, which tells nobody
	foundingIdle  = 500 * time.Millisecond
	soloPatience  = 5 * time.Second // a node that expects itself only, but has seeds, gives them that long
	mostOfMessage = 160             // bytes of an error that are shown to an operator
)

type foundingConfig struct {
	Self    string
	Expect  int  // nodes to found a cluster with; 0 = never
	Voters  int  // 1, 3 or 5
	Joins   bool // seeds were given
	Founder Founder
	Alive   func() []neighbour
	Update  func(func(self *neighbour))
	// Ask asks a member of a cluster to let this node in. It returns once the leader has.
	Ask func(ctx context.Context, via neighbour) error
	// Changed returns a channel that is closed at the next change of what Alive returns.
	Changed func() <-chan struct{}
	Logger  *slog.Logger // nil = discard
}

// A founding gets a node into a log, its own old one, that of a cluster it sees, or a
// new one.
//
// A new one is founded by one node alone: the first by id of the nodes that expect each
// other. It proposes the list as it sees it; the others of the list publish the same
// hash as their promise, and only when it sees the promises of all does it bootstrap,
// and the other voters after it, with the same list. A promise is kept until its
// proposer is seen to have taken the proposal back, which it never proposes again. So
// two lists that share a node are never both founded, however stale or lopsided the
// views. (Where fewer than half of all nodes are expected, two groups that do not see
// each other can not be told from two clusters.)
type founding struct {
	cfg foundingConfig
	log *slog.Logger

	mu    sync.Mutex
	waits string // guarded by mu; for what

	// The rest is run's alone.
	began   time.Time
	hasLog  bool   // held one when it started
	before  string // cluster id it had when it started: of its data dir
	round   uint32 // proposals of its own that it took back
	pact    pact   // what it proposes or promises now
	founded bool   // it has bootstrapped
	asked   bool   // a member has let it in
	next    time.Time
	delay   time.Duration
	turn    int // whom to ask
}

func newFounding(cfg foundingConfig) *founding {
	f := &founding{cfg: cfg, log: cfg.Logger, began: time.Now()}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.hasLog, f.before = !cfg.Founder.Fresh(), cfg.Founder.ClusterID()
	f.waits = "the node is starting"
	return f
}

// missing says what run waits for, empty once it returned with the node in a log.
func (f *founding) missing() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waits
}

func (f *founding) wait(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	f.mu.Lock()
	changed := f.waits != text
	f.waits = text
	f.mu.Unlock()
	if changed && text != "" {
		f.log.Debug("not in a log yet", "waits_for", text)
	}
}

// run returns once the node is in a log that names its cluster, or ctx ends.
func (f *founding) run(ctx context.Context) {
	f.cfg.Update(func(self *neighbour) {
		self.Fresh, self.ClusterID, self.Expect = !f.hasLog, f.before, f.cfg.Expect
	})
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		news := f.cfg.Changed()
		if f.look(ctx) {
			return
		}
		again.Reset(f.pace())
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-again.C:
		}
	}
}

func (f *founding) pace() time.Duration {
	if f.hasLog || f.founded || f.asked {
		return foundingPoll
	}
	if wait := time.Until(f.next); wait > 0 {
		return min(wait, foundingIdle)
	}
	return foundingIdle
}

// look does what can be done now and reports whether the node is in a log.
func (f *founding) look(ctx context.Context) bool {
	if id := f.cfg.Founder.ClusterID(); id != "" && (f.hasLog || f.founded || f.asked || f.before == "") {
		f.cfg.Update(func(self *neighbour) { self.Fresh, self.ClusterID = false, id })
		f.wait("")
		f.log.Info("in a log", "cluster", id)
		return true
	}
	all := f.cfg.Alive()
	if !f.hasLog && !f.founded {
		f.keepPromise(all)
	}
	if f.hasLog || f.founded {
		f.wait("its log does not name its cluster yet: a majority of its voters must be up")
		return false
	}
	id, err := f.home(all)
	switch {
	case err != nil:
		f.takeBack()
		f.wait("%v", err)
	case id != "":
		if f.pact.leader == f.cfg.Self {
			f.takeBack() // founded by nobody: its only founder is this node
		}
		f.join(ctx, id, all)
	case f.before != "":
		f.wait("no member of its cluster %s answers, and its data dir has lost the log", f.before)
	default:
		f.found(all)
	}
	return false
}

// home returns the id of the cluster to join, empty when there is none yet.
func (f *founding) home(all []neighbour) (string, error) {
	var ids []string
	for _, n := range all {
		switch {
		case n.ID == f.cfg.Self || n.ClusterID == "" || slices.Contains(ids, n.ClusterID):
		case f.before != "" && n.ClusterID != f.before:
		case f.promised() && n.Founders != f.pact.hash && n.ID != f.pact.leader: // its promise may be counted on
		default:
			ids = append(ids, n.ClusterID)
		}
	}
	switch len(ids) {
	case 0:
		return "", nil
	case 1:
		return ids[0], nil
	}
	slices.Sort(ids)
	return "", fmt.Errorf("nodes of several clusters answer, %s: give seeds of one only", strings.Join(ids, " and "))
}

// promised reports whether another node may found by this one's promise.
func (f *founding) promised() bool { return f.pact.hash != 0 && f.pact.leader != f.cfg.Self }

// join asks the members of a cluster, one after the other.
func (f *founding) join(ctx context.Context, id string, all []neighbour) {
	now := time.Now()
	if now.Before(f.next) {
		return
	}
	members := slices.DeleteFunc(slices.Clone(all), func(n neighbour) bool { return n.ClusterID != id || n.ID == f.cfg.Self })
	via := members[f.turn%len(members)]
	call, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := f.cfg.Ask(call, via); err != nil {
		f.turn++
		f.delay = min(max(2*f.delay, askRetry), askRetryMost)
		f.next = time.Now().Add(f.delay)
		f.wait("asked %s to join: %.*s", via.ID, mostOfMessage, err.Error())
		return
	}
	if !f.asked {
		f.log.Info("let into a cluster", "cluster", id, "by", via.ID)
	}
	f.asked, f.delay, f.next = true, 0, time.Now().Add(askAgain)
	f.wait("%s let it in: the log of cluster %s has not arrived yet", via.ID, id)
}

// keepPromise drops what is promised once its only founder has taken it back, and
// founds after it once it has.
func (f *founding) keepPromise(all []neighbour) {
	if !f.promised() {
		return
	}
	i := slices.IndexFunc(all, func(n neighbour) bool { return n.ID == f.pact.leader })
	if i < 0 {
		return // maybe it has founded just before it was cut off
	}
	switch leader := all[i]; {
	case leader.Boot != f.pact.leaderBoot && leader.Fresh:
		f.publish(pact{}) // the founder is gone and had founded nothing
	case leader.Boot != f.pact.leaderBoot:
		// It is back with a log, which its raft brings.
	case leader.Founders != f.pact.hash:
		f.publish(pact{})
	case !leader.Fresh && slices.ContainsFunc(f.pact.voters, func(s ring.Server) bool { return s.ID == f.cfg.Self }):
		f.bootstrap()
	}
}

// found proposes a list, promises the one that is proposed, or founds by its own.
func (f *founding) found(all []neighbour) {
	if started := slices.IndexFunc(all, func(n neighbour) bool { return n.ID != f.cfg.Self && !n.Fresh }); started >= 0 && !f.promised() {
		f.takeBack() // a cluster is being founded, or comes back
		f.wait("%s has a log that does not name its cluster yet", all[started].ID)
		return
	}
	switch list, err := f.expected(all); {
	case f.promised():
		f.wait("it has promised %s to found a cluster together, and waits for it; where that node is gone for good, restart this one", f.pact.leader)
	case err != nil:
		f.takeBack()
		f.wait("%v", err)
	case list[0].ID == f.cfg.Self:
		f.lead(list)
	default:
		f.takeBack()
		f.follow(list)
	}
}

// expected returns the nodes that would found a cluster, or why there are none.
func (f *founding) expected(all []neighbour) ([]neighbour, error) {
	others := len(all) > 1
	switch {
	case f.cfg.Joins && !others && f.cfg.Expect != 1:
		if f.cfg.Expect > 1 {
			return nil, fmt.Errorf("no address of --join answers: 1 of %d expected nodes seen", f.cfg.Expect)
		}
		return nil, errors.New("no address of --join answers: give the gossip address of a member")
	case f.cfg.Expect == 0:
		return nil, errors.New("no node that answers has a cluster: give --bootstrap-expect to found one")
	case f.cfg.Expect == 1 && f.cfg.Joins && time.Since(f.began) < soloPatience:
		return nil, errors.New("it looks for a cluster before it founds one")
	}
	var list []neighbour
	var odd string
	for _, n := range all {
		switch {
		case !n.Fresh || n.ClusterID != "":
		case n.Expect == f.cfg.Expect:
			list = append(list, n)
		case n.Expect > 0 && odd == "":
			odd = fmt.Sprintf("; %s expects %d: give all the same --bootstrap-expect", n.ID, n.Expect)
		}
	}
	if len(list) < f.cfg.Expect {
		return nil, fmt.Errorf("%d of %d expected nodes seen%s", len(list), f.cfg.Expect, odd)
	}
	slices.SortFunc(list, func(a, b neighbour) int { return strings.Compare(a.ID, b.ID) })
	list = list[:f.cfg.Expect]
	if len(founders(list, f.cfg.Voters)) == 0 {
		return nil, fmt.Errorf("none of the %d expected nodes can vote: give --data-dir", f.cfg.Expect)
	}
	return list, nil
}

// lead proposes a list that begins with this node, and founds when all have promised.
func (f *founding) lead(list []neighbour) {
	p := f.pactOf(list, f.round)
	if f.pact.hash != 0 && f.pact.hash != p.hash {
		f.takeBack()
		p = f.pactOf(list, f.round)
	}
	if f.pact.hash == 0 {
		f.publish(p)
	}
	var silent []string
	for _, n := range list[1:] {
		if n.Founders != p.hash {
			silent = append(silent, n.ID)
		}
	}
	if len(silent) > 0 {
		f.wait("all %d expected nodes seen, agreement awaited from %s", len(list), strings.Join(silent, ", "))
		return
	}
	f.bootstrap()
}

// follow promises the list that the first of it proposes, where it is the same.
func (f *founding) follow(list []neighbour) {
	leader := list[0]
	if !slices.ContainsFunc(list, func(n neighbour) bool { return n.ID == f.cfg.Self }) {
		f.wait("%d expected nodes are there without it: it joins the cluster they found", len(list))
		return
	}
	p := f.pactOf(list, leader.Round)
	if leader.Founders != p.hash {
		f.wait("all %d expected nodes seen, %s has not proposed them yet; all must be given the same --voters", len(list), leader.ID)
		return
	}
	f.publish(p)
	f.wait("all %d expected nodes seen, %s founds the cluster", len(list), leader.ID)
}

// takeBack withdraws what this node proposed, for good: the next proposal is of
// another round, so a promise to this one is never counted again.
func (f *founding) takeBack() {
	if f.pact.hash == 0 || f.promised() {
		return
	}
	f.round++
	f.publish(pact{})
}

func (f *founding) publish(p pact) {
	f.pact = p
	f.cfg.Update(func(self *neighbour) { self.Founders, self.Round = p.hash, f.round })
}

// bootstrap starts the log. A raft that was reached by the others has one already.
func (f *founding) bootstrap() {
	err := f.cfg.Founder.Bootstrap(f.pact.voters)
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		f.wait("found a cluster: %.*s", mostOfMessage, err.Error())
		f.log.Warn("founding a cluster", "err", err)
		return
	}
	f.founded = true
	f.cfg.Update(func(self *neighbour) { self.Fresh = false })
	f.wait("cluster founded with %d voters: a majority of them must be up", len(f.pact.voters))
	if err == nil {
		f.log.Info("cluster founded, a leader is awaited", "voters", len(f.pact.voters))
	}
}
