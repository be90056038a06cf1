package store

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestDiskUsageOfADirectory(t *testing.T) {
	u, err := DiskUsage(t.TempDir())
	must(t, err)
	if u.TotalBytes == 0 || u.FreeBytes > u.TotalBytes || u.FreeInodes > u.TotalInodes {
		t.Fatalf("%+v", u)
	}
	if _, err := DiskUsage(filepath.Join(t.TempDir(), "missing")); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Fatalf("a missing directory: %v", err)
	}
}

func TestUsageForPeople(t *testing.T) {
	rows := []struct {
		usage Usage
		want  string
	}{
		{Usage{FreeBytes: 512, TotalBytes: 1 << 10}, "512 B of 1.0 KiB free (50.0 %)"},
		{Usage{FreeBytes: 3 << 29, TotalBytes: 10 << 30, FreeInodes: 5, TotalInodes: 100},
			"1.5 GiB of 10.0 GiB free (15.0 %), 5 of 100 inodes free (5.0 %)"},
		{Usage{}, "0 B of 0 B free (100.0 %)"},
	}
	for _, r := range rows {
		if got := r.usage.String(); got != r.want {
			t.Errorf("got %q, want %q", got, r.want)
		}
	}
}

func TestReserveTakesRoomUntilItIsReleased(t *testing.T) {
	dir := t.TempDir()
	const size = 8 << 20
	must(t, os.WriteFile(filepath.Join(dir, reserveFile+tmpSuffix), []byte("torn"), 0o600))
	must(t, HoldReserve(dir, size))
	st, err := os.Stat(filepath.Join(dir, reserveFile))
	must(t, err)
	if st.Size() != size {
		t.Fatalf("%d bytes", st.Size())
	}
	if runtime.GOOS == "linux" && blocksOf(st) < size/512 {
		t.Fatalf("the reserve takes %d blocks: it is a hole", blocksOf(st))
	}
	must(t, HoldReserve(dir, 2*size)) // stays as it is
	for _, want := range []bool{true, false} {
		if released, err := ReleaseReserve(dir); err != nil || released != want {
			t.Fatalf("released %v, %v", released, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Fatalf("left behind: %v, %v", names, err)
	}
}
