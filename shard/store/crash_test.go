package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

const (
	childEnv     = "SPEX_STORE_TEST_DIR"
	childModeEnv = "SPEX_STORE_TEST_MODE"
)

// crashGroups are the groups that the child writes to at once.
var crashGroups = []uint32{0, 1, 2, 3}

// childMain is the process that gets killed, or, in mode "open", one that only
// tries to open the directory.
func childMain(dir, mode string) int {
	s, err := Open(dir, Options{NodeID: "n1", ClusterID: "c1", markStep: 1 << 10})
	if mode == "open" {
		if errors.Is(err, ErrInUse) {
			return 3
		}
		return 4
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var wg sync.WaitGroup
	for _, id := range crashGroups {
		wg.Go(func() {
			if err := childWrites(s, id); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		})
	}
	wg.Wait() // for ever
	return 0
}

// childWrites appends, truncates, snapshots, compacts and removes until it is killed.
// It reports on stdout, one write call per line, what it was told is durable
// ("a group index term", "s group index") and, before it does it, what it is
// about to take back ("t group from", "r group 0").
func childWrites(s *Store, id uint32) error {
	g, err := s.Group(id)
	if err != nil {
		return err
	}
	term, _ := g.Stable().GetUint64(raftTermKey)
	term++
	if err := g.Stable().SetUint64(raftTermKey, term); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(uint64(id), term))
	_, trans := raft.NewInmemTransport("n1")
	last, _ := g.Logs().LastIndex()
	if rec := g.snaps.newest(); rec != nil {
		last = max(last, rec.Index)
	}
	for {
		n := uint64(1 + rnd.IntN(5))
		if err := g.Logs().StoreLogs(entries(last+1, last+n, term)); err != nil {
			return err
		}
		last += n
		fmt.Printf("a %d %d %d\n", id, last, term)
		var floor uint64
		if rec := g.snaps.newest(); rec != nil {
			floor = rec.Index
		}
		switch rnd.IntN(12) {
		case 10: // moved away, and back
			if id == CatalogGroup || rnd.IntN(4) > 0 {
				continue
			}
			fmt.Printf("r %d 0\n", id)
			if err := g.Remove(); err != nil {
				return err
			}
			if g, err = s.Group(id); err != nil {
				return err
			}
			last, term = 0, term+1
			if err := g.Stable().SetUint64(raftTermKey, term); err != nil {
				return err
			}
		case 0: // a conflicting tail
			from := max(last-uint64(rnd.IntN(4)), floor+1)
			fmt.Printf("t %d %d\n", id, from)
			if err := g.Logs().DeleteRange(from, last); err != nil {
				return err
			}
			last, term = from-1, term+1
			if err := g.Stable().SetUint64(raftTermKey, term); err != nil {
				return err
			}
		case 1: // a snapshot, then compaction behind it
			var l raft.Log
			if err := g.Logs().GetLog(last, &l); err != nil {
				return err
			}
			sink, err := g.Snapshots().Create(raft.SnapshotVersionMax, last, l.Term, testConf, 1, trans)
			if err != nil {
				return err
			}
			if _, err := sink.Write(make([]byte, 1000)); err != nil {
				return err
			}
			if err := sink.Close(); err != nil {
				return err
			}
			fmt.Printf("s %d %d\n", id, last)
			first, _ := g.Logs().FirstIndex()
			if err := g.Logs().DeleteRange(first, last-uint64(rnd.IntN(3))); err != nil {
				return err
			}
		}
	}
}

// acked is what a reader of the child's reports may count on, per group.
type acked struct {
	term     map[uint64]uint64 // of the acknowledged entries not taken back
	last     uint64
	snapshot uint64
}

func (a *acked) note(kind byte, index, term uint64) {
	switch kind {
	case 'a':
		for i := a.last + 1; i <= index; i++ {
			a.term[i] = term
		}
		a.last = index
	case 't':
		for i := index; i <= a.last; i++ {
			delete(a.term, i)
		}
		a.last = index - 1
	case 's':
		a.snapshot = index
	case 'r':
		clear(a.term)
		a.last, a.snapshot = 0, 0
	}
}

// A process that appends is killed at any moment, again and again; no entry
// that it was told is durable is missing or another one afterwards.
func TestSIGKILLDuringAppends(t *testing.T) {
	dir := t.TempDir()
	told := map[uint32]*acked{}
	for _, id := range crashGroups {
		told[id] = &acked{term: map[uint64]uint64{}}
	}
	total := 0
	for round := range *killRounds {
		lines := runAndKill(t, dir, 20+rand.IntN(400), told)
		total += lines
		s, err := Open(dir, opts(t))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for _, id := range crashGroups {
			wantAcked(t, mustGroup(t, s, id), told[id])
		}
		must(t, s.Close())
	}
	t.Logf("%d rounds, %d reports", *killRounds, total)
}

