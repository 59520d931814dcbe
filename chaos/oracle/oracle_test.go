package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// cases are limits that the traffic below exhausts on its hot key.
var cases = map[string]Limit{
	"fixed window":            {Algorithm: FixedWindow, Count: 40, Period: time.Second},
	"fixed window, one long":  {Algorithm: FixedWindow, Count: 80, Period: time.Hour},
	"calendar month":          {Algorithm: FixedWindow, Count: 100, Calendar: "month", Zone: time.FixedZone("", 3600)},
	"sliding window":          {Algorithm: SlidingWindow, Count: 40, Period: time.Second},
	"sliding log":             {Algorithm: SlidingLog, Count: 40, Period: 900 * time.Millisecond},
	"token bucket":            {Algorithm: TokenBucket, Count: 30, Period: time.Second, Burst: 20},
	"token bucket, slow":      {Algorithm: TokenBucket, Count: 1, Period: 700 * time.Millisecond, Burst: 5},
	"leaky bucket":            {Algorithm: LeakyBucket, Count: 50, Period: time.Second, Burst: 30, MaxWait: -1},
	"leaky bucket, impatient": {Algorithm: LeakyBucket, Count: 50, Period: time.Second, Burst: 30, MaxWait: 250 * time.Millisecond},
	"concurrency":             {Algorithm: Concurrency, Count: 8, TTL: time.Second},
	"nothing at all":          {Algorithm: FixedWindow, Count: 0, Period: time.Second},
}

// usual is traffic of the given number of hits a request at most.
func usual(largest int64) traffic {
	return traffic{keys: 6, requests: 800, span: 3 * time.Second, latency: 2 * time.Millisecond, largest: largest, hold: 300 * time.Millisecond}
}

func judge(t *testing.T, l Limit, events []Event) *LimitReport {
	t.Helper()
	r, err := Judge(map[string]Limit{"l": l}, events, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return &r.Limits[0]
}

// A limiter without fault is never found wrong, and its total is within reach.
func TestReferencePasses(t *testing.T) {
	for name, l := range cases {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(9) {
				largest := int64(1 + seed%3)
				rng := rand.New(rand.NewPCG(seed, 1))
				tr := usual(largest)
				tr.latency = []time.Duration{10 * time.Microsecond, 2 * time.Millisecond, 20 * time.Millisecond}[seed/3%3]
				events := tr.run(l, newModel(l), rng)
				if seed >= 6 {
					lose(events, rng)
				}
				r := judge(t, l, events)
				if !r.Exact() || r.Difference() != 0 {
					t.Errorf("seed %d: %v\nadmitted %d of %v", seed, r.Findings[:min(2, len(r.Findings))], r.Admitted, r.Reachable)
				}
				if ambiguous := float64(r.All.Ambiguous) / float64(r.All.Allowed+r.All.Denied); ambiguous > 0.1 {
					t.Errorf("seed %d: %.1f %% of the events not judged", seed, 100*ambiguous)
				}
				if r.Admitted > 0 && r.Offered < r.Admitted*5/4 {
					t.Errorf("seed %d: %d admitted of %d: nothing was limited", seed, r.Admitted, r.Offered)
				}
			}
		})
	}
}

// lose drops the answers of some events: their clients do not know what became of them,
// and so cannot give permits back.
func lose(events []Event, rng *rand.Rand) {
	for i := range events {
		if e := &events[i]; e.ReleaseSend == 0 && rng.IntN(30) == 0 {
			e.Unknown, e.Allowed = true, false
		}
	}
}

// Requests of one hit through quick connections leave little room for the exact answer.
func TestReachableIsNarrow(t *testing.T) {
	for name, l := range cases {
		tr := usual(1)
		tr.latency = 50 * time.Microsecond
		r := judge(t, l, tr.run(l, newModel(l), rand.New(rand.NewPCG(1, 2))))
		if width := r.Reachable.Hi - r.Reachable.Lo; float64(width) > 0.06*float64(r.Admitted)+1 {
			t.Errorf("%s: admitted %d, within reach %v", name, r.Admitted, r.Reachable)
		}
	}
}

// Every fault is found, with every algorithm.
func TestMutantsAreCaught(t *testing.T) {
	for name, l := range cases {
		for fault, mutate := range mutants {
			if l.Count == 0 && fault != "one too many" {
				continue // nothing to lose
			}
			t.Run(name+", "+fault, func(t *testing.T) {
				for seed := range uint64(3) {
					rng := rand.New(rand.NewPCG(seed, 3))
					l := l
					if l.Count == 0 {
						l.Burst = 0
					}
					tr := usual(1 + int64(seed%2))
					r := judge(t, l, tr.run(l, mutate(l, rng), rng))
					if r.Exact() {
						t.Errorf("seed %d: not caught; admitted %d, within reach %v", seed, r.Admitted, r.Reachable)
					} else if len(r.Findings) == 0 {
						t.Errorf("seed %d: caught without a finding", seed)
					}
				}
			})
		}
	}
}

