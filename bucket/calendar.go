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
	y, m, d := t.Date()
	switch c {
	case Minute, Hour:
		return c.clockWindow(t, now)
	case Day:
		return midnight(y, m, d, zone), midnight(y, m, d+1, zone)
	case Week:
		d -= (int(t.Weekday()) + 6) % 7
		return midnight(y, m, d, zone), midnight(y, m, d+7, zone)
	case Month:
		return midnight(y, m, 1, zone), midnight(y, m+1, 1, zone)
	default:
		return midnight(y, 1, 1, zone), midnight(y+1, 1, 1, zone)
	}
}

// clockWindow returns the minute or hour by the local clock's minutes, counted in
// elapsed time from now. Where the clock jumps by less than an hour, the window ends
// with the jump and the next begins.
func (c Calendar) clockWindow(t time.Time, now int64) (start, end int64) {
	into := time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
	length := time.Minute
	if c == Hour {
		into += time.Duration(t.Minute()) * time.Minute
		length = time.Hour
	}
	start = now - int64(into)
	end = start + int64(length)
	before, after := t.ZoneBounds()
	if !before.IsZero() && before.Unix() > 0 {
		start = max(start, before.UnixNano())
	}
	if !after.IsZero() {
		end = min(end, after.UnixNano())
	}
	return start, end
}

// midnight returns the first moment of a local date. Where the clock repeats midnight
// it is the first of the two, where it jumps over it the jump.
func midnight(y int, m time.Month, d int, zone *time.Location) int64 {
	wall := time.Date(y, m, d, 0, 0, 0, 0, time.UTC) // as the local clock shows it
	for t := wall.Add(-26 * time.Hour).In(zone); ; {
		_, offset := t.Zone()
		begin, end := t.ZoneBounds()
		first := wall.Add(-time.Duration(offset) * time.Second)
		if first.Before(begin) {
			return begin.UnixNano()
		}
		if end.IsZero() || first.Before(end) {
			return first.UnixNano()
		}
		t = end
	}
}
