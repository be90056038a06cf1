package cluster

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openIdentity(t *testing.T, dir, name, cluster string) (*Identity, error) {
	t.Helper()
	i, err := OpenIdentity(IdentityOptions{Dir: dir, Name: name, ClusterName: cluster})
	if err == nil {
		t.Cleanup(func() { _ = i.Close() })
	}
	return i, err
}

func mustOpenIdentity(t *testing.T, dir, name, cluster string) *Identity {
	t.Helper()
	i, err := openIdentity(t, dir, name, cluster)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestIdentityIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "n1")
	i := mustOpenIdentity(t, dir, "n1", "spex")
	id := i.NodeID()
	if !strings.HasPrefix(id, "n1-") || len(id) != len("n1-")+nodeIDSuffix || NodeName(id) != "n1" || i.Name() != "n1" {
		t.Fatalf("node id %q, name %q", id, i.Name())
	}
	if i.ClusterID() != "" {
		t.Fatalf("a new node has cluster id %q", i.ClusterID())
	}
	if err := i.SetClusterID("X"); err != nil {
		t.Fatal(err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpenIdentity(t, dir, "n1", "spex")
	if again.NodeID() != id || again.ClusterID() != "X" {
		t.Fatalf("after a restart: %q of %q", again.NodeID(), again.ClusterID())
	}
	if err := again.SetClusterID("X"); err != nil {
		t.Fatal(err)
	}
	if err := again.SetClusterID("Y"); !errors.Is(err, ErrOtherCluster) {
		t.Fatalf("another cluster: %v", err)
	}
	other := mustOpenIdentity(t, filepath.Join(t.TempDir(), "n1"), "n1", "spex")
	if other.NodeID() == id {
		t.Fatal("two directories have the same node id")
	}
}

// TestDirectoryRefused has every way in which a data directory is not this
// node's, and the words that tell how to mend it.
func TestDirectoryRefused(t *testing.T) {
	write := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := func(t *testing.T, dir string) {
		i := mustOpenIdentity(t, dir, "n1", "spex")
		if err := errors.Join(i.SetClusterID("X"), i.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		prepare       func(*testing.T, string)
		node, cluster string
		want          error
		hint          string
	}{
		"in use":           {func(t *testing.T, dir string) { mustOpenIdentity(t, dir, "n1", "spex") }, "n1", "spex", ErrDirectoryInUse, "--data-dir of its own"},
		"other name":       {used, "n2", "spex", ErrOtherNode, "--name n1"},
		"other cluster":    {used, "n1", "prod", ErrOtherCluster, "--cluster spex"},
		"not json":         {write("node.json", "{"), "n1", "spex", ErrDirectoryDamaged, "restore"},
		"empty file":       {write("node.json", ""), "n1", "spex", ErrDirectoryDamaged, "restore"},
		"newer format":     {write("node.json", `{"format":2,"node_id":"n1-aaaaaaaa","name":"n1"}`), "n1", "spex", ErrDirectoryDamaged, "newer"},
		"no id":            {write("node.json", `{"format":1,"name":"n1"}`), "n1", "spex", ErrDirectoryDamaged, "restore"},
		"id of another":    {write("node.json", `{"format":1,"node_id":"n2-aaaaaaaa","name":"n1"}`), "n1", "spex", ErrDirectoryDamaged, "restore"},
		"foreign files":    {write("photo.jpg", "x"), "n1", "spex", ErrNotDataDirectory, "empty directory"},
		"pledge, no id":    {write("pledge.json", "{}"), "n1", "spex", ErrNotDataDirectory, "restore node.json"},
		"stores, but lost": {write("catalog.db", "x"), "n1", "spex", ErrNotDataDirectory, "restore node.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			_, err := openIdentity(t, dir, c.node, c.cluster)
			var typed *DirectoryError
			if !errors.Is(err, c.want) || !errors.As(err, &typed) || typed.Dir != dir {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if !strings.Contains(err.Error(), c.hint) {
				t.Errorf("%q does not say %q", err, c.hint)
			}
		})
	}
}

// TestRefusedDirectoryIsUnlocked: a refusal must not keep the directory.
func TestRefusedDirectoryIsUnlocked(t *testing.T) {
	dir := t.TempDir()
	if err := mustOpenIdentity(t, dir, "n1", "spex").Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openIdentity(t, dir, "n2", "spex"); !errors.Is(err, ErrOtherNode) {
		t.Fatal(err)
	}
	mustOpenIdentity(t, dir, "n1", "spex")
}

func TestUnboundDirectoryTakesAnotherClusterName(t *testing.T) {
	dir := t.TempDir()
	if err := mustOpenIdentity(t, dir, "n1", "typo").Close(); err != nil {
		t.Fatal(err)
	}
	if i := mustOpenIdentity(t, dir, "n1", "spex"); i.ClusterName() != "spex" {
		t.Fatalf("cluster name %q", i.ClusterName())
	}
}

// TestFailedBindingAllowsOnlyTheSame: after a failed write the file may hold
// the id, so no other one may be taken.
func TestFailedBindingAllowsOnlyTheSame(t *testing.T) {
	files := OSFiles()
	boom, fail := errors.New("disk full"), false
	write := files.Write
	files.Write = func(path string, data []byte) error {
		if fail {
			return errors.Join(write(path, data), boom)
		}
		return write(path, data)
	}
	dir := t.TempDir()
	i, err := OpenIdentity(IdentityOptions{Dir: dir, Name: "n1", ClusterName: "spex", Files: files, Rand: bytes.NewReader(make([]byte, 5))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	if i.NodeID() != "n1-aaaaaaaa" {
		t.Errorf("the id %q does not come from the given source", i.NodeID())
	}
	fail = true
	if err := i.SetClusterID("X"); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if i.ClusterID() != "" {
		t.Fatal("bound although the write failed")
	}
	fail = false
	if err := i.SetClusterID("Y"); !errors.Is(err, ErrOtherCluster) {
		t.Fatalf("another id after a failed write: %v", err)
	}
	if err := i.SetClusterID("X"); err != nil {
		t.Fatal(err)
	}
}

func TestCheckName(t *testing.T) {
	for _, ok := range []string{"a", "n1", "pod-0.spex_x", strings.Repeat("n", 63)} {
		if err := CheckName("node name", ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "-a", "a-", "a/b", "a b", "ä", "..", strings.Repeat("n", 64)} {
		if err := CheckName("node name", bad); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}
