package policystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The last-good bundle is the state that was in force last, written beside raft's log:
// a node that boots while the voters have no quorum serves by it until the log has
// overtaken it. It holds the cluster's secret, and only its owner may read it.

// readBundle returns the bundle of a directory, nil when it has none.
func readBundle(d *Dir) (*state, error) {
	raw, err := os.ReadFile(filepath.Join(d.path, bundleFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the last-good bundle: %w", err)
	}
	st, err := decodeState(raw)
	if err != nil {
		return nil, fmt.Errorf("read the last-good bundle %s: %w", filepath.Join(d.path, bundleFile), err)
	}
	if id := st.cluster.GetClusterId(); id != d.ClusterID() {
		return nil, fmt.Errorf("the last-good bundle is of cluster %q, the data dir of %q", id, d.ClusterID())
	}
	return st, nil
}

func writeBundle(d *Dir, st *state) error {
	raw, err := encodeState(st)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(d.path, bundleFile), raw); err != nil {
		return fmt.Errorf("write the last-good bundle: %w", err)
	}
	return nil
}
