package shard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func TestAReadSeesWhatWasAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		for _, v := range numbered("v", 20) {
			applied := c.put(leader, v)
			index, err := leader.group.ReadIndex(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if index < applied.Index {
				t.Fatalf("the read is at %d, but %d was acknowledged", index, applied.Index)
			}
			follower := c.nodes[c.others(leader.id)[0]]
			if err := follower.group.WaitApplied(context.Background(), index); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(follower.machine.values(), v) {
				t.Fatalf("the follower at index %d does not have %s", index, v)
			}
		}
	})
}

// staleLeader makes a leader that does not know yet that another was elected, and
// has the other one acknowledge "new".
func staleLeader(t *testing.T, c *testCluster) (old, next *testNode) {
	t.Helper()
	old = c.leader()
	c.put(old, "old")
	c.agree([]string{"old"}, c.ids...)
	rest := c.others(old.id)
	next = c.nodes[rest[0]]
	// One follower is told to campaign at once, and nobody tells the leader.
	c.block(rest[0], old.id)
	c.block(rest[1], old.id)
	go func() { _ = old.group.TransferLeadership(context.Background(), next.id) }()
	synctest.Wait()
	// No time has passed since: the old leader has not sent a heartbeat.
	c.isolate(old.id)
	if _, ok := next.group.Leading(); !ok {
		t.Fatalf("%s was not elected%s", next.id, c)
	}
	c.put(next, "new")
	if _, ok := old.group.Leading(); !ok {
		t.Fatalf("%s knows already that it was deposed%s", old.id, c)
	}
	return old, next
}

func TestAStaleLeaderDoesNotRead(t *testing.T) {
	for name, open := range map[string]bool{"cut off": false, "voters deny": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newFormed(t, nil, "a", "b", "c")
				old, next := staleLeader(t, c)
				c.mu.Lock()
				c.confirmOpen = open
				c.mu.Unlock()
				start := time.Now()
				index, err := old.group.ReadIndex(context.Background())
				if err == nil {
					t.Fatalf("the stale leader read at %d, which lacks \"new\": %v", index, old.machine.values())
				}
				if took := time.Since(start); took > LAN().Confirm || open && took > 0 {
					t.Errorf("the refusal took %v", took)
				}
				if _, err := next.group.ReadIndex(context.Background()); err != nil {
					t.Errorf("the new leader: %v", err)
				}
				c.heal()
				c.agree([]string{"old", "new"}, c.ids...)
			})
		})
	}
}

func TestConfirmCountsVotersOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil, "a", "b", "c", "d", "e", "f")
		c.bootstrap([]string{"a", "b", "c"}, []string{"d", "e", "f"})
		leader := c.leader()
		c.put(leader, "x")
		c.agree([]string{"x"}, c.ids...)
		voters := slices.DeleteFunc([]string{"a", "b", "c"}, func(id string) bool { return id == leader.id })
		c.mu.Lock()
		c.asked = nil
		c.confirmCut[voters[0]] = true
		c.mu.Unlock()
		if _, err := leader.group.ReadIndex(context.Background()); err != nil {
			t.Fatalf("with one of two other voters: %v", err)
		}
		c.mu.Lock()
		c.confirmCut[voters[1]] = true
		c.mu.Unlock()
		_, err := leader.group.ReadIndex(context.Background())
		wantError(t, err, typesv1.Reason_REASON_NO_LEADER, true)
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, id := range c.asked {
			if !slices.Contains(voters, id) {
				t.Errorf("%s was asked, which is not another voter", id)
			}
		}
	})
}

func TestOneRoundServesAllWaitingReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		gate := make(chan struct{})
		c.mu.Lock()
		c.asked, c.confirmGate = nil, gate
		c.mu.Unlock()
		var wg sync.WaitGroup
		read := func() {
			if _, err := leader.group.ReadIndex(context.Background()); err != nil {
				t.Error(err)
			}
		}
		wg.Go(read)
		synctest.Wait()
		for range 100 {
			wg.Go(read)
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.asked) != 4 {
			t.Errorf("two rounds of two voters were expected, %d questions were asked", len(c.asked))
		}
	})
}

func TestAReadEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		c.mu.Lock()
		c.confirmGate = make(chan struct{})
		c.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := leader.group.ReadIndex(ctx)
		wantError(t, err, typesv1.Reason_REASON_NO_LEADER, true)
		if took := time.Since(start); took > 10*time.Millisecond {
			t.Errorf("took %v", took)
		}
		// Without a deadline the round has one.
		_, err = leader.group.ReadIndex(context.Background())
		wantError(t, err, typesv1.Reason_REASON_NO_LEADER, true)
		if took := time.Since(start); took > 3*LAN().Confirm {
			t.Errorf("took %v", took)
		}
	})
}

func TestConfirmTermIsExact(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		term, _ := leader.group.Leading()
		follower := c.nodes[c.others(leader.id)[0]].group
		for asked, want := range map[uint64]bool{term - 1: false, term: true, term + 1: false} {
			if ok, current := follower.ConfirmTerm(asked); ok != want || current != term {
				t.Errorf("ConfirmTerm(%d) in term %d: %t, %d", asked, term, ok, current)
			}
		}
		c.stopGroup(follower)
		if ok, _ := follower.ConfirmTerm(term); ok {
			t.Error("a closed replica confirms")
		}
	})
}

func TestWaitAppliedEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a")
		g := c.leader().group
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := g.WaitApplied(ctx, 1_000_000)
		wantError(t, err, typesv1.Reason_REASON_UNAVAILABLE, true)
		done := make(chan error, 1)
		go func() { done <- g.WaitApplied(context.Background(), 1_000_000) }()
		synctest.Wait()
		c.stopGroup(g)
		if err := <-done; err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v from a closed group", err)
		}
	})
}

// A follower may have applied what the leader has committed and is yet to apply.
// A read on the leader that begins after a read on the follower must see as much.
func TestAReadSeesWhatAnEarlierReadSawElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		follower := c.nodes[c.others(leader.id)[0]]
		release := leader.machine.hold()
		var wg sync.WaitGroup
		wg.Go(func() { c.put(leader, "x") })
		c.agree([]string{"x"}, follower.id)

		var seen []string
		wg.Go(func() {
			if _, err := leader.group.ReadIndex(context.Background()); err != nil {
				t.Error(err)
			}
			seen = leader.machine.values()
		})
		synctest.Wait()
		release()
		wg.Wait()
		if !slices.Equal(seen, []string{"x"}) {
			t.Errorf("the read saw %v after a follower had shown x", seen)
		}
	})
}

// Nothing but a change of configuration has been committed since Lead.
func TestAReadAfterAChangeOfConfiguration(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil, "a", "b")
		c.bootstrap([]string{"a"}, nil)
		leader := c.leader()
		for range 3 {
			if err := leader.group.addNonvoter(context.Background(), "b"); err != nil {
				t.Fatal(err)
			}
			index, err := leader.group.ReadIndex(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if err := c.nodes["b"].group.WaitApplied(context.Background(), index); err != nil {
				t.Fatal(err)
			}
		}
	})
}
