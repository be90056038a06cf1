package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

var testConf = raft.Configuration{Servers: []raft.Server{
	{Suffrage: raft.Voter, ID: "n1", Address: "n1"}, {Suffrage: raft.Nonvoter, ID: "n2", Address: "n2"}}}

func newSink(t tb, g *Group, index, term uint64) raft.SnapshotSink {
	t.Helper()
	_, trans := raft.NewInmemTransport("n1")
	sink, err := g.Snapshots().Create(raft.SnapshotVersionMax, index, term, testConf, min(index, 1), trans)
	must(t, err)
	return sink
}

// writeSnapshot takes a snapshot with a payload and returns its id.
func writeSnapshot(t tb, g *Group, index, term uint64, payload string) string {
	t.Helper()
	sink := newSink(t, g, index, term)
	_, err := io.WriteString(sink, payload)
	must(t, err)
	must(t, sink.Close())
	return sink.ID()
}

func readSnapshot(t tb, g *Group, id string) (*raft.SnapshotMeta, string) {
	t.Helper()
	m, r, err := g.Snapshots().Open(id)
	must(t, err)
	b, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	return m, string(b)
}

func TestSnapshotRoundTrip(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, opts(t))
	g := mustGroup(t, s, 7)
	setTerm(t, g, 3)
	list, err := g.Snapshots().List()
	if err != nil || len(list) != 0 {
		t.Fatalf("no snapshot yet: %v, %v", list, err)
	}
	for n, payload := range []string{"", "x", strings.Repeat("0123456789", 20_000)} {
		index := uint64(10 * (n + 1))
		id := writeSnapshot(t, g, index, 3, payload)
		for round := range 2 { // as written, and as another process finds it
			list, err := g.Snapshots().List()
			must(t, err)
			if len(list) != 1 || list[0].ID != id || list[0].Index != index || list[0].Term != 3 || list[0].Size != int64(len(payload)) {
				t.Fatalf("round %d: listed %+v", round, list)
			}
			m, got := readSnapshot(t, g, id)
			if got != payload || m.Size != int64(len(payload)) || m.ConfigurationIndex != 1 || len(m.Configuration.Servers) != 2 {
				t.Fatalf("round %d: %d bytes, meta %+v", round, len(got), m)
			}
			must(t, g.Close())
			g = mustGroup(t, s, 7)
		}
	}
	names, err := os.ReadDir(filepath.Join(g.dir, snapDir))
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("snapshots left on disk: %v", names)
	}
}

// What one node's store gives, raft sends, and the other's sink takes: the
// frame is the receiver's own.
func TestSnapshotTravelsWithoutItsFrame(t *testing.T) {
	s := mustOpen(t, t.TempDir(), opts(t))
	from := mustGroup(t, s, 1)
	id := writeSnapshot(t, from, 50, 2, "what the FSM wrote")
	m, r, err := from.Snapshots().Open(id)
	must(t, err)
	o := opts(t)
	o.NodeID = "n2"
	to := mustGroup(t, mustOpen(t, t.TempDir(), o), 1)
	sink := newSink(t, to, m.Index, m.Term)
	n, err := io.Copy(sink, r)
	must(t, err)
	if n != m.Size {
		t.Fatalf("raft would refuse this as short: %d bytes of %d", n, m.Size)
	}
	must(t, errors.Join(r.Close(), sink.Close()))
	if _, got := readSnapshot(t, to, sink.ID()); got != "what the FSM wrote" {
		t.Fatalf("received %q", got)
	}
}

// Every single flipped bit of either file of the newest snapshot is seen.
func TestEveryFlippedBitOfASnapshotIsSeen(t *testing.T) {
	s := mustOpen(t, t.TempDir(), opts(t))
	g := mustGroup(t, s, 7)
	setTerm(t, g, 2)
	id := writeSnapshot(t, g, 10, 2, "the state of the shard")
	for _, name := range []string{snapStateFile, snapMetaFile} {
		path := filepath.Join(g.snaps.path(id), name)
		whole, err := os.ReadFile(path)
		must(t, err)
		for bit := range len(whole) * 8 {
			broken := bytes.Clone(whole)
			broken[bit/8] ^= 1 << (bit % 8)
			must(t, os.WriteFile(path, broken, 0o600))
			if err := g.snaps.verify(g.snaps.newest()); err == nil {
				t.Fatalf("%s: bit %d flipped: not seen", name, bit)
			}
			if bit%97 != 0 { // all that stands on verify, for some of the bits
				continue
			}
			if _, _, err := g.Snapshots().Open(id); !errors.Is(err, ErrSnapshotDamaged) {
				t.Fatalf("%s: bit %d flipped: Open says %v", name, bit, err)
			}
			must(t, g.Close())
			_, err := s.Group(7)
			wantRefused(t, err, ErrSnapshotDamaged)
			must(t, os.WriteFile(path, whole, 0o600))
			g = mustGroup(t, s, 7)
		}
		for _, n := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
			must(t, os.WriteFile(path, whole[:n], 0o600))
			if err := g.snaps.verify(g.snaps.newest()); err == nil {
				t.Fatalf("%s cut to %d bytes: not seen", name, n)
			}
		}
		must(t, os.WriteFile(path, whole, 0o600))
	}
	must(t, g.snaps.verify(g.snaps.newest()))
}

