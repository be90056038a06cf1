package store

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
)

var errDisk = errors.New("input/output error")

// faultyLog runs fault before each write; an error is the write's result.
type faultyLog struct {
	raft.LogStore
	writes atomic.Int64
	fault  func(n int64) error
}

func (f *faultyLog) IsMonotonic() bool { return true }

func (f *faultyLog) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

func (f *faultyLog) StoreLogs(logs []*raft.Log) error {
	if err := f.fault(f.writes.Add(1)); err != nil {
		return err
	}
	return f.LogStore.StoreLogs(logs)
}

func (f *faultyLog) DeleteRange(from, to uint64) error {
	if err := f.fault(f.writes.Add(1)); err != nil {
		return err
	}
	return f.LogStore.DeleteRange(from, to)
}

// The nth write of one group fails: it is the last write of all groups and all
// kinds, the owner is told once, and what was acknowledged is there afterwards.
func TestRaft614NthWriteFailsForGood(t *testing.T) {
	for _, nth := range []int64{1, 2, 5} {
		eachKind(t, func(t *testing.T, id uint32) {
			dir := t.TempDir()
			dead, o := &fatals{}, opts(t)
			o.OnFatal = dead.on
			o.Middleware = func(group uint32, logs raft.LogStore) raft.LogStore {
				return &faultyLog{LogStore: logs, fault: func(n int64) error {
					if group == id && n == nth {
						return errDisk
					}
					return nil
				}}
			}
			s := mustOpen(t, dir, o)
			g, other := mustGroup(t, s, id), mustGroup(t, s, 99)
			setTerm(t, g, 1)
			acked := uint64(0)
			for i := uint64(1); i <= 8; i++ {
				if err := g.Logs().StoreLog(entry(i, 1)); err == nil {
					acked = i
				} else if i == uint64(nth) && !errors.Is(err, errDisk) {
					t.Fatalf("the failing write says %v", err)
				}
			}
			if acked != uint64(nth-1) {
				t.Fatalf("write %d failed, yet %d was acknowledged", nth, acked)
			}
			sinkless := func() error {
				_, trans := raft.NewInmemTransport("n1")
				_, err := g.Snapshots().Create(raft.SnapshotVersionMax, 1, 1, testConf, 1, trans)
				return err
			}
			for n, err := range []error{g.Logs().DeleteRange(1, 1), g.Stable().SetUint64(raftTermKey, 2),
				other.Logs().StoreLog(entry(1, 1)), other.Stable().Set([]byte("k"), nil), sinkless()} {
				if !errors.Is(err, ErrFailed) || !errors.Is(err, errDisk) {
					t.Errorf("write %d after the failure: %v", n, err)
				}
			}
			if got := dead.all(); len(got) != 1 || !errors.Is(got[0], errDisk) {
				t.Fatalf("OnFatal was told %v", got)
			}
			if _, err := s.Group(55); !errors.Is(err, ErrFailed) {
				t.Fatalf("opening a group after the failure: %v", err)
			}
			must(t, s.Close())
			wantBounds(t, mustGroup(t, mustOpen(t, dir, opts(t)), id).Logs(), min(acked, 1), acked)
		})
	}
}

// A write that hangs: the owner is told at the deadline, writes of others fail
// at once, and when the hung write comes through after all, its caller is not
// told that it succeeded, nor can anything follow it.
func TestRaft503HungWriteIsFatalAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead, release := &fatals{}, make(chan struct{})
		l := &latch{log: slog.New(slog.DiscardHandler), onFatal: dead.on, deadline: 10 * time.Second}
		inner := &faultyLog{LogStore: raft.NewInmemStore(), fault: func(n int64) error {
			if n == 2 {
				<-release
			}
			return nil
		}}
		g := &guardedLog{inner: inner, group: 3, latch: l, gate: &gate{}}
		must(t, g.StoreLog(entry(1, 1)))
		start := time.Now()
		result := make(chan error, 1)
		go func() { result <- g.StoreLog(entry(2, 1)) }()
		time.Sleep(10*time.Second - 1) // of the bubble's clock
		synctest.Wait()
		if got := dead.all(); len(got) != 0 {
			t.Fatalf("fatal before the deadline: %v", got)
		}
		time.Sleep(1 * time.Nanosecond)
		synctest.Wait()
		if got := dead.all(); len(got) != 1 || !errors.Is(got[0], ErrWriteDeadline) {
			t.Fatalf("after %v OnFatal was told %v", time.Since(start), got)
		}
		if err := g.StoreLog(entry(2, 1)); !errors.Is(err, ErrFailed) || !errors.Is(err, ErrWriteDeadline) {
			t.Fatalf("the retried index: %v", err)
		}
		select {
		case err := <-result:
			t.Fatalf("the hung write returned %v while it hung", err)
		default:
		}
		close(release)
		if err := <-result; !errors.Is(err, ErrWriteDeadline) {
			t.Fatalf("the late write says %v", err)
		}
		if err := g.StoreLog(entry(3, 1)); !errors.Is(err, ErrFailed) {
			t.Fatalf("a write behind the late one: %v", err)
		}
		if got := dead.all(); len(got) != 1 {
			t.Fatalf("OnFatal was told %d times", len(got))
		}
	})
}

