package cluster

import (
	"context"
	"maps"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

// A view is a table and what this node is and knows in it. It is immutable.
type view struct {
	table *ring.Table
	self  int16   // place of this process among the members, ring.None where it is none
	named int16   // place of this node's id, whichever process of it the table means
	peers []*peer // by place; nil for this node and those that cannot be dialled
}

// ownsPartition reports whether this process owns a partition.
func (v *view) ownsPartition(p int) bool {
	return v.self != ring.None && v.table.Rows[p].Owner == v.self
}

// find returns the place of a member by id, ring.None where there is none.
func (v *view) find(id string) int16 { return int16(v.table.Find(id)) }

// Table returns the table the node routes by, never nil.
func (n *Node) Table() *ring.Table { return n.view.Load().table }

// TableApplied makes t the table the node routes by. The log calls it with every
// table in its order, one at a time; rows gained and lost start empty. It does not block.
func (n *Node) TableApplied(t *ring.Table) {
	was := n.view.Load()
	v := &view{table: t, self: ring.None, named: int16(t.Find(n.cfg.Self.ID))}
	if v.named != ring.None && t.Members[v.named].Boot == n.cfg.Self.Boot {
		v.self = v.named
	}
	// Once v is stored checks are decided by it: what they take of a row that came must
	// not be wiped, what they took of one that goes is.
	n.clearGained(was, v)
	n.mu.Lock()
	n.meetLocked(v)
	n.view.Store(v)
	n.mu.Unlock()
	n.clearGained(v, was)
	n.tables.Send()
	n.changed()
	n.log.Info("table applied", "epoch", t.Epoch, "members", len(t.Members), "owned", owned(v))
}

// clearGained empties the rows that are this node's by a view and were not by another.
func (n *Node) clearGained(was, now *view) {
	for p := range ring.Partitions {
		if now.ownsPartition(p) && !was.ownsPartition(p) {
			n.store.Clear(p)
		}
	}
}

func owned(v *view) (rows int) {
	for p := range ring.Partitions {
		if v.ownsPartition(p) {
			rows++
		}
	}
	return rows
}

// awaitEpoch waits until a table of an epoch, or a newer one, is applied, or ctx ends.
func (n *Node) awaitEpoch(ctx context.Context, epoch uint64) {
	for {
		news := n.tables.Next()
		if n.view.Load().table.Epoch >= epoch {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

// followGossip keeps peers for all that gossip knows, until ctx ends.
func (n *Node) followGossip(ctx context.Context) {
	for {
		news := n.changes.Next()
		n.mu.Lock()
		v := *n.view.Load()
		n.meetLocked(&v)
		n.view.Store(&v)
		n.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

// meetLocked makes the peers of this node those that the table lists or gossip hears, and
// fills in v.peers. Where the two differ on a node, its newer process counts. A node that
// is closed has none. mu is held.
func (n *Node) meetLocked(v *view) {
	v.peers = make([]*peer, len(v.table.Members))
	if n.closed {
		return
	}
	wanted := map[string]ring.Member{}
	for _, m := range v.table.Members {
		wanted[m.ID] = m
	}
	if g := n.gossip.Load(); g != nil {
		for _, m := range g.alive() {
			// A node whose data was lost counts its boots anew.
			if known, ok := wanted[m.ID]; !ok || m.Boot >= known.Boot || known.State != ring.Up {
				wanted[m.ID] = m.Member
			}
		}
	}
	delete(wanted, n.cfg.Self.ID)
	peers := maps.Clone(n.peers)
	for id, p := range peers {
		if m, ok := wanted[id]; !ok || m.Boot != p.boot || m.PeerAddr != p.addr {
			delete(peers, id)
			n.wg.Go(p.close)
		}
	}
	for id, m := range wanted {
		if peers[id] == nil && m.PeerAddr != "" {
			p, err := n.newPeer(m)
			if err != nil {
				n.log.Warn("peer cannot be dialled", "peer", id, "err", err)
				continue
			}
			peers[id] = p
		}
	}
	n.peers = peers
	for i, m := range v.table.Members {
		v.peers[i] = peers[m.ID]
	}
}

// newPeer begins to talk to another node.
func (n *Node) newPeer(m ring.Member) (*peer, error) {
	p := &peer{
		id: m.ID, boot: m.Boot, addr: m.PeerAddr, self: n.hello, ping: n.ping, news: n.changed,
		log: n.log.With("peer", m.ID), out: newOutbox(),
	}
	// Numbers rise over all outboxes of this process for one receiver: it remembers them.
	p.out.number = uint64(sinceMicros(n.began))
	return p, p.start(n.began, n.metrics.frameSent)
}

// hello is what this node says of itself first.
func (n *Node) hello() *weirv1.HelloRequest {
	return &weirv1.HelloRequest{
		Sender: n.nodeBoot(), ClusterId: n.cfg.Founder.ClusterID(), Protocol: protocolVersion, RingHash: ring.SettingsHash(),
	}
}

func (n *Node) nodeBoot() *weirv1.NodeBoot {
	return &weirv1.NodeBoot{NodeId: n.cfg.Self.ID, Boot: n.cfg.Self.Boot}
}

func (n *Node) ping() *weirv1.PingRequest {
	return &weirv1.PingRequest{Sender: n.nodeBoot(), Epoch: n.Table().Epoch, WallNanos: n.clock.Now()}
}

// alive returns the nodes that gossip hears, this one included.
func (n *Node) alive() []neighbour {
	if g := n.gossip.Load(); g != nil {
		return g.alive()
	}
	return nil
}

// peerState returns what this node knows of a process of another.
func (n *Node) peerState(id string, boot uint64) peerState {
	if p := n.peer(id); p != nil && p.boot == boot {
		return p.state()
	}
	return peerState{}
}

// peer returns the peer of an id, nil where none is known.
func (n *Node) peer(id string) *peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers[id]
}

// PeerAddr returns the newest known address that peers and raft dial for a node, empty
// where gossip does not hear it.
func (n *Node) PeerAddr(id string) string {
	if g := n.gossip.Load(); g != nil {
		if m, ok := g.find(id); ok {
			return m.PeerAddr
		}
	}
	return ""
}
