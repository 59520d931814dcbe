package cluster

import (
	"bytes"
	"strings"
	"testing"

	"github.com/weir-io/weir/ring"
)

func TestMetaRoundTrip(t *testing.T) {
	for _, want := range []neighbour{
		{},
		{Member: ring.Member{Zone: "a", PeerAddr: "10.0.0.1:7071", GRPCAddr: "10.0.0.1:7070", HTTPAddr: "10.0.0.1:7072"}, Durable: true, Expect: 3, Founders: 1<<64 - 1, Round: 1<<32 - 1},
		{Member: ring.Member{PeerAddr: "[fe80::1]:7071", GRPCAddr: "weir.example:7070", HTTPAddr: "[fe80::1]:7072"}, Fresh: true, ClusterID: "0123456789abcdef"},
		{Member: ring.Member{PeerAddr: "not an address", GRPCAddr: ":1", HTTPAddr: "x:"}},
		{Member: ring.Member{PeerAddr: strings.Repeat("h", 253) + ":7071", GRPCAddr: strings.Repeat("h", 253) + ":7070", HTTPAddr: strings.Repeat("h", 253) + ":7072"}},
	} {
		b, err := encodeMeta(&want)
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		for _, tail := range []string{"", "of a later version"} {
			got, err := decodeMeta(append(bytes.Clone(b), tail...))
			if err != nil || got != want {
				t.Errorf("with tail %q: got %+v, %v, want %+v", tail, got, err, want)
			}
		}
		for cut := range b {
			if got, err := decodeMeta(b[:cut]); err == nil {
				t.Errorf("cut to %d of %d bytes: %+v", cut, len(b), got)
			}
		}
	}
}

func TestMetaTooLong(t *testing.T) {
	far := neighbour{Member: ring.Member{PeerAddr: strings.Repeat("a", 253) + ":1", GRPCAddr: strings.Repeat("b", 253) + ":1"}}
	if b, err := encodeMeta(&far); err == nil {
		t.Errorf("encoded to %d bytes, want an error", len(b))
	}
	if _, err := encodeMeta(&neighbour{ClusterID: strings.Repeat("c", maxClusterID+1)}); err == nil {
		t.Error("a cluster id that is too long was encoded")
	}
}

func TestGossipNames(t *testing.T) {
	if id, boot, err := parseGossipName(gossipName("n-1.a:b", 1<<64-1)); id != "n-1.a:b" || boot != 1<<64-1 || err != nil {
		t.Errorf("got %q, %d, %v", id, boot, err)
	}
	for _, name := range []string{"", "#", "n1", "#7", "n1#", "n1#x", "n1#2#3", "n1#-1", strings.Repeat("n", 65) + "#1"} {
		if id, boot, err := parseGossipName(name); err == nil {
			t.Errorf("%q: got %q, %d", name, id, boot)
		}
	}
}

func FuzzMeta(f *testing.F) {
	for _, n := range []neighbour{
		{},
		{Member: ring.Member{Zone: "a", PeerAddr: "10.0.0.1:7071", GRPCAddr: "b:7070", HTTPAddr: "[::1]:7072"}, Durable: true, Fresh: true, Expect: 3, ClusterID: "c", Founders: 7, Round: 2},
	} {
		b, err := encodeMeta(&n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{metaLayout, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := encodeMeta(&n)
		if err != nil {
			return // odd hosts are spelled out and may need more room than they came with
		}
		if got, err := decodeMeta(again); err != nil || got != n {
			t.Fatalf("got %+v, %v, want %+v", got, err, n)
		}
	})
}
