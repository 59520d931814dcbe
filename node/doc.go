// Package node puts the rooms of weir together to a running node: data directory,
// listeners, replicated log, cluster, limiter and front doors, started and stopped
// in order. The binary, the demo and the tests all run nodes through it.
package node
