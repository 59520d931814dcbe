package weir_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path that all rooms lie below.
const module = "github.com/weir-io/weir"

// A room is a folder of the house with all packages in it, and what its packages may
// import. Tests are free to reach further: arrows bind what is built.
type room struct {
	dir  string
	may  []string // rooms below; a room may always import from itself
	pure bool     // no I/O, no goroutine, no clock, no global randomness
	// modules are all the modules of others that a pure room may import; rooms that
	// are not pure choose their own.
	modules []string
}

// rooms are the floors from the top down. A new folder needs a line here.
var rooms = []room{
	{dir: "cmd", may: []string{"accesslog", "api", "bucket", "chaos", "chaos/oracle", "client", "clock", "cluster", "limiter", "node", "policy", "policystore", "proto", "ring"}},
	{dir: "node", may: []string{"api", "bucket", "clock", "cluster", "limiter", "policy", "policystore", "proto", "ring"}},
	{dir: "api", may: []string{"bucket", "clock", "cluster", "limiter", "policy", "policystore", "proto", "ring"}},
	{dir: "limiter", may: []string{"bucket", "clock", "cluster", "policy", "policystore", "ring"}},
	{dir: "cluster", may: []string{"broadcast", "bucket", "clock", "proto", "ring"}},
	{dir: "policystore", may: []string{"broadcast", "bucket", "clock", "policy", "proto", "ring"}},
	{dir: "policy", may: []string{"bucket", "ring"}, pure: true, modules: []string{"github.com/dchest/siphash", "github.com/goccy/go-yaml"}},
	{dir: "ring", pure: true, modules: []string{"github.com/buraksezer/consistent", "github.com/zeebo/xxh3"}},
	{dir: "bucket", pure: true, modules: []string{"github.com/dchest/siphash", "github.com/zeebo/xxh3"}},

	// Beside the floors.
	{dir: "client", may: []string{"proto"}},
	{dir: "proto"},
	{dir: "broadcast"},
	{dir: "clock"},
	{dir: "accesslog", pure: true},
	{dir: "chaos/oracle", pure: true},
	{dir: "chaos", may: []string{"bucket", "chaos/oracle", "client", "node", "policy", "proto", "ring"}},
}

// reasons say why an arrow is missing where "arrows point down" is not the whole of it.
var reasons = map[[2]string]string{
	{"cluster", "policystore"}: "cluster and policystore know each other through interfaces, and node wires them",
	{"policystore", "cluster"}: "cluster and policystore know each other through interfaces, and node wires them",
	{"cluster", "policy"}:      "an owner needs no policy for a charge",
	{"limiter", "proto"}:       "the limiter knows no protocol",
	{"client", ""}:             "the client stands apart: it imports proto alone",
	{"proto", ""}:              "the protocol knows nothing of the code behind it",
}

// withIO are packages of the standard library that do I/O, keep a clock or differ from
// process to process. What lies below them counts too.
var withIO = []string{
	"crypto/rand", "database/sql", "embed", "expvar", "hash/maphash", "io/ioutil", "log", "net", "os", "plugin", "runtime/pprof", "runtime/trace", "syscall", "testing",
}

// withoutIO lie below withIO and are harmless.
var withoutIO = []string{"net/netip", "net/url", "net/textproto"}

// timeCalls are the functions of package time that read the clock or wait on it.
var timeCalls = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// randTypes are what a pure package may use of math/rand and math/rand/v2: a source
// that its caller seeded. All else draws from the global one.
var randTypes = []string{"Rand", "Source", "Source64", "PCG", "ChaCha8", "Zipf", "New", "NewSource", "NewPCG", "NewChaCha8", "NewZipf"}

// A pkg is what `go list` says of a package.
type pkg struct {
	Dir, ImportPath, Name string
	GoFiles, CgoFiles     []string
	Imports               []string
}

// folder returns where the package lies below the module, "" for the root.
func (p pkg) folder() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// files returns the paths of the files that are built.
func (p pkg) files() []string {
	var paths []string
	for _, f := range slices.Concat(p.GoFiles, p.CgoFiles) {
		paths = append(paths, filepath.Join(p.Dir, f))
	}
	return paths
}

// packages returns all packages of the module, those that do not compile too.
func packages(t *testing.T) []pkg {
	t.Helper()
	// go test keeps a result while no file and folder that the test itself read has
	// changed, and knows nothing of what go list reads.
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && p != "." && slices.Contains([]string{".git", "bin", "dist", "testdata"}, d.Name()) {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=Dir,ImportPath,Name,GoFiles,CgoFiles,Imports", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v: %v", cmd, err)
		}
		all = append(all, p)
	}
	if len(all) < len(rooms) {
		t.Fatalf("%v: %d packages, fewer than there are rooms", cmd, len(all))
	}
	return all
}

