// Package policystore is the replicated log of a cluster: a raft group whose state
// machine holds the policies, the table and the cluster's identity.
//
// All nodes follow the same log, the first few as voters, so policies and table
// arrive everywhere in one order. Reads never wait: [Store.Policies] and
// [Store.Table] return immutable snapshots through atomic pointers. A change is
// proposed at any node and handed to the leader.
//
// [OpenDir] opens the data directory, which keeps the node's id, its cluster's id,
// the count of its boots, raft's log and the last-good bundle of policies.
package policystore
