package main

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// fakePlacement is what a fake knows of its placement. Each status that is asked
// for finds one group further on its way.
type fakePlacement struct {
	paused    bool
	deadAfter time.Duration
	replicas  uint32
	moves     bool // a replica of shard 1 is to move from n1 to n4
}

func (f *fakeCluster) placingLocked() *fakePlacement {
	if f.placing == nil {
		f.placing = &fakePlacement{deadAfter: 10 * time.Minute, replicas: 3}
	}
	if f.statusAnswer == nil {
		f.statusAnswer = healthyStatus()
	}
	return f.placing
}

// moveLocked takes one group a step further, unless the placement is paused.
func (f *fakeCluster) moveLocked() {
	if f.placing == nil || f.placing.paused {
		return
	}
	s := f.statusAnswer
	other := func(g *spexv1.ShardStatus, node string) *spexv1.ReplicaStatus {
		i := slices.IndexFunc(g.Replicas, func(r *spexv1.ReplicaStatus) bool { return r.NodeId != node })
		return g.Replicas[i]
	}
	for _, n := range s.Nodes {
		if n.State <= spexv1.NodeState_NODE_STATE_ACTIVE {
			continue
		}
		for _, g := range append([]*spexv1.ShardStatus{s.Catalog}, s.Shards...) {
			if g.Leader == n.Id {
				to := other(g, n.Id)
				g.Leader, g.LeaderName = to.NodeId, to.NodeName
				return
			}
		}
		if n.State == spexv1.NodeState_NODE_STATE_DRAINING {
			continue
		}
		for _, g := range s.Shards {
			before := len(g.Replicas)
			g.Replicas = slices.DeleteFunc(g.Replicas, func(r *spexv1.ReplicaStatus) bool { return r.NodeId == n.Id })
			if len(g.Replicas) < before {
				return
			}
		}
		s.Nodes = slices.DeleteFunc(s.Nodes, func(o *spexv1.NodeStatus) bool { return o == n })
		return
	}
}

func (f *fakeCluster) GetPlan(context.Context, *spexv1.GetPlanRequest) (*spexv1.GetPlanResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.placingLocked()
	resp := &spexv1.GetPlanResponse{Paused: p.paused, DeadAfter: durationpb.New(p.deadAfter), Replicas: p.replicas}
	if !p.moves {
		return resp, nil
	}
	change := func(kind spexv1.PlanKind, node, why string) *spexv1.PlanChange {
		return &spexv1.PlanChange{Kind: kind, Shard: 1, Node: node + "-0001", NodeName: node, Why: why}
	}
	transfer := change(spexv1.PlanKind_PLAN_KIND_TRANSFER, "n3", "n1 is decommissioned")
	transfer.From, transfer.FromName = "n1-0001", "n1"
	resp.Running = []*spexv1.PlanChange{change(spexv1.PlanKind_PLAN_KIND_ADD, "n4", "n4 opens its replica of shard 1 and gets the log, without a vote at first")}
	resp.Next = []*spexv1.PlanChange{change(spexv1.PlanKind_PLAN_KIND_PROMOTE, "n4", "n4 has been caught up for 10s")}
	resp.Steps = []*spexv1.PlanChange{
		resp.Next[0], transfer,
		change(spexv1.PlanKind_PLAN_KIND_REMOVE, "n1", "n1 is decommissioned"),
		change(spexv1.PlanKind_PLAN_KIND_UNPLACE, "n1", "n1 is no member of shard 1 any more and may delete its state"),
		{Kind: spexv1.PlanKind_PLAN_KIND_REMOVE_NODE, Node: "n1-0001", NodeName: "n1", Why: "n1 is decommissioned and holds nothing any more"},
	}
	resp.Waiting = []*spexv1.PlanWait{{Shard: 1, Node: "n4-0001", NodeName: "n4", Why: "n4 is catching up with shard 1: it has applied 50 of 100 entries"}}
	p.moves = false // done when it is asked for again
	return resp, nil
}

func (f *fakeCluster) SetNodeState(_ context.Context, req *spexv1.SetNodeStateRequest) (*spexv1.SetNodeStateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.placingLocked()
	n := findNode(f.statusAnswer, req.GetNode())
	if n == nil {
		return nil, refusal(codes.NotFound, typesv1.Reason_REASON_NODE_NOT_FOUND, "the cluster has no node %s", req.GetNode())
	}
	changed := stateName(n.State) != stateName(req.GetState())
	n.State = req.GetState()
	return &spexv1.SetNodeStateResponse{NodeId: n.Id, NodeName: n.Name, Changed: changed}, nil
}

func (f *fakeCluster) SetPlacement(_ context.Context, req *spexv1.SetPlacementRequest) (*spexv1.SetPlacementResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.placingLocked()
	before := *p
	if req.Paused != nil {
		p.paused = req.GetPaused()
	}
	if req.DeadAfter != nil {
		p.deadAfter = req.GetDeadAfter().AsDuration()
		if p.deadAfter == 0 {
			p.deadAfter = 10 * time.Minute
		}
	}
	if req.Replicas != nil {
		p.replicas = req.GetReplicas()
	}
	return &spexv1.SetPlacementResponse{Changed: *p != before}, nil
}

func (f *fakeCluster) TransferLeadership(_ context.Context, req *spexv1.TransferLeadershipRequest) (*spexv1.TransferLeadershipResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.placingLocked()
	for _, g := range append([]*spexv1.ShardStatus{f.statusAnswer.Catalog}, f.statusAnswer.Shards...) {
		if g.Id != req.GetShard() {
			continue
		}
		to := g.Replicas[0]
		if req.GetNode() != "" {
			n := findNode(f.statusAnswer, req.GetNode())
			i := slices.IndexFunc(g.Replicas, func(r *spexv1.ReplicaStatus) bool { return r.NodeId == n.GetId() })
			if i < 0 {
				return nil, refusal(codes.InvalidArgument, typesv1.Reason_REASON_INVALID_ARGUMENT, "%s has no vote in shard %d", req.GetNode(), g.Id)
			}
			to = g.Replicas[i]
		}
		from := g.Leader
		g.Leader, g.LeaderName = to.NodeId, to.NodeName
		return &spexv1.TransferLeadershipResponse{From: from, To: to.NodeId}, nil
	}
	return nil, refusal(codes.NotFound, typesv1.Reason_REASON_INVALID_ARGUMENT, "the cluster has no shard %d", req.GetShard())
}
