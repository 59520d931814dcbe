package policystore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// What a data directory holds.
const (
	metaFile   = "node.json" // who it belongs to
	lockFile   = "lock"      // locked by the process that uses it, which writes its id there
	bundleFile = "last-good" // policies and table that were in force last
	raftFolder = "raft"      // raft's log and snapshots
)

// A Dir is an open data directory, locked by this process. It is safe for concurrent
// use.
type Dir struct {
	path string
	lock *os.File

	mu   sync.Mutex
	meta meta // guarded by mu; as it is on disk
}

// meta is who a directory belongs to, as metaFile holds it.
type meta struct {
	NodeID    string `json:"node_id"`
	ClusterID string `json:"cluster_id"`
	Boots     uint64 `json:"boots"`
}

// OpenDir opens or makes a data directory, takes its lock and counts one more boot.
// nodeID may be empty: the directory's is used then. A directory of another node is
// refused, so is one that a live process uses. The caller closes it after the Store.
func OpenDir(path, nodeID string) (*Dir, error) {
	if err := os.MkdirAll(filepath.Join(path, raftFolder), 0o700); err != nil {
		return nil, fmt.Errorf("data dir %s: %w: give --data-dir a folder that this process may write", path, err)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, lock: lock}
	if err := d.open(nodeID); err != nil {
		return nil, errors.Join(fmt.Errorf("data dir %s%w", path, err), d.Close())
	}
	return d, nil
}

// lockDir takes the directory's lock, which ends with the process whatever ends it.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data dir %s: take its lock: %w: give --data-dir a folder that this process may write", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32)) // empty where it cannot be told
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data dir %s is in use by process %s: stop it or give another --data-dir", path, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("data dir %s: take its lock: %w", path, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("data dir %s: write its lock: %w", path, err)
	}
	return f, nil
}

// open reads who the directory belongs to and counts the boot. Its errors go on after
// the directory's path.
func (d *Dir) open(nodeID string) error {
	raw, err := os.ReadFile(filepath.Join(d.path, metaFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Join(d.path, raftFolder, logFile)); err == nil {
			return fmt.Errorf(" holds a raft log but no %s, so nobody can tell whose: restore that file or give another --data-dir", metaFile)
		}
	case err != nil:
		return fmt.Errorf(": read whose it is: %w: give another --data-dir", err)
	default:
		if err := json.Unmarshal(raw, &d.meta); err != nil {
			return fmt.Errorf(": %s is damaged: %w: restore it or give another --data-dir", metaFile, err)
		}
	}
	switch owner := d.meta.NodeID; {
	case owner == "":
		d.meta.NodeID = nodeID
	case nodeID != "" && owner != nodeID:
		return fmt.Errorf(" belongs to node %s: give --node-id %s or another --data-dir", owner, owner)
	}
	next := d.meta
	next.Boots++
	if err := d.save(next); err != nil {
		return fmt.Errorf(": count this boot: %w", err)
	}
	return nil
}

// save makes m what the directory says; d.mu is held, or nobody else knows d yet.
func (d *Dir) save(m meta) error {
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(d.path, metaFile), append(raw, '\n')); err != nil {
		return err
	}
	d.meta = m
	return nil
}

// NodeID returns the id of the directory's node, empty in a new directory until
// SetNodeID.
func (d *Dir) NodeID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta.NodeID
}

// SetNodeID names the node of a new directory. A directory of another node refuses.
func (d *Dir) SetNodeID(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.meta.NodeID == id {
		return nil
	}
	if owner := d.meta.NodeID; owner != "" {
		return fmt.Errorf("data dir %s belongs to node %s: give --node-id %s or another --data-dir", d.path, owner, owner)
	}
	next := d.meta
	next.NodeID = id
	return d.save(next)
}

// ClusterID returns the id of the cluster whose log the directory holds, empty before
// the first entry was applied.
func (d *Dir) ClusterID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta.ClusterID
}

// SetClusterID ties the directory to a cluster. A directory of another one refuses.
func (d *Dir) SetClusterID(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.meta.ClusterID == id {
		return nil
	}
	if d.meta.ClusterID != "" {
		return fmt.Errorf("data dir %s belongs to cluster %s, not %s: join that one or give another --data-dir", d.path, d.meta.ClusterID, id)
	}
	next := d.meta
	next.ClusterID = id
	return d.save(next)
}

// Boot returns the number of this process among all that opened the directory, from 1.
func (d *Dir) Boot() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta.Boots
}

// Close gives the lock back.
func (d *Dir) Close() error {
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("data dir %s: give its lock back: %w", d.path, err)
	}
	return nil
}

// writeFile replaces a file as a whole: after a crash at any time the old one or the
// new one is there. Only the owner may read it. The caller is the file's only writer.
func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
