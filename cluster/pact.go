package cluster

import (
	"fmt"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/weir-io/weir/ring"
)

// A pact is a list of founders that a node has proposed or promised. The zero pact is
// none.
type pact struct {
	hash       uint64
	leader     string // id of the one node that may found by it
	leaderBoot uint64
	voters     []ring.Server
}

// founders returns the first voters of a list: 1, 3 or 5 that keep what they voted. A
// node alone need not.
func founders(list []neighbour, voters int) []ring.Server {
	var able []ring.Server
	for _, n := range list {
		if n.Durable || len(list) == 1 {
			able = append(able, ring.Server{ID: n.ID, Addr: n.PeerAddr, Voter: true})
		}
	}
	most := min(voters, len(able))
	if most%2 == 0 {
		most--
	}
	return able[:max(most, 0)]
}

// pactOf is the pact that the first of a list proposes in a round.
func (f *founding) pactOf(list []neighbour, round uint32) pact {
	p := pact{leader: list[0].ID, leaderBoot: list[0].Boot, voters: founders(list, f.cfg.Voters)}
	var text strings.Builder
	fmt.Fprintf(&text, "round %d of %d founders", round, len(list))
	for _, n := range list {
		fmt.Fprintf(&text, "\n%q %d", n.ID, n.Boot)
	}
	for _, s := range p.voters {
		fmt.Fprintf(&text, "\nvoter %q %q", s.ID, s.Addr)
	}
	p.hash = max(xxh3.HashString(text.String()), 1) // 0 is none
	return p
}
