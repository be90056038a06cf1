package store

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

var (
	damageRounds = flag.Int("damage-rounds", 3, "places that are damaged in each file and manner")
	damageSeed   = flag.Uint64("damage-seed", 1, "seed of the places")
)

// damaged is a directory with a catalog, a shard with a snapshot and a log of
// several blocks, as a process that was killed leaves it: nothing was closed.
type damaged struct {
	image string // a copy of the directory, never opened
	want  map[uint32]contents
}

// contents is all that a group holds.
type contents struct {
	term, vote  string
	first, last uint64
	logs        []raft.Log
	snapshot    uint64
	state       string
}

func newDamaged(t *testing.T) *damaged {
	dir := t.TempDir()
	d := &damaged{image: filepath.Join(t.TempDir(), "image"), want: map[uint32]contents{}}
	s := mustOpen(t, dir, opts(t))
	for _, k := range kinds {
		g := mustGroup(t, s, k.id)
		setTerm(t, g, 2)
		must(t, g.Logs().StoreLogs(wide(1, 40, 2)))
		writeSnapshot(t, g, 30, 2, strings.Repeat("state ", 2000))
		must(t, g.Logs().DeleteRange(1, 20))
	}
	must(t, s.db.Flush()) // tables and a log
	for _, k := range kinds {
		g := mustGroup(t, s, k.id)
		setTerm(t, g, 3)
		must(t, g.Stable().Set([]byte("LastVoteCand"), []byte("n2")))
		for i := uint64(41); i <= 80; i++ {
			must(t, g.Logs().StoreLogs(wide(i, i, 3)))
		}
		d.want[k.id] = readAll(t, g)
	}
	must(t, os.CopyFS(d.image, os.DirFS(dir)))
	return d
}

// wide makes entries of some 2 KiB, so that the logs have several blocks and pages.
func wide(from, to, term uint64) []*raft.Log {
	logs := entries(from, to, term)
	for _, l := range logs {
		l.Data = append(l.Data, bytes.Repeat([]byte{byte(l.Index)}, 2000)...)
	}
	return logs
}

func readAll(t tb, g *Group) (c contents) {
	t.Helper()
	term, err := g.Stable().Get(raftTermKey)
	must(t, err)
	vote, err := g.Stable().Get([]byte("LastVoteCand"))
	must(t, err)
	c.term, c.vote = fmt.Sprint(term), string(vote)
	if c.first, err = g.Logs().FirstIndex(); err != nil {
		t.Fatal(err)
	}
	if c.last, err = g.Logs().LastIndex(); err != nil {
		t.Fatal(err)
	}
	for i := c.first; i <= c.last; i++ {
		var l raft.Log
		must(t, g.Logs().GetLog(i, &l))
		c.logs = append(c.logs, l)
	}
	list, err := g.Snapshots().List()
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("%d snapshots", len(list))
	}
	c.snapshot = list[0].Index
	_, c.state = readSnapshot(t, g, list[0].ID)
	return c
}

// files are the files of the image with something in them.
func (d *damaged) files(t *testing.T) (names []string) {
	must(t, filepath.WalkDir(d.image, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil || info.Size() == 0 {
			return err
		}
		name, err := filepath.Rel(d.image, path)
		names = append(names, name)
		return err
	}))
	return names
}

// outcome of opening a damaged copy.
type outcome int

const (
	whole   outcome = iota // everything is served as it was
	refused                // an error names the place
	torn                   // entries at the end are gone, and nothing else
)

// open opens a copy of the image in which spoil has damaged one file.
func (d *damaged) open(t *testing.T, name string, spoil func([]byte) []byte) (out outcome, lost uint64, why error) {
	dir := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(dir, os.DirFS(d.image)))
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, spoil(b), 0o600))
	o := opts(t)
	var fatal fatals
	o.OnFatal = fatal.on
	s, err := Open(dir, o)
	if err != nil {
		return refused, 0, err
	}
	defer s.Close() //nolint:errcheck // what is damaged may not close well
	for id, want := range d.want {
		g, err := s.Group(id)
		if err != nil {
			return refused, 0, err
		}
		got := readAll(t, g)
		if got.last < want.last && got.last >= want.snapshot {
			out, lost = torn, max(lost, want.last-got.last)
			got.last, want.last = 0, 0
			want.logs = want.logs[:len(got.logs)]
		}
		if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); a != b {
			t.Fatalf("group %d serves something else after damage of %s:\n%.300s\nwant\n%.300s", id, name, a, b)
		}
	}
	if errs := fatal.all(); len(errs) > 0 {
		return refused, 0, errs[0]
	}
	return out, lost, nil
}