// The reader does not lean on raft's own checksum: of a payload that fails
// ours, the last byte is never given out.
func TestReaderHoldsBackTheLastByteOfADamagedPayload(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		header := []byte("a header")
		payload := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "payload")
		hash := newSnapshotHash(header)
		hash.add(payload)
		body := append(bytes.Clone(payload), hash.trailer()...)
		chunk := rapid.IntRange(1, 50).Draw(t, "chunk")
		read := func(b []byte, n int) ([]byte, error) {
			r := newSnapshotReader(io.NopCloser(bytes.NewReader(b)), header, int64(n))
			got, buf := []byte{}, make([]byte, chunk)
			for {
				n, err := r.Read(buf)
				got = append(got, buf[:n]...)
				if err == io.EOF {
					return got, nil
				}
				if err != nil {
					return got, err
				}
			}
		}
		if got, err := read(body, len(payload)); err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("intact: %q, %v", got, err)
		}
		bit := rapid.IntRange(0, len(body)*8-1).Draw(t, "bit")
		broken := bytes.Clone(body)
		broken[bit/8] ^= 1 << (bit % 8)
		if got, err := read(broken, len(payload)); !errors.Is(err, ErrSnapshotDamaged) || len(got) >= len(payload) {
			t.Fatalf("bit %d: got %d of %d bytes, %v", bit, len(got), len(payload), err)
		}
		cut := rapid.IntRange(0, len(body)-1).Draw(t, "cut")
		if got, err := read(body[:cut], len(payload)); !errors.Is(err, ErrSnapshotDamaged) || len(got) >= len(payload) {
			t.Fatalf("cut to %d: got %d of %d bytes, %v", cut, len(got), len(payload), err)
		}
		if _, err := read(append(bytes.Clone(body), 0), len(payload)); !errors.Is(err, ErrSnapshotDamaged) {
			t.Fatalf("a byte more: %v", err)
		}
	})
}

func FuzzReadSnapshotHeader(f *testing.F) {
	h, err := (&snapshotHeader{Cluster: "c", Group: 1, Index: 2, Term: 3, Configuration: testConf}).encode()
	must(f, err)
	f.Add(h)
	f.Add([]byte(snapMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, raw, err := readSnapshotHeader(bytes.NewReader(b))
		if err == nil && (h == nil || !bytes.Equal(raw, b[:len(raw)])) {
			t.Fatalf("header %+v from %x", h, b)
		}
	})
}

func TestOlderSnapshotIsRefused(t *testing.T) {
	g := mustGroup(t, mustOpen(t, t.TempDir(), opts(t)), 7)
	late := newSink(t, g, 20, 1) // begun before, closed after the one at 30
	id := writeSnapshot(t, g, 30, 2, "new")
	if err := late.Close(); !errors.Is(err, ErrOlderSnapshot) {
		t.Fatalf("closing an older snapshot: %v", err)
	}
	_, trans := raft.NewInmemTransport("n1")
	if _, err := g.Snapshots().Create(raft.SnapshotVersionMax, 29, 2, testConf, 1, trans); !errors.Is(err, ErrOlderSnapshot) {
		t.Fatalf("creating an older snapshot: %v", err)
	}
	if list, err := g.Snapshots().List(); err != nil || len(list) != 1 || list[0].ID != id {
		t.Fatalf("listed %v, %v", list, err)
	}
	// The same index again is an install that raft repeats.
	writeSnapshot(t, g, 30, 2, "again")
}

func TestCancelledSnapshotLeavesNothing(t *testing.T) {
	g := mustGroup(t, mustOpen(t, t.TempDir(), opts(t)), 7)
	sink := newSink(t, g, 10, 1)
	_, err := io.WriteString(sink, "half")
	must(t, err)
	must(t, sink.Cancel())
	must(t, sink.Close()) // raft may do both
	if list, err := g.Snapshots().List(); err != nil || len(list) != 0 {
		t.Fatalf("listed %v, %v", list, err)
	}
	names, err := os.ReadDir(filepath.Join(g.dir, snapDir))
	must(t, err)
	if len(names) != 0 {
		t.Fatalf("left on disk: %v", names)
	}
}

