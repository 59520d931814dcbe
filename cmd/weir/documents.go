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

// readDocuments reads policy documents from files, from all .yaml and .yml files below
// folders, and from stdin for "-".
func readDocuments(paths []string, stdin io.Reader) ([]*weirv1.Document, error) {
	var docs []*weirv1.Document
	for _, path := range paths {
		if path == "-" {
			text, err := readDocument(stdin)
			if err != nil {
				return nil, fmt.Errorf("standard input: %w", err)
			}
			docs = append(docs, &weirv1.Document{File: "standard input", Text: text})
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
			docs = append(docs, &weirv1.Document{File: name, Text: text})
		}
	}
	return docs, nil
}

func readDocument(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, policy.MaxDocument+1))
	if err == nil && len(text) > policy.MaxDocument {
		err = fmt.Errorf("a policy document has at most %v: divide it by domains", size(policy.MaxDocument))
	}
	return string(text), err
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
