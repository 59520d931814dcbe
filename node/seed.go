package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// seedDocuments reads what an empty cluster is to start with: the text that was set,
// or the file or every .yaml and .yml file of the folder that Policies names. Documents
// that no cluster would take are an error: the node would start without any policy, and
// allow everything.
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
	texts := make([]policy.Source, 0, len(files))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("--policies: %w", err)
		}
		texts = append(texts, policy.Source{Name: f, Text: text})
	}
	parsed, err := policy.Load(texts)
	if err == nil {
		_, _, err = policy.Compile(nil, parsed, 1, policy.Secret{})
	}
	if err != nil {
		return nil, fmt.Errorf("--policies: %s cannot seed a cluster:\n%w", cfg.Policies, err)
	}
	docs := make([]*weirv1.Document, len(parsed))
	for i, d := range parsed {
		docs[i] = &weirv1.Document{Domain: d.Domain, File: d.File, Text: string(d.Text)}
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
