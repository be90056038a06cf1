package shard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func TestBootstrapHappensOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil, "a", "b", "c")
		if err := c.nodes["c"].group.Bootstrap([]string{"a", "b"}, nil); !errors.Is(err, ErrNotVoter) {
			t.Errorf("a node that is no voter: %v", err)
		}
		if err := c.nodes["a"].group.Bootstrap(nil, nil); err == nil {
			t.Error("a group without voters")
		}
		// All may bootstrap, in any order, with the same lists.
		for _, id := range c.ids {
			if err := c.nodes[id].group.Bootstrap(c.ids, nil); err != nil && !errors.Is(err, ErrHasState) {
				t.Error(err)
			}
		}
		leader := c.leader()
		c.put(leader, "x")
		for _, id := range c.ids {
			if err := c.nodes[id].group.Bootstrap(c.ids, nil); !errors.Is(err, ErrHasState) {
				t.Errorf("%s again: %v", id, err)
			}
		}
		c.agree([]string{"x"}, c.ids...)
	})
}

func TestMembershipChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil, "a", "b", "c", "d")
		c.bootstrap([]string{"a", "b", "c"}, nil)
		leader := c.leader()
		ctx := context.Background()
		c.put(leader, "x")
		if err := leader.group.addNonvoter(ctx, "d"); err != nil {
			t.Fatal(err)
		}
		c.agree([]string{"x"}, "d")
		if s := leader.group.Status(); !slices.Equal(s.Nonvoters, []string{"d"}) || len(s.Voters) != 3 {
			t.Errorf("status: %+v", s)
		}
		if err := leader.group.addVoter(ctx, "d"); err != nil {
			t.Fatal(err)
		}
		gone := c.others(leader.id, "d")[0]
		if err := leader.group.removeServer(ctx, gone); err != nil {
			t.Fatal(err)
		}
		s := leader.group.Status()
		slices.Sort(s.Voters)
		if want := c.others(gone); !slices.Equal(s.Voters, want) || len(s.Nonvoters) != 0 {
			t.Errorf("status: %+v, want voters %v", s, want)
		}
		follower := c.nodes[c.others(leader.id, gone)[0]]
		wantError(t, follower.group.addVoter(ctx, gone), typesv1.Reason_REASON_NOT_LEADER, true)
		if err := leader.group.TransferLeadership(ctx, "d"); err != nil {
			t.Fatal(err)
		}
		if next := c.leader("d"); next.id != "d" {
			t.Errorf("%s leads", next.id)
		}
		wantError(t, leader.group.TransferLeadership(ctx, "d"), typesv1.Reason_REASON_NOT_LEADER, true)
	})
}

func TestALeaderThatRemovesItselfStepsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		old := c.leader()
		c.put(old, "x")
		if err := old.group.removeServer(context.Background(), old.id); err != nil {
			t.Fatal(err)
		}
		next := c.leader(c.others(old.id)...)
		c.put(next, "y")
		c.agree([]string{"x", "y"}, c.others(old.id)...)
		c.eventually("the removed leader to step down", func() bool { _, ok := old.group.Leading(); return !ok })
		if s := old.group.Status(); s.State != "follower" {
			t.Errorf("the removed node is a %s", s.State)
		}
	})
}

func TestAMembershipChangeWithoutMajorityEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		c.isolate(leader.id)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		wantError(t, leader.group.addVoter(ctx, "d"), typesv1.Reason_REASON_OUTCOME_UNKNOWN, false)
	})
}

func TestCloseHandsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		old := c.leader()
		c.put(old, "x")
		start := time.Now()
		c.stopGroup(old.group)
		next := c.leader(c.others(old.id)...)
		// An election that nobody called would take longer than a heartbeat.
		if took := time.Since(start); took >= LAN().Heartbeat {
			t.Errorf("the new leader took %v", took)
		}
		c.put(next, "y")
		ctx := context.Background()
		_, err := old.group.Propose(ctx, put("z"))
		wantError(t, err, typesv1.Reason_REASON_UNAVAILABLE, true)
		if err := old.group.Snapshot(ctx); err == nil {
			t.Error("a snapshot of a closed group")
		}
		if s := old.group.Status(); s.State != StateShutdown {
			t.Errorf("the closed group is in state %s", s.State)
		}
		c.stopGroup(old.group) // again
	})
}

func TestCloseLetsTheBatchInFlightFinish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		release := leader.machine.hold()
		var wg sync.WaitGroup
		var inFlight, queued error
		wg.Go(func() { _, inFlight = leader.group.Propose(context.Background(), put("in flight")) })
		synctest.Wait()
		wg.Go(func() { _, queued = leader.group.Propose(context.Background(), put("queued")) })
		synctest.Wait()
		wg.Go(func() { c.stopGroup(leader.group) })
		synctest.Wait()
		release()
		wg.Wait()
		if inFlight != nil {
			t.Errorf("in flight: %v", inFlight)
		}
		wantError(t, queued, typesv1.Reason_REASON_UNAVAILABLE, true)
		c.agree([]string{"in flight"}, c.others(leader.id)...)
	})
}

func TestCloseIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a")
		c.slow = true
		leader := c.leader()
		release := leader.machine.hold()
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = leader.group.Propose(context.Background(), put("stuck")) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if err := leader.group.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		release()
		wg.Wait()
		<-leader.group.shutdown
		leader.group.tasks.Wait()
	})
}

// hungLog is a log store whose writes hang while held.
type hungLog struct {
	raft.LogStore
	mu   sync.Mutex // guards gate
	gate chan struct{}
}

func (l *hungLog) hold() (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gate := make(chan struct{})
	l.gate = gate
	return func() {
		l.mu.Lock()
		l.gate = nil
		l.mu.Unlock()
		close(gate)
	}
}

func (l *hungLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

func (l *hungLog) StoreLogs(logs []*raft.Log) error {
	l.mu.Lock()
	gate := l.gate
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return l.LogStore.StoreLogs(logs)
}

// A leader whose disk hangs beats on (hashicorp/raft#503): the store ends the
// process. Until it does, nobody who calls the group may hang with it.
func TestCallersDoNotHangWithTheDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var disk *hungLog
		c := newFormed(t, func(cfg *Config) {
			disk = &hungLog{LogStore: cfg.Stores.Logs}
			cfg.Stores.Logs = disk
		}, "a")
		leader := c.leader()
		release := disk.hold()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		var stuck, queued error
		wg.Go(func() {
			_, err := leader.group.Propose(ctx, put("stuck"))
			stuck = err
		})
		synctest.Wait()
		wg.Go(func() {
			_, err := leader.group.Propose(ctx, put("queued"))
			queued = err
		})
		wg.Wait()
		wantError(t, stuck, typesv1.Reason_REASON_OUTCOME_UNKNOWN, false)
		wantError(t, queued, typesv1.Reason_REASON_UNAVAILABLE, true)
		if s := leader.group.Status(); s.Queued != 1 {
			t.Errorf("status of a hung group: %+v", s)
		}
		release()
		c.put(leader, "after")
		c.agree([]string{"stuck", "after"}, "a")
	})
}
