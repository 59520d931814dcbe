package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A result is what a command line came to.
type result struct {
	code     int
	out, err string
}

// weir runs a command line to its end.
func weir(t *testing.T, args ...string) result {
	t.Helper()
	return weirIn(t.Context(), "", args...)
}

// weirIn runs a command line with text on its standard input.
func weirIn(ctx context.Context, stdin string, args ...string) result {
	var out, err bytes.Buffer
	code := run(ctx, args, strings.NewReader(stdin), &out, &err)
	return result{code, out.String(), err.String()}
}

// want fails the test unless a command ended with a code and said something.
func (r result) want(t *testing.T, code int, words ...string) result {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.out+r.err, w) {
			t.Errorf("output lacks %q:\n%s%s", w, r.out, r.err)
		}
	}
	return r
}

// decode reads the JSON that a command printed.
func decode[T any](t *testing.T, r result) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		t.Fatalf("output is not JSON: %v\n%s%s", err, r.out, r.err)
	}
	return v
}

// file writes a file into a folder of the test.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// leaves are all commands that do something.
var leaves = [][]string{
	{"serve"}, {"demo"}, {"check"}, {"keys", "inspect"}, {"keys", "reset"}, {"policy", "validate"}, {"policy", "apply"}, {"policy", "get"},
	{"policy", "diff"}, {"cluster", "members"}, {"cluster", "table"}, {"healthcheck"}, {"simulate"}, {"replay"}, {"bench"}, {"version"},
}

func TestHelp(t *testing.T) {
	root := weir(t, "--help").want(t, exitOK, "weir demo", "Exit codes")
	if bare := weir(t); bare.code != exitOK || bare.out != root.out {
		t.Errorf("without arguments: exit %d, want the help\n%s%s", bare.code, bare.out, bare.err)
	}
	for _, c := range leaves {
		weir(t, append(c, "--help")...).want(t, exitOK, "Example", "  weir "+strings.Join(c, " "))
		if !strings.Contains(root.out, "\n  "+c[0]+" ") {
			t.Errorf("weir --help lacks %s", c[0])
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // in the message
	}{
		{[]string{"chek"}, "weir --help"},
		{[]string{"check"}, "weir check --help"},
		{[]string{"check", "demo", "user"}, "key=value"},
		{[]string{"check", "demo", "=x"}, "key=value"},
		{[]string{"check", "demo", "--hits", "0"}, "--peek"},
		{[]string{"check", "demo", "--hits", "-1"}, "--hits"},
		{[]string{"check", "demo", "-o", "xml"}, "text"},
		{[]string{"policy", "apply", "-"}, "--yes"},
		{[]string{"serve", "--log-level", "loud"}, "--log-level"},
		{[]string{"serve", "--log-format", "prose"}, "--log-format"},
		{[]string{"serve", "--bucket-memory", "plenty"}, "1GiB"},
		{[]string{"serve", "--voters", "2"}, "--voters"},
		{[]string{"serve", "--grpc-addr", "0.0.0.0:0"}, "--insecure"},
		{[]string{"serve", "--bootstrap-expect", "3", "--join", "127.0.0.1:1"}, "--data-dir"},
		{[]string{"serve", "--join", "nowhere"}, "--join"},
		{[]string{"simulate"}, "-f"},
		{[]string{"simulate", "-f", "-", "-"}, "standard input"},
		{[]string{"replay"}, "--generate"},
		{[]string{"replay", "x.log", "--generate", "5"}, "not both"},
		{[]string{"replay", "--generate", "-5"}, "--generate"},
		{[]string{"replay", "--in-flight", "0", "x.log"}, "--in-flight"},
		{[]string{"bench", "--mode", "fast"}, "--mode"},
		{[]string{"bench", "--mode", "batch", "--batch", "10001"}, "10,000"},
		{[]string{"bench", "--keys", "0"}, "--keys"},
		{[]string{"bench", "--nodes", "3", "--addr", "127.0.0.1:1"}, "--nodes"},
		{[]string{"demo", "--clients", "0"}, "--clients"},
	} {
		weir(t, tt.args...).want(t, exitUsage, "weir: ", tt.want)
	}
}

func TestVersion(t *testing.T) {
	weir(t, "version").want(t, exitOK, "weir ", "go1.")
	v := decode[map[string]any](t, weir(t, "version", "-o", "json"))
	if v["version"] == "" || v["go"] == "" || v["platform"] == "" {
		t.Errorf("%v lacks version, go or platform", v)
	}
}

func TestTableAligns(t *testing.T) {
	tab := table{head: []string{"NAME", "HITS", "ÜBER"}}
	tab.add("a", "1,000", "x")
	tab.add("longer", "7", "yy")
	var b bytes.Buffer
	tab.print(&b, "> ")
	want := "> NAME     HITS  ÜBER\n> a       1,000  x\n> longer      7  yy\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %s, want %s", n, got, want)
		}
	}
	for s, want := range map[float64]string{0: "0s", 0.0000125: "13µs", 0.0123456: "12.35ms", 1.234567: "1.23s", 102413.5: "28h26m54s"} {
		if got := seconds(s); got != want {
			t.Errorf("seconds(%v) = %s, want %s", s, got, want)
		}
	}
	if got := percent(1, 3); got != "33.3%" {
		t.Errorf("percent(1, 3) = %s", got)
	}
	if got := percent(0, 0); got != "-" {
		t.Errorf("percent(0, 0) = %s", got)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"1GiB": 1 << 30, "512 MiB": 512 << 20, "10kB": 10_000, "1_000": 1000, "7B": 7, "0": 0} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil || int64(s) != want {
			t.Errorf("%q = %d, %v; want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "1.5GiB", "1gib", "-1", "9999999TiB", "1 GiB x"} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q = %d, want an error", text, s)
		}
	}
	for n, want := range map[size]string{1 << 30: "1GiB", 3 << 20: "3MiB", 1000: "1000B", 0: "0B"} {
		if got := n.String(); got != want {
			t.Errorf("%d = %s, want %s", int64(n), got, want)
		}
	}
}
