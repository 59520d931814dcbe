package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/weir-io/weir/ring"
)

// hearsay is a gossip of a test.
type hearsay struct {
	*gossip
	changes atomic.Int64
}

func gossipOf(t testing.TB, id string, boot uint64, join ...string) gossipConfig {
	return gossipConfig{
		Self: neighbour{Member: ring.Member{ID: id, Boot: boot, Zone: "z", PeerAddr: "127.0.0.1:1"}, Fresh: true, Expect: 3},
		Bind: "127.0.0.1:0", Join: join, Logger: testLog(t, id),
	}
}

func testLog(t testing.TB, id string) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", id)
}

func startHearsay(t testing.TB, cfg gossipConfig) *hearsay {
	t.Helper()
	h := &hearsay{}
	cfg.Changed = func() { h.changes.Add(1) }
	g, err := startGossip(cfg)
	if err != nil {
		t.Fatalf("start gossip of %s: %v", cfg.Self.ID, err)
	}
	h.gossip = g
	t.Cleanup(g.close)
	return h
}

// hears waits until a node sees these, as "id#boot id#boot".
func (h *hearsay) hears(t testing.TB, want string) {
	t.Helper()
	var got string
	defer func() {
		if t.Failed() {
			t.Logf("%s hears of %q, want %q", h.name, got, want)
		}
	}()
	await(t, h.name+" hears of "+want, func() bool {
		var names []string
		for _, n := range h.alive() {
			names = append(names, gossipName(n.ID, n.Boot))
		}
		got = strings.Join(names, " ")
		return got == want
	})
}

func TestGossipTells(t *testing.T) {
	a := startHearsay(t, gossipOf(t, "a", 1))
	b := startHearsay(t, gossipOf(t, "b", 7, a.addr()))
	c := startHearsay(t, gossipOf(t, "c", 3, a.addr()))
	for _, h := range []*hearsay{a, b, c} {
		h.hears(t, "a#1 b#7 c#3")
	}
	before := c.changes.Load()
	b.update(func(self *neighbour) {
		self.ID, self.Boot = "x", 9 // no business of an update
		self.Fresh, self.ClusterID, self.Founders = false, "0123456789abcdef", 42
	})
	want := b.cfg.Self
	want.Fresh, want.ClusterID, want.Founders = false, "0123456789abcdef", 42
	await(t, "c to hear what b tells", func() bool {
		got, ok := c.find("b")
		return ok && got == want
	})
	if c.changes.Load() == before {
		t.Error("Changed was not called for an update")
	}
	if got, ok := b.find("b"); !ok || got != want {
		t.Errorf("b tells itself %+v, want %+v", got, want)
	}
	if _, ok := a.find("d"); ok {
		t.Error("a finds a node that never was")
	}

	if err := b.leave(longest); err != nil {
		t.Errorf("leave: %v", err)
	}
	b.close()
	a.hears(t, "a#1 c#3")
	c.close() // as a crash: it is found out
	a.hears(t, "a#1")
	b.close()
	if err := b.leave(longest); err != nil {
		t.Errorf("leave after close: %v", err)
	}
}

func TestGossipUpdatesInOrder(t *testing.T) {
	a := startHearsay(t, gossipOf(t, "a", 1))
	b := startHearsay(t, gossipOf(t, "b", 1, a.addr()))
	a.hears(t, "a#1 b#1")
	for i := range 50 {
		b.update(func(self *neighbour) { self.Round = uint32(i + 1) })
	}
	await(t, "the last of many updates", func() bool {
		n, ok := a.find("b")
		return ok && n.Round == 50
	})
}

func TestSeedThatComesLater(t *testing.T) {
	first := startHearsay(t, gossipOf(t, "b", 1))
	addr := first.addr()
	first.close()
	a := startHearsay(t, gossipOf(t, "a", 1, "127.0.0.1:1", "no such name", addr))
	cfg := gossipOf(t, "b", 2)
	cfg.Bind = addr
	startHearsay(t, cfg)
	a.hears(t, "a#1 b#2")
}

func TestLastKnownIsFoundAgain(t *testing.T) {
	a := startHearsay(t, gossipOf(t, "a", 1))
	b := startHearsay(t, gossipOf(t, "b", 1, a.addr()))
	a.hears(t, "a#1 b#1")
	b.close()
	a.hears(t, "a#1")
	again := gossipOf(t, "b", 2) // has no seeds: it can only be found
	again.Bind = b.addr()
	startHearsay(t, again).hears(t, "a#1 b#2")
	a.hears(t, "a#1 b#2")
}

func TestRestartIsNoConflict(t *testing.T) {
	a := startHearsay(t, gossipOf(t, "a", 1))
	b := startHearsay(t, gossipOf(t, "b", 1, a.addr()))
	a.hears(t, "a#1 b#1")
	b.close()
	again := startHearsay(t, gossipOf(t, "b", 2, a.addr())) // before the first is called dead
	a.hears(t, "a#1 b#2")
	await(t, "the predecessor to be called dead", func() bool {
		if err := again.conflict(); err != nil {
			t.Fatal(err)
		}
		again.mu.Lock()
		defer again.mu.Unlock()
		return len(again.seen) == 1
	})
}

