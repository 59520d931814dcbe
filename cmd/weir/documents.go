package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// fromStdin reports whether standard input is one of the files.
func fromStdin(paths []string) bool { return slices.Contains(paths, "-") }

// readDocuments reads texts of policy documents from files, from all .yaml and .yml files
// below folders, and from stdin for "-".
func readDocuments(paths []string, stdin io.Reader) ([]policy.Source, error) {
	var texts []policy.Source
	for _, path := range paths {
		if path == "-" {
			text, err := readDocument(stdin)
			if err != nil {
				return nil, fmt.Errorf("standard input: %w", err)
			}
			texts = append(texts, policy.Source{Name: "standard input", Text: text})
			continue
		}
		files, err := documentFiles(path)
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			f, err := os.Open(name)
			if err != nil {
				return nil, err
			}
			text, err := readDocument(f)
			_ = f.Close() // it was only read
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			texts = append(texts, policy.Source{Name: name, Text: text})
		}
	}
	return texts, nil
}

// load parses and compiles texts as a cluster would, and returns everything that is wrong
// with any of them.
func load(texts []policy.Source) (docs []*policy.Document, warnings []string, problems policy.Problems) {
	docs, err := policy.Load(texts)
	if err == nil {
		_, warnings, err = policy.Compile(nil, docs, 1, policy.Secret{})
	}
	if err != nil && !errors.As(err, &problems) {
		problems = policy.Problems{{Message: err.Error()}}
	}
	return docs, warnings, problems
}

// loaded returns documents, which are sent as they were written, or all that is wrong
// with them.
func loaded(texts []policy.Source) ([]*weirv1.Document, error) {
	docs, _, problems := load(texts)
	if len(problems) > 0 {
		return nil, problems
	}
	sent := make([]*weirv1.Document, len(docs))
	for i, d := range docs {
		sent[i] = &weirv1.Document{Domain: d.Domain, File: d.File, Text: string(d.Text)}
	}
	return sent, nil
}

func readDocument(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, policy.MaxDocument+1))
	if err == nil && len(text) > policy.MaxDocument {
		err = fmt.Errorf("a policy document has at most %v: divide it by domains", size(policy.MaxDocument))
	}
	return text, err
}

// documentFiles returns a file itself, or the documents below a folder in order.
func documentFiles(path string) (files []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if ext := strings.ToLower(filepath.Ext(p)); err == nil && !d.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, p)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = errors.New(path + " holds no .yaml or .yml file")
	}
	return files, err
}