// below reports whether an import path or folder is dir or lies below it.
func below(dir, of string) bool {
	return of == dir || strings.HasPrefix(of, dir+"/")
}

// roomOf returns the room that a folder lies in: of two, the inner one.
func roomOf(folder string) (room, bool) {
	var found room
	for _, r := range rooms {
		if below(r.dir, folder) && len(r.dir) > len(found.dir) {
			found = r
		}
	}
	return found, found.dir != ""
}

// broken returns what is wrong with an import of a package in a room, or "".
func broken(from room, imported string) string {
	if !below(module, imported) {
		return from.foreign(imported)
	}
	to, ok := roomOf(strings.TrimPrefix(strings.TrimPrefix(imported, module), "/"))
	switch {
	case !ok:
		return "is in no room: give it a line in arrows_test.go"
	case to.dir == from.dir || slices.Contains(from.may, to.dir):
		return ""
	}
	for _, key := range [][2]string{{from.dir, to.dir}, {from.dir, ""}} {
		if why, ok := reasons[key]; ok {
			return why
		}
	}
	if to.dir == "cmd" {
		return "nothing imports the binary"
	}
	return "arrows point down: " + from.dir + " may import " + list(from.may)
}

// foreign returns what is wrong with an import from outside the module, or "".
func (r room) foreign(imported string) string {
	if !r.pure || imported == "C" {
		return ""
	}
	if strings.Contains(strings.Split(imported, "/")[0], ".") {
		for _, m := range r.modules {
			if below(m, imported) {
				return ""
			}
		}
		return "a pure room keeps to the standard library and " + list(r.modules)
	}
	if slices.Contains(withoutIO, imported) {
		return ""
	}
	for _, p := range withIO {
		if below(p, imported) {
			return "a pure room does no I/O and reads no clock: time, randomness and data are arguments"
		}
	}
	return ""
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing else"
	}
	return strings.Join(names, ", ")
}

func TestArrows(t *testing.T) {
	used := map[string]bool{}
	for _, p := range packages(t) {
		folder := p.folder()
		if folder == "" { // the root has no code, only what holds for all rooms
			for _, imp := range p.Imports {
				if below(module, imp) {
					t.Errorf("the root imports %s: its package is for tests of the whole house", imp)
				}
			}
			continue
		}
		from, ok := roomOf(folder)
		if !ok {
			t.Errorf("%s is in no room: give it a line in arrows_test.go", folder)
			continue
		}
		used[from.dir] = true
		for _, imp := range p.Imports {
			if why := broken(from, imp); why != "" {
				t.Errorf("%s imports %s: %s", folder, strings.TrimPrefix(imp, module+"/"), why)
			}
		}
	}
	for _, r := range rooms {
		if !used[r.dir] && r.dir != "chaos" { // chaos/ itself is still only its oracle
			t.Errorf("arrows_test.go has a room %s, but no package lies in it", r.dir)
		}
	}
}

// TestArrowsSeen holds that the table above refuses what it should, without breaking
// a room for it.
func TestArrowsSeen(t *testing.T) {
	for _, c := range []struct {
		from, imports string
		ok            bool
	}{
		{"cmd/weir", module + "/node", true},
		{"node", module + "/api", true},
		{"node", module + "/node/nodetest", true},
		{"api", module + "/policystore", true},
		{"limiter", module + "/cluster", true},
		{"cluster", "net", true},
		{"cluster", module + "/proto/weir/v1", true},
		{"policy", module + "/bucket", true},
		{"policy", "github.com/goccy/go-yaml/ast", true},
		{"policy", "net/netip", true},
		{"client", module + "/proto/weir/v1", true},
		{"chaos/scenarios", module + "/node", true},

		{"api", module + "/node", false},
		{"limiter", module + "/api", false},
		{"cluster", module + "/limiter", false},
		{"cluster", module + "/policystore", false},
		{"cluster", module + "/policy", false},
		{"policystore", module + "/cluster", false},
		{"limiter", module + "/proto/weir/v1", false},
		{"policy", module + "/policystore", false},
		{"bucket", module + "/clock", false},
		{"client", module + "/policy", false},
		{"proto/weir/v1", module + "/bucket", false},
		{"node", module + "/cmd/weir", false},
		{"chaos/oracle", module + "/bucket", false},
		{"bucket", module + "/pantry", false},
		{"bucket", "os", false},
		{"bucket", "os/signal", false},
		{"ring", "net/http", false},
		{"ring", "hash/maphash", false},
		{"accesslog", "log/slog", false},
		{"accesslog", "github.com/goccy/go-yaml", false},
		{"policy", "github.com/dchest/siphash2", false},
	} {
		from, _ := roomOf(c.from)
		if why := broken(from, c.imports); (why == "") != c.ok {
			t.Errorf("%s imports %s: got %q, want ok = %v", c.from, c.imports, why, c.ok)
		}
	}
}

