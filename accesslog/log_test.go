package accesslog

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

const goodLine = `::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1`

func TestReaderSkipsWhatIsMalformed(t *testing.T) {
	text := goodLine + "\r\n\n" + "broken\n" + strings.Repeat("x", 2*MaxLine) + "\n" + goodLine + "\n" + goodLine[:40] + "\xff"
	r := NewReader(strings.NewReader(text))
	recs, err := All(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(recs) != 2 || recs[0].Line != 1 || recs[1].Line != 5 {
		t.Errorf("records %+v, want those of lines 1 and 5", recs)
	}
	if r.Lines() != 6 || r.Malformed() != 3 {
		t.Errorf("%d lines, %d malformed; want 6 and 3", r.Lines(), r.Malformed())
	}
	var got []string
	for _, p := range r.Problems() {
		got = append(got, p.String())
	}
	want := []string{"line 3: host: nothing before the first space", "line 4: longer than 65536 bytes", "line 6: request: no quote that closes it: the line was cut off"}
	if !slices.Equal(got, want) {
		t.Errorf("problems %q\nwant %q", got, want)
	}
}

func TestReaderKeepsFewProblems(t *testing.T) {
	r := NewReader(strings.NewReader(strings.Repeat("broken\n", 3*MaxProblems)))
	if _, err := All(r); err != nil {
		t.Fatal(err)
	}
	if r.Malformed() != 3*MaxProblems || len(r.Problems()) != MaxProblems {
		t.Errorf("%d malformed, %d kept; want %d and %d", r.Malformed(), len(r.Problems()), 3*MaxProblems, MaxProblems)
	}
}

func TestReaderReportsWhatItsTextReports(t *testing.T) {
	cause := errors.New("cable pulled")
	r := NewReader(io.MultiReader(strings.NewReader(goodLine+"\n"), iotest.ErrReader(cause)))
	recs, err := All(r)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "line 2") || len(recs) != 1 {
		t.Errorf("records %d, error %v; want 1 and %v at line 2", len(recs), err, cause)
	}
}

// list is records as a Source.
type list []Record

func (l *list) Next() (Record, error) {
	if len(*l) == 0 {
		return Record{}, io.EOF
	}
	first := (*l)[0]
	*l = (*l)[1:]
	return first, nil
}

func TestOrdererSortsStably(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var recs list
		for i, s := range rapid.SliceOf(rapid.Int64Range(0, 20)).Draw(t, "seconds") {
			recs = append(recs, Record{Time: time.Unix(s, 0), Line: i})
		}
		want := slices.Clone(recs)
		slices.SortStableFunc(want, func(a, b Record) int { return a.Time.Compare(b.Time) })
		o := NewOrderer(&recs, len(recs))
		got, err := All(o)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) || o.Late() != 0 {
			t.Fatalf("got %v, %d late\nwant %v", got, o.Late(), want)
		}
	})
}

func TestOrdererIsBounded(t *testing.T) {
	for _, tt := range []struct {
		in, want []int64 // seconds
		late     int
	}{
		{[]int64{3, 4, 1, 5}, []int64{1, 3, 4, 5}, 0}, // two lines late
		{[]int64{3, 4, 5, 1}, []int64{3, 1, 4, 5}, 1}, // three
	} {
		var recs list
		for _, s := range tt.in {
			recs = append(recs, Record{Time: time.Unix(s, 0)})
		}
		o := NewOrderer(&recs, 2)
		got, err := All(o)
		if err != nil {
			t.Fatal(err)
		}
		var order []int64
		for _, r := range got {
			order = append(order, r.Time.Unix())
		}
		if !slices.Equal(order, tt.want) || o.Late() != tt.late {
			t.Errorf("%v by a window of 2: %v, %d late; want %v, %d late", tt.in, order, o.Late(), tt.want, tt.late)
		}
	}
}

func TestGeneratorIsOfItsSeed(t *testing.T) {
	text := func(seed uint64) string {
		var b bytes.Buffer
		if _, err := NewGenerator(2000, seed).WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	one := text(1)
	if one != text(1) {
		t.Error("two logs of one seed differ")
	}
	if one == text(2) {
		t.Error("logs of two seeds are equal")
	}
	r := NewReader(strings.NewReader(one))
	read, err := All(r)
	if err != nil || r.Malformed() != 0 {
		t.Fatalf("read back: %v, %d malformed: %v", err, r.Malformed(), r.Problems())
	}
	made, err := All(NewGenerator(2000, 1))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(read, made) {
		t.Error("what was written and what was generated differ")
	}
}

// The busiest of a Zipf-like crowd stands far above the average, and the tail is long.
func TestGeneratorIsSkewed(t *testing.T) {
	const n = 20_000
	recs, err := All(NewGenerator(n, 7))
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string]int{}
	disordered := false
	for i, r := range recs {
		clients[r.Host]++
		disordered = disordered || i > 0 && r.Time.Before(recs[i-1].Time)
	}
	busiest := 0
	for _, c := range clients {
		busiest = max(busiest, c)
	}
	if busiest < n/50 || len(clients) < n/40 {
		t.Errorf("%d clients, the busiest with %d of %d requests: not skewed", len(clients), busiest, n)
	}
	if !disordered {
		t.Error("all lines stand in order of time, as those of no server do")
	}
}

func TestWriteToReportsAFullDisk(t *testing.T) {
	full := errors.New("disk full")
	if _, err := NewGenerator(10, 1).WriteTo(writerFunc(func([]byte) (int, error) { return 0, full })); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// The file holds 10,000 lines of a real site. One is malformed, line 8899: its user
// agent was cut off before the quote that closes it.
func TestRealLog(t *testing.T) {
	const file = "../../shared/data/access-2015.log.gz"
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("the sample log %s is not there: it lies beside the checkout, not in it", file)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	text, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(text)
	o := NewOrderer(r, Window)
	recs, err := All(o)
	if err != nil {
		t.Fatal(err)
	}
	if len(recs) != 9999 || r.Lines() != 10_000 || r.Malformed() != 1 || o.Late() != 0 {
		t.Errorf("%d records of %d lines, %d malformed, %d late; want 9999 of 10000, 1, 0", len(recs), r.Lines(), r.Malformed(), o.Late())
	}
	if got := fmt.Sprint(r.Problems()[0]); got != "line 8899: user agent: no quote that closes it: the line was cut off" {
		t.Errorf("problem %q", got)
	}
	if !slices.IsSortedFunc(recs, func(a, b Record) int { return a.Time.Compare(b.Time) }) {
		t.Error("not in order of time")
	}
	for _, rec := range recs {
		attrs := maps.Collect(rec.Attributes())
		for _, name := range []string{"client_ip", "method", "path", "status"} {
			if attrs[name] == "" {
				t.Fatalf("line %d has no %s: %v", rec.Line, name, attrs)
			}
		}
	}
}
