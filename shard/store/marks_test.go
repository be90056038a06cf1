package store

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
)

var (
	markRuns = flag.Int("mark-runs", 2, "runs of the test that crashes at operations of the file system")
	markSeed = flag.Uint64("mark-seed", 1, "seed of its first run")
)

// world is a data directory whose power fails: the log store and the marks on a
// file system that forgets what was not synced, the rest in dir.
type world struct {
	t    *testing.T
	rnd  *rand.Rand // of the operations
	dir  string
	fs   *vfs.MemFS
	s    *Store
	term uint64

	quiet sync.Mutex // held by who changes dir, or copies it; guards the fields below
	dice  *rand.Rand // of the crashes
	taken []crashed
}

// crashed is what is left when the power fails at one moment. It goes on under its
// old name: that is how the log store knows its directory.
type crashed struct {
	copy string // of dir
	fs   *vfs.MemFS
	at   string
}

var markGroups = []uint32{CatalogGroup, 7, 8}

// power opens in dir what a crash left and lets it run on.
func power(t *testing.T, dir string, c crashed, rnd *rand.Rand, term uint64) *world {
	must(t, os.RemoveAll(dir))
	must(t, os.CopyFS(dir, os.DirFS(c.copy)))
	w := &world{t: t, rnd: rnd, dir: dir, fs: c.fs, term: term, dice: rand.New(rand.NewPCG(rnd.Uint64(), 2))}
	w.quiet.Lock() // no crash while it opens: creating groups writes in dir
	defer w.quiet.Unlock()
	o := opts(t)
	o.markStep = 200
	o.FS = errorfs.Wrap(c.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			w.mayCrash(op)
		}
		return nil
	}))
	var err error
	if w.s, err = Open(dir, o); err != nil {
		t.Fatalf("after a crash at %s: %v", c.at, err)
	}
	for _, id := range markGroups {
		g, err := w.s.Group(id)
		if err != nil {
			t.Fatalf("after a crash at %s: %v", c.at, err)
		}
		setTerm(t, g, 1<<40)
	}
	return w
}

// mayCrash is called before every operation on the file system, by whom it may be:
// an append, the goroutine that advances the marks, Pebble's own.
func (w *world) mayCrash(op errorfs.Op) {
	if !w.quiet.TryLock() {
		return
	}
	defer w.quiet.Unlock()
	often := 30
	if strings.Contains(op.Path, marksFile) {
		often = 8
	}
	if w.dice.IntN(often) > 0 {
		return
	}
	c := crashed{copy: filepath.Join(w.t.TempDir(), "copy"), at: fmt.Sprintf("%v of %s", op.Kind, filepath.Base(op.Path))}
	must(w.t, os.CopyFS(c.copy, os.DirFS(w.dir)))
	c.fs = w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.dice.IntN(101), RNG: w.dice})
	w.taken = append(w.taken, c)
}

// inDir runs what writes in dir, or in a bolt file there.
func (w *world) inDir(fn func()) {
	w.quiet.Lock()
	defer w.quiet.Unlock()
	fn()
}

// onLog runs what writes a group's log.
func (w *world) onLog(id uint32, fn func() error) {
	w.t.Helper()
	if id == CatalogGroup {
		w.quiet.Lock()
		defer w.quiet.Unlock()
	}
	must(w.t, fn())
}

func (w *world) snapshot(g *Group, index, term uint64) {
	w.inDir(func() { writeSnapshot(w.t, g, index, term, "state") })
}

