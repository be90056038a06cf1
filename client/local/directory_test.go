package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// files is what is in a directory and below it.
func files(t *testing.T, dir string) (names string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		names += strings.TrimPrefix(path, dir) + "\n"
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

// A directory that is not ours is left as it is.
func TestForeignDirectories(t *testing.T) {
	for name, tt := range map[string]struct {
		fill func(dir string) error
		want string
	}{
		"a file":             {func(dir string) error { return os.WriteFile(dir, []byte("x"), 0o644) }, "it is a file"},
		"of something else":  {func(dir string) error { return os.MkdirAll(filepath.Join(dir, ".git"), 0o755) }, "give an empty one"},
		"of a server":        {func(dir string) error { return os.MkdirAll(filepath.Join(dir, "raft"), 0o755) }, "give an empty one"},
		"a store of another": {otherStore, "give an empty one"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := tt.fill(dir); err != nil {
				t.Fatal(err)
			}
			before := files(t, dir)
			m, err := Open(testContext(t), Options{Dir: dir})
			if err == nil {
				closed(t, m)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got the error %v", err)
			}
			if after := files(t, dir); after != before {
				t.Errorf("there is\n%s\nthere was\n%s", after, before)
			}
		})
	}
}

func otherStore(dir string) error {
	db, err := pebble.Open(dir, &pebble.Options{})
	if err != nil {
		return err
	}
	return errors.Join(db.Set([]byte("k"), []byte("v"), pebble.Sync), db.Close())
}

// A directory of an earlier build has no marker, whether it was closed or killed.
func TestDirectoryWithoutMarker(t *testing.T) {
	dir := t.TempDir() // empty, and there already
	m := open(t, Options{Dir: dir})
	work(t, m, 0)
	want := dump(t, m)
	killed := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	closed(t, m)
	for _, dir := range []string{dir, killed} {
		if err := os.Remove(filepath.Join(dir, marker)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			m := open(t, Options{Dir: dir})
			if _, err := Open(context.Background(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
				t.Errorf("opened twice: %v", err)
			}
			if got := dump(t, m); got != want {
				t.Errorf("there is\n%s\nwant\n%s", got, want)
			}
			closed(t, m)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
		t.Errorf("no marker: %v", err)
	}
}
