package cluster

import (
	"context"
	"time"

	"github.com/spexio/spex/cluster/plan"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard/store"
)

const invalidArgument = typesv1.Reason_REASON_INVALID_ARGUMENT

// NodeInfo is a node of the cluster and what placement may do with it.
type NodeInfo struct {
	ID, Name string
	State    plan.NodeState
}

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

// setNodeState tells the catalog what placement may do with a node.
func (n *Node) setNodeState(ctx context.Context, ref string, state statev1.NodeState) (NodeInfo, error) {
	node, err := n.findNode(ctx, ref)
	if err != nil {
		return NodeInfo{}, err
	}
	_, err = n.catalog.propose(ctx, &statev1.Command{Kind: &statev1.Command_SetNodeState{SetNodeState: &statev1.SetNodeState{Node: node.GetId(), State: state}}})
	if err != nil {
		return NodeInfo{}, err
	}
	return NodeInfo{ID: node.GetId(), Name: node.GetName(), State: planState(state)}, nil
}

// Activate lets a node hold and lead shards again: the end of a drain, or of a
// decommissioning that was not meant. The node is given by id or name, as in the
// methods below; they return once the catalog has logged what is asked, and
// the leader of the catalog sees to it from then on.
func (n *Node) Activate(ctx context.Context, node string) (NodeInfo, error) {
	return n.setNodeState(ctx, node, statev1.NodeState_NODE_STATE_ACTIVE)
}

// Drain moves the leaderships away from a node, which keeps its replicas and
// gets no new ones: what comes before maintenance. It is done when the node
// leads nothing.
func (n *Node) Drain(ctx context.Context, node string) (NodeInfo, error) {
	return n.setNodeState(ctx, node, statev1.NodeState_NODE_STATE_DRAINING)
}

// Decommission moves everything away from a node, which is forgotten then and not
// let in again. It is done when the catalog does not list the node any more.
func (n *Node) Decommission(ctx context.Context, node string) (NodeInfo, error) {
	return n.setNodeState(ctx, node, statev1.NodeState_NODE_STATE_DECOMMISSIONING)
}

// RemoveNode says that a node is dead and does not come back: its replicas are
// replaced at once, not only when it has been silent for as long as the cluster
// waits, and it is forgotten then. A node that answers is refused: it is to be
// decommissioned. Nothing is done that would cost a shard its majority.
func (n *Node) RemoveNode(ctx context.Context, node string) (NodeInfo, error) {
	found, err := n.findNode(ctx, node)
	if err != nil {
		return NodeInfo{}, err
	}
	if n.answers(ctx, found.GetId()) {
		return NodeInfo{}, fsm.Errorf(invalidArgument, "the node %s answers: decommission it, or stop its server first", found.GetId())
	}
	return n.setNodeState(ctx, found.GetId(), statev1.NodeState_NODE_STATE_REMOVED)
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

// Pause keeps all replicas and leaders where they are until Resume, except for
// what was begun a moment ago. Elections go on.
func (n *Node) Pause(ctx context.Context) error { return n.pause(ctx, true) }

// Resume ends Pause.
func (n *Node) Resume(ctx context.Context) error { return n.pause(ctx, false) }

func (n *Node) pause(ctx context.Context, paused bool) error {
	return n.setPlacement(ctx, &statev1.SetPlacement{Paused: &paused})
}

// SetDeadAfter sets how long a node is silent before its replicas are replaced;
// 0 means fsm.DefaultDeadAfter.
func (n *Node) SetDeadAfter(ctx context.Context, d time.Duration) error {
	nanos := int64(d)
	return n.setPlacement(ctx, &statev1.SetPlacement{DeadAfterNanos: &nanos})
}

// SetReplicas sets how many nodes should hold each shard, at least 1.
func (n *Node) SetReplicas(ctx context.Context, replicas int) error {
	count := uint32(max(replicas, 0))
	return n.setPlacement(ctx, &statev1.SetPlacement{Replicas: &count})
}

func (n *Node) setPlacement(ctx context.Context, s *statev1.SetPlacement) error {
	_, err := n.catalog.propose(ctx, &statev1.Command{Kind: &statev1.Command_SetPlacement{SetPlacement: s}})
	return err
}

// Placing returns what placement goes by, as this node's catalog has it.
func (n *Node) Placing() fsm.Placing { return n.catalog.machine.Placing() }

// NodeStates returns, by node id, what placement may do with the nodes, as this
// node's catalog has it.
func (n *Node) NodeStates() map[string]plan.NodeState {
	states := map[string]plan.NodeState{}
	for _, node := range n.catalog.machine.Nodes() {
		states[node.GetId()] = planState(n.catalog.machine.NodeState(node.GetId()))
	}
	return states
}

// PlacementPlan is what the leader of the catalog is about to do.
type PlacementPlan struct {
	// Steps is the whole way to where the replicas should be, if every change
	// succeeds and nothing else happens; empty when all is as it should be.
	Steps []plan.Change
	// Next are the changes that are taken next, and Running those under way.
	Next, Running []plan.Change
	// Waiting is what would be done, and why it is not.
	Waiting []plan.Waiting
	// Paused says that nothing of it is done until Resume.
	Paused bool
}

// Plan asks the leader of the catalog what it is about to do.
func (n *Node) Plan(ctx context.Context) (*PlacementPlan, error) {
	req := &peerv1.PlacementRequest{Target: &peerv1.Target{Group: store.CatalogGroup}}
	resp, err := onLeader(ctx, n, store.CatalogGroup, reads, req, n.PeerPlacement, n.cfg.Peers.Placement)
	if err != nil {
		return nil, err
	}
	p := &PlacementPlan{Steps: changesOf(resp.GetSteps()), Next: changesOf(resp.GetNext()), Running: changesOf(resp.GetRunning()), Paused: resp.GetPaused()}
	for _, w := range resp.GetWaiting() {
		p.Waiting = append(p.Waiting, plan.Waiting{Group: w.GetGroup(), Node: w.GetNode(), Why: w.GetWhy()})
	}
	return p, nil
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
		Steps: changesProto(plan.Steps(state)), Next: changesProto(next), Running: changesProto(running), Paused: state.Settings.Paused,
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

func changesOf(list []*peerv1.PlacementChange) []plan.Change {
	var out []plan.Change
	for _, c := range list {
		out = append(out, plan.Change{Kind: plan.Kind(c.GetKind()), Group: c.GetGroup(), Node: c.GetNode(), From: c.GetFrom(), Why: c.GetWhy()})
	}
	return out
}