// step does one of the things that raft and the cluster do to a group.
func (w *world) step() {
	id := markGroups[w.rnd.IntN(len(markGroups))]
	g := mustGroup(w.t, w.s, id)
	first, last := g.log.bounds()
	floor := uint64(0)
	if rec := g.snaps.newest(); rec != nil {
		floor = rec.Index
	}
	end := max(last, floor)
	switch op := w.rnd.IntN(20); {
	case op < 12 || first == 0:
		w.onLog(id, func() error { return g.Logs().StoreLogs(entries(end+1, end+1+uint64(w.rnd.IntN(8)), w.term)) })
	case op < 15: // a conflicting tail, and the leader's in its place
		from := max(first, floor+1, last-min(last, uint64(w.rnd.IntN(12))))
		if from > last {
			return
		}
		w.onLog(id, func() error { return g.Logs().DeleteRange(from, last) })
		w.term++
	case op < 17: // a snapshot, and compaction behind it, with no entry left at times
		at := first + uint64(w.rnd.IntN(int(last-first+1)))
		if w.rnd.IntN(3) == 0 {
			at = last
		}
		if at < floor {
			return
		}
		var l raft.Log
		must(w.t, g.Logs().GetLog(at, &l))
		w.snapshot(g, at, l.Term)
		w.onLog(id, func() error { return g.Logs().DeleteRange(first, at-uint64(w.rnd.IntN(2))) })
	case op < 19: // a snapshot of the leader, ahead of the log or in conflict with it
		at := floor + 1 + uint64(w.rnd.IntN(int(end-floor)+10))
		w.term++
		w.snapshot(g, at, w.term)
		w.onLog(id, func() error { return g.Logs().DeleteRange(first, last) })
	case id != CatalogGroup: // moved away, and back
		w.inDir(func() {
			must(w.t, g.Remove())
			setTerm(w.t, mustGroup(w.t, w.s, id), 1<<40)
		})
	}
}

func (w *world) crashes() int {
	w.quiet.Lock()
	defer w.quiet.Unlock()
	return len(w.taken)
}

// run lets it work until the power has failed so many times, ends it, and returns
// the crashes.
func (w *world) run(crashes int) []crashed {
	for w.crashes() < crashes {
		w.step()
	}
	w.quiet.Lock()
	defer w.quiet.Unlock()
	must(w.t, w.s.Close())
	return w.taken
}

// The power fails at any operation of the file system, again and again: no healthy
// group is ever below its mark.
func TestNoCrashLeavesALogBelowItsMark(t *testing.T) {
	crashes, marked := 0, 0
	for run := range uint64(*markRuns) {
		rnd := rand.New(rand.NewPCG(*markSeed+run, 3))
		dir := filepath.Join(t.TempDir(), "data")
		next := crashed{copy: t.TempDir(), fs: vfs.NewCrashableMem(), at: fmt.Sprintf("the beginning of run %d", run)}
		term := uint64(1)
		for range 4 {
			w := power(t, dir, next, rnd, term)
			taken := w.run(8)
			term = w.term + 1
			goesOn := rnd.IntN(len(taken))
			for n, c := range taken {
				c.at = fmt.Sprintf("%s, run %d", c.at, run)
				if n == goesOn {
					next = c
					continue
				}
				look := power(t, dir, c, rnd, term)
				if crashes++; len(look.s.marks.file) > 0 {
					marked++
				}
				look.run(0)
			}
		}
	}
	t.Logf("%d crashes, %d of them with marks", crashes, marked)
	if marked < crashes/2 {
		t.Error("too few of the crashes were with marks to show anything")
	}
}

// cutLog fills a group far beyond its mark's step and takes entries away from
// Pebble behind the store's back, as a log that is cut does.
func cutLog(t *testing.T, dir string, id uint32, from uint64) {
	s := mustOpen(t, dir, opts(t))
	g := mustGroup(t, s, id)
	_, last := g.log.bounds()
	must(t, g.log.be.deleteRange(from, last))
	// The marks of a clean close would follow the log that this store remembers.
	must(t, s.Close())
}

func TestALogThatWasCutIsRefused(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		dir := filled(t) // closed: the marks are at the end, 5
		cutLog(t, dir, id, 4)
		s := mustOpen(t, dir, opts(t))
		for range 2 {
			_, err := s.Group(id)
			wantRefused(t, err, ErrLogCut)
			for _, part := range []string{fmt.Sprintf("group %d", id), "ends at 3", "entry 5", "at least 2 entries", filepath.Join(s.dir, marksFile)} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in %q", part, err)
				}
			}
		}
		// Without the file, as an earlier release leaves it, nobody can tell.
		must(t, s.Close())
		must(t, os.Remove(filepath.Join(dir, marksFile)))
		wantBounds(t, mustGroup(t, mustOpen(t, dir, opts(t)), id).Logs(), 1, 3)
	})
}

