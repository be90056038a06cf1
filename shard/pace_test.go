package shard

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// slowWriter takes a while for each piece.
type slowWriter time.Duration

func (w slowWriter) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(w))
	return len(p), nil
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestASnapshotIsWrittenWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		spent := func(w *pacedWriter, pieces int) time.Duration {
			begin := time.Now()
			for range pieces {
				if n, err := w.Write(make([]byte, 7)); n != 7 || err != nil {
					t.Fatalf("%d bytes, %v", n, err)
				}
			}
			return time.Since(begin)
		}
		if got := spent(newPacedWriter(slowWriter(time.Millisecond), newTurns(), stop), 10); got != 10*paceShare*time.Millisecond {
			t.Errorf("ten pieces of a millisecond took %v", got)
		}
		if got := spent(newPacedWriter(slowWriter(time.Second), newTurns(), stop), 2); got != 2*(time.Second+paceMaxPause) {
			t.Errorf("two pieces of a second took %v: the pause has a bound", got)
		}
		close(stop)
		if got := spent(newPacedWriter(slowWriter(time.Millisecond), newTurns(), stop), 10); got != 10*time.Millisecond {
			t.Errorf("ten pieces took %v at the end, when nobody is to wait", got)
		}
		begin := time.Now()
		if _, err := newPacedWriter(failingWriter{}, newTurns(), nil).Write(nil); err == nil || time.Since(begin) != 0 {
			t.Errorf("a failed write gave %v after %v", err, time.Since(begin))
		}
	})
}

// TestGroupsTakeTurnsAtSnapshots: while one group of a host writes a snapshot,
// the others wait, and can be closed.
func TestGroupsTakeTurnsAtSnapshots(t *testing.T) {
	bubble(t, func(t *testing.T) {
		turns := newTurns()
		turn := turns.token
		c := newFormed(t, func(cfg *Config) { cfg.turns = turns }, "a")
		n := c.leader()
		c.put(n, "v")
		turn <- struct{}{} // another group's
		done := make(chan error, 1)
		go func() { done <- n.group.Snapshot(context.Background()) }()
		time.Sleep(time.Hour)
		select {
		case err := <-done:
			t.Fatalf("a snapshot was taken beside another one: %v", err)
		default:
		}
		<-turn
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if snaps, err := n.stores.Snapshots.List(); err != nil || len(snaps) != 1 {
			t.Fatalf("%d snapshots, %v", len(snaps), err)
		}
		if len(turn) != 0 {
			t.Error("the turn was not given back")
		}
		turn <- struct{}{}
		go func() { done <- n.group.Snapshot(context.Background()) }()
		synctest.Wait()
		c.stopGroup(n.group)
		wantError(t, <-done, typesv1.Reason_REASON_UNAVAILABLE, true)
	})
}

// TestWhenASnapshotIsDue: the log that makes one due grows with the last snapshot,
// between bounds.
func TestWhenASnapshotIsDue(t *testing.T) {
	for _, tt := range []struct{ snapshot, due int64 }{
		{0, 1000}, {3999, 1000}, {4000, 1000}, {4004, 1001}, {20_000, 5000}, {32_000, 8000}, {1 << 40, 8000},
	} {
		r := &replica{snapshotBytes: 1000, snapshotSize: tt.snapshot}
		for _, bytes := range []int64{0, tt.due - 1, tt.due, tt.due + 1} {
			r.bytes = bytes
			if got := r.snapshotDue(); got != (bytes >= tt.due) {
				t.Errorf("due is %t with %d bytes of log after a snapshot of %d", got, bytes, tt.snapshot)
			}
		}
	}
}

// TestALateSnapshotIsWrittenWithoutPauses: nothing else bounds the log when it
// grows faster than a snapshot with pauses is written, whosever log it is.
func TestALateSnapshotIsWrittenWithoutPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		newReplica := func() *replica {
			return &replica{snapshotBytes: 1000, machine: slowMachine{}, turns: turns, ending: make(chan struct{}), due: make(chan struct{}, 1), stuck: newStuck(Config{})}
		}
		r, other := newReplica(), newReplica()
		write := func(what string, want time.Duration) {
			t.Helper()
			pin, err := r.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if err := pin.Persist(discardSink{slowWriter(time.Millisecond)}); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(begin); got != want {
				t.Errorf("%s: it took %v, want %v", what, got, want)
			}
		}
		quick, paced := 10*time.Millisecond, paceShare*10*time.Millisecond
		r.advance(1, lateFactor*1000-1)
		write("not late yet", paced)
		r.advance(2, 1)
		write("late", quick)
		r.snapshotDone()
		write("written", paced)
		// Another group waits, from the middle of this snapshot on.
		time.AfterFunc(paced/2, func() { other.advance(1, lateFactor*1000) })
		write("another group is late from the middle on", paced/2+quick/2)
		other.end()
		write("the other group was closed", paced)
		if late := turns.late.Load(); late != 0 {
			t.Errorf("%d groups are late at the end", late)
		}
	})
}

// slowMachine has a snapshot of ten pieces.
type slowMachine struct{ Machine }

func (slowMachine) Snapshot() fsm.Snapshot { return tenPieces{} }

type tenPieces struct{ fsm.Snapshot }

func (tenPieces) WriteTo(w io.Writer) (int64, error) {
	for range 10 {
		if _, err := w.Write([]byte("piece")); err != nil {
			return 0, err
		}
	}
	return 50, nil
}

// discardSink is a sink of Raft's that keeps nothing.
type discardSink struct{ io.Writer }

func (discardSink) Close() error  { return nil }
func (discardSink) Cancel() error { return nil }
func (discardSink) ID() string    { return "none" }

// TestTheSizeOfASnapshotIsKnown whether it was written or restored.
func TestTheSizeOfASnapshotIsKnown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a")
		n := c.leader()
		fill(c, n, "v", 100)
		if err := n.group.Snapshot(context.Background()); err != nil {
			t.Fatal(err)
		}
		size := func() int64 {
			r := c.nodes["a"].group.replica
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.snapshotSize
		}
		written := size()
		c.crash("a")
		c.start("a")
		if restored := size(); written < 200 || restored != written {
			t.Errorf("%d bytes were written and %d restored", written, restored)
		}
	})
}