func TestWriteWithinItsDeadlineIsFine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := &fatals{}
		l := &latch{log: slog.New(slog.DiscardHandler), onFatal: dead.on, deadline: 10 * time.Second}
		for range 3 {
			must(t, l.write("slow", 1, func() error { time.Sleep(9 * time.Second); return nil }))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := dead.all(); len(got) != 0 {
			t.Fatalf("OnFatal was told %v", got)
		}
	})
}

func TestFirstFailureOfManyIsToldOnce(t *testing.T) {
	var told atomic.Int64
	l := &latch{log: slog.New(slog.DiscardHandler), onFatal: func(error) { told.Add(1) }, deadline: time.Minute}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := l.write("w", 1, func() error { return errDisk }); err == nil {
				t.Error("a failed write succeeded")
			}
		})
	}
	wg.Wait()
	if told.Load() != 1 {
		t.Fatalf("told %d times", told.Load())
	}
}

// The stable store fails by itself: its file is closed under it.
func TestStableStoreFailureIsFatal(t *testing.T) {
	dead, o := &fatals{}, opts(t)
	o.OnFatal = dead.on
	s := mustOpen(t, t.TempDir(), o)
	g := mustGroup(t, s, 7)
	must(t, g.bolt.Close())
	if err := g.Stable().SetUint64(raftTermKey, 1); err == nil {
		t.Fatal("a write to a closed file succeeded")
	}
	if len(dead.all()) != 1 {
		t.Fatal("not fatal")
	}
}

// brokenEnv marks the process of the test below.
const brokenEnv = "SPEX_STORE_TEST_BROKEN"

// Pebble's own disk fails under a commit. Pebble answers with Fatalf: the
// owner is told, Pebble is not returned into, and the write is not acknowledged.
// A Pebble that gave up cannot be closed, so it happens in a process of its own.
func TestPebbleWriteErrorIsFatal(t *testing.T) {
	if os.Getenv(brokenEnv) == "" {
		exe, err := os.Executable()
		must(t, err)
		cmd := exec.Command(exe, "-test.run=^TestPebbleWriteErrorIsFatal$", "-test.count=1")
		cmd.Env = append(os.Environ(), brokenEnv+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	for _, op := range []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData} {
		fails, mem := errorfs.Toggle{Injector: errorfs.InjectorFunc(func(o errorfs.Op) error {
			if o.Kind == op && filepath.Ext(o.Path) == ".log" {
				return errDisk
			}
			return nil
		})}, vfs.NewMem()
		dead, o := &fatals{}, opts(t)
		o.OnFatal = dead.on
		o.FS = errorfs.Wrap(mem, &fails)
		s := mustOpen(t, t.TempDir(), o)
		g := mustGroup(t, s, 7)
		setTerm(t, g, 1)
		must(t, g.Logs().StoreLog(entry(1, 1)))
		fails.On()
		err := g.Logs().StoreLog(entry(2, 1))
		fails.Off()
		if op == errorfs.OpFileSync && err == nil {
			continue // this platform syncs data only
		}
		if err == nil || len(dead.all()) == 0 {
			t.Fatalf("op %v: write says %v, OnFatal was told %v", op, err, dead.all())
		}
		wantBounds(t, g.Logs(), 1, 1)
		if err := g.Logs().StoreLog(entry(2, 1)); !errors.Is(err, ErrFailed) {
			t.Fatalf("op %v: the next write says %v", op, err)
		}
	}
}

func TestPebbleFatalfDoesNotReturn(t *testing.T) {
	dead := &fatals{}
	l := &latch{log: slog.New(slog.DiscardHandler), onFatal: dead.on}
	p := &pebbleLogger{log: l.log, latch: l}
	defer func() {
		if r := recover(); r == nil {
			t.Fatal("Fatalf returned into Pebble")
		}
		if len(dead.all()) != 1 || !p.broken.Load() {
			t.Fatal("the owner was not told before")
		}
	}()
	p.Fatalf("cannot go on: %d", 1)
}

// A snapshot that finds no room is given up without ending the process; any
// other error of its disk ends it.
func TestSnapshotErrors(t *testing.T) {
	dead, o := &fatals{}, opts(t)
	o.OnFatal = dead.on
	g := mustGroup(t, mustOpen(t, t.TempDir(), o), 7)
	full := &os.PathError{Op: "write", Path: "state.bin", Err: syscall.ENOSPC}
	if err := g.snaps.failure("write", full); !errors.Is(err, syscall.ENOSPC) || len(dead.all()) != 0 {
		t.Fatalf("full disk: %v, told %v", err, dead.all())
	}
	sink := newSink(t, g, 5, 1)
	_, err := io.WriteString(sink, "body")
	must(t, err)
	must(t, os.RemoveAll(filepath.Join(g.dir, snapDir))) // its directory vanishes
	if err := sink.Close(); err == nil || len(dead.all()) != 1 {
		t.Fatalf("close: %v, told %v", err, dead.all())
	}
	if g.snaps.newest() != nil {
		t.Fatal("a snapshot that failed was recorded")
	}
}
