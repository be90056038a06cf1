package transport

import (
	"context"

	"github.com/spexio/spex/api"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// GetPlan tells what the cluster moves, and what it would move.
func (s *apiServer) GetPlan(ctx context.Context, req *spexv1.GetPlanRequest) (*spexv1.GetPlanResponse, error) {
	return s.backend.GetPlan(ctx, req)
}

// SetNodeState says what may be done with a node.
func (s *apiServer) SetNodeState(ctx context.Context, req *spexv1.SetNodeStateRequest) (*spexv1.SetNodeStateResponse, error) {
	if err := api.CheckNodeState(req); err != nil {
		return nil, err
	}
	return s.backend.SetNodeState(ctx, req)
}

// SetPlacement changes what the placement of replicas goes by.
func (s *apiServer) SetPlacement(ctx context.Context, req *spexv1.SetPlacementRequest) (*spexv1.SetPlacementResponse, error) {
	if err := api.CheckPlacement(req); err != nil {
		return nil, err
	}
	return s.backend.SetPlacement(ctx, req)
}

// TransferLeadership moves the leadership of a group.
func (s *apiServer) TransferLeadership(ctx context.Context, req *spexv1.TransferLeadershipRequest) (*spexv1.TransferLeadershipResponse, error) {
	if err := api.CheckTransfer(req); err != nil {
		return nil, err
	}
	return s.backend.Transfer(ctx, req)
}
