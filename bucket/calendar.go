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
// day up begin at local midnight, or where the clock jumps over midnight at the first
// moment of that day; hours and minutes are those of elapsed time, so that an hour
// that the clock repeats is two windows.
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
// elapsed time from now.
func (c Calendar) clockWindow(t time.Time, now int64) (start, end int64) {
	into := time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
	length := time.Minute
	if c == Hour {
		into += time.Duration(t.Minute()) * time.Minute
		length = time.Hour
	}
	start = now - int64(into)
	return start, start + int64(length)
}

// midnight returns the first moment of a local date.
func midnight(y int, m time.Month, d int, zone *time.Location) int64 {
	t := time.Date(y, m, d, 0, 0, 0, 0, zone)
	// Where the clock jumps over midnight, Date answers with a time before the jump,
	// on the day before, or after it; the day then begins with the jump.
	if want := time.Date(y, m, d, 12, 0, 0, 0, time.UTC).Day(); t.Day() != want {
		_, jump := t.ZoneBounds()
		return jump.UnixNano()
	} else if t.Hour() != 0 {
		begin, _ := t.ZoneBounds()
		return begin.UnixNano()
	}
	// Where the clock repeats midnight, the day begins with the first of the two.
	if begin, _ := t.ZoneBounds(); !begin.IsZero() {
		_, after := t.Zone()
		_, before := begin.Add(-1).In(zone).Zone()
		earlier := t.Add(-time.Duration(before-after) * time.Second)
		if before > after && earlier.Before(begin) && earlier.Day() == t.Day() && earlier.Hour() == 0 {
			return earlier.UnixNano()
		}
	}
	return t.UnixNano()
}
