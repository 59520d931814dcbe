package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Gossip's numbers: a node that is killed is called dead after 1.3 to 2 s. Faster ones
// call live nodes dead on a busy machine.
const (
	gossipEvery    = 50 * time.Millisecond
	probeEvery     = 300 * time.Millisecond
	probeTimeout   = 150 * time.Millisecond
	pushPullEvery  = 5 * time.Second
	gossipTCP      = 2 * time.Second // a dial, and one push and pull
	reclaimAfter   = 5 * time.Second // a dead node's name may come back at another address
	publishTimeout = time.Second
	lookupTimeout  = 2 * time.Second
)

type gossipConfig struct {
	Self      neighbour    // State unused
	Bind      string       // host:port, tcp and udp; port 0 picks one
	Advertise string       // host that others dial; "" = the bound one
	Join      []string     // host:port of seeds
	Changed   func()       // called after every change of alive; must not block or call gossip back
	Logger    *slog.Logger // nil = discard
}

// gossip tells which nodes live. memberlist detects; all it says is copied at once,
// since what it hands out goes on changing, and nothing else here imports it.
type gossip struct {
	cfg  gossipConfig
	log  *slog.Logger
	name string // in gossip
	own  string // gossip address that others dial
	net  *gossipNet
	list *memberlist.Memberlist

	ctx     context.Context // ends when close begins
	stop    context.CancelFunc
	wg      sync.WaitGroup // the loops of startGossip
	publish chan struct{}  // self has changed; room for one
	suspect chan struct{}  // somebody else may have this id; room for one
	alone   chan struct{}  // a node was lost, maybe the last; room for one

	turn   sync.Mutex // held by whoever leaves or closes: memberlist panics where they cross
	closed bool       // guarded by turn

	mu     sync.Mutex           // never held while memberlist is called, which calls back under its lock
	self   neighbour            // guarded by mu
	meta   []byte               // guarded by mu; self as it is published
	seen   map[string]heard     // guarded by mu; live nodes by gossip name, without this one
	known  map[string]lastKnown // guarded by mu; where nodes were last, by id
	rivals map[string]rival     // guarded by mu; who else goes by this very name, by address
	clash  error                // guarded by mu; another live node has this id
	left   bool                 // guarded by mu

	// Timers of memberlist outlive its shutdown and call back: not after close has returned.
	ears sync.RWMutex // read-locked by every call back
	deaf bool         // guarded by ears
}

// heard is a live node.
type heard struct {
	neighbour
	addr string // of its gossip
}

// startGossip binds gossip's port and begins to look for the seeds. The error wraps
// syscall.EADDRINUSE where the port is taken.
func startGossip(cfg gossipConfig) (*gossip, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	g := &gossip{
		cfg: cfg, log: cfg.Logger, name: gossipName(cfg.Self.ID, cfg.Self.Boot), self: cfg.Self,
		publish: make(chan struct{}, 1), suspect: make(chan struct{}, 1), alone: make(chan struct{}, 1),
		seen: make(map[string]heard), known: make(map[string]lastKnown), rivals: make(map[string]rival),
	}
	g.self.State = 0
	if _, _, err := parseGossipName(g.name); err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	var err error
	if g.meta, err = encodeMeta(&g.self); err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	if room := maxMeta - maxClusterID - 16; len(g.meta)-len(g.self.ClusterID) > room {
		return nil, fmt.Errorf("start gossip: zone and addresses of the node take %d bytes, at most %d fit: give shorter ones", len(g.meta)-len(g.self.ClusterID), room)
	}
	lookup, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	if g.net, err = openGossipNet(lookup, cfg.Bind, cfg.Advertise, g.log); err != nil {
		return nil, err
	}
	g.own = net.JoinHostPort(g.net.advertise.String(), strconv.Itoa(g.net.port()))
	if g.list, err = memberlist.Create(g.settings()); err != nil {
		return nil, errors.Join(fmt.Errorf("start gossip: %w", err), g.net.Shutdown())
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.wg.Go(g.publishAll)
	g.wg.Go(g.rejoinAll)
	g.wg.Go(g.watchName)
	return g, nil
}

func (g *gossip) settings() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name, c.Transport = g.name, g.net
	c.BindPort, c.AdvertisePort = g.net.port(), g.net.port()
	c.ProbeInterval, c.ProbeTimeout = probeEvery, probeTimeout
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 3, 2
	c.GossipInterval, c.PushPullInterval, c.TCPTimeout = gossipEvery, pushPullEvery, gossipTCP
	c.DeadNodeReclaimTime = reclaimAfter
	ears := (*gossipEars)(g)
	c.Delegate, c.Events, c.Conflict = ears, ears, ears
	c.Logger = log.New(libraryLog{g}, "", 0)
	return c
}