// ms is a time in the fourth second after an hour began, or of any grid of seconds.
func ms(n int64) int64 { return time.Unix(1_800_000_003, 0).UnixNano() + n*int64(time.Millisecond) }

// answers makes events that all take one millisecond, sent at ms: "+" allowed, "-" denied.
func answers(steps ...any) (events []Event) {
	for i := 0; i < len(steps); i += 2 {
		at := int64(steps[i].(int))
		events = append(events, Event{ID: uint64(i/2 + 1), Limit: "l", Key: "k", N: 1, Send: ms(at), Recv: ms(at + 1), Allowed: steps[i+1] == "+"})
	}
	return events
}

func TestDecisionsByHand(t *testing.T) {
	fixed := Limit{Algorithm: FixedWindow, Count: 2, Period: time.Second}
	sliding := Limit{Algorithm: SlidingWindow, Count: 4, Period: time.Second}
	log := Limit{Algorithm: SlidingLog, Count: 1, Period: 100 * time.Millisecond}
	token := Limit{Algorithm: TokenBucket, Count: 10, Period: time.Second, Burst: 2}
	tests := []struct {
		name        string
		limit       Limit
		events      []Event
		falseDenies []int // places in events
		falseAllows []int
		reach       Interval
	}{
		{"room was there", fixed, answers(10, "+", 20, "-", 30, "-"), []int{1, 2}, nil, Interval{2, 2}},
		{"one too many", fixed, answers(10, "+", 20, "+", 30, "+", 40, "-"), nil, []int{2}, Interval{2, 2}},
		{"a new window", fixed, answers(10, "+", 20, "+", 1010, "-", 1020, "+"), []int{2}, nil, Interval{4, 4}},
		{"at the edge nothing is known", fixed, answers(10, "+", 20, "+", 999, "+"), nil, nil, Interval{2, 3}},
		{"half of the window before counts", sliding, answers(10, "+", 20, "+", 30, "+", 40, "+", 1490, "+", 1500, "-", 1510, "+", 1520, "+"), nil, []int{7}, Interval{6, 6}},
		{"a log forgets after its period", log, answers(10, "+", 60, "-", 105, "-", 130, "-", 140, "+"), []int{3}, nil, Interval{2, 2}},
		{"a log does not forget before", log, answers(10, "+", 80, "+"), nil, []int{1}, Interval{1, 1}},
		{"a bucket fills again", token, answers(0, "+", 10, "+", 20, "-", 95, "-", 130, "-", 140, "+"), []int{4}, nil, Interval{3, 3}},
		{"a bucket is not full yet", token, answers(0, "+", 10, "+", 50, "+"), nil, []int{2}, Interval{2, 2}},
		{"a bucket fills to the brim only", token, answers(0, "+", 2000, "+", 2010, "+", 2020, "+"), nil, []int{3}, Interval{3, 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := judge(t, tt.limit, tt.events)
			var denies, allows []int
			for _, f := range r.Findings {
				switch f.Kind {
				case FalseDeny:
					denies = append(denies, int(f.Event)-1)
				case FalseAllow:
					allows = append(allows, int(f.Event)-1)
				}
			}
			if !slices.Equal(denies, tt.falseDenies) || !slices.Equal(allows, tt.falseAllows) {
				t.Errorf("false denies %v, false allows %v; want %v, %v\n%v", denies, allows, tt.falseDenies, tt.falseAllows, r.Findings)
			}
			if r.Reachable != tt.reach {
				t.Errorf("within reach %v, want %v", r.Reachable, tt.reach)
			}
		})
	}
}

// Permits count until they are released, and while the release is under way nothing is
// certain.
func TestPermits(t *testing.T) {
	l := Limit{Algorithm: Concurrency, Count: 1, TTL: time.Minute}
	held := Event{ID: 1, Limit: "l", Key: "k", N: 1, Send: ms(0), Recv: ms(1), Allowed: true, ReleaseSend: ms(50), ReleaseRecv: ms(60)}
	for _, tt := range []struct {
		at      int64
		allowed bool
		exact   bool
	}{
		{30, false, true}, {30, true, false}, // held
		{55, false, true}, {55, true, true}, // who knows
		{70, false, false}, {70, true, true}, // free
	} {
		r := judge(t, l, []Event{held, {ID: 2, Limit: "l", Key: "k", N: 1, Send: ms(tt.at), Recv: ms(tt.at + 1), Allowed: tt.allowed}})
		if r.Exact() != tt.exact {
			t.Errorf("allowed %v at %d ms: exact %v, want %v: %v", tt.allowed, tt.at, r.Exact(), tt.exact, r.Findings)
		}
	}
}

