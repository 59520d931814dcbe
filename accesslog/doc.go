// Package accesslog reads the access logs of web servers, in the common and the
// combined format, as input for simulation and replay.
//
// A [Reader] turns text into [Record] values. A line it cannot read is skipped,
// counted and kept with its number and the reason; it never ends the reading. An
// [Orderer] brings records into the order of their timestamps within a bounded
// window, since servers write a line when a request ends but stamp it when the
// request began. A [Generator] makes a log whose clients and paths are Zipf
// distributed, from a seed.
//
// The package reads no clock and starts no goroutine; the only I/O is the
// io.Reader it is handed. Its types belong to one goroutine at a time.
package accesslog
