package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Plan tells what the cluster is moving, what it would move next, the whole way
// to where its replicas belong, and what it waits for.
func (c *Client) Plan(ctx context.Context) (*spexv1.GetPlanResponse, error) {
	return unary(ctx, c, call{name: "GetPlan"}, &spexv1.GetPlanRequest{},
		func(ep *endpoint) rpc[spexv1.GetPlanRequest, spexv1.GetPlanResponse] {
			return spexv1.NewClusterServiceClient(ep.conn).GetPlan
		})
}

// SetNodeState says what may be done with a node, named by its id or by a name
// that no other node has: NODE_STATE_DRAINING, _DECOMMISSIONING, _REMOVED, or
// _ACTIVE to use it again. It returns once the catalog has it; the replicas
// follow. It may be called again after any error.
func (c *Client) SetNodeState(ctx context.Context, node string, state spexv1.NodeState) (*spexv1.SetNodeStateResponse, error) {
	return unary(ctx, c, call{name: "SetNodeState", write: true}, &spexv1.SetNodeStateRequest{Node: node, State: state},
		func(ep *endpoint) rpc[spexv1.SetNodeStateRequest, spexv1.SetNodeStateResponse] {
			return spexv1.NewClusterServiceClient(ep.conn).SetNodeState
		})
}

// PlacementChange names what to change of the placement of replicas: what is not
// nil.
type PlacementChange struct {
	// Paused keeps all replicas and leaders where they are.
	Paused *bool
	// DeadAfter is how long a node is silent before its replicas are replaced; 0
	// is the default.
	DeadAfter *time.Duration
	// Replicas is how many nodes should hold each shard.
	Replicas *uint32
}

// SetPlacement changes what the placement of replicas goes by. It returns once
// the catalog has it, and may be called again after any error.
func (c *Client) SetPlacement(ctx context.Context, change PlacementChange) (*spexv1.SetPlacementResponse, error) {
	req := &spexv1.SetPlacementRequest{Paused: change.Paused, Replicas: change.Replicas}
	if change.DeadAfter != nil {
		req.DeadAfter = durationpb.New(*change.DeadAfter)
	}
	return unary(ctx, c, call{name: "SetPlacement", write: true}, req,
		func(ep *endpoint) rpc[spexv1.SetPlacementRequest, spexv1.SetPlacementResponse] {
			return spexv1.NewClusterServiceClient(ep.conn).SetPlacement
		})
}

// TransferLeadership moves the leadership of a shard, 0 being the catalog, to a
// node that has a vote in it; an empty node leaves the choice to the leader. It
// returns once the other leads. It is not repeated when it may have been made, and
// refused with ErrPlacementChanged when nobody answers who could take over.
func (c *Client) TransferLeadership(ctx context.Context, shard uint32, node string) (*spexv1.TransferLeadershipResponse, error) {
	return unary(ctx, c, call{name: "TransferLeadership", write: true, once: true}, &spexv1.TransferLeadershipRequest{Shard: shard, Node: node},
		func(ep *endpoint) rpc[spexv1.TransferLeadershipRequest, spexv1.TransferLeadershipResponse] {
			return spexv1.NewClusterServiceClient(ep.conn).TransferLeadership
		})
}
