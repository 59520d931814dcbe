package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

type clusterCmd struct {
	Members membersCmd `cmd:"" help:"List the nodes of the table."`
	Table   tableCmd   `cmd:"" help:"Show which node owns how much of the key space."`
}

type membersCmd struct{ nodeFlags }

// Help is shown by --help.
func (membersCmd) Help() string {
	return `Shows the cluster as one node sees it: every member with its state and addresses, how many of the 1024 partitions it owns and shadows, and its place in raft. The leader has a star. A node shadows the partitions whose replica it is; nothing is copied to replicas yet.

Example:

  weir cluster members --addr 10.0.0.1:7070 -o json`
}

// A memberJSON is one member.
type memberJSON struct {
	NodeID     string `json:"node_id"`
	Boot       uint64 `json:"boot"`
	State      string `json:"state"`
	GRPCAddr   string `json:"grpc_addr"`
	HTTPAddr   string `json:"http_addr"`
	PeerAddr   string `json:"peer_addr"`
	Zone       string `json:"zone,omitempty"`
	Owned      uint32 `json:"owned"`
	Replicated uint32 `json:"replicated"`
	Raft       string `json:"raft_suffrage"`
	Leader     bool   `json:"leader"`
}

// Run lists the members.
func (c *membersCmd) Run(ctx context.Context, s *streams) error {
	var r *weirv1.ListMembersResponse
	err := c.call(ctx, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		r, err = weirv1.NewAdminClient(conn).ListMembers(ctx, &weirv1.ListMembersRequest{})
		return err
	})
	if err != nil {
		return err
	}
	members := make([]memberJSON, 0, len(r.GetMembers()))
	t := table{head: []string{"NODE", "STATE", "GRPC", "HTTP", "PEER", "ZONE", "OWNS", "SHADOWS", "RAFT"}}
	for _, m := range r.GetMembers() {
		j := memberJSON{
			NodeID: m.GetNodeId(), Boot: m.GetBoot(), State: word(m.GetState(), "STATE_"), GRPCAddr: m.GetGrpcAddr(), HTTPAddr: m.GetHttpAddr(),
			PeerAddr: m.GetPeerAddr(), Zone: m.GetZone(), Owned: m.GetOwned(), Replicated: m.GetReplicated(), Raft: m.GetRaftSuffrage(), Leader: m.GetNodeId() == r.GetLeader(),
		}
		members = append(members, j)
		name := j.NodeID
		if j.Leader {
			name += " *"
		}
		t.add(name, j.State, j.GRPCAddr, j.HTTPAddr, j.PeerAddr, j.Zone, fmt.Sprint(j.Owned), fmt.Sprint(j.Replicated), j.Raft)
	}
	if s.json {
		return s.printJSON(map[string]any{
			"cluster_id": r.GetClusterId(), "node_id": r.GetNodeId(), "leader": r.GetLeader(), "table_epoch": r.GetTableEpoch(),
			"policy_version": r.GetPolicyVersion(), "policy_hash": r.GetPolicyHash(), "members": members,
		})
	}
	t.print(s.out, "")
	s.printf("\ncluster %s as %s sees it: table epoch %d, policy version %d\n", r.GetClusterId(), r.GetNodeId(), r.GetTableEpoch(), r.GetPolicyVersion())
	if r.GetPolicyVersion() == 0 {
		s.printf("no policies yet: every request is allowed until weir policy apply\n")
	}
	if r.GetLeader() == "" {
		s.printf("no leader: policies and table stand still until most voters see each other\n")
	}
	return nil
}

type tableCmd struct{ nodeFlags }

// Help is shown by --help.
func (tableCmd) Help() string {
	return `Prints one line a node; -o json prints all 1024 rows as well.

Example:

  weir cluster table -o json | jq '.rows[17]'`
}

// A rowJSON is one partition's line in the table.
type rowJSON struct {
	Partition int    `json:"partition"`
	Owner     string `json:"owner"`
	Replica   string `json:"replica,omitempty"`
	Target    string `json:"target,omitempty"`
	State     string `json:"state"`
	Since     uint64 `json:"since"`
}

// Run prints the table.
func (c *tableCmd) Run(ctx context.Context, s *streams) error {
	var r *weirv1.GetTableResponse
	err := c.call(ctx, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		r, err = weirv1.NewAdminClient(conn).GetTable(ctx, &weirv1.GetTableRequest{})
		return err
	})
	if err != nil {
		return err
	}
	type nodeJSON struct {
		NodeID  string `json:"node_id"`
		State   string `json:"state"`
		Owns    int    `json:"owns"`
		Shadows int    `json:"shadows"`
		Moving  int    `json:"moving"`
	}
	nodes := make([]nodeJSON, len(r.GetMembers()))
	for i, m := range r.GetMembers() {
		nodes[i] = nodeJSON{NodeID: m.GetNodeId(), State: word(m.GetState(), "STATE_")}
	}
	name := func(place int32, count func(*nodeJSON)) string {
		if place < 0 || int(place) >= len(nodes) {
			return ""
		}
		count(&nodes[place])
		return nodes[place].NodeID
	}
	rows := make([]rowJSON, len(r.GetRows()))
	for p, row := range r.GetRows() {
		rows[p] = rowJSON{
			Partition: p, State: word(row.GetState(), "STATE_"), Since: row.GetSince(),
			Owner:   name(row.GetOwner(), func(n *nodeJSON) { n.Owns++ }),
			Replica: name(row.GetReplica(), func(n *nodeJSON) { n.Shadows++ }),
			Target:  name(row.GetTarget(), func(n *nodeJSON) { n.Moving++ }),
		}
	}
	if s.json {
		return s.printJSON(map[string]any{"epoch": r.GetEpoch(), "members": nodes, "rows": rows})
	}
	t := table{head: []string{"NODE", "STATE", "OWNS", "SHARE", "SHADOWS", "MOVING TO IT"}}
	for _, n := range nodes {
		t.add(n.NodeID, n.State, fmt.Sprint(n.Owns), percent(int64(n.Owns), int64(len(rows))), fmt.Sprint(n.Shadows), fmt.Sprint(n.Moving))
	}
	t.print(s.out, "")
	s.printf("\ntable epoch %d, %d partitions\n", r.GetEpoch(), len(rows))
	return nil
}