// addr returns the bound host:port.
func (g *gossip) addr() string { return g.net.listener.Addr().String() }

// alive returns the live nodes by id, this one included. Of several boots of one id it
// knows the newest: a predecessor is called dead a little late.
func (g *gossip) alive() []neighbour {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest := make(map[string]neighbour, len(g.seen)+1)
	for _, h := range g.seen {
		if n, ok := newest[h.ID]; !ok || supersedes(&h.neighbour, &n) {
			newest[h.ID] = h.neighbour
		}
	}
	newest[g.self.ID] = g.self
	return slices.SortedFunc(maps.Values(newest), func(a, b neighbour) int { return strings.Compare(a.ID, b.ID) })
}

// find returns a live node by id, as alive does.
func (g *gossip) find(id string) (neighbour, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if id == g.self.ID {
		return g.self, true
	}
	var newest neighbour
	found := false
	for _, h := range g.seen {
		if h.ID == id && (!found || supersedes(&h.neighbour, &newest)) {
			newest, found = h.neighbour, true
		}
	}
	return newest, found
}

// supersedes reports whether of two boots of one id a is the one that counts: the
// newer one, but a stranger that was given a member's id by mistake must not hide it.
func supersedes(a, b *neighbour) bool {
	if in, other := a.ClusterID != "", b.ClusterID != ""; in != other {
		return in
	}
	return a.Boot > b.Boot
}

// update changes what this node tells of itself. Its id and boot stay.
func (g *gossip) update(change func(self *neighbour)) {
	g.mu.Lock()
	self := g.self
	change(&self)
	self.ID, self.Boot, self.State = g.self.ID, g.self.Boot, 0
	if self == g.self {
		g.mu.Unlock()
		return
	}
	meta, err := encodeMeta(&self)
	if err == nil {
		g.self, g.meta = self, meta
	}
	g.mu.Unlock()
	if err != nil {
		g.log.Error("gossip keeps telling what it told", "err", err)
		return
	}
	poke(g.publish)
	g.cfg.Changed()
}

// leave tells the others that this node goes, until timeout. Nothing is published or
// joined any more.
func (g *gossip) leave(timeout time.Duration) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	if g.closed {
		return nil
	}
	g.mu.Lock()
	g.left = true
	g.mu.Unlock()
	if err := g.list.Leave(timeout); err != nil {
		return fmt.Errorf("leave gossip: %w", err)
	}
	return nil
}

// close ends gossip without a word and waits for the loops. It may be called again.
func (g *gossip) close() {
	g.turn.Lock()
	defer g.turn.Unlock()
	if g.closed {
		return
	}
	g.closed = true
	g.stop()
	if err := g.list.Shutdown(); err != nil { // closes g.net, which ends every join under way
		g.log.Debug("gossip shutdown", "err", err)
	}
	g.wg.Wait()
	g.ears.Lock()
	g.deaf = true
	g.ears.Unlock()
}

// listen keeps close waiting until done is called; it reports false once close is over.
func (g *gossip) listen() (done func(), ok bool) {
	g.ears.RLock()
	if g.deaf {
		g.ears.RUnlock()
		return nil, false
	}
	return g.ears.RUnlock, true
}

// publishAll spreads what update changed.
func (g *gossip) publishAll() {
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.publish:
		}
		if g.hasLeft() {
			continue
		}
		// What is not out in time goes with the next push and pull.
		if err := g.list.UpdateNode(publishTimeout); err != nil {
			g.log.Debug("gossip update", "err", err)
		}
	}
}

