package policy_test

import (
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/policy"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"250ms": 250 * time.Millisecond, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 7 * day, "1w": 7 * day,
		"s": time.Second, "m": time.Minute, "5us": 5 * time.Microsecond, "1_000s": 1000 * time.Second, "2d12h": 60 * time.Hour, "0s": 0,
		"106751d": 106751 * day,
	} {
		if got, err := policy.ParseDuration(text); got != want || err != nil {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "1", "-1s", "1.5s", "1 s", "s1", "1year", "1S", "1ns", "106752d", "99999999999999999999s", "1m1", "µs"} {
		if got, err := policy.ParseDuration(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]policy.Rate{
		"100/s":            {Count: 100, Period: time.Second},
		"1/10s":            {Count: 1, Period: 10 * time.Second},
		"10_000/day":       {Count: 10_000, Period: 24 * time.Hour, Calendar: bucket.Day},
		"5/second":         {Count: 5, Period: time.Second},
		"5/d":              {Count: 5, Period: 24 * time.Hour},
		"5/week":           {Count: 5, Period: 7 * 24 * time.Hour, Calendar: bucket.Week},
		"5/month":          {Count: 5, Calendar: bucket.Month},
		"5/year":           {Count: 5, Calendar: bucket.Year},
		"0/s":              {Period: time.Second},
		"1000000000000/ms": {Count: 1e12, Period: time.Millisecond},
		"7/1h30m":          {Count: 7, Period: 90 * time.Minute},
	} {
		if got, err := policy.ParseRate(text); got != want || err != nil {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "/", "1/", "/s", "100", "1000000000001/s", "-1/s", "-0/s", "+1/s", "1e3/s", "0x1/s", " 1/s", "1/ s", "1/s/s", "1/2day", "1/months"} {
		if got, err := policy.ParseRate(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, got)
		}
	}
	for text, want := range map[string]string{
		"0.5/s": "1/2s", "1.25/10m": "1/8m", "0,1/day": "1/10d", "2.0/s": "2/1s",
		"1,000/s": "1_000/s", "10,000,000/day": "10_000_000/day", "1,5/s": "3/2s", "0,125/s": "1/8s",
	} {
		_, err := policy.ParseRate(text)
		if err == nil || !contains(err.Error(), "write "+want) {
			t.Errorf("%q: %v, want the remedy %q", text, err, want)
		}
		if _, err := policy.ParseRate(want); err != nil {
			t.Errorf("the remedy %q: %v", want, err)
		}
	}
	for _, text := range []string{"0.5/month", "0.0/s", ".5/s", "0.5/", "1.2.3/s", "0.12345678/s"} {
		if _, err := policy.ParseRate(text); err == nil || !contains(err.Error(), "whole number") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
