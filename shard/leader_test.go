package shard

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func TestANewLeaderServesWhatTheOldOneAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := formedWithFailover(t, "a", "b", "c")
		values := numbered("v", 50)
		old := c.leader()
		for _, v := range values {
			c.put(old, v)
		}
		c.crash(old.id)
		next := c.leader(c.others(old.id)...)
		if next.id == old.id {
			t.Fatal("the dead node leads")
		}
		if got := next.machine.values(); !slices.Equal(got, values) {
			t.Errorf("the new leader has %d values when it leads, want %d", len(got), len(values))
		}
		c.put(next, "more")

		// The old one comes back with what it had, and catches up.
		c.start(old.id)
		c.heal()
		c.agree(append(values, "more"), c.ids...)
	})
}

func TestLeadComesFirstInEveryTerm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		var want []leadRecord
		for i := range 4 {
			leader := c.leader()
			term, ok := leader.group.Leading()
			if !ok {
				t.Fatal("the leader does not lead")
			}
			want = append(want, leadRecord{Term: term, Node: leader.id, After: i})
			c.put(leader, "v")
			if err := leader.group.TransferLeadership(context.Background(), ""); err != nil {
				t.Fatal(err)
			}
			c.eventually("the leader to step down", func() bool { _, ok := leader.group.Leading(); return !ok })
		}
		last := c.leader()
		if got := last.machine.leads()[:4]; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestNotLeadingBeforeLeadIsApplied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil, "a")
		n := c.nodes["a"]
		release := n.machine.hold()
		if err := n.group.Bootstrap([]string{"a"}, nil); err != nil {
			t.Fatal(err)
		}
		c.eventually("raft to lead", n.group.raftLeads)
		synctest.Wait()
		if _, ok := n.group.Leading(); ok {
			t.Fatal("leading before Lead was applied")
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := n.group.ReadIndex(ctx)
		wantError(t, err, typesv1.Reason_REASON_NO_LEADER, true)

		// A command waits for the leader to be ready.
		done := make(chan error, 1)
		go func() {
			_, err := n.group.Propose(context.Background(), put("x"))
			done <- err
		}()
		synctest.Wait()
		release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if leads := n.machine.leads(); len(leads) != 1 || leads[0].After != 0 {
			t.Errorf("leads: %v", leads)
		}
	})
}

func TestOnLeaderTellsTheLatestState(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		old := c.leader()
		c.isolate(old.id)
		next := c.leader(c.others(old.id)...)
		c.heal()
		term, _ := next.group.Leading()
		want := LeaderState{Leader: next.id, Term: term}
		for _, id := range c.ids {
			n := c.nodes[id]
			c.eventually("the last state of "+id, func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				want := want
				want.Leading = id == next.id
				return len(n.states) > 0 && n.states[len(n.states)-1] == want && n.group.LeaderState() == want
			})
		}
		led := func(s LeaderState) bool { return s.Leading && s.Leader == old.id }
		old.mu.Lock()
		defer old.mu.Unlock()
		i := slices.IndexFunc(old.states, led)
		if i < 0 || led(old.states[i+1]) {
			t.Errorf("the old leader was told %+v", old.states)
		}
	})
}

func TestARejoiningNodeCausesNoElection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		term, _ := leader.group.Leading()
		away := c.others(leader.id)[0]
		c.isolate(away)
		time.Sleep(30 * time.Second)
		c.put(leader, "x")
		c.heal()
		c.agree([]string{"x"}, c.ids...)
		time.Sleep(10 * time.Second)
		if now, ok := leader.group.Leading(); !ok || now != term {
			t.Errorf("the leader of term %d leads %t in term %d after a node came back", term, ok, now)
		}
	})
}
