package shard

import (
	"context"
	"slices"
	"testing"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestChangesFitTheConfiguration: a change is made on the configuration that it
// was decided on, once, and what raft would take for another change is refused.
func TestChangesFitTheConfiguration(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil, "a", "b", "c", "d")
		c.bootstrap([]string{"a", "b", "c"}, nil)
		leader := c.leader()
		c.put(leader, "x")
		other := c.others(leader.id, "d")[0]
		three := []string{"c", "a", "b"} // in any order
		for name, bad := range map[string]MemberChange{
			"no node":                    {Kind: AddNonvoterChange, Voters: three},
			"another configuration":      {Kind: AddNonvoterChange, Node: "d", Voters: []string{"a", "b"}},
			"a non-voter that votes":     {Kind: AddNonvoterChange, Node: other, Voters: three},
			"a vote for a stranger":      {Kind: PromoteChange, Node: "d", Voters: three},
			"a second vote":              {Kind: PromoteChange, Node: other, Voters: three},
			"a stranger without vote":    {Kind: DemoteChange, Node: "d", Voters: three},
			"the removal of a stranger":  {Kind: RemoveChange, Node: "d", Voters: three},
			"the leader removes itself":  {Kind: RemoveChange, Node: leader.id, Voters: three},
			"the leader demotes itself":  {Kind: DemoteChange, Node: leader.id, Voters: three},
			"leadership to a stranger":   {Kind: TransferChange, Node: "d", Voters: three},
			"a change that nobody knows": {Kind: 17, Node: "d", Voters: three},
		} {
			t.Log(name)
			wantError(t, leader.group.Change(t.Context(), bad), typesv1.Reason_REASON_PLACEMENT_CHANGED, true)
		}
		wantError(t, c.nodes[other].group.Change(t.Context(), MemberChange{Kind: AddNonvoterChange, Node: "d", Voters: three}), typesv1.Reason_REASON_NOT_LEADER, true)

		change := func(c MemberChange) {
			t.Helper()
			if err := leader.group.Change(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		change(MemberChange{Kind: TransferChange, Node: leader.id, Voters: three})
		change(MemberChange{Kind: AddNonvoterChange, Node: "d", Voters: three})
		c.agree([]string{"x"}, "d")
		wantError(t, leader.group.Change(t.Context(), MemberChange{Kind: AddNonvoterChange, Node: "d", Voters: three}), typesv1.Reason_REASON_PLACEMENT_CHANGED, true)
		change(MemberChange{Kind: PromoteChange, Node: "d", Voters: three, Nonvoters: []string{"d"}})
		four := append(slices.Clone(three), "d")
		change(MemberChange{Kind: DemoteChange, Node: other, Voters: four})
		voters, nonvoters := leader.group.Members()
		slices.Sort(voters)
		if !slices.Equal(voters, c.others(other)) || !slices.Equal(nonvoters, []string{other}) {
			t.Fatalf("voters %v, non-voters %v", voters, nonvoters)
		}
		change(MemberChange{Kind: RemoveChange, Node: other, Voters: voters, Nonvoters: nonvoters})
		change(MemberChange{Kind: TransferChange, Node: "d", Voters: voters})
		if next := c.leader(voters...); next.id != "d" {
			t.Errorf("%s leads", next.id)
		}
	})
}

// TestOneChangeAtATime: a change that does not come to its end, since the leader
// has no majority, holds up the next one, which might be wrong after it.
func TestOneChangeAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil, "a", "b", "c", "d")
		three := []string{"a", "b", "c"}
		c.bootstrap(three, nil)
		leader := c.leader()
		c.isolate(leader.id)
		short := func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			t.Cleanup(cancel)
			return ctx
		}
		wantError(t, leader.group.Change(short(), MemberChange{Kind: AddNonvoterChange, Node: "d", Voters: three}), typesv1.Reason_REASON_OUTCOME_UNKNOWN, false)
		wantError(t, leader.group.Change(short(), MemberChange{Kind: RemoveChange, Node: c.others(leader.id)[0], Voters: three}), typesv1.Reason_REASON_UNAVAILABLE, true)
	})
}

// TestSettledConfiguration: a leader says that its configuration is committed only
// when it is: not while a change is under way, and not when it does not lead.
func TestSettledConfiguration(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil, "a", "b", "c", "d")
		three := []string{"a", "b", "c"}
		c.bootstrap(three, nil)
		leader := c.leader()
		c.put(leader, "x")
		if s := leader.group.Status(); !s.Settled || len(s.Voters) != 3 {
			t.Fatalf("a leader with nothing under way: %+v", s)
		}
		other := c.others(leader.id, "d")[0]
		if c.nodes[other].group.Status().Settled {
			t.Error("a follower cannot know")
		}
		// Followers that do not hear the leader keep the change from being committed.
		c.isolate(leader.id)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		wantError(t, leader.group.Change(ctx, MemberChange{Kind: RemoveChange, Node: other, Voters: three}), typesv1.Reason_REASON_OUTCOME_UNKNOWN, false)
		if s := leader.group.Status(); s.Settled || len(s.Voters) != 2 {
			t.Errorf("a change that is logged here alone: %+v", s)
		}
		time.Sleep(5 * time.Second) // the others elect a leader, without the change
		c.heal()
		next := c.leader()
		c.put(next, "y")
		c.eventually("the leader to be sure of its configuration again", func() bool {
			s := c.leader().group.Status()
			return s.Settled && len(s.Voters) == 3
		})
	})
}
