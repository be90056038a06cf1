package api

import (
	"time"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/ring"
)

// maxNodeName bounds the id or name by which a request means a node.
const maxNodeName = 256

// checkNode checks the id or name of a node.
func checkNode(node string) error {
	switch {
	case node == "":
		return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "node is missing: give the id of a node, or a name that one node has")
	case len(node) > maxNodeName:
		return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "node is %d bytes long: the limit is %d", len(node), maxNodeName)
	}
	return nil
}

// CheckNodeState checks a request for a change of what may be done with a node.
func CheckNodeState(req *spexv1.SetNodeStateRequest) error {
	if err := checkNode(req.GetNode()); err != nil {
		return err
	}
	switch req.GetState() {
	case spexv1.NodeState_NODE_STATE_ACTIVE, spexv1.NodeState_NODE_STATE_DRAINING, spexv1.NodeState_NODE_STATE_DECOMMISSIONING, spexv1.NodeState_NODE_STATE_REMOVED:
		return nil
	}
	return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "state is %v: use NODE_STATE_ACTIVE, NODE_STATE_DRAINING, NODE_STATE_DECOMMISSIONING or NODE_STATE_REMOVED", req.GetState())
}

// CheckPlacement checks a request for a change of what the placement goes by: it
// must change something, and everything must be within its bounds.
func CheckPlacement(req *spexv1.SetPlacementRequest) error {
	if req.Paused == nil && req.DeadAfter == nil && req.Replicas == nil {
		return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "nothing is to be changed: give paused, dead_after or replicas")
	}
	var deadAfter *time.Duration
	if d := req.DeadAfter; d != nil {
		if err := d.CheckValid(); err != nil {
			return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "dead_after: %v", err)
		}
		v := d.AsDuration()
		deadAfter = &v
	}
	if err := fsm.CheckPlacing(deadAfter, req.Replicas); err != nil {
		return err
	}
	return nil
}

// CheckTransfer checks a request for a transfer of leadership.
func CheckTransfer(req *spexv1.TransferLeadershipRequest) error {
	if req.GetShard() > ring.MaxShards {
		return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "shard is %d: there are never more than %d", req.GetShard(), ring.MaxShards)
	}
	if req.GetNode() == "" {
		return nil
	}
	return checkNode(req.GetNode())
}
