package weir_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-io/weir/policy"
)

// These tests keep the documentation true: what it quotes, what it tells people to type
// and where it points.

// A block is one fenced block of a page.
type block struct {
	page string
	line int    // of its first line, from 1
	kind string // what stands behind the fence, as "sh"
	text string
}

// pages returns all pages of the documentation.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"}
	for _, pattern := range []string{"docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks returns the fenced blocks of some kind on all pages.
func blocks(t *testing.T, kind string) []block {
	t.Helper()
	var all []block
	for _, page := range pages(t) {
		var b *block
		number := 0
		for line := range strings.Lines(read(t, page)) {
			number++
			info, fence := strings.CutPrefix(line, "```")
			switch {
			case fence && b == nil:
				b = &block{page: page, line: number + 1, kind: strings.TrimSpace(info)}
			case fence:
				if b.kind == kind {
					all = append(all, *b)
				}
				b = nil
			case b != nil:
				b.text += line
			}
		}
		if b != nil {
			t.Errorf("%s:%d: the block does not end", page, b.line)
		}
	}
	if len(all) == 0 {
		t.Fatalf("no page has a block of %s", kind)
	}
	return all
}

// Every block of Go is the body of an example of package client.
func TestQuotedGoIsTheExamples(t *testing.T) {
	const file = "client/example_test.go"
	source := read(t, file)
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{} // body → name
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || !strings.HasPrefix(f.Name.Name, "Example") {
			continue
		}
		body := source[set.Position(f.Body.Lbrace).Offset+1 : set.Position(f.Body.Rbrace).Offset]
		body = strings.ReplaceAll(strings.TrimPrefix(body, "\n"), "\n\t", "\n")
		bodies[strings.TrimPrefix(body, "\t")] = f.Name.Name
	}
	var quoted []string
	for _, b := range blocks(t, "go") {
		name, ok := bodies[b.text]
		if !ok {
			t.Errorf("%s:%d: no example of %s has this body", b.page, b.line, file)
		}
		if b.page == "README.md" {
			quoted = append(quoted, name)
		}
	}
	if !slices.Contains(quoted, "Example") {
		t.Errorf("README.md does not quote Example of %s", file)
	}
}

// Every policy document of the documentation can be applied.
func TestQuotedPoliciesAreValid(t *testing.T) {
	documents := 0
	for _, b := range blocks(t, "yaml") {
		if !strings.HasPrefix(b.text, "domain:") {
			continue
		}
		documents++
		docs, err := policy.Load([]policy.Source{{Name: b.page, Text: []byte(b.text)}})
		if err == nil {
			var warnings []string
			_, warnings, err = policy.Compile(nil, docs, 1, policy.Secret{})
			for _, w := range warnings {
				t.Errorf("%s:%d: warning: %s", b.page, b.line, w)
			}
		}
		if err != nil {
			t.Errorf("%s:%d: %v", b.page, b.line, err)
		}
	}
	if documents == 0 {
		t.Error("no page has a policy document")
	}
}

// build builds the binary.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("go build ./cmd/weir: %v\n%s", err, out)
	}
	return bin
}

// commands returns the lines of shell blocks that run weir, as words.
func commands(t *testing.T) (all []block) {
	t.Helper()
	for _, b := range blocks(t, "sh") {
		text := strings.ReplaceAll(b.text, "\\\n", " ")
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
			line = strings.TrimPrefix(line, "bin/")
			if words, ok := strings.CutPrefix(line, "go run ./cmd/weir"); ok {
				line = "weir" + words
			}
			if !strings.HasPrefix(line, "weir ") {
				continue
			}
			for _, end := range []string{" |", " >", " &"} {
				line, _, _ = strings.Cut(line, end)
			}
			all = append(all, block{page: b.page, line: b.line, text: strings.TrimSpace(line)})
		}
	}
	return all
}

// Every command line of the documentation is one that weir takes: with --help behind it,
// the parser reads all of it and nothing is run.
func TestCommandLinesParse(t *testing.T) {
	bin := build(t)
	for _, c := range commands(t) {
		args := words(c.text)[1:]
		var out, complaint bytes.Buffer
		cmd := exec.CommandContext(t.Context(), bin, append(args, "--help")...)
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Run(); err != nil {
			t.Errorf("%s:%d: %s: %v\n%s", c.page, c.line, c.text, err, &complaint)
			continue
		}
		if !strings.HasPrefix(out.String(), "Usage: weir "+args[0]) {
			t.Errorf("%s:%d: %s: is no command", c.page, c.line, c.text)
		}
	}
}

// words parts a command line at its spaces, quoted ones left alone.
func words(line string) []string {
	var all []string
	for _, w := range regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`).FindAllString(line, -1) {
		all = append(all, strings.Trim(w, `"'`))
	}
	return all
}

// Every flag, variable and key that the table of settings names is one of `weir serve`,
// and the other way round.
func TestSettingsTable(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), build(t), "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ +--([a-z-]+)`).FindAllStringSubmatch(string(out), -1) {
		flags[m[1]] = true
	}
	delete(flags, "config")
	const page = "docs/operations.md"
	_, table, _ := strings.Cut(read(t, page), "\n## Settings\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(table, -1) {
		flag := strings.ReplaceAll(m[1], "_", "-")
		if !flags[flag] {
			t.Errorf("%s: %s is no setting of weir serve", page, m[1])
		}
		delete(flags, flag)
	}
	for flag := range flags {
		t.Errorf("%s: the table of settings lacks %s", page, strings.ReplaceAll(flag, "-", "_"))
	}
}

// Every link to a file of this repository leads there, and to a heading of it where it
// names one.
func TestLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, m[1])
			} else if heading != "" && !slices.Contains(headings(read(t, path)), heading) {
				t.Errorf("%s: %s has no heading #%s", page, path, heading)
			}
		}
	}
}

// headings returns the anchors of a page's headings.
func headings(text string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		anchor := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		all = append(all, regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(anchor, ""))
	}
	return all
}

// Every test, benchmark and fuzz target that a page names exists, and so does every Go
// file.
func TestWhatIsNamedExists(t *testing.T) {
	functions := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllStringSubmatch(read(t, path), -1) {
			functions[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`")
	file := regexp.MustCompile("`([a-z]+(?:/[a-z0-9]+)*/[a-z_]+\\.(?:go|proto|yaml))`")
	for _, page := range pages(t) {
		text := read(t, page)
		for _, m := range function.FindAllStringSubmatch(text, -1) {
			if !functions[m[1]] {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
		for _, m := range file.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
	}
}
