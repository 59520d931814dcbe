// Package clock is where a process of weir gets the time from.
//
// Everything below the front doors is handed the time as a number: nanoseconds
// since the Unix epoch, never going back. A [Clock] makes that number from the
// wall clock at its start and the monotonic time since; a step of the wall clock
// while the process runs cannot give a key a fresh window.
package clock

import "time"

// A Clock tells the time in nanoseconds since the Unix epoch. Two readings never
// go back. It is safe for concurrent use.
type Clock interface {
	Now() int64
}

// A System is the Clock of a process: wall time when it was made plus monotonic
// time elapsed since.
type System struct {
	start time.Time
	wall  int64
}

var _ Clock = (*System)(nil)

// NewSystem returns a Clock that starts at the current wall time.
func NewSystem() *System {
	now := time.Now()
	return &System{start: now, wall: now.UnixNano()}
}

// Now returns nanoseconds since the Unix epoch.
func (s *System) Now() int64 { return s.wall + int64(time.Since(s.start)) }
