// Package wire writes and reads the messages that carry checks between nodes:
// weir.v1.FramesRequest and weir.v1.FramesResponse, by hand. They are what a forwarded
// check costs; the generated code, which does all other messages, takes several times as
// long and allocates for every charge.
//
// A [Frame] is items for one owner, a [Part] some of the answers to them. What is read is
// bounded and checked: nothing behind this package meets a limit that cannot be decided
// by, a charge of no limit or more charges than [MaxCharges]. The package does no I/O,
// reads no clock and starts no goroutine; an [Encoder], a Frame and [Rules] belong to one
// goroutine at a time.
package wire
