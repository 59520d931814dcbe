package bucket

import "time"

// A Calendar unit is the length of a fixed window that follows the calendar of
// a zone. The zero Calendar is none. The numbers are those of the wire protocol.
type Calendar uint8

// The calendar units.
const (
	Minute Calendar = iota + 1
	Hour
	Day
	Week // from Monday
	Month
	Year
)

var calendarNames = [...]string{"", "minute", "hour", "day", "week", "month", "year"}

// String returns the unit's word, as "month".
func (c Calendar) String() string {
	if int(c) < len(calendarNames) {
		return calendarNames[c]
	}
	return "unknown calendar unit"
}

// window returns start and end of the calendar window that holds now. Units from the
// day up begin with the first moment of a local date; hours and minutes are those of
// elapsed time, so that an hour that the clock repeats is two windows.
func (c Calendar) window(zone *time.Location, now int64) (start, end int64) {
	t := time.Unix(0, now).In(zone)
	if c == Minute || c == Hour {
		return c.clockWindow(t, now)
	}
	y, m, d := t.Date()
	days, months, years := 0, 0, 0
	switch c {
	case Day:
		days = 1
	case Week:
		d -= (int(t.Weekday()) + 6) % 7
		days = 7
	case Month:
		d, months = 1, 1
	default:
		m, d, years = 1, 1, 1
	}
	start = midnight(y, m, d, zone)
	end = midnight(y+years, m+time.Month(months), d+days, zone)
	if now >= end {
		// The clock went back over midnight after it: what has begun goes on.
		start, end = end, midnight(y+2*years, m+time.Month(2*months), d+2*days, zone)
	}
	return start, end
}

// clockWindow returns the minute or hour by the local clock's minutes, counted in
// elapsed time from now. Where the clock jumps within it, the window ends with the
// jump and the next begins.
func (c Calendar) clockWindow(t time.Time, now int64) (start, end int64) {
	into := time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
	length := time.Minute
	if c == Hour {
		into += time.Duration(t.Minute()) * time.Minute
		length = time.Hour
	}
	first, last := t.Add(-into), t.Add(length-into)
	if offset(first) != offset(t) {
		first = jump(first, t)
	}
	if offset(last) != offset(t) {
		last = jump(t, last)
	}
	return first.UnixNano(), last.UnixNano()
}

// midnight returns the first moment of a local date. Where the clock repeats midnight
// it is the first of the two, where it jumps over it the jump. It looks a day and more
// to either side, as far as a clock may be from UTC or jump; time's ZoneBounds is not
// asked, for it is wrong at the ends of years that no table lists.
func midnight(y int, m time.Month, d int, zone *time.Location) int64 {
	wall := time.Date(y, m, d, 0, 0, 0, 0, time.UTC) // as the local clock shows it
	before, after := wall.Add(-27*time.Hour).In(zone), wall.Add(27*time.Hour).In(zone)
	for _, o := range [...]time.Duration{offset(before), offset(after)} {
		if t := wall.Add(-o).In(zone); offset(t) == o {
			return t.UnixNano()
		}
	}
	return jump(before, after).UnixNano()
}

// offset returns how far the local clock is ahead of UTC.
func offset(t time.Time) time.Duration {
	_, s := t.Zone()
	return time.Duration(s) * time.Second
}

// jump returns the first whole second by which the local clock has left the offset it
// has at from; at to it has another.
func jump(from, to time.Time) time.Time {
	old := offset(from)
	lo, hi := from.Unix(), to.Unix()+1
	for hi-lo > 1 {
		if mid := lo + (hi-lo)/2; offset(time.Unix(mid, 0).In(from.Location())) == old {
			lo = mid
		} else {
			hi = mid
		}
	}
	return time.Unix(hi, 0).In(from.Location())
}