func (g *gossip) hasLeft() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left
}

// gossipEars is a gossip as memberlist calls it: under the library's lock, so it only
// copies, and never calls the library back.
type gossipEars gossip

var (
	_ memberlist.Delegate         = (*gossipEars)(nil)
	_ memberlist.EventDelegate    = (*gossipEars)(nil)
	_ memberlist.ConflictDelegate = (*gossipEars)(nil)
)

// NodeMeta returns what is published of this node.
func (e *gossipEars) NodeMeta(int) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.meta)
}

// NotifyJoin takes a node for alive.
func (e *gossipEars) NotifyJoin(n *memberlist.Node) { e.hear(n) }

// NotifyUpdate takes what a node newly tells.
func (e *gossipEars) NotifyUpdate(n *memberlist.Node) { e.hear(n) }

func (e *gossipEars) hear(n *memberlist.Node) {
	done, ok := (*gossip)(e).listen()
	if !ok {
		return
	}
	defer done()
	if n.Name == e.name {
		return
	}
	id, boot, err := parseGossipName(n.Name)
	var h heard
	if err == nil {
		h.neighbour, err = decodeMeta(n.Meta)
	}
	if err != nil {
		e.log.Warn("gossip tells of what is no node of this kind", "name", strconv.QuoteToASCII(n.Name), "addr", n.Address(), "err", err)
		return
	}
	h.ID, h.Boot, h.addr = id, boot, n.Address()
	e.mu.Lock()
	_, old := e.seen[n.Name]
	e.seen[n.Name] = h
	e.known[id] = lastKnown{addr: h.addr}
	rival := id == e.self.ID
	e.mu.Unlock()
	if !old {
		e.log.Info("node seen", "peer", id, "boot", boot, "gossip_addr", h.addr, "cluster", h.ClusterID)
	}
	if rival {
		poke(e.suspect)
	}
	e.cfg.Changed()
}

// NotifyLeave takes a node for dead, or for gone.
func (e *gossipEars) NotifyLeave(n *memberlist.Node) {
	done, ok := (*gossip)(e).listen()
	if !ok {
		return
	}
	defer done()
	e.mu.Lock()
	h, known := e.seen[n.Name]
	delete(e.seen, n.Name)
	if known {
		(*gossip)(e).loseLocked(h)
	}
	e.mu.Unlock()
	if !known {
		return
	}
	e.log.Info("node lost", "peer", h.ID, "boot", h.Boot, "gossip_addr", h.addr)
	poke(e.alone)
	e.cfg.Changed()
}

// NotifyConflict notes who else goes by a name.
func (e *gossipEars) NotifyConflict(existing, other *memberlist.Node) {
	done, ok := (*gossip)(e).listen()
	if !ok {
		return
	}
	defer done()
	if existing.Name != e.name {
		return
	}
	told, err := decodeMeta(other.Meta)
	if err != nil {
		return
	}
	told.ID, told.Boot = e.cfg.Self.ID, e.cfg.Self.Boot
	e.mu.Lock()
	if len(e.rivals) < maxRivals {
		e.rivals[other.Address()] = rival{neighbour: told, heard: time.Now()}
	}
	e.mu.Unlock()
	poke(e.suspect)
}

// NotifyMsg drops a message: there are none of ours.
func (e *gossipEars) NotifyMsg([]byte) {}

// GetBroadcasts has none.
func (e *gossipEars) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState has none.
func (e *gossipEars) LocalState(bool) []byte { return nil }

// MergeRemoteState drops it.
func (e *gossipEars) MergeRemoteState([]byte, bool) {}

// libraryLog passes what memberlist says on, as debug: that a peer does not answer is
// an error to it and daily bread to a cluster.
type libraryLog struct{ gossip *gossip }

var _ io.Writer = libraryLog{}

// Write takes one line of the library's.
func (l libraryLog) Write(line []byte) (int, error) {
	if done, ok := l.gossip.listen(); ok {
		defer done()
		l.gossip.log.Debug("gossip speaks", "memberlist", strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// poke signals on a channel with room for one signal, which stands for any number.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
