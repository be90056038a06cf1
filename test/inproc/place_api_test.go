package inproc

import (
	"slices"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// TestPlacementThroughTheAPI does with a client what an operator does: looks at the plan,
// moves a leader, drains a node and uses it again, adds one, and sends one away.
func TestPlacementThroughTheAPI(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 4, Configure: quickPlacement})
	cl, ctx := c.Client(), testContext(t)
	idle := func(what string, also func(st *spexv1.GetStatusResponse) bool) {
		t.Helper()
		Eventually(t, what, func() bool {
			plan, err := cl.Plan(ctx)
			if err != nil || len(plan.GetSteps())+len(plan.GetRunning()) > 0 {
				return false
			}
			st, err := cl.Status(ctx, false)
			return err == nil && also(st)
		})
	}
	idle("a fresh cluster to be settled", func(st *spexv1.GetStatusResponse) bool {
		return tolerances(st, 1) && leadersEven(st)
	})
	plan, err := cl.Plan(ctx)
	if err != nil || plan.GetPaused() || plan.GetReplicas() != 3 || plan.GetDeadAfter().AsDuration() != 10*time.Minute {
		t.Fatalf("the plan is %v, %v", plan, err)
	}

	refusals(t, c, cl)

	// Paused, so that the leader stays where it is put.
	yes, no := true, false
	if resp, err := cl.SetPlacement(ctx, client.PlacementChange{Paused: &yes}); err != nil || !resp.GetChanged() {
		t.Fatalf("pause: %v, %v", resp, err)
	}
	st := c.Status(0)
	shard := st.GetShards()[0]
	to := shard.GetReplicas()[slices.IndexFunc(shard.GetReplicas(), func(r *spexv1.ReplicaStatus) bool { return r.GetNodeId() != shard.GetLeader() })]
	moved, err := cl.TransferLeadership(ctx, shard.GetId(), to.GetNodeName())
	if err != nil || moved.GetFrom() != shard.GetLeader() || moved.GetTo() != to.GetNodeId() {
		t.Fatalf("the leadership moved as %v, %v; want it to go from %s to %s", moved, err, shard.GetLeader(), to.GetNodeId())
	}
	if again, err := cl.TransferLeadership(ctx, shard.GetId(), to.GetNodeId()); err != nil || again.GetFrom() != to.GetNodeId() || again.GetTo() != to.GetNodeId() {
		t.Fatalf("a transfer to the leader itself: %v, %v", again, err)
	}
	if other, err := cl.TransferLeadership(ctx, 0, ""); err != nil || other.GetFrom() == other.GetTo() {
		t.Fatalf("the catalog's leadership moved as %v, %v", other, err)
	}
	if st := c.Status(0); !st.GetPlacementPaused() {
		t.Error("the status does not say that the placement is paused")
	}
	if resp, err := cl.SetPlacement(ctx, client.PlacementChange{Paused: &no}); err != nil || !resp.GetChanged() {
		t.Fatalf("resume: %v, %v", resp, err)
	}

	drained := st.GetNodes()[1]
	setState(t, cl, drained.GetName(), spexv1.NodeState_NODE_STATE_DRAINING, true)
	setState(t, cl, drained.GetId(), spexv1.NodeState_NODE_STATE_DRAINING, false)
	idle("the drained node to lead nothing", func(st *spexv1.GetStatusResponse) bool {
		n := statusOf(st, drained.GetId())
		return n.GetState() == spexv1.NodeState_NODE_STATE_DRAINING && n.GetLeaders() == 0 && n.GetReplicas() == 4 && st.GetCatalog().GetLeader() != n.GetId()
	})
	setState(t, cl, drained.GetId(), spexv1.NodeState_NODE_STATE_ACTIVE, true)
	idle("the leaders to be spread again", leadersEven)

	c.Launch(c.Grow())
	idle("the new node to hold its share", func(st *spexv1.GetStatusResponse) bool { return spread(st, 4, 3) && leadersEven(st) })
	leaver := c.Status(0).GetNodes()[2]
	setState(t, cl, leaver.GetName(), spexv1.NodeState_NODE_STATE_DECOMMISSIONING, true)
	idle("the decommissioned node to be forgotten", func(st *spexv1.GetStatusResponse) bool {
		return statusOf(st, leaver.GetId()) == nil && spread(st, 3, 3) && tolerances(st, 1) && leadersEven(st)
	})
}

