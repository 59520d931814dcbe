package bucket

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// zones have what calendars are got wrong by: clocks that jump at midnight, over it or
// back over it, by half an hour, or over a whole day.
var zones = []string{
	"UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/Havana", "Asia/Beirut", "Africa/Cairo", "Asia/Tehran",
	"Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "America/Asuncion", "Atlantic/Azores", "Antarctica/Troll", "Asia/Gaza", "America/St_Johns",
}

// The windows of a unit tile all time: each holds the moments that are asked for it,
// its neighbour begins where it ends, and a day begins and ends on one local date.
func TestCalendarTiles(t *testing.T) {
	for _, name := range zones {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Skipf("this machine has no time zone data: %v", err)
		}
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				unit := Calendar(rapid.IntRange(int(Minute), int(Year)).Draw(t, "unit"))
				now := rapid.Int64Range(0, int64(150*366*24*time.Hour)).Draw(t, "now")
				if a := time.Unix(0, now).In(zone); rapid.Bool().Draw(t, "near a jump") && offset(a) != offset(a.AddDate(0, 6, 0)) {
					by := rapid.Int64Range(-int64(26*time.Hour), int64(26*time.Hour)).Draw(t, "by")
					now = max(jump(a, a.AddDate(0, 6, 0)).UnixNano()+by, 0)
				}
				start, end := unit.window(zone, now)
				if now < start || now >= end {
					t.Fatalf("%v of %d is %d to %d", unit, now, start, end)
				}
				for _, at := range []int64{max(start, 0), end - 1} {
					if s, e := unit.window(zone, at); s != start || e != end {
						t.Fatalf("%v of %d is %d to %d, of %d it is %d to %d", unit, now, start, end, at, s, e)
					}
				}
				if s, _ := unit.window(zone, end); s != end {
					t.Fatalf("%v of %d ends at %d, the next begins at %d", unit, now, end, s)
				}
				date := func(ns int64) string { return time.Unix(0, ns).In(zone).Format(time.DateOnly) }
				if unit == Day && date(start) != date(end-1) {
					t.Fatalf("the day of %d goes from %s to %s", now, date(start), date(end-1))
				}
			})
		})
	}
}

// Where the clock went back over midnight a minute after it, the day that had begun
// goes on; where a day was left out of the calendar, it has no window.
func TestOddDays(t *testing.T) {
	for _, tt := range []struct {
		zone       string
		now        time.Time
		start, end time.Time
	}{
		{"America/St_Johns", time.Date(2010, 11, 7, 2, 40, 0, 0, time.UTC), // 23:10 on the 6th once more
			time.Date(2010, 11, 7, 2, 30, 0, 0, time.UTC), time.Date(2010, 11, 8, 3, 30, 0, 0, time.UTC)},
		{"Pacific/Apia", time.Date(2011, 12, 30, 5, 0, 0, 0, time.UTC), // the 29th; the 30th never came
			time.Date(2011, 12, 29, 10, 0, 0, 0, time.UTC), time.Date(2011, 12, 30, 10, 0, 0, 0, time.UTC)},
		{"Pacific/Apia", time.Date(2011, 12, 30, 12, 0, 0, 0, time.UTC),
			time.Date(2011, 12, 30, 10, 0, 0, 0, time.UTC), time.Date(2011, 12, 31, 10, 0, 0, 0, time.UTC)},
	} {
		zone, err := time.LoadLocation(tt.zone)
		if err != nil {
			t.Skipf("this machine has no time zone data: %v", err)
		}
		start, end := Day.window(zone, tt.now.UnixNano())
		if start != tt.start.UnixNano() || end != tt.end.UnixNano() {
			t.Errorf("%s at %v: %v to %v, want %v to %v", tt.zone, tt.now, time.Unix(0, start).UTC(), time.Unix(0, end).UTC(), tt.start, tt.end)
		}
	}
}
