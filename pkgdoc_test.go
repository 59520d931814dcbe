package weir_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestPackageDocs holds that each package says once what it is, in words that begin
// with its name. One that is generated whole is spared: its words are in the .proto
// files.
func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		var in []string // files with a package doc
		written := 0    // files by hand
		for _, file := range p.files() {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			if ast.IsGenerated(f) {
				continue
			}
			written++
			if f.Doc == nil {
				continue
			}
			in = append(in, filepath.Base(file))
			want := "Package " + p.Name + " "
			if p.Name == "main" {
				want = "Command " + filepath.Base(p.Dir) + " "
			}
			if text := f.Doc.Text(); !strings.HasPrefix(text, want) {
				line, _, _ := strings.Cut(text, "\n")
				t.Errorf("%s: the package's doc begins %q: begin it with %q", filepath.Join(p.folder(), filepath.Base(file)), line, want)
			}
		}
		switch {
		case len(in) == 0 && written > 0:
			t.Errorf("%s has no package doc: say in one of its files, best doc.go, what it is", p.ImportPath)
		case len(in) > 1:
			t.Errorf("%s has %d package docs, in %s: keep one", p.ImportPath, len(in), strings.Join(in, ", "))
		}
	}
}
