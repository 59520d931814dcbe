package oracle

import (
	"sort"
	"time"
)

// calendarKeys name the window that a local time lies in, by the unit. Minutes and hours
// are told apart by the offset too: those that a clock repeats are two.
var calendarKeys = map[string]func(t time.Time) [4]int{
	"minute": func(t time.Time) [4]int { return [4]int{t.Year(), t.YearDay(), t.Hour()*60 + t.Minute(), offset(t)} },
	"hour":   func(t time.Time) [4]int { return [4]int{t.Year(), t.YearDay(), t.Hour(), offset(t)} },
	"day":    func(t time.Time) [4]int { return [4]int{t.Year(), t.YearDay()} },
	"week":   func(t time.Time) [4]int { y, w := t.ISOWeek(); return [4]int{y, w} },
	"month":  func(t time.Time) [4]int { return [4]int{t.Year(), int(t.Month())} },
	"year":   func(t time.Time) [4]int { return [4]int{t.Year()} },
}

// offset returns how many seconds a local time is ahead of UTC.
func offset(t time.Time) int {
	_, seconds := t.Zone()
	return seconds
}

// A grid finds fixed windows.
type grid struct {
	limit      Limit
	start, end int64 // of the window found last
}

// window returns start and end of the window that holds t.
func (g *grid) window(t int64) (start, end int64) {
	if g.limit.Calendar == "" {
		p := int64(g.limit.Period)
		n := t / p
		if t < 0 && t%p != 0 {
			n--
		}
		return n * p, (n + 1) * p
	}
	if t < g.start || t >= g.end {
		g.start, g.end = g.search(t)
	}
	return g.start, g.end
}

// search looks for the seconds at which the calendar's name of the window begins and
// ends. A day that a clock enters twice, set back over midnight after it, counts as two:
// no zone of today has one.
func (g *grid) search(t int64) (start, end int64) {
	zone := g.limit.Zone
	if zone == nil {
		zone = time.UTC
	}
	name := calendarKeys[g.limit.Calendar]
	at := func(sec int64) [4]int { return name(time.Unix(sec, 0).In(zone)) }
	now := time.Unix(0, t).Unix()
	own := at(now)
	reach := 1
	for at(now-int64(reach)) == own {
		reach *= 2
	}
	back := sort.Search(reach, func(n int) bool { return at(now-int64(n)) != own })
	reach = 1
	for at(now+int64(reach)) == own {
		reach *= 2
	}
	ahead := sort.Search(reach, func(n int) bool { return at(now+int64(n)) != own })
	return (now - int64(back) + 1) * int64(time.Second), (now + int64(ahead)) * int64(time.Second)
}
