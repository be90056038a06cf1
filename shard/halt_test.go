package shard

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// expectHalted waits until a node's group has halted and checks what that means.
func expectHalted(t *testing.T, c *testCluster, n *testNode, cause string) {
	t.Helper()
	c.eventually("the halt of "+n.id, func() bool { return n.group.Status().State == StateHalted })
	time.Sleep(10 * time.Second)
	s := n.group.Status()
	if s.Halted == nil || !strings.Contains(s.Halted.Error(), cause) {
		t.Errorf("halted because of %v, want %q", s.Halted, cause)
	}
	select {
	case <-n.group.shutdown:
	default:
		t.Error("raft still runs")
	}
	n.mu.Lock()
	halts := len(n.halts)
	n.mu.Unlock()
	if halts != 1 {
		t.Errorf("OnHalt was called %d times", halts)
	}
	ctx := context.Background()
	_, err := n.group.Propose(ctx, put("x"))
	wantError(t, err, typesv1.Reason_REASON_GROUP_HALTED, true)
	_, err = n.group.ReadIndex(ctx)
	wantError(t, err, typesv1.Reason_REASON_GROUP_HALTED, true)
	wantError(t, n.group.WaitApplied(ctx, 1<<40), typesv1.Reason_REASON_GROUP_HALTED, true)
	wantError(t, n.group.Snapshot(ctx), typesv1.Reason_REASON_GROUP_HALTED, true)
	wantError(t, n.group.addVoter(ctx, "z"), typesv1.Reason_REASON_GROUP_HALTED, true)
	if ok, _ := n.group.ConfirmTerm(s.Term); ok {
		t.Error("a halted replica confirms a leader")
	}
	if _, leading := n.group.Leading(); leading {
		t.Error("a halted replica leads")
	}
}

func TestAFollowerThatCannotApplyHaltsAlone(t *testing.T) {
	for _, value := range []string{"poison", "panic:poison"} {
		t.Run(value, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newFormed(t, nil, "a", "b", "c")
				leader := c.leader()
				victim := c.nodes[c.others(leader.id)[0]]
				victim.machine.poison = "poison"
				// The victim gets all of it at once, before anything could stop Raft.
				c.isolate(victim.id)
				c.put(leader, "before")
				c.put(leader, value)
				c.put(leader, "after")
				c.heal()
				expectHalted(t, c, victim, "cannot apply "+value)
				if got := victim.machine.values(); !slices.Equal(got, []string{"before"}) {
					t.Errorf("the halted replica has %v", got)
				}
				// A majority is left.
				c.put(leader, "more")
				c.agree([]string{"before", value, "after", "more"}, c.others(victim.id)...)
			})
		})
	}
}

func TestALeaderThatCannotApplyHalts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		old := c.leader()
		old.machine.poison = "poison"
		_, err := old.group.Propose(context.Background(), put("poison"))
		// The entry is committed; the others apply it.
		wantError(t, err, typesv1.Reason_REASON_GROUP_HALTED, false)
		expectHalted(t, c, old, "cannot apply poison")
		next := c.leader(c.others(old.id)...)
		c.put(next, "after")
		c.agree([]string{"poison", "after"}, c.others(old.id)...)
	})
}

func TestWhatWaitsWhenALeaderHaltsIsNotApplied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		old := c.leader()
		old.machine.poison = "poison"
		release := old.machine.hold()
		errs := make(chan error, 2)
		go func() { _, err := old.group.Propose(context.Background(), put("poison")); errs <- err }()
		synctest.Wait()
		go func() { _, err := old.group.Propose(context.Background(), put("queued")); errs <- err }()
		synctest.Wait()
		release()
		for range 2 {
			var e interface{ Error() string }
			err := <-errs
			errors.As(err, &e)
			if !strings.Contains(err.Error(), "halted") {
				t.Errorf("got %v", e)
			}
		}
		c.agree([]string{"poison"}, c.others(old.id)...)
	})
}

func TestASnapshotThatCannotBeRestoredHalts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, smallSnapshots, "a", "b", "c")
		leader := c.leader()
		away := c.nodes[c.others(leader.id)[0]]
		c.put(leader, "first")
		c.agree([]string{"first"}, c.ids...)
		c.isolate(away.id)
		fill(c, leader, "v", 500)
		away.machine.failRestores(errors.New("damaged"))
		c.heal()
		expectHalted(t, c, away, "damaged")
		if got := away.machine.values(); !slices.Equal(got, []string{"first"}) {
			t.Errorf("the replica has %d values, want what it had before", len(got))
		}
		c.put(leader, "more")
	})
}

func TestOpenRefusesASnapshotThatCannotBeRestored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a")
		n := c.leader()
		c.put(n, "x")
		if err := n.group.Snapshot(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.stopGroup(n.group)
		n.machine = &listMachine{failing: errors.New("damaged")}
		_, err := Open(n.config(c))
		if err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Fatalf("got %v", err)
		}
	})
}