// A crash before the record leaves a *.tmp directory or a whole snapshot that
// nothing stands on: both go, and the recorded one stays.
func TestLeftoversOfACrashAreReaped(t *testing.T) {
	s := mustOpen(t, t.TempDir(), opts(t))
	g := mustGroup(t, s, 7)
	setTerm(t, g, 9)
	must(t, g.Logs().StoreLogs(entries(1, 40, 1)))
	id := writeSnapshot(t, g, 10, 1, "recorded")
	dir := filepath.Join(g.dir, snapDir)
	must(t, os.CopyFS(filepath.Join(dir, "1-30-1700000000000"), os.DirFS(filepath.Join(dir, id))))
	must(t, os.Mkdir(filepath.Join(dir, "1-40-1700000000000.tmp"), 0o700))
	must(t, g.Close())
	g = mustGroup(t, s, 7)
	names, err := os.ReadDir(dir)
	must(t, err)
	if len(names) != 1 || names[0].Name() != id {
		t.Fatalf("on disk: %v", names)
	}
	if _, got := readSnapshot(t, g, id); got != "recorded" {
		t.Fatalf("read %q", got)
	}
}

// There is no falling back: with the newest snapshot gone, the older one on
// disk is not served.
func TestMissingNewestSnapshotIsRefusedThoughAnOlderOneIsThere(t *testing.T) {
	s := mustOpen(t, t.TempDir(), opts(t))
	g := mustGroup(t, s, 7)
	setTerm(t, g, 1)
	must(t, g.Logs().StoreLogs(entries(1, 40, 1)))
	older := writeSnapshot(t, g, 10, 1, "older")
	newest := writeSnapshot(t, g, 20, 1, "newest")
	if _, err := os.Stat(g.snaps.path(older)); err != nil {
		t.Fatalf("the test needs the older one: %v", err)
	}
	must(t, os.RemoveAll(g.snaps.path(newest)))
	if _, err := g.Snapshots().List(); !errors.Is(err, ErrSnapshotDamaged) {
		t.Fatalf("List: %v", err)
	}
	must(t, g.Close())
	_, err := s.Group(7)
	wantRefused(t, err, ErrSnapshotDamaged)
	if _, err := os.Stat(filepath.Join(s.groupDir(7), snapDir, older)); err != nil {
		t.Fatalf("a refusal changed the disk: %v", err)
	}
}

func TestSnapshotOfAnotherGroupIsRefused(t *testing.T) {
	s := mustOpen(t, t.TempDir(), opts(t))
	g, other := mustGroup(t, s, 7), mustGroup(t, s, 8)
	setTerm(t, g, 1)
	id := writeSnapshot(t, g, 10, 1, "seven")
	stray := writeSnapshot(t, other, 10, 1, "eight")
	must(t, os.RemoveAll(g.snaps.path(id)))
	must(t, os.CopyFS(g.snaps.path(id), os.DirFS(other.snaps.path(stray))))
	if _, _, err := g.Snapshots().Open(id); !errors.Is(err, ErrSnapshotDamaged) {
		t.Fatalf("Open: %v", err)
	}
	// The header alone tells it, should everything else agree.
	m := raft.SnapshotMeta{Index: 10, Term: 1, Configuration: testConf, ConfigurationIndex: 1, Size: 10_000}
	for owner, of := range map[*Group]string{g: "another group", other: ""} {
		f, err := os.Open(filepath.Join(other.snaps.path(stray), snapStateFile))
		must(t, err)
		meta := m
		_, err = owner.snaps.unframe(f, &meta)
		must(t, f.Close())
		if (err == nil) != (of == "") {
			t.Fatalf("opened as that of group %d: %v", owner.ID(), err)
		}
	}
	must(t, g.Close())
	_, err := s.Group(7)
	wantRefused(t, err, ErrSnapshotDamaged)
}

func TestLogBytesCountFromTheSnapshot(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		s := mustOpen(t, t.TempDir(), opts(t))
		g := mustGroup(t, s, id)
		setTerm(t, g, 1)
		big := func(from, to uint64) (logs []*raft.Log) {
			for i := from; i <= to; i++ {
				logs = append(logs, &raft.Log{Index: i, Term: 1, Data: make([]byte, 10_000)})
			}
			return logs
		}
		near := func(wantBytes, wantEntries uint64) {
			t.Helper()
			bytes, n := g.LogBytes()
			if n != wantEntries || bytes+sizeStep < wantBytes || bytes > wantBytes+wantEntries*100+sizeStep {
				t.Fatalf("%d bytes, %d entries; want about %d, %d", bytes, n, wantBytes, wantEntries)
			}
		}
		near(0, 0)
		must(t, g.Logs().StoreLogs(big(1, 100)))
		near(1_000_000, 100)
		writeSnapshot(t, g, 60, 1, "state")
		near(400_000, 40)
		must(t, g.Logs().DeleteRange(1, 50))
		near(400_000, 40)
		must(t, g.Logs().DeleteRange(91, 100))
		near(300_000, 30)
		must(t, g.Close())
		g = mustGroup(t, s, id)
		near(300_000, 30)
	})
}
