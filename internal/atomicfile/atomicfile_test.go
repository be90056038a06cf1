package atomicfile_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spexio/spex/internal/atomicfile"
)

// names lists a directory, so that tests see temporary files left behind.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWriteCreatesAndReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.spex")
	for _, want := range []string{"first", "", "third and longer"} {
		if err := atomicfile.WriteFile(path, []byte(want), 0o640); err != nil {
			t.Fatal(err)
		}
		if got := mustRead(t, path); got != want {
			t.Fatalf("content %q, want %q", got, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("permissions %v, want 0640", info.Mode().Perm())
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("the directory holds %v, want one file", got)
	}
}

func TestFailedFillKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.spex")
	if err := atomicfile.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	err := atomicfile.Write(path, 0o644, func(w io.Writer) error {
		if _, err := io.WriteString(w, "half of the new"); err != nil {
			return err
		}
		return full
	})
	if !errors.Is(err, full) {
		t.Fatalf("error %v, want it to wrap %v", err, full)
	}
	if got := mustRead(t, path); got != "old" {
		t.Errorf("content %q, want the old one", got)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("the directory holds %v, want only the old file", got)
	}
}

func TestBadTargets(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	// A non-empty directory cannot be renamed over.
	if err := os.WriteFile(filepath.Join(sub, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		filepath.Join(dir, "missing", "a.spex"),
		sub,
		sub + string(filepath.Separator),
		"",
	} {
		if err := atomicfile.WriteFile(path, []byte("x"), 0o600); err == nil {
			t.Errorf("WriteFile(%q) succeeded", path)
		}
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("the directory holds %v, want only sub", got)
	}
}

// A reader that looks at any time sees one whole version.
func TestReadersNeverSeeAPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.spex")
	versions := [][]byte{bytes.Repeat([]byte("a"), 1<<16), bytes.Repeat([]byte("b"), 1<<15)}
	if err := atomicfile.WriteFile(path, versions[0], 0o600); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 2 {
		writers.Go(func() {
			for range 20 {
				if err := atomicfile.WriteFile(path, versions[i], 0o600); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		got := mustRead(t, path)
		if got != string(versions[0]) && got != string(versions[1]) {
			t.Fatalf("read %d bytes that are neither version", len(got))
		}
	}
}