// refusals asks for what cannot be.
func refusals(t *testing.T, c *Cluster, cl *client.Client) {
	t.Helper()
	ctx := testContext(t)
	short, id := time.Millisecond, c.Status(0).GetNodes()[1].GetId()
	for name, f := range map[string]struct {
		call func() error
		want typesv1.Reason
	}{
		"an unknown node": {func() error {
			_, err := cl.SetNodeState(ctx, "nobody", spexv1.NodeState_NODE_STATE_DRAINING)
			return err
		}, typesv1.Reason_REASON_NODE_NOT_FOUND},
		"a living node removed": {func() error {
			_, err := cl.SetNodeState(ctx, id, spexv1.NodeState_NODE_STATE_REMOVED)
			return err
		}, typesv1.Reason_REASON_INVALID_ARGUMENT},
		"no state": {func() error {
			_, err := cl.SetNodeState(ctx, id, 0)
			return err
		}, typesv1.Reason_REASON_INVALID_ARGUMENT},
		"a short silence": {func() error {
			_, err := cl.SetPlacement(ctx, client.PlacementChange{DeadAfter: &short})
			return err
		}, typesv1.Reason_REASON_INVALID_ARGUMENT},
		"nothing": {func() error {
			_, err := cl.SetPlacement(ctx, client.PlacementChange{})
			return err
		}, typesv1.Reason_REASON_INVALID_ARGUMENT},
		"an unknown shard": {func() error {
			_, err := cl.TransferLeadership(ctx, 99, "")
			return err
		}, typesv1.Reason_REASON_INVALID_ARGUMENT},
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, f.call(), f.want) })
	}
}

// setState changes the state of a node, and tells whether that was a change.
func setState(t *testing.T, cl *client.Client, node string, state spexv1.NodeState, changes bool) {
	t.Helper()
	resp, err := cl.SetNodeState(testContext(t), node, state)
	if err != nil || resp.GetChanged() != changes || resp.GetNodeId() == "" {
		t.Fatalf("%s to %v: %v, %v; want changed %v", node, state, resp, err, changes)
	}
}

func statusOf(st *spexv1.GetStatusResponse, id string) *spexv1.NodeStatus {
	for _, n := range st.GetNodes() {
		if n.GetId() == id {
			return n
		}
	}
	return nil
}

// tolerances tells whether every group survives as many failures, and its members vote.
func tolerances(st *spexv1.GetStatusResponse, want int32) bool {
	for _, g := range append([]*spexv1.ShardStatus{st.GetCatalog()}, st.GetShards()...) {
		if g.FailureTolerance == nil || g.GetFailureTolerance() != want {
			return false
		}
		for _, r := range g.GetReplicas() {
			if g.GetId() != 0 && !r.GetVoter() {
				return false
			}
		}
	}
	return true
}

// leadersEven tells whether no node leads two shards more than another.
func leadersEven(st *spexv1.GetStatusResponse) bool {
	led := map[string]int{}
	for _, n := range st.GetNodes() {
		led[n.GetId()] = 0
	}
	for _, s := range st.GetShards() {
		if s.GetLeader() == "" {
			return false
		}
		led[s.GetLeader()]++
	}
	lo, hi := len(st.GetShards()), 0
	for _, k := range led {
		lo, hi = min(lo, k), max(hi, k)
	}
	return hi-lo <= 1
}
