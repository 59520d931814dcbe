// Package ring holds the table that routes: which member owns which partition.
//
// A [Table] lists the members of a cluster and 1024 rows, one a partition. [Place]
// computes where rows belong from the sorted list of members by consistent
// hashing; what routes is never that computation but the table the cluster has
// committed, told apart by its epoch.
//
// Tables are immutable once made and safe to share. The package does no I/O,
// reads no clock and starts no goroutine.
package ring
