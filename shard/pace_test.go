package shard

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

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
		if got := spent(newPacedWriter(slowWriter(time.Millisecond), stop), 10); got != 10*paceShare*time.Millisecond {
			t.Errorf("ten pieces of a millisecond took %v", got)
		}
		if got := spent(newPacedWriter(slowWriter(time.Second), stop), 2); got != 2*(time.Second+paceMaxPause) {
			t.Errorf("two pieces of a second took %v: the pause has a bound", got)
		}
		close(stop)
		if got := spent(newPacedWriter(slowWriter(time.Millisecond), stop), 10); got != 10*time.Millisecond {
			t.Errorf("ten pieces took %v at the end, when nobody is to wait", got)
		}
		begin := time.Now()
		if _, err := newPacedWriter(failingWriter{}, nil).Write(nil); err == nil || time.Since(begin) != 0 {
			t.Errorf("a failed write gave %v after %v", err, time.Since(begin))
		}
	})
}

// TestGroupsTakeTurnsAtSnapshots: while one group of a host writes a snapshot,
// the others wait, and can be closed.
func TestGroupsTakeTurnsAtSnapshots(t *testing.T) {
	bubble(t, func(t *testing.T) {
		turn := make(chan struct{}, 1)
		c := newFormed(t, func(cfg *Config) { cfg.snapshotting = turn }, "a")
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
