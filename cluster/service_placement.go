package cluster

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/cluster/plan"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/shard/store"
)

// transferPoll is how often it is looked who leads after a transfer.
const transferPoll = 20 * time.Millisecond

// nodeStates are the states of the API, by those of the catalog.
var nodeStates = map[statev1.NodeState]spexv1.NodeState{
	statev1.NodeState_NODE_STATE_ACTIVE:          spexv1.NodeState_NODE_STATE_ACTIVE,
	statev1.NodeState_NODE_STATE_DRAINING:        spexv1.NodeState_NODE_STATE_DRAINING,
	statev1.NodeState_NODE_STATE_DECOMMISSIONING: spexv1.NodeState_NODE_STATE_DECOMMISSIONING,
	statev1.NodeState_NODE_STATE_REMOVED:         spexv1.NodeState_NODE_STATE_REMOVED,
}

// planKinds are the kinds of the API, by those of the planner.
var planKinds = map[plan.Kind]spexv1.PlanKind{
	plan.Place:       spexv1.PlanKind_PLAN_KIND_PLACE,
	plan.AddNonvoter: spexv1.PlanKind_PLAN_KIND_ADD,
	plan.Promote:     spexv1.PlanKind_PLAN_KIND_PROMOTE,
	plan.Transfer:    spexv1.PlanKind_PLAN_KIND_TRANSFER,
	plan.Remove:      spexv1.PlanKind_PLAN_KIND_REMOVE,
	plan.Unplace:     spexv1.PlanKind_PLAN_KIND_UNPLACE,
	plan.RemoveNode:  spexv1.PlanKind_PLAN_KIND_REMOVE_NODE,
	plan.Demote:      spexv1.PlanKind_PLAN_KIND_DEMOTE,
}

// GetPlan tells what the leader of the catalog is about to move.
func (n *Node) GetPlan(ctx context.Context, _ *spexv1.GetPlanRequest) (*spexv1.GetPlanResponse, error) {
	req := &peerv1.PlacementRequest{Target: &peerv1.Target{Group: store.CatalogGroup}}
	p, err := onLeader(ctx, n, store.CatalogGroup, reads, req, n.PeerPlacement, n.cfg.Peers.Placement)
	if err != nil {
		return nil, err
	}
	resp := &spexv1.GetPlanResponse{
		Paused: p.GetPaused(), DeadAfter: durationpb.New(time.Duration(p.GetDeadAfterNanos())), Replicas: p.GetReplicas(),
		Running: n.planChanges(p.GetRunning()), Next: n.planChanges(p.GetNext()), Steps: n.planChanges(p.GetSteps()),
	}
	for _, w := range p.GetWaiting() {
		resp.Waiting = append(resp.Waiting, &spexv1.PlanWait{Shard: w.GetGroup(), Node: w.GetNode(), NodeName: n.nameOf(w.GetNode()), Why: w.GetWhy()})
	}
	return resp, nil
}

func (n *Node) planChanges(list []*peerv1.PlacementChange) []*spexv1.PlanChange {
	var out []*spexv1.PlanChange
	for _, c := range list {
		out = append(out, &spexv1.PlanChange{
			Kind: planKinds[plan.Kind(c.GetKind())], Shard: c.GetGroup(), Node: c.GetNode(), NodeName: n.nameOf(c.GetNode()),
			From: c.GetFrom(), FromName: n.nameOf(c.GetFrom()), Why: c.GetWhy(),
		})
	}
	return out
}

// nameOf returns the name of a node, empty for one that the catalog does not know.
func (n *Node) nameOf(id string) string {
	node, _ := n.catalog.machine.Node(id)
	return node.GetName()
}

// SetNodeState says what may be done with a node. One that answers is not taken
// for lost.
func (n *Node) SetNodeState(ctx context.Context, req *spexv1.SetNodeStateRequest) (*spexv1.SetNodeStateResponse, error) {
	node, err := n.findNode(ctx, req.GetNode())
	if err != nil {
		return nil, err
	}
	if req.GetState() == spexv1.NodeState_NODE_STATE_REMOVED && n.answers(ctx, node.GetId()) {
		return nil, fsm.Errorf(invalidArgument, "the node %s answers: decommission it, or stop its server first", node.GetId())
	}
	change := &statev1.SetNodeState{Node: node.GetId()}
	for state, name := range nodeStates {
		if name == req.GetState() {
			change.State = state
		}
	}
	res, err := n.catalog.propose(ctx, &statev1.Command{Kind: &statev1.Command_SetNodeState{SetNodeState: change}})
	if err != nil {
		return nil, err
	}
	return &spexv1.SetNodeStateResponse{NodeId: node.GetId(), NodeName: node.GetName(), Changed: res.Changed, CatalogIndex: res.Index}, nil
}

// SetPlacement changes what the placement of replicas goes by.
func (n *Node) SetPlacement(ctx context.Context, req *spexv1.SetPlacementRequest) (*spexv1.SetPlacementResponse, error) {
	change := &statev1.SetPlacement{Paused: req.Paused, Replicas: req.Replicas}
	if req.DeadAfter != nil {
		nanos := int64(req.DeadAfter.AsDuration())
		change.DeadAfterNanos = &nanos
	}
	res, err := n.catalog.propose(ctx, &statev1.Command{Kind: &statev1.Command_SetPlacement{SetPlacement: change}})
	if err != nil {
		return nil, err
	}
	return &spexv1.SetPlacementResponse{Changed: res.Changed, CatalogIndex: res.Index}, nil
}

// Transfer moves the leadership of a group, and waits until another leads it.
func (n *Node) Transfer(ctx context.Context, req *spexv1.TransferLeadershipRequest) (*spexv1.TransferLeadershipResponse, error) {
	group, want := req.GetShard(), ""
	if req.GetNode() != "" {
		node, err := n.findNode(ctx, req.GetNode())
		if err != nil {
			return nil, err
		}
		want = node.GetId()
	}
	from, before := n.leaderStatus(ctx, group)
	if from != "" && from == want {
		return &spexv1.TransferLeadershipResponse{From: from, To: want}, nil
	}
	if err := n.TransferLeadership(ctx, group, want); err != nil {
		return nil, err
	}
	for {
		to, now := n.leaderStatus(ctx, group)
		// Placement may have moved it on since: a newer term shows that it was moved.
		if to != "" && (to == want || want == "" && to != from || before != nil && now.GetTerm() > before.GetTerm()) {
			return &spexv1.TransferLeadershipResponse{From: from, To: to}, nil
		}
		select {
		case <-time.After(transferPoll):
		case <-ctx.Done():
			return nil, &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE,
				Message: fmt.Sprintf("the leadership of group %d was handed on, and it did not show in time who has it: see the status of the cluster", group)}
		}
	}
}

// tolerance tells how many more voters of a group may fail, by what its leader
// says of its configuration; nil when it has none.
func tolerance(lead *peerv1.GroupStatus, groups map[groupKey]*peerv1.GroupStatus) *int32 {
	if len(lead.GetVoters()) == 0 {
		return nil
	}
	up := 0
	for _, id := range lead.GetVoters() {
		if takesPart(groups[groupKey{id, lead.GetGroup()}]) {
			up++
		}
	}
	left := int32(up - (len(lead.GetVoters())/2 + 1))
	return &left
}