// What a removed replica's mark says is nothing to the next one.
func TestAMarkIsOfOneReplica(t *testing.T) {
	dir := filled(t)
	s := mustOpen(t, dir, opts(t))
	old := must1(os.ReadFile(s.marks.path))
	must(t, mustGroup(t, s, 7).Remove())
	must(t, mustGroup(t, s, 7).Logs().StoreLog(entry(1, 3)))
	must(t, s.Close())
	must(t, os.WriteFile(filepath.Join(dir, marksFile), old, 0o600)) // as a crash leaves it
	wantBounds(t, mustGroup(t, mustOpen(t, dir, opts(t)), 7).Logs(), 1, 1)
}

// Every flipped bit, and every cut, of the marks is seen.
func TestDamagedMarksAreRefused(t *testing.T) {
	dir := filled(t)
	path := filepath.Join(dir, marksFile)
	good := must1(os.ReadFile(path))
	read := func(b []byte) error {
		must(t, os.WriteFile(path, b, 0o600))
		return (&marks{fs: vfs.Default, path: path, file: map[uint32]mark{}}).read()
	}
	for at := range good {
		b := append([]byte{}, good...)
		b[at] ^= 1 << (at % 8)
		if read(b) == nil || read(good[:at]) == nil {
			t.Fatalf("byte %d of %d: flipped or cut there it is read", at, len(good))
		}
	}
	must(t, os.WriteFile(path, good[1:], 0o600))
	_, err := Open(dir, opts(t))
	wantRefused(t, err, ErrMarks)
	if !strings.Contains(err.Error(), marksFile) {
		t.Errorf("the error does not name the file: %v", err)
	}
	must(t, os.WriteFile(path, good, 0o600))
	mustGroup(t, mustOpen(t, dir, opts(t)), 7)
}

// A mark that finds no room is left as it was; but it may be in the file all the
// same, when the disk was full behind the rename: it is lowered as if it were.
func TestMarksOnAFullDisk(t *testing.T) {
	full := errorfs.Toggle{Injector: errorfs.InjectorFunc(func(o errorfs.Op) error {
		if o.Kind == errorfs.OpOpenDir && filepath.Base(o.Path) != "log" {
			return syscall.ENOSPC
		}
		return nil
	})}
	mem, dir := vfs.NewMem(), t.TempDir()
	o := opts(t) // nothing of this is fatal
	o.FS = errorfs.Wrap(mem, &full)
	s := mustOpen(t, dir, o)
	g := mustGroup(t, s, 7)
	setTerm(t, g, 3)
	must(t, g.Logs().StoreLogs(entries(1, 5, 3)))
	full.On()
	s.marks.advance()
	full.Off()
	must(t, g.Logs().DeleteRange(3, 5))
	must(t, s.db.Flush())
	got := &marks{fs: mem, path: s.marks.path, file: map[uint32]mark{}}
	must(t, got.read())
	if got.file[7].Index != 2 {
		t.Errorf("the mark is %d behind a log that ends at 2", got.file[7].Index)
	}
}

// The marks follow appends by themselves, and are never more than a step behind.
func TestMarksFollowTheLog(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, opts(t))
	g := mustGroup(t, s, 7)
	setTerm(t, g, 3)
	for i := uint64(1); i <= 400; i++ {
		must(t, g.Logs().StoreLogs(wide(i, i, 3)))
	}
	settle(s)
	got := s.marks.of(7, g.ReplicaID())
	behind := (400 - got) * uint64(g.log.be.size(wide(400, 400, 3)[0]))
	t.Logf("the mark is at %d of 400, %d bytes behind", got, behind)
	if behind > defaultMarkStep {
		t.Errorf("the mark is at %d of 400, %d bytes behind", got, behind)
	}
}

// settle waits until no mark is due any more.
func settle(s *Store) {
	for s.marks.appended.Load() >= s.marks.step {
		s.marks.of(CatalogGroup, "") // waits for a write of the marks
	}
	s.marks.of(CatalogGroup, "")
}