func TestNamesakeMustGo(t *testing.T) {
	for _, boot := range []uint64{1, 2} { // of the second: two data dirs both begin at 1
		t.Run(fmt.Sprintf("boot %d", boot), func(t *testing.T) {
			cfg := gossipOf(t, "n", 1)
			cfg.Self.ClusterID, cfg.Self.Fresh = "one", false
			first := startHearsay(t, cfg)
			second := startHearsay(t, gossipOf(t, "n", boot, first.addr()))
			await(t, "the second to see the conflict", func() bool { return second.conflict() != nil })
			if got, want := second.conflict().Error(), "another node is called n, boot 1 at "+first.addr()+": give --node-id"; got != want {
				t.Errorf("conflict %q, want %q", got, want)
			}
			if err := first.conflict(); err != nil {
				t.Errorf("the first: %v", err)
			}
			if n, _ := first.find("n"); n.Boot != 1 {
				t.Errorf("the first finds boot %d under its own id", n.Boot)
			}
		})
	}
}

func TestNewestBootCounts(t *testing.T) {
	for _, c := range []struct {
		a, b neighbour
		want bool
	}{
		{neighbour{Member: ring.Member{Boot: 2}}, neighbour{Member: ring.Member{Boot: 1}}, true},
		{neighbour{Member: ring.Member{Boot: 1}}, neighbour{Member: ring.Member{Boot: 2}}, false},
		{neighbour{Member: ring.Member{Boot: 1}, ClusterID: "c"}, neighbour{Member: ring.Member{Boot: 2}}, true},
		{neighbour{Member: ring.Member{Boot: 2}, ClusterID: "c"}, neighbour{Member: ring.Member{Boot: 1}, ClusterID: "c"}, true},
	} {
		if got := supersedes(&c.a, &c.b); got != c.want {
			t.Errorf("%+v over %+v: %t, want %t", c.a, c.b, got, c.want)
		}
	}
}

func TestLostNodesAreBounded(t *testing.T) {
	g := &gossip{seen: map[string]heard{}, known: map[string]lastKnown{"live": {}}}
	for i := range 3 * maxKnown {
		g.loseLocked(heard{neighbour: neighbour{Member: ring.Member{ID: fmt.Sprint(i)}}, addr: "x"})
	}
	if _, live := g.known["live"]; len(g.known) != maxKnown+1 || !live {
		t.Errorf("%d known, the live one %t; want %d", len(g.known), live, maxKnown+1)
	}
}

func TestGossipRefusesToStart(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = udp.Close() }()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for name, taken := range map[string]string{"tcp": tcp.Addr().String(), "udp": udp.LocalAddr().String()} {
		cfg := gossipOf(t, "a", 1)
		cfg.Bind = taken
		if _, err := startGossip(cfg); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s port taken: %v, want %v inside", name, err, syscall.EADDRINUSE)
		}
	}
	for name, spoil := range map[string]func(*gossipConfig){
		"no id":          func(c *gossipConfig) { c.Self.ID = "" },
		"id with #":      func(c *gossipConfig) { c.Self.ID = "a#b" },
		"too much":       func(c *gossipConfig) { c.Self.Zone = strings.Repeat("z", maxMeta) },
		"no room":        func(c *gossipConfig) { c.Self.Zone = strings.Repeat("z", maxMeta-100) },
		"every address":  func(c *gossipConfig) { c.Bind = "0.0.0.0:0" },
		"unknown host":   func(c *gossipConfig) { c.Advertise = "no such name" },
		"no listen addr": func(c *gossipConfig) { c.Bind = "127.0.0.1" },
	} {
		cfg := gossipOf(t, "a", 1)
		spoil(&cfg)
		if g, err := startGossip(cfg); err == nil {
			g.close()
			t.Errorf("%s: started", name)
		}
	}
}

func TestGossipAdvertises(t *testing.T) {
	cfg := gossipOf(t, "a", 1)
	cfg.Bind, cfg.Advertise = "0.0.0.0:0", "127.0.0.1"
	a := startHearsay(t, cfg)
	_, port, err := net.SplitHostPort(a.addr())
	if err != nil {
		t.Fatal(err)
	}
	b := startHearsay(t, gossipOf(t, "b", 1, "127.0.0.1:"+port))
	b.hears(t, "a#1 b#1")
	b.mu.Lock()
	defer b.mu.Unlock()
	if got, want := b.seen["a#1"].addr, "127.0.0.1:"+port; got != want {
		t.Errorf("a is dialled at %s, want %s", got, want)
	}
}

// A node that is closed while it waits for a seed's answer leaves nothing running.
func TestGossipCloses(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	g, err := startGossip(gossipOf(t, "a", 1, silent.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	c, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	g.close()
}
