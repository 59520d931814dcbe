package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
)

// A netIndex finds the networks that hold an address. Networks hold each other or are
// apart, so all that hold an address are the last one that begins at or before it and
// those around that one.
type netIndex struct{ nodes []netNode }

type netNode struct {
	net    netip.Prefix
	around int32 // the smallest network around this one, -1 for none
	list   []int32
}

// newNetIndex builds an index of entries by network.
func newNetIndex(lists map[netip.Prefix][]int32) *netIndex {
	if len(lists) == 0 {
		return nil
	}
	x := &netIndex{nodes: make([]netNode, 0, len(lists))}
	for net, list := range lists {
		x.nodes = append(x.nodes, netNode{net: net, list: list})
	}
	slices.SortFunc(x.nodes, func(a, b netNode) int {
		return cmp.Or(a.net.Addr().Compare(b.net.Addr()), cmp.Compare(a.net.Bits(), b.net.Bits()))
	})
	for i := range x.nodes {
		around := int32(i) - 1
		for around >= 0 && !x.nodes[around].net.Contains(x.nodes[i].net.Addr()) {
			around = x.nodes[around].around
		}
		x.nodes[i].around = around
	}
	return x
}

// walk calls visit with the entries of every network that holds ip.
func (x *netIndex) walk(ip netip.Addr, visit func(list []int32)) {
	after := sort.Search(len(x.nodes), func(i int) bool { return x.nodes[i].net.Addr().Compare(ip) > 0 })
	for i := int32(after) - 1; i >= 0; i = x.nodes[i].around {
		if x.nodes[i].net.Contains(ip) {
			visit(x.nodes[i].list)
		}
	}
}
