package policy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/weir-io/weir/bucket"
)

var units = map[string]time.Duration{
	"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute,
	"h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

var words = map[string]struct {
	length   time.Duration // 0 where only a calendar knows
	calendar bucket.Calendar
}{
	"second": {time.Second, 0}, "minute": {time.Minute, bucket.Minute}, "hour": {time.Hour, bucket.Hour},
	"day": {24 * time.Hour, bucket.Day}, "week": {7 * 24 * time.Hour, bucket.Week},
	"month": {0, bucket.Month}, "year": {0, bucket.Year},
}

// ParseDuration reads a number and a unit, repeated: "250ms", "1h30m", "7d". Units are
// us, ms, s, m (a minute), h, d and w; a unit alone is one of it.
func ParseDuration(s string) (time.Duration, error) {
	var sum time.Duration
	for rest := s; ; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789_"))
		n := int64(1)
		if digits > 0 {
			var err error
			if n, err = strconv.ParseInt(strings.ReplaceAll(rest[:digits], "_", ""), 10, 64); err != nil {
				return 0, fmt.Errorf("%q is not a duration: the number is too large", s)
			}
		}
		rest = rest[digits:]
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		unit, ok := units[rest[:letters]]
		if !ok || n > math.MaxInt64/int64(unit) || sum > math.MaxInt64-time.Duration(n)*unit {
			return 0, fmt.Errorf("%q is not a duration: write a number and one of us ms s m h d w, as 250ms, 90s or 1h30m", s)
		}
		sum += time.Duration(n) * unit
		if rest = rest[letters:]; rest == "" {
			return sum, nil
		}
	}
}

// A Rate is COUNT per PERIOD.
type Rate struct {
	Count    int64
	Period   time.Duration   // 0 where only a calendar knows the length
	Calendar bucket.Calendar // set where the period was a word of the calendar
}

// ParseRate reads COUNT/PERIOD: "100/s", "1/10s", "10_000/day".
func ParseRate(s string) (Rate, error) {
	count, period, ok := strings.Cut(s, "/")
	if !ok {
		return Rate{}, fmt.Errorf("%q is not a rate: write COUNT/PERIOD, as 100/s", s)
	}
	if grouped := groupedByCommas(count); grouped != "" {
		return Rate{}, fmt.Errorf("%q is not a rate: underscores group digits; write %s/%s", s, grouped, period)
	}
	if strings.ContainsAny(count, ".,") {
		return Rate{}, errors.New(fractionRemedy(s, count, period))
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(count, "_", ""), 10, 64)
	if err != nil || n < 0 || n > bucket.MaxCount || strings.ContainsAny(count, "+-") {
		return Rate{}, fmt.Errorf("%q is not a rate: COUNT is a whole number from 0 to 10^12", s)
	}
	if w, ok := words[period]; ok {
		return Rate{Count: n, Period: w.length, Calendar: w.calendar}, nil
	}
	d, err := ParseDuration(period)
	if err != nil {
		return Rate{}, fmt.Errorf("%q is not a rate: PERIOD is a duration as 10s or 1h30m, or second, minute, hour, day, week, month, year", s)
	}
	return Rate{Count: n, Period: d}, nil
}

// groupedByCommas returns a count like 10,000 with underscores, "" for any other.
func groupedByCommas(count string) string {
	groups := strings.Split(count, ",")
	for i, g := range groups {
		if strings.Trim(g, "0123456789") != "" || i > 0 && len(g) != 3 || i == 0 && (len(g) < 1 || len(g) > 3 || g[0] == '0') {
			return ""
		}
	}
	if len(groups) == 1 {
		return ""
	}
	return strings.Join(groups, "_")
}

// fractionRemedy says how to write a rate with a broken count in whole numbers.
func fractionRemedy(s, count, period string) string {
	remedy := "write whole numbers over a longer period, as 1/2s for 0.5/s"
	whole, frac, _ := strings.Cut(strings.ReplaceAll(count, ",", "."), ".")
	unit := strings.TrimLeft(period, "0123456789")
	number := period[:len(period)-len(unit)]
	if number == "" {
		number = "1"
	}
	if w, ok := words[unit]; ok && w.length > 0 {
		unit = unit[:1]
	}
	n, err := strconv.ParseInt(whole+frac, 10, 64)
	times, err2 := strconv.ParseInt(number, 10, 32)
	if _, ok := units[unit]; ok && err == nil && err2 == nil && n > 0 && len(frac) > 0 && len(frac) < 7 {
		per := times * int64(math.Pow10(len(frac)))
		g := gcd(n, per)
		remedy = fmt.Sprintf("write %d/%d%s", n/g, per/g, unit)
	}
	return fmt.Sprintf("%q is not a rate: COUNT is a whole number; %s", s, remedy)
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
