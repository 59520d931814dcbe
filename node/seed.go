package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// seedDocuments reads what an empty cluster is to start with: the text that was set,
// or the file or every .yaml and .yml file of the folder that Policies names.
func seedDocuments(cfg *Config) ([]*weirv1.Document, error) {
	if cfg.SeedDocument != "" {
		return []*weirv1.Document{{Text: cfg.SeedDocument, File: "built-in sample"}}, nil
	}
	if cfg.Policies == "" {
		return nil, nil
	}
	files, err := policyFiles(cfg.Policies)
	if err != nil {
		return nil, fmt.Errorf("--policies: %w", err)
	}
	docs := make([]*weirv1.Document, 0, len(files))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("--policies: %w", err)
		}
		docs = append(docs, &weirv1.Document{Text: string(text), File: f})
	}
	return docs, nil
}

// policyFiles returns path itself where it is a file, or the documents below it.
func policyFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && slices.Contains([]string{".yaml", ".yml"}, strings.ToLower(filepath.Ext(p))) {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New(path + " holds no .yaml or .yml file")
	}
	return files, nil
}
