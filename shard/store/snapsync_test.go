package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestALargeSnapshotIsSyncedInPortions: what was synced on the way is the
// snapshot as it was written, and one that is given up leaves nothing.
func TestALargeSnapshotIsSyncedInPortions(t *testing.T) {
	g := mustGroup(t, mustOpen(t, t.TempDir(), opts(t)), 7)
	setTerm(t, g, 3)
	payload := bytes.Repeat([]byte("0123456789abcdef"), 3*snapSyncBytes/16+1)
	write := func(index uint64) *snapshotSink {
		sink := newSink(t, g, index, 3).(*snapshotSink)
		for rest := payload; len(rest) > 0; {
			piece := rest[:min(len(rest), 100_000)]
			if n, err := sink.Write(piece); n != len(piece) || err != nil {
				t.Fatalf("%d bytes, %v", n, err)
			}
			rest = rest[len(piece):]
		}
		if sink.synced < 2*snapSyncBytes {
			t.Errorf("%d of %d bytes were synced on the way", sink.synced, len(payload))
		}
		return sink
	}
	sink := write(10)
	must(t, sink.Close())
	if _, got := readSnapshot(t, g, sink.ID()); got != string(payload) {
		t.Errorf("%d bytes come back, not the %d that were written", len(got), len(payload))
	}
	must(t, write(20).Cancel())
	names, err := os.ReadDir(filepath.Join(g.dir, snapDir))
	must(t, err)
	if len(names) != 1 || names[0].Name() != sink.ID() {
		t.Errorf("on disk are %v", names)
	}
}
