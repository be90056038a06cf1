package main

import (
	"slices"
	"strings"
	"testing"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// sixShards is a healthy cluster of three nodes.
func sixShards() statusJSON {
	s := statusJSON{NodeID: "n1-0001", ReplicasAsked: 3}
	for _, name := range []string{"n1", "n2", "n3"} {
		s.Nodes = append(s.Nodes, nodeJSON{ID: name + "-0001", Name: name, Reachable: true})
	}
	for id := range uint32(7) {
		one := int32(1)
		g := shardJSON{ID: id, Leader: "n1-0001", Formed: true, FailureTolerance: &one}
		for _, n := range s.Nodes {
			g.Replicas = append(g.Replicas, replicaJSON{NodeID: n.ID, NodeName: n.Name, State: "follower"})
		}
		if id == 0 {
			s.Catalog = g
		} else {
			s.Shards = append(s.Shards, g)
		}
	}
	return s
}

// TestStatusSaysOnceWhatIsSoWithManyShards: a cluster has up to 1,024 of them.
func TestStatusSaysOnceWhatIsSoWithManyShards(t *testing.T) {
	if got := statusProblems(sixShards()); len(got) != 0 {
		t.Fatalf("a healthy cluster has problems: %q", got)
	}
	none, all := int32(0), func(change func(g *shardJSON)) func(s *statusJSON) {
		return func(s *statusJSON) {
			for i := range s.Shards {
				change(&s.Shards[i])
			}
		}
	}
	for name, c := range map[string]struct {
		change func(s *statusJSON)
		want   []string
	}{
		"one without a leader": {func(s *statusJSON) { s.Shards[1].Leader = "" }, []string{"shard 2 has no leader"}},
		"no leaders":           {all(func(g *shardJSON) { g.Leader = "" }), []string{"shards 1, 2, 3, 4, 5 and 1 more have no leader"}},
		"two copies": {all(func(g *shardJSON) { g.Replicas = g.Replicas[:2] }),
			[]string{"shards 1, 2, 3, 4, 5 and 1 more have 2 replicas of the 3 asked for each"}},
		"a voter of the catalog and of two shards is away": {func(s *statusJSON) {
			s.Catalog.FailureTolerance, s.Shards[0].FailureTolerance, s.Shards[4].FailureTolerance = &none, &none, &none
		}, []string{"catalog and shards 1, 5 survive fewer failures than the 1 that 3 replicas are for"}},
		"while it is formed": {all(func(g *shardJSON) { g.Formed, g.Leader = false, "" }),
			[]string{"shards 1, 2, 3, 4, 5 and 1 more are not formed yet"}},
		"asked of a node that has just started": {func(s *statusJSON) {
			all(func(g *shardJSON) { g.Formed = false })(s)
			s.Catalog.Replicas[0].Lag = 138
		}, []string{"n1, which gave this answer, lacks the last 138 entries of the catalog, and may be wrong about nodes and shards: ask again, or another node"}},
	} {
		s := sixShards()
		c.change(&s)
		if got := statusProblems(s); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestAPlanThatWaitsIsNotSettled: 'plan --wait' is what operators put between two
// steps, and a plan that waits for a node or a leader is not done.
func TestAPlanThatWaitsIsNotSettled(t *testing.T) {
	change := []*spexv1.PlanChange{{Shard: 1}}
	wait := []*spexv1.PlanWait{{Shard: 1, Why: "shard 1 should have 3 replicas, and there are only 2 nodes to hold one: add a node"}}
	for _, c := range []struct {
		plan *spexv1.GetPlanResponse
		want string
	}{
		{&spexv1.GetPlanResponse{}, ""},
		{&spexv1.GetPlanResponse{Paused: true}, ""},
		{&spexv1.GetPlanResponse{Steps: change, Waiting: wait}, "1 change left"},
		{&spexv1.GetPlanResponse{Running: change}, "1 change left"},
		{&spexv1.GetPlanResponse{Waiting: wait}, "something is waited for"},
		{&spexv1.GetPlanResponse{Waiting: wait, Paused: true}, "the placement is paused"},
	} {
		if got := planLeft(c.plan); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%v: %q, want %q", c.plan, got, c.want)
		}
	}
}

// TestNodesThatAreAwayTakeNothing: those that do not answer are none to decommission others to.
func TestNodesThatAreAwayTakeNothing(t *testing.T) {
	fake := startFake(t)
	sh := newShell(fake)
	fake.mu.Lock()
	fake.placingLocked()
	fake.statusAnswer.Nodes = append(fake.statusAnswer.Nodes, &spexv1.NodeStatus{Id: "n4-0001", Name: "n4", Gossip: "dead"})
	fake.mu.Unlock()
	if code := sh.run(t, "cluster", "decommission", "n1"); code != exitNo || !strings.Contains(sh.stderr.String(), "there are 2 nodes for the 3 replicas") {
		t.Errorf("exit %d: %s", code, sh.stderr.String())
	}
	if code := sh.run(t, "cluster", "decommission", "n1", "--fewer-replicas"); code != 0 || !strings.Contains(sh.stderr.String(), "warning: 2 nodes stay for the 3 replicas") {
		t.Errorf("exit %d: %s", code, sh.stderr.String())
	}
}
