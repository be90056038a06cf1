package transport

import (
	"context"

	"github.com/spexio/spex/api"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// AcceptDeviations puts deviating transitions into a model.
func (s *apiServer) AcceptDeviations(ctx context.Context, req *spexv1.AcceptDeviationsRequest) (*spexv1.AcceptDeviationsResponse, error) {
	if err := api.CheckAccept(req); err != nil {
		return nil, err
	}
	return s.backend.AcceptDeviations(ctx, req)
}

// RejectDeviations notes that deviations are wrong.
func (s *apiServer) RejectDeviations(ctx context.Context, req *spexv1.RejectDeviationsRequest) (*spexv1.RejectDeviationsResponse, error) {
	if err := api.CheckReject(req); err != nil {
		return nil, err
	}
	return s.backend.RejectDeviations(ctx, req)
}

// ListModelHistory tells what happened to a model.
func (s *apiServer) ListModelHistory(ctx context.Context, req *spexv1.ListModelHistoryRequest) (*spexv1.ListModelHistoryResponse, error) {
	if err := api.CheckModelHistory(req); err != nil {
		return nil, err
	}
	return s.backend.ListModelHistory(ctx, req)
}