// TestPure holds pure rooms to their word where imports cannot: they start no
// goroutine, read no clock and draw no randomness that they were not handed, and
// bucket counts in whole numbers.
func TestPure(t *testing.T) {
	for _, p := range packages(t) {
		r, _ := roomOf(p.folder())
		if !r.pure {
			continue
		}
		for _, file := range p.files() {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			impure(f, r.dir == "bucket", func(pos token.Pos, what string) {
				at := fset.Position(pos)
				t.Errorf("%s/%s:%d: %s", p.folder(), filepath.Base(file), at.Line, what)
			})
		}
	}
}

// impure reports each place in a file that a pure room must not have, and with whole
// also each that brings in floating point.
func impure(f *ast.File, whole bool, report func(token.Pos, string)) {
	names := map[string]string{} // of what is imported, by the name it has here
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(imported)
		if name == "v2" {
			name = path.Base(path.Dir(imported))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." {
			report(spec.Pos(), "dot import of "+imported+": this test reads names by their package")
		}
		names[name] = imported
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n.Pos(), "starts a goroutine: pure rooms start none")
		case *ast.Ident:
			if whole && (n.Name == "float32" || n.Name == "float64") {
				report(n.Pos(), n.Name+": buckets count in whole numbers and fractions of them")
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			called := names[x.Name] + "." + n.Sel.Name
			switch names[x.Name] {
			case "time":
				if slices.Contains(timeCalls, n.Sel.Name) {
					report(n.Pos(), called+": the time is an argument of pure rooms")
				}
			case "math/rand", "math/rand/v2":
				if !slices.Contains(randTypes, n.Sel.Name) {
					report(n.Pos(), called+" draws from the global source: randomness is an argument of pure rooms")
				}
			case "math":
				if whole && !strings.HasPrefix(n.Sel.Name, "MaxInt") && !strings.HasPrefix(n.Sel.Name, "MinInt") && !strings.HasPrefix(n.Sel.Name, "MaxUint") {
					report(n.Pos(), called+": buckets count in whole numbers and fractions of them")
				}
			case "math/big":
				if whole && strings.Contains(n.Sel.Name, "Float") {
					report(n.Pos(), called+": buckets count in whole numbers and fractions of them")
				}
			}
		}
		return true
	})
}

// TestPureSeen holds that TestPure would see what it looks for.
func TestPureSeen(t *testing.T) {
	for _, c := range []struct {
		imports, code string
		whole         bool
		want          int
	}{
		{`"time"`, "var _ = time.Now()", false, 1},
		{`clock "time"`, "func f() { _ = clock.Since(clock.Time{}); <-clock.After(1); clock.NewTimer(1); clock.NewTicker(1) }", false, 4},
		{`"time"`, "func f(now func() int64, d time.Duration) int64 { return now() + int64(time.Second) }", false, 0},
		{`. "time"`, "var _ = Now()", false, 1},
		{`"math/rand/v2"`, "var _ = rand.IntN(3)", false, 1},
		{`"math/rand/v2"`, "func f(r *rand.Rand) int { return r.IntN(3) + rand.New(rand.NewPCG(1, 2)).IntN(3) }", false, 0},
		{`"math/rand"`, "func f() { rand.Shuffle(3, nil) }", false, 1},
		{`"fmt"`, "func f() { go fmt.Print(1) }", false, 1},
		{`"math"`, "var _ = float64(math.MaxInt64) + math.Floor(1)", true, 2},
		{`"math"`, "var _ = float64(math.MaxInt64) + math.Floor(1)", false, 0},
		{`"math/big"`, "var _ = big.NewFloat(1)", true, 1},
		{`"math/big"`, "var _ = big.NewInt(1)", true, 0},
		{`"math"`, "func f() (x float32) { return }", true, 1},
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "p.go", "package p\nimport "+c.imports+"\n"+c.code, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", c.code, err)
			continue
		}
		var got []string
		impure(f, c.whole, func(_ token.Pos, what string) { got = append(got, what) })
		if len(got) != c.want {
			t.Errorf("import %s; %s: got %q, want %d findings", c.imports, c.code, got, c.want)
		}
	}
}
