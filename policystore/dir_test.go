package policystore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openDir(t *testing.T, path, id string) *Dir {
	t.Helper()
	d, err := OpenDir(path, id)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func closeDir(t *testing.T, d *Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDirRemembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "on", "the", "way")
	d := openDir(t, path, "")
	if d.NodeID() != "" || d.ClusterID() != "" || d.Boot() != 1 {
		t.Errorf("new: node %q cluster %q boot %d", d.NodeID(), d.ClusterID(), d.Boot())
	}
	for range 2 { // the same again is no change
		if err := d.SetNodeID("n1"); err != nil {
			t.Fatal(err)
		}
		if err := d.SetClusterID("c1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.SetNodeID("n2"); err == nil || !strings.Contains(err.Error(), "belongs to node n1: give --node-id n1") {
		t.Errorf("renamed: %v", err)
	}
	if err := d.SetClusterID("c2"); err == nil || !strings.Contains(err.Error(), "belongs to cluster c1") {
		t.Errorf("another cluster: %v", err)
	}
	closeDir(t, d)
	for boot := uint64(2); boot < 4; boot++ {
		d = openDir(t, path, "")
		if d.NodeID() != "n1" || d.ClusterID() != "c1" || d.Boot() != boot {
			t.Errorf("again: node %q cluster %q boot %d, want boot %d", d.NodeID(), d.ClusterID(), d.Boot(), boot)
		}
		closeDir(t, d)
	}
	d = openDir(t, filepath.Join(t.TempDir(), "d"), "n9")
	if d.NodeID() != "n9" {
		t.Errorf("node %q, want n9", d.NodeID())
	}
	closeDir(t, d)
}

func TestDirRefusals(t *testing.T) {
	write := func(t *testing.T, path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder := func(t *testing.T, path string) {
		t.Helper()
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		says  []string
	}{
		{"of another node", func(t *testing.T, path string) { closeDir(t, openDir(t, path, "n2")) }, []string{"belongs to node n2", "--node-id n2", "--data-dir"}},
		{"a file", func(t *testing.T, path string) { write(t, path, "") }, []string{"not a directory", "--data-dir"}},
		{"in a file", func(t *testing.T, path string) { write(t, filepath.Dir(path), "") }, []string{"not a directory", "--data-dir"}},
		{"lock is a folder", func(t *testing.T, path string) { folder(t, filepath.Join(path, lockFile)) }, []string{"lock", "--data-dir"}},
		{"identity is a folder", func(t *testing.T, path string) { folder(t, filepath.Join(path, metaFile)) }, []string{"whose it is", "--data-dir"}},
		{"identity is damaged", func(t *testing.T, path string) { folder(t, path); write(t, filepath.Join(path, metaFile), "{") }, []string{metaFile, "damaged", "--data-dir"}},
		{"raft is a file", func(t *testing.T, path string) { folder(t, path); write(t, filepath.Join(path, raftFolder), "") }, []string{"not a directory", "--data-dir"}},
		{"a log of nobody", func(t *testing.T, path string) {
			folder(t, filepath.Join(path, raftFolder))
			write(t, filepath.Join(path, raftFolder, logFile), "")
		}, []string{"nobody can tell whose", "--data-dir"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "up", "data")
			if tt.name != "in a file" {
				folder(t, filepath.Dir(path))
			}
			tt.spoil(t, path)
			d, err := OpenDir(path, "n1")
			if err == nil {
				closeDir(t, d)
				t.Fatal("opened")
			}
			for _, says := range append(tt.says, path) {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("error %q does not say %q", err, says)
				}
			}
		})
	}
}

func TestDirIsLocked(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path, "n1")
	if _, err := OpenDir(path, "n1"); err == nil || !strings.Contains(err.Error(), "in use by process") || !strings.Contains(err.Error(), path) {
		t.Errorf("opened twice: %v", err)
	}
	closeDir(t, d)
	d = openDir(t, path, "n1")
	if d.Boot() != 2 {
		t.Errorf("boot %d, want 2: a refused process is no boot", d.Boot())
	}
	closeDir(t, d)
}

func TestDirIsPrivate(t *testing.T) {
	c := newTestCluster(t)
	n := c.voters(1)[0]
	n.mustApply(change(document("shop", "a")))
	if err := n.group.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	n.stop()
	for _, name := range []string{metaFile, bundleFile, raftFolder, filepath.Join(raftFolder, logFile)} {
		info, err := os.Stat(filepath.Join(n.path, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others may read the secret", name, info.Mode())
		}
	}
}
