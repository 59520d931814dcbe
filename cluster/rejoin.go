package cluster

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// memberlist drops a dead member for good: two sides that were cut apart never find
// each other again by themselves. So seeds and last known members that are missing
// are joined for ever.
const (
	rejoinEvery  = 5 * time.Second
	rejoinAlone  = 500 * time.Millisecond
	rejoinAtOnce = 16             // joins under way
	forgetKnown  = 24 * time.Hour // a lost member; seeds are never forgotten
	maxKnown     = 64             // lost members; the longest lost go first
	sayAgain     = time.Minute    // between two lines that say the same
)

// lastKnown is where a node was last.
type lastKnown struct {
	addr string
	lost time.Time // zero while it lives
}

// loseLocked notes that a node is called dead. g.mu must be held.
func (g *gossip) loseLocked(h heard) {
	for _, other := range g.seen {
		if other.ID == h.ID {
			return
		}
	}
	now := time.Now()
	g.known[h.ID] = lastKnown{addr: h.addr, lost: now}
	oldest, lost := "", 0
	for id, k := range g.known {
		switch {
		case k.lost.IsZero():
			continue
		case now.Sub(k.lost) > forgetKnown:
			delete(g.known, id)
			continue
		case oldest == "" || k.lost.Before(g.known[oldest].lost):
			oldest = id
		}
		lost++
	}
	if lost > maxKnown {
		delete(g.known, oldest)
	}
}

// rejoinAll joins what is missing, often while there is nobody at all.
func (g *gossip) rejoinAll() {
	var said time.Time
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.alone:
			if g.isAlone() {
				next.Reset(rejoinAlone)
			}
			continue
		case <-next.C:
		}
		if err := g.rejoin(); err != nil && g.isAlone() && time.Since(said) > sayAgain {
			said = time.Now()
			g.log.Warn("no address of --join answers: trying on", "join", g.cfg.Join, "err", err)
		}
		next.Reset(g.pace())
	}
}

func (g *gossip) pace() time.Duration {
	if g.isAlone() {
		return rejoinAlone
	}
	return rejoinEvery
}

func (g *gossip) isAlone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.seen) == 0
}

// rejoin joins once whoever is missing and returns the last error.
func (g *gossip) rejoin() error {
	if g.hasLeft() {
		return nil
	}
	addrs, err := g.absent()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		room = make(chan struct{}, rejoinAtOnce)
	)
	for _, addr := range addrs {
		room <- struct{}{} // a join ends in time, at once when the node is closed
		wg.Go(func() {
			defer func() { <-room }()
			if g.ctx.Err() != nil {
				return
			}
			if _, joinErr := g.list.Join([]string{addr}); joinErr != nil {
				mu.Lock()
				defer mu.Unlock()
				err = joinErr
			}
		})
	}
	wg.Wait()
	return err
}

// absent returns the gossip addresses of seeds and last known members that are not
// alive. The error is of a seed's name that says nothing.
func (g *gossip) absent() ([]string, error) {
	g.mu.Lock()
	there := map[string]bool{g.own: true}
	for _, h := range g.seen {
		there[h.addr] = true
	}
	missing := make(map[string]bool)
	for id, k := range g.known {
		if !k.lost.IsZero() && id != g.self.ID && !there[k.addr] {
			missing[k.addr] = true
		}
	}
	g.mu.Unlock()
	var failed error
	for _, seed := range g.cfg.Join {
		addrs, err := g.lookup(seed)
		if err != nil {
			failed = err
		}
		for _, addr := range addrs {
			if !there[addr] {
				missing[addr] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(missing)), failed
}

// lookup returns a seed as numbers. memberlist would ask name servers in ways of its
// own, without end.
func (g *gossip) lookup(seed string) ([]string, error) {
	host, portName, err := net.SplitHostPort(seed)
	if err != nil {
		return nil, fmt.Errorf("seed %q: %w", seed, err)
	}
	ctx, cancel := context.WithTimeout(g.ctx, lookupTimeout)
	defer cancel()
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", portName)
	if err != nil {
		return nil, fmt.Errorf("seed %q: %w", seed, err)
	}
	ips := []net.IP{net.ParseIP(host)}
	if ips[0] == nil {
		if ips, err = net.DefaultResolver.LookupIP(ctx, "ip", host); err != nil {
			return nil, fmt.Errorf("seed %q: %w", seed, err)
		}
	}
	var addrs []string
	for _, ip := range ips {
		addrs = append(addrs, net.JoinHostPort(ip.String(), strconv.Itoa(port)))
	}
	return addrs, nil
}

const (
	maxRivals   = 16
	rivalMemory = 3 * pushPullEvery // how long one that was heard of may still be there
	rivalPing   = 500 * time.Millisecond
)

// A rival is another process that goes by this node's very name: two fresh data
// directories both count their first boot as 1.
type rival struct {
	neighbour
	heard time.Time
}

// conflict says that another live node has this node's id and that it is this one
// that must go: the one without a cluster, else the later one. A predecessor that
// gossip does not call dead yet is none: it does not answer.
func (g *gossip) conflict() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.clash
}

// watchName asks all that have this node's id whether they are alive.
func (g *gossip) watchName() {
	tick := time.NewTicker(rivalPing)
	defer tick.Stop()
	for {
		others := g.namesakes()
		if len(others) == 0 {
			select {
			case <-g.ctx.Done():
				return
			case <-g.suspect:
			}
			continue
		}
		for _, h := range others {
			addr, err := net.ResolveUDPAddr("udp", h.addr)
			if err != nil {
				continue
			}
			if _, err := g.list.Ping(gossipName(h.ID, h.Boot), addr); err == nil {
				g.judge(h)
			}
		}
		select {
		case <-g.ctx.Done():
			return
		case <-g.suspect:
		case <-tick.C:
		}
	}
}

// namesakes returns who else has this node's id. Without any there is no conflict.
func (g *gossip) namesakes() []heard {
	g.mu.Lock()
	defer g.mu.Unlock()
	var others []heard
	for _, h := range g.seen {
		if h.ID == g.self.ID {
			others = append(others, h)
		}
	}
	for addr, r := range g.rivals {
		if time.Since(r.heard) > rivalMemory {
			delete(g.rivals, addr)
		} else if addr != g.own {
			others = append(others, heard{neighbour: r.neighbour, addr: addr})
		}
	}
	if len(others) == 0 {
		g.clash = nil
	}
	return others
}

// judge decides, of two live nodes of one id, whether it is this one that must go.
// The other comes to the same answer.
func (g *gossip) judge(other heard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	goes := g.own > other.addr
	if in, also := g.self.ClusterID != "", other.ClusterID != ""; in != also {
		goes = also
	} else if g.self.Boot != other.Boot {
		goes = g.self.Boot > other.Boot
	}
	if !goes {
		g.clash = nil
		return
	}
	if g.clash == nil {
		g.log.Error("another node has this node's id", "boot", other.Boot, "gossip_addr", other.addr)
	}
	g.clash = fmt.Errorf("another node is called %s, boot %d at %s: give --node-id", other.ID, other.Boot, other.addr)
}
