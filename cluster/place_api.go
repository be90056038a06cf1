package cluster

import (
	"context"

	"github.com/spexio/spex/cluster/plan"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const invalidArgument = typesv1.Reason_REASON_INVALID_ARGUMENT

// planState is what the planner makes of a node's state in the catalog. Somebody
// who says that a node does not come back has sent it away for good.
func planState(s statev1.NodeState) plan.NodeState {
	switch s {
	case statev1.NodeState_NODE_STATE_DRAINING:
		return plan.Draining
	case statev1.NodeState_NODE_STATE_DECOMMISSIONING, statev1.NodeState_NODE_STATE_REMOVED:
		return plan.Decommissioning
	case statev1.NodeState_NODE_STATE_GONE:
		return plan.Removed
	}
	return plan.Active
}

// findNode finds a node by its id, or by its name if only one has it. That there
// is none is said only after a linearizable read.
func (n *Node) findNode(ctx context.Context, ref string) (*statev1.Node, error) {
	for refreshed := false; ; refreshed = true {
		if node, ok := n.catalog.machine.Node(ref); ok {
			return node, nil
		}
		var named []*statev1.Node
		for _, node := range n.catalog.machine.Nodes() {
			if node.GetName() == ref {
				named = append(named, node)
			}
		}
		switch {
		case len(named) == 1:
			return named[0], nil
		case len(named) > 1:
			return nil, fsm.Errorf(invalidArgument, "%d nodes are named %q: give the id of one, for example %s", len(named), ref, named[0].GetId())
		case refreshed:
			return nil, fsm.Errorf(typesv1.Reason_REASON_NODE_NOT_FOUND, "the cluster has no node with the id or name %q", ref)
		}
		if err := n.catalog.refresh(ctx); err != nil {
			return nil, err
		}
	}
}

// answers tells whether a node answers its peers now.
func (n *Node) answers(ctx context.Context, id string) bool {
	if id == n.cfg.Self.GetId() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	_, err := n.cfg.Peers.Status(ctx, id, &peerv1.StatusRequest{SpaceOnly: true})
	return err == nil
}

// PeerPlacement answers for the placement loop if this node leads the catalog.
func (n *Node) PeerPlacement(ctx context.Context, _ *peerv1.PlacementRequest) (*peerv1.PlacementResponse, error) {
	if _, leading := n.catalog.group.Leading(); !leading {
		leader, _ := n.catalog.group.Leader()
		e := fsm.Errorf(typesv1.Reason_REASON_NOT_LEADER, "this node does not lead the catalog")
		e.LeaderID = leader
		return nil, e
	}
	state, running, _ := n.placer.gather(ctx)
	next, waiting := plan.Next(state)
	resp := &peerv1.PlacementResponse{
		Steps: changesProto(plan.Steps(state)), Next: changesProto(next), Running: changesProto(running),
		Paused: state.Settings.Paused, Replicas: uint32(state.Settings.Replicas), DeadAfterNanos: int64(state.Settings.DeadAfter),
	}
	for _, w := range waiting {
		resp.Waiting = append(resp.Waiting, &peerv1.PlacementWait{Group: w.Group, Node: w.Node, Why: w.Why})
	}
	return resp, nil
}

func changesProto(list []plan.Change) []*peerv1.PlacementChange {
	var out []*peerv1.PlacementChange
	for _, c := range list {
		out = append(out, &peerv1.PlacementChange{Kind: int32(c.Kind), Group: c.Group, Node: c.Node, From: c.From, Why: c.Why})
	}
	return out
}