// A call that failed may have been counted, and may not: both must pass.
func TestUnknownOutcomes(t *testing.T) {
	l := Limit{Algorithm: FixedWindow, Count: 2, Period: time.Minute}
	lost := Event{ID: 9, Limit: "l", Key: "k", N: 1, Send: ms(5), Recv: ms(6), Unknown: true}
	for _, seen := range [][]Event{
		answers(0, "+", 10, "+", 20, "-"), // it was not counted
		answers(0, "+", 10, "-", 20, "-"), // it was
	} {
		r := judge(t, l, append(seen, lost))
		if !r.Exact() || r.Unknown != 1 || r.Offered != 3 {
			t.Errorf("%d unknown, %d offered: %v, within reach %v", r.Unknown, r.Offered, r.Findings, r.Reachable)
		}
	}
	if r := judge(t, l, append(answers(0, "-"), lost)); r.Exact() {
		t.Error("a deny that even the unknown call cannot explain passed")
	}
}

func TestTalliesTellDegradedApart(t *testing.T) {
	l := Limit{Algorithm: FixedWindow, Count: 1, Period: time.Minute}
	events := answers(0, "+", 10, "+", 20, "-")
	events[1].Degraded = true
	r := judge(t, l, events)
	if r.All != (Tally{Allowed: 2, Denied: 1, FalseAllows: 1}) || r.Full != (Tally{Allowed: 1, Denied: 1}) || r.Degraded != (Tally{Allowed: 1, FalseAllows: 1}) {
		t.Errorf("all %+v\nfull %+v\ndegraded %+v", r.All, r.Full, r.Degraded)
	}
	if r.Excess != 1 || r.Over != 1 || r.WorstKey != "k" || r.Difference() != 1 {
		t.Errorf("excess %v, over %v, worst %q, difference %d; want 1, 1, k, 1", r.Excess, r.Over, r.WorstKey, r.Difference())
	}
	if a := r.All.Accuracy(); a < 0.66 || a > 0.67 {
		t.Errorf("accuracy %v, want two of three", a)
	}
}

