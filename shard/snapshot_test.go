package shard

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// smallSnapshots has a snapshot taken every few hundred entries.
func smallSnapshots(cfg *Config) {
	cfg.SnapshotBytes = 20_000
	cfg.TrailingBytes = 1
	cfg.MaxEntryCommands = 1
}

// fill puts n values, one an entry.
func fill(c *testCluster, n *testNode, prefix string, count int) []string {
	c.t.Helper()
	values := numbered(prefix, count)
	if _, err := n.group.ProposeAll(context.Background(), commands(values...)); err != nil {
		c.t.Fatal(err)
	}
	return values
}

// logRange is what a node's log holds.
func logRange(c *testCluster, n *testNode) (first, last uint64) {
	c.t.Helper()
	first, err := n.stores.Logs.FirstIndex()
	if err != nil {
		c.t.Fatal(err)
	}
	last, err = n.stores.Logs.LastIndex()
	if err != nil {
		c.t.Fatal(err)
	}
	return first, last
}

func TestSnapshotsBoundTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, smallSnapshots, "a", "b", "c")
		leader := c.leader()
		for i := range 10 {
			fill(c, leader, fmt.Sprint("r", i, "-"), 300)
		}
		for _, id := range c.ids {
			n := c.nodes[id]
			time.Sleep(time.Minute) // all that was begun has ended
			bytes, entries := n.group.replica.sinceSnapshot()
			if bytes < 0 || bytes >= 20_000 || entries > 300 {
				t.Errorf("%s counts %d bytes in %d entries since its snapshot", id, bytes, entries)
			}
			// The install of a snapshot leaves the log empty.
			empty := n.machine.restoreCount() > 0
			if first, last := logRange(c, n); last-first > 600 || last < 3000 && !(last == 0 && empty) {
				t.Errorf("the log of %s goes from %d to %d, %d restores", id, first, last, n.machine.restoreCount())
			}
		}
	})
}

func TestARestartRestoresAndReplays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, smallSnapshots, "a", "b", "c")
		leader := c.leader()
		values := fill(c, leader, "v", 700)
		victim := c.others(leader.id)[0]
		c.agree(values, c.ids...)
		c.crash(victim)
		values = append(values, fill(c, leader, "w", 10)...)
		n := c.start(victim)
		if n.machine.restoreCount() != 1 {
			t.Errorf("restored %d times", n.machine.restoreCount())
		}
		c.heal()
		c.agree(values, c.ids...)
	})
}

func TestALaggingReplicaGetsASnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, smallSnapshots, "a", "b", "c")
		leader := c.leader()
		away := c.nodes[c.others(leader.id)[0]]
		c.isolate(away.id)
		values := fill(c, leader, "v", 1000)
		if first, _ := logRange(c, leader); first < 100 {
			t.Fatalf("the leader's log still begins at %d", first)
		}
		c.heal()
		c.agree(values, c.ids...)
		if away.machine.restoreCount() == 0 {
			t.Error("the replica caught up without a snapshot")
		}
		// It goes on with the log, and can be waited for.
		applied := c.put(leader, "more")
		if err := away.group.WaitApplied(context.Background(), applied.Index); err != nil {
			t.Error(err)
		}
		c.agree(append(values, "more"), c.ids...)
	})
}

func TestWholeGroupRestarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, smallSnapshots, "a", "b", "c")
		values := fill(c, c.leader(), "v", 700)
		for _, id := range c.ids {
			c.stopGroup(c.nodes[id].group)
		}
		for _, id := range c.ids {
			c.start(id)
		}
		leader := c.leader()
		values = append(values, "more")
		c.put(leader, "more")
		c.agree(values, c.ids...)
	})
}

func TestAnOvertakenSnapshotIsGivenUp(t *testing.T) {
	cfg, err := single(1).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r := newReplica(cfg)
	r.Apply(&raft.Log{Type: raft.LogCommand, Index: 3})
	view, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Release()
	if err := r.Restore(io.NopCloser(strings.NewReader(`{"Index":5}`))); err != nil {
		t.Fatal(err)
	}
	store := &memorySnapshots{}
	sink, err := store.Create(1, 3, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := view.Persist(sink); err == nil {
		t.Error("a snapshot at index 3 was written after the restore of one at 5")
	}
}

func TestTrailingLogsFillTheirBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		budget := rapid.Int64Range(1, 1<<40).Draw(t, "budget")
		entries := rapid.Uint64Range(0, 1<<30).Draw(t, "entries")
		bytes := rapid.Int64Range(0, 1<<40).Draw(t, "bytes")
		n := trailingLogs(budget, bytes, entries)
		if n < minTrailingLogs {
			t.Fatalf("%d entries are kept", n)
		}
		if n > minTrailingLogs && entries > 0 {
			if mean := max(bytes/int64(entries), 1); int64(n)*mean > budget {
				t.Fatalf("%d entries of %d bytes are over %d", n, mean, budget)
			}
		}
	})
}

// Raft refuses a snapshot while its newest configuration is newer than what the
// state machine has seen.
func TestASnapshotRightAfterAChangeOfConfiguration(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil, "a", "b")
		c.bootstrap([]string{"a"}, nil)
		leader := c.leader()
		c.put(leader, "x")
		if err := leader.group.addNonvoter(context.Background(), "b"); err != nil {
			t.Fatal(err)
		}
		if err := leader.group.Snapshot(context.Background()); err != nil {
			t.Error(err)
		}
		c.stopGroup(leader.group)
		leader = c.start("a")
		c.leader("a")
		c.put(leader, "y")
		c.agree([]string{"x", "y"}, c.ids...)
	})
}