// TestDamagedFiles flips bytes in, and cuts, every file of a data directory at
// seeded places. What is opened then is what was written, or the error names
// the file or its directory. Only at the end of Pebble's log may entries be
// missing; how far that end reaches is TestDamagedLog's.
func TestDamagedFiles(t *testing.T) {
	d := newDamaged(t)
	rnd := rand.New(rand.NewPCG(*damageSeed, 0))
	manners := []struct {
		name  string
		spoil func(b []byte, at int) []byte
	}{
		{"flip", func(b []byte, at int) []byte {
			b[at] ^= 1 << rnd.IntN(8)
			return b
		}},
		{"zero", func(b []byte, at int) []byte {
			clear(b[at:min(at+512, len(b))])
			return b
		}},
		{"cut", func(b []byte, at int) []byte { return b[:at] }},
	}
	for _, name := range d.files(t) {
		if name == "LOCK" || strings.HasSuffix(name, "/LOCK") {
			continue
		}
		size := len(must1(os.ReadFile(filepath.Join(d.image, name))))
		for _, m := range manners {
			t.Run(filepath.ToSlash(name)+"/"+m.name, func(t *testing.T) {
				var count [3]int
				var worst uint64
				for round := range *damageRounds {
					at := rnd.IntN(size)
					if round == 0 {
						at = size - 1
					}
					out, lost, err := d.open(t, name, func(b []byte) []byte { return m.spoil(b, at) })
					count[out]++
					worst = max(worst, lost)
					switch {
					case out == refused && !names(err, name):
						t.Errorf("byte %d: the error does not name the place: %v", at, err)
					case out == torn && !(strings.HasSuffix(name, ".log") && strings.HasPrefix(name, "log")):
						t.Errorf("byte %d: %d entries are missing", at, lost)
					}
				}
				t.Logf("%d bytes: %d whole, %d refused, %d torn (at most %d entries)", size, count[whole], count[refused], count[torn], worst)
			})
		}
	}
}

// What may be damaged at the end of Pebble's log, and be taken for what a crash
// tore: the last two blocks. Of a log that was cut, what was appended since the marks
// were last advanced; the batches that the entries lie in are not counted there.
const (
	tornTail = 2 * 32 << 10
	cutTail  = defaultMarkStep + 16<<10
)

// TestDamagedLog damages Pebble's log, of more than a megabyte, at seeded places:
// all that lies before its end is found.
func TestDamagedLog(t *testing.T) {
	dir := t.TempDir()
	d := &damaged{image: filepath.Join(t.TempDir(), "image"), want: map[uint32]contents{}}
	s := mustOpen(t, dir, opts(t))
	groups := []uint32{7, 8}
	for _, id := range groups {
		g := mustGroup(t, s, id)
		setTerm(t, g, 3)
		must(t, g.Stable().Set([]byte("LastVoteCand"), []byte("n2")))
		must(t, g.Logs().StoreLog(entry(1, 3)))
		writeSnapshot(t, g, 1, 3, "state")
	}
	// A log is as long as its memtable, and Pebble makes each of these longer than the one before.
	newest := func() (name string, size int64) {
		names := must1(filepath.Glob(filepath.Join(dir, "log", "*.log")))
		info := must1(os.Stat(names[len(names)-1]))
		return filepath.Join("log", info.Name()), info.Size()
	}
	for i := uint64(2); ; i++ {
		if _, size := newest(); size > 5<<18 {
			break
		}
		for _, id := range groups {
			must(t, mustGroup(t, s, id).Logs().StoreLogs(wide(i, i, 3)))
		}
	}
	settle(s) // a process that is killed now has no mark on its way
	must(t, os.CopyFS(d.image, os.DirFS(dir)))
	for _, id := range groups {
		d.want[id] = readAll(t, mustGroup(t, s, id))
	}
	name, _ := newest()
	log := must1(os.ReadFile(filepath.Join(d.image, name)))
	rnd := rand.New(rand.NewPCG(*damageSeed, 1))
	for _, m := range []struct {
		name  string
		tail  int
		spoil func(b []byte, at int) []byte
	}{
		{"flip", tornTail, func(b []byte, at int) []byte { b[at] ^= 1 << rnd.IntN(8); return b }},
		{"zero", tornTail, func(b []byte, at int) []byte { clear(b[at:min(at+512, len(b))]); return b }},
		{"cut", cutTail, func(b []byte, at int) []byte { return b[:at] }},
	} {
		t.Run(m.name, func(t *testing.T) {
			places := []int{len(log) - m.tail - 513, 0, len(log) / 2}
			for range 5 * *damageRounds {
				places = append(places, rnd.IntN(len(log)))
			}
			var count [3]int
			for _, at := range places {
				out, lost, err := d.open(t, name, func(b []byte) []byte { return m.spoil(b, at) })
				count[out]++
				switch {
				case out == refused && !names(err, name):
					t.Errorf("byte %d: the error does not name the place: %v", at, err)
				case out == torn && at < len(log)-m.tail:
					t.Errorf("byte %d of %d: %d entries are missing, and it is not at the end", at, len(log), lost)
				}
			}
			t.Logf("%d bytes: %d whole, %d refused, %d torn", len(log), count[whole], count[refused], count[torn])
		})
	}
}

// names tells whether an error says which file is damaged, or at least where it lies.
func names(err error, name string) bool {
	return err != nil && (strings.Contains(err.Error(), name) || strings.Contains(err.Error(), filepath.Dir(name)))
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
