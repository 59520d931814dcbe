package policystore

import (
	"fmt"
	"strings"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

// TableToProto returns members and rows of a table as the protocol writes them. The
// members' counts of rows are filled in, their place in raft is not.
func TableToProto(t *ring.Table) (members []*weirv1.Member, rows []*weirv1.Row) {
	for _, m := range t.Members {
		members = append(members, &weirv1.Member{
			NodeId: m.ID, Boot: m.Boot, Zone: m.Zone, PeerAddr: m.PeerAddr, GrpcAddr: m.GRPCAddr, HttpAddr: m.HTTPAddr,
			State: weirv1.Member_State(m.State),
		})
	}
	if len(members) == 0 {
		return nil, nil
	}
	rows = make([]*weirv1.Row, len(t.Rows))
	for p, r := range t.Rows {
		rows[p] = &weirv1.Row{
			Owner: int32(r.Owner), Replica: int32(r.Replica), Target: int32(r.Target),
			State: weirv1.Row_State(r.State), Since: r.Since,
		}
		if r.Owner != ring.None {
			members[r.Owner].Owned++
		}
		if r.Replica != ring.None {
			members[r.Replica].Replicated++
		}
	}
	return members, rows
}

// TableFromProto makes a table of what TableToProto returned. It refuses one that no
// node could route by: members out of order, rows missing or naming nobody.
func TableFromProto(epoch uint64, members []*weirv1.Member, rows []*weirv1.Row) (*ring.Table, error) {
	if len(members) == 0 && len(rows) == 0 {
		return emptyTable(epoch), nil
	}
	if len(rows) != ring.Partitions {
		return nil, fmt.Errorf("a table has %d rows, not %d", ring.Partitions, len(rows))
	}
	if len(members) > ring.Partitions {
		return nil, fmt.Errorf("a table has at most %d members, not %d", ring.Partitions, len(members))
	}
	t := &ring.Table{Epoch: epoch, Members: make([]ring.Member, len(members))}
	for i, m := range members {
		switch id := m.GetNodeId(); {
		case id == "" || strings.Contains(id, "#"):
			return nil, fmt.Errorf("member %d has the id %q: it must not be empty or hold '#'", i, id)
		case i > 0 && id <= t.Members[i-1].ID:
			return nil, fmt.Errorf("members are sorted by id, each once: %q comes after %q", id, t.Members[i-1].ID)
		case m.GetState() < weirv1.Member_STATE_UP || m.GetState() > weirv1.Member_STATE_LEAVING:
			return nil, fmt.Errorf("member %q has the unknown state %d", id, m.GetState())
		}
		t.Members[i] = ring.Member{
			ID: m.GetNodeId(), Boot: m.GetBoot(), Zone: m.GetZone(), PeerAddr: m.GetPeerAddr(), GRPCAddr: m.GetGrpcAddr(), HTTPAddr: m.GetHttpAddr(),
			State: ring.MemberState(m.GetState()),
		}
	}
	for p, r := range rows {
		if r.GetState() < weirv1.Row_STATE_STEADY || r.GetState() > weirv1.Row_STATE_FILLING {
			return nil, fmt.Errorf("row %d has the unknown state %d", p, r.GetState())
		}
		for _, place := range []int32{r.GetOwner(), r.GetReplica(), r.GetTarget()} {
			if place < int32(ring.None) || int(place) >= len(members) {
				return nil, fmt.Errorf("row %d names member %d of %d", p, place, len(members))
			}
		}
		t.Rows[p] = ring.Row{
			Owner: int16(r.GetOwner()), Replica: int16(r.GetReplica()), Target: int16(r.GetTarget()),
			State: ring.RowState(r.GetState()), Since: r.GetSince(),
		}
	}
	return t, nil
}

// emptyTable returns a table without members, whose rows are nobody's.
func emptyTable(epoch uint64) *ring.Table {
	t := &ring.Table{Epoch: epoch}
	for p := range t.Rows {
		t.Rows[p] = ring.Row{Owner: ring.None, Replica: ring.None, Target: ring.None, State: ring.Steady}
	}
	return t
}
