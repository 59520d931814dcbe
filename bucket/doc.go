// Package bucket decides: it holds the six limit algorithms as arithmetic over
// values, and the store that keeps one bucket per limit and key.
//
// A [Limit] is the numbers of one limit. A [Rule] is a Limit as policies and peers
// name it: with the hash that tells its buckets apart, the policy version its
// numbers come from and what to do when there is no room. A [Charge] asks one
// bucket for hits, a [Status] is what the bucket says. A [Store] keeps the buckets
// in 1024 partitions.
//
// # Concurrency
//
// Limits and the algorithms are values. A Store is safe for concurrent use: each
// partition has a lock of its own, charges that must be decided together are
// decided under the locks of all their partitions, taken in partition order.
//
// # Time
//
// The package never asks what time it is: now is an argument, in nanoseconds
// since the Unix epoch. A now before an earlier one counts as no time passed. It
// starts no goroutine and does no I/O; random numbers come in through [Config].
package bucket