// Peeks take nothing and are passed over.
func TestPeeksArePassedOver(t *testing.T) {
	r, err := Judge(map[string]Limit{"l": {Algorithm: FixedWindow, Period: time.Second}}, []Event{{Limit: "l", Key: "k", Allowed: true}}, Config{})
	if err != nil || len(r.Limits) != 0 || !r.Exact() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFindingsAreBounded(t *testing.T) {
	var steps []any
	for i := range 50 {
		steps = append(steps, 10*i, "-")
	}
	r := judge(t, Limit{Algorithm: FixedWindow, Count: 100, Period: time.Hour}, answers(steps...))
	if len(r.Findings) != 20 || len(r.Findings)+r.MoreFound != 51 || r.All.FalseDenies != 50 || r.Under != 50 {
		t.Errorf("%d findings and %d more, %d false denies, %d under", len(r.Findings), r.MoreFound, r.All.FalseDenies, r.Under)
	}
}

func TestWhatCannotBeJudged(t *testing.T) {
	good := Limit{Algorithm: FixedWindow, Count: 1, Period: time.Second}
	event := Event{ID: 7, Limit: "l", Key: "k", N: 1, Send: 2, Recv: 3}
	for name, tt := range map[string]struct {
		limit Limit
		event func(*Event)
	}{
		"algorithm":    {Limit{Algorithm: "guess"}, nil},
		"period":       {Limit{Algorithm: SlidingLog, Count: 1}, nil},
		"count":        {Limit{Algorithm: SlidingLog, Count: -1, Period: 1}, nil},
		"burst":        {Limit{Algorithm: TokenBucket, Count: 1, Period: 1}, nil},
		"ttl":          {Limit{Algorithm: Concurrency, Count: 1}, nil},
		"calendar":     {Limit{Algorithm: FixedWindow, Calendar: "decade"}, nil},
		"name":         {good, func(e *Event) { e.Limit = "other" }},
		"hits":         {good, func(e *Event) { e.N = -1 }},
		"time":         {good, func(e *Event) { e.Recv = 1 }},
		"release time": {good, func(e *Event) { e.ReleaseSend, e.ReleaseRecv = 9, 8 }},
	} {
		e := event
		if tt.event != nil {
			tt.event(&e)
		}
		if _, err := Judge(map[string]Limit{"l": tt.limit}, []Event{e}, Config{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCalendarWindows(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skipf("no zone data on this machine: %v", err)
	}
	at := func(s string) int64 {
		x, err := time.ParseInLocation("2006-01-02 15:04", s, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return x.UnixNano()
	}
	for _, tt := range []struct{ unit, at, start, end string }{
		{"minute", "2026-05-05 10:11", "2026-05-05 10:11", "2026-05-05 10:12"},
		{"hour", "2026-05-05 10:11", "2026-05-05 10:00", "2026-05-05 11:00"},
		{"day", "2026-03-29 12:00", "2026-03-29 00:00", "2026-03-30 00:00"}, // 23 hours
		{"day", "2026-10-25 12:00", "2026-10-25 00:00", "2026-10-26 00:00"}, // 25 hours
		{"week", "2026-10-25 12:00", "2026-10-19 00:00", "2026-10-26 00:00"},
		{"month", "2028-02-29 23:59", "2028-02-01 00:00", "2028-03-01 00:00"},
		{"year", "2026-07-01 00:00", "2026-01-01 00:00", "2027-01-01 00:00"},
	} {
		g := grid{limit: Limit{Calendar: tt.unit, Zone: berlin}}
		if start, end := g.window(at(tt.at)); start != at(tt.start) || end != at(tt.end) {
			t.Errorf("%s of %s: %v to %v, want %s to %s", tt.unit, tt.at, time.Unix(0, start).In(berlin), time.Unix(0, end).In(berlin), tt.start, tt.end)
		}
	}
}

// An hour that the clock repeats is two windows, as it is two hours.
func TestRepeatedHours(t *testing.T) {
	for _, tt := range []struct{ zone, unit, at, start, end string }{ // in UTC
		{"Europe/Berlin", "hour", "2026-10-25 00:30", "2026-10-25 00:00", "2026-10-25 01:00"},
		{"Europe/Berlin", "hour", "2026-10-25 01:30", "2026-10-25 01:00", "2026-10-25 02:00"},
		{"Europe/Berlin", "minute", "2026-10-25 00:59", "2026-10-25 00:59", "2026-10-25 01:00"},
		{"Europe/Berlin", "hour", "2026-03-29 01:30", "2026-03-29 01:00", "2026-03-29 02:00"}, // from 3 o'clock on
		{"Australia/Lord_Howe", "hour", "2026-04-04 14:59", "2026-04-04 14:00", "2026-04-04 15:00"},
		{"Australia/Lord_Howe", "hour", "2026-04-04 15:10", "2026-04-04 15:00", "2026-04-04 15:30"}, // its clocks go back half an hour
	} {
		zone, err := time.LoadLocation(tt.zone)
		if err != nil {
			t.Skipf("no zone data on this machine: %v", err)
		}
		at := func(s string) int64 {
			x, err := time.Parse("2006-01-02 15:04", s)
			if err != nil {
				t.Fatal(err)
			}
			return x.UnixNano()
		}
		g := grid{limit: Limit{Calendar: tt.unit, Zone: zone}}
		if start, end := g.window(at(tt.at)); start != at(tt.start) || end != at(tt.end) {
			t.Errorf("%s of %s in %s: %v to %v, want %s to %s", tt.unit, tt.at, tt.zone, time.Unix(0, start).UTC(), time.Unix(0, end).UTC(), tt.start, tt.end)
		}
	}
}

func Example() {
	limits := map[string]Limit{"login": {Algorithm: FixedWindow, Count: 2, Period: time.Minute}}
	at := time.Date(2026, 1, 1, 12, 0, 5, 0, time.UTC).UnixNano()
	var events []Event
	for i := range int64(4) {
		sent := at + i*int64(time.Second)
		events = append(events, Event{
			ID: uint64(i + 1), Limit: "login", Key: "10.0.0.1", N: 1,
			Send: sent, Recv: sent + int64(time.Millisecond), Allowed: i < 3,
		})
	}
	report, err := Judge(limits, events, Config{})
	if err != nil {
		fmt.Println(err)
	}
	login := report.Limit("login")
	fmt.Println("admitted", login.Admitted, "exact answer", login.Reachable)
	fmt.Println(login.Findings[0])
	// Output:
	// admitted 3 exact answer 2
	// false allow, key "10.0.0.1", event 3: 1 hits allowed where at least 2 of 2 were taken
}
