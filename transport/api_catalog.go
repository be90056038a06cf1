package transport

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/api"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// ListSpecifications lists the specifications of a namespace.
func (s *apiServer) ListSpecifications(ctx context.Context, req *spexv1.ListSpecificationsRequest) (*spexv1.ListSpecificationsResponse, error) {
	if err := api.CheckNamespace(&req.Namespace); err != nil {
		return nil, err
	}
	return s.backend.ListSpecifications(ctx, req)
}

// DeleteSpecification deletes a specification with all its versions.
func (s *apiServer) DeleteSpecification(ctx context.Context, req *spexv1.DeleteSpecificationRequest) (*spexv1.DeleteSpecificationResponse, error) {
	if err := api.CheckNamed(&req.Namespace, "name", req.Name); err != nil {
		return nil, err
	}
	return s.backend.DeleteSpecification(ctx, req)
}

// GetSpecification sends a version of a specification in pieces.
func (s *apiServer) GetSpecification(req *spexv1.GetSpecificationRequest, stream grpc.ServerStreamingServer[spexv1.GetSpecificationResponse]) error {
	if err := api.CheckNamed(&req.Namespace, "name", req.Name); err != nil {
		return err
	}
	sp, version, err := s.backend.GetSpecification(stream.Context(), req.Namespace, req.Name, req.Version)
	if err != nil {
		return err
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(sp)
	if err != nil {
		return err
	}
	first := &spexv1.GetSpecificationResponse{Version: version}
	for piece := first; len(data) > 0 || piece == first; piece = new(spexv1.GetSpecificationResponse) {
		n := min(len(data), ChunkBytes)
		piece.Data, data = data[:n], data[n:]
		if err := stream.Send(piece); err != nil {
			return err
		}
	}
	return nil
}

// ListModels lists the models of a namespace.
func (s *apiServer) ListModels(ctx context.Context, req *spexv1.ListModelsRequest) (*spexv1.ListModelsResponse, error) {
	if err := api.CheckNamespace(&req.Namespace); err != nil {
		return nil, err
	}
	return s.backend.ListModels(ctx, req)
}

// GetModel sends a model in pieces.
func (s *apiServer) GetModel(req *spexv1.GetModelRequest, stream grpc.ServerStreamingServer[spexv1.GetModelResponse]) error {
	if err := api.CheckNamed(&req.Namespace, "spec", req.Spec); err != nil {
		return err
	}
	info, transitions, err := s.backend.GetModel(stream.Context(), req.Namespace, req.Spec, req.SpecVersion)
	if err != nil {
		return err
	}
	first := &spexv1.GetModelResponse{Info: info}
	for piece := first; len(transitions) > 0 || piece == first; piece = new(spexv1.GetModelResponse) {
		n := fitting(transitions, ChunkBytes-proto.Size(piece))
		piece.Transitions, transitions = transitions[:n], transitions[n:]
		if err := stream.Send(piece); err != nil {
			return err
		}
	}
	return nil
}

// fitting returns how many of the transitions encode into size bytes, but at
// least one if there is one.
func fitting(transitions []*typesv1.Transition, size int) int {
	n := 0
	for n < len(transitions) {
		// Tag and length of the element take up to 6 bytes.
		if size -= proto.Size(transitions[n]) + 6; size < 0 && n > 0 {
			break
		}
		n++
	}
	return n
}

// SealModel ends the learning of a model.
func (s *apiServer) SealModel(ctx context.Context, req *spexv1.SealModelRequest) (*spexv1.SealModelResponse, error) {
	if err := api.CheckNamed(&req.Namespace, "spec", req.Spec); err != nil {
		return nil, err
	}
	return s.backend.SealModel(ctx, req)
}

// LearnModel begins learning again.
func (s *apiServer) LearnModel(ctx context.Context, req *spexv1.LearnModelRequest) (*spexv1.LearnModelResponse, error) {
	if err := api.CheckNamed(&req.Namespace, "spec", req.Spec); err != nil {
		return nil, err
	}
	return s.backend.LearnModel(ctx, req)
}

// ListDeviations lists the distinct deviating transitions.
func (s *apiServer) ListDeviations(ctx context.Context, req *spexv1.ListDeviationsRequest) (*spexv1.ListDeviationsResponse, error) {
	if err := api.CheckDeviations(req); err != nil {
		return nil, err
	}
	return s.backend.ListDeviations(ctx, req)
}

// GetStatus tells about the cluster.
func (s *apiServer) GetStatus(ctx context.Context, req *spexv1.GetStatusRequest) (*spexv1.GetStatusResponse, error) {
	return s.backend.Status(ctx, req)
}

// GetSettings tells how much the cluster keeps of what has been.
func (s *apiServer) GetSettings(ctx context.Context, req *spexv1.GetSettingsRequest) (*spexv1.GetSettingsResponse, error) {
	return s.backend.Settings(ctx, req)
}

// ChangeSettings changes settings of the running cluster.
func (s *apiServer) ChangeSettings(ctx context.Context, req *spexv1.ChangeSettingsRequest) (*spexv1.ChangeSettingsResponse, error) {
	if err := api.CheckSettings(req); err != nil {
		return nil, err
	}
	return s.backend.ChangeSettings(ctx, req)
}

// GetVersion tells the release of this node.
func (s *apiServer) GetVersion(context.Context, *spexv1.GetVersionRequest) (*spexv1.GetVersionResponse, error) {
	return s.backend.Version(), nil
}
