// Package cluster makes many nodes decide as one: membership by gossip, the peer
// connections, and the way of a charge to the node that owns its partition.
//
// Gossip detects; the replicated log decides. A [Node] never routes by what it
// heard through gossip but by the newest table its log has applied. Charges of
// partitions it owns are decided in its own store; the others join the queue of
// their owner's one stream, which sends at once when it is idle and otherwise
// takes along all that gathered meanwhile.
//
// # Concurrency
//
// A Node is safe for concurrent use. Start starts its goroutines, Close stops them
// and waits. Every queue is bounded, every call has a deadline.
package cluster