// runAndKill starts the child, kills it after some reports, and takes in
// all that it reported.
func runAndKill(t *testing.T, dir string, after int, told map[uint32]*acked) (lines int) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	// Whole lines only: the child may die inside one write to the pipe.
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			break
		}
		var kind byte
		var id uint32
		var index, term uint64
		if n, _ := fmt.Sscanf(line, "%c %d %d %d", &kind, &id, &index, &term); n < 3 || told[id] == nil {
			t.Fatalf("report %q", line)
		}
		told[id].note(kind, index, term)
		if lines++; lines == after {
			must(t, cmd.Process.Kill())
		}
	}
	if err := cmd.Wait(); err == nil || lines < after {
		t.Fatalf("the child ended by itself after %d reports: %v", lines, err)
	}
	return lines
}

func wantAcked(t *testing.T, g *Group, told *acked) {
	t.Helper()
	first, _ := g.Logs().FirstIndex()
	rec := g.snaps.newest()
	var floor uint64
	if rec != nil {
		floor = rec.Index
	}
	if floor < told.snapshot {
		t.Fatalf("group %d: snapshot up to %d was recorded, now it is %d", g.ID(), told.snapshot, floor)
	}
	var l raft.Log
	for i, term := range told.term {
		if i <= floor && (first == 0 || i < first) {
			continue // compacted
		}
		if err := g.Logs().GetLog(i, &l); err != nil {
			t.Fatalf("group %d: acknowledged entry %d: %v", g.ID(), i, err)
		}
		if !sameLog(&l, entry(i, term)) {
			t.Fatalf("group %d: entry %d has term %d, acknowledged was %d", g.ID(), i, l.Term, term)
		}
	}
	// What was not reported any more may be there or not; the child of the
	// next round goes on behind it.
	last, _ := g.Logs().LastIndex()
	last = max(last, floor)
	for i := range told.term {
		if i > last {
			t.Fatalf("group %d: acknowledged entry %d behind the end %d", g.ID(), i, last)
		}
	}
	clear(told.term)
	for i := max(first, 1); first != 0 && i <= last; i++ {
		must(t, g.Logs().GetLog(i, &l))
		told.term[i] = l.Term
	}
	told.last, told.snapshot = last, floor
}

func TestAnotherProcessFindsTheDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir, opts(t))
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childModeEnv+"=open")
	err = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Fatalf("the other process ended with %d: %v", code, err)
	}
}

// Power loss: of what Pebble had not synced, a random part is gone. SIGKILL
// does not show that, since the kernel keeps what was written.
func TestPowerLossKeepsWhatWasAcknowledged(t *testing.T) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		fs := vfs.NewCrashableMem()
		var images []*vfs.MemFS
		var last []uint64
		o := opts(t)
		o.FS = fs
		s, err := Open(dir, o)
		must(t, err)
		g := mustGroup(t, s, 7)
		setTerm(t, g, 1<<40)
		var end, term uint64 = 0, 1
		for range 30 {
			n := uint64(1 + rnd.IntN(50))
			must(t, g.Logs().StoreLogs(entries(end+1, end+n, term)))
			end += n
			if rnd.IntN(4) == 0 {
				from := end - uint64(rnd.IntN(int(min(end, 20))))
				must(t, g.Logs().DeleteRange(from, end))
				end, term = from-1, term+1
			}
			images = append(images, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rnd}))
			last = append(last, end)
		}
		must(t, s.Close())
		for n, image := range images {
			if n%5 != 0 {
				continue
			}
			o.FS = image
			s, err := Open(dir, o)
			must(t, err)
			wantBounds(t, mustGroup(t, s, 7).Logs(), min(last[n], 1), last[n])
			must(t, s.Close())
		}
	}
}

// A log directory of the right owner that lost everything: the disk kept the
// manifest of the store but not of the group.
func TestPebbleWithoutItsGroupsIsRefused(t *testing.T) {
	dir := filled(t)
	fresh := t.TempDir()
	s, err := Open(fresh, opts(t))
	must(t, err)
	must(t, s.Close())
	must(t, os.RemoveAll(filepath.Join(dir, "log")))
	must(t, os.Rename(filepath.Join(fresh, "log"), filepath.Join(dir, "log")))
	_, err = mustOpen(t, dir, opts(t)).Group(7)
	wantRefused(t, err, ErrLogLost)
}
