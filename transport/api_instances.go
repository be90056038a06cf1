package transport

import (
	"context"
	"fmt"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// InitInstance begins an instance.
func (s *apiServer) InitInstance(ctx context.Context, req *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error) {
	if err := api.CheckInit(req, s.opts.NewRequestID); err != nil {
		return nil, err
	}
	return s.backend.InitInstance(ctx, req)
}

// MockInstance puts an instance straight into a state.
func (s *apiServer) MockInstance(ctx context.Context, req *spexv1.MockInstanceRequest) (*spexv1.StepResponse, error) {
	if err := api.CheckMock(req, s.opts.NewRequestID); err != nil {
		return nil, err
	}
	return s.backend.MockInstance(ctx, req)
}

// Transition applies one step.
func (s *apiServer) Transition(ctx context.Context, req *spexv1.TransitionRequest) (*spexv1.StepResponse, error) {
	if err := api.CheckTransition(req, s.opts.NewRequestID); err != nil {
		s.metrics.step(failedStep(req, detailFor(err)))
		return nil, err
	}
	result := s.callSteps(ctx, spexv1.InstanceService_Transition_FullMethodName, []*spexv1.TransitionRequest{req})[0]
	s.metrics.step(result)
	if d := result.GetError(); d != nil {
		// The result has no place for a code, so that an expired deadline is
		// told from other failures here.
		if err := ctx.Err(); err != nil && d.GetReason() == typesv1.Reason_REASON_UNAVAILABLE && !d.GetNotApplied() {
			return nil, err
		}
		return nil, fsm.ErrorFromDetail(d)
	}
	return result.GetResponse(), nil
}

// TransitionBatch applies many steps. A malformed step is like one that fails:
// it stops its instance, not the batch.
func (s *apiServer) TransitionBatch(ctx context.Context, req *spexv1.TransitionBatchRequest) (*spexv1.TransitionBatchResponse, error) {
	steps := req.GetTransitions()
	if len(steps) > spec.MaxBatch {
		return nil, api.OverLimit("transitions", fmt.Sprintf("has %d steps, the limit is %d", len(steps), spec.MaxBatch), "send several batches")
	}
	results := make([]*spexv1.TransitionResult, len(steps))
	failed := make(map[instanceKey]*typesv1.ErrorDetail)
	var send []*spexv1.TransitionRequest
	var place []int
	for i, step := range steps {
		err := api.CheckTransition(step, s.opts.NewRequestID)
		key := keyOf(step)
		if before, ok := failed[key]; ok {
			results[i] = failedStep(step, skippedAfter(before))
			continue
		}
		if err != nil {
			failed[key] = detailFor(err)
			results[i] = failedStep(step, failed[key])
			continue
		}
		send, place = append(send, step), append(place, i)
	}
	if len(send) > 0 {
		for i, r := range s.callSteps(ctx, spexv1.InstanceService_TransitionBatch_FullMethodName, send) {
			results[place[i]] = r
		}
	}
	for _, r := range results {
		s.metrics.step(r)
	}
	return &spexv1.TransitionBatchResponse{Results: results}, nil
}

// GetInstance reads an instance.
func (s *apiServer) GetInstance(ctx context.Context, req *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error) {
	if err := api.CheckGet(req); err != nil {
		return nil, err
	}
	return s.backend.GetInstance(ctx, req)
}

// GetHistory reads a page of the steps of an instance.
func (s *apiServer) GetHistory(ctx context.Context, req *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error) {
	if err := api.CheckHistory(req); err != nil {
		return nil, err
	}
	return s.backend.GetHistory(ctx, req)
}

// ListInstances reads a page of the instances of all shards.
func (s *apiServer) ListInstances(ctx context.Context, req *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
	if err := api.CheckList(req); err != nil {
		return nil, err
	}
	return s.backend.ListInstances(ctx, req)
}

// DeleteInstance deletes an instance.
func (s *apiServer) DeleteInstance(ctx context.Context, req *spexv1.DeleteInstanceRequest) (*spexv1.DeleteInstanceResponse, error) {
	if err := api.CheckDelete(req, s.opts.NewRequestID); err != nil {
		return nil, err
	}
	return s.backend.DeleteInstance(ctx, req)
}

// DeleteMatching deletes a page of the instances that an expression selects.
func (s *apiServer) DeleteMatching(ctx context.Context, req *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error) {
	if err := api.CheckDeleteMatching(req); err != nil {
		return nil, err
	}
	return s.backend.DeleteMatching(ctx, req)
}

// instanceKey names an instance.
type instanceKey struct{ namespace, id string }

func keyOf(step *spexv1.TransitionRequest) instanceKey {
	return instanceKey{step.GetNamespace(), step.GetId()}
}

// callSteps asks the backend and sees to it that there is exactly one result a
// step, with its request id, whatever the backend does.
func (s *apiServer) callSteps(ctx context.Context, method string, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult {
	// The backend may change the steps.
	ids := make([]string, len(steps))
	for i, step := range steps {
		ids[i] = step.GetRequestId()
	}
	var results []*spexv1.TransitionResult
	err := s.guarded(method, func() error {
		results = s.backend.Transitions(ctx, steps)
		return nil
	})
	if err == nil && len(results) != len(ids) {
		s.opts.Logger.Error("the backend answered a batch of steps with the wrong number of results", "steps", len(ids), "results", len(results))
		err = &fsm.Error{Reason: typesv1.Reason_REASON_INTERNAL, Message: "internal error: the answers do not fit the steps"}
	}
	if err != nil {
		results = make([]*spexv1.TransitionResult, len(ids))
	}
	for i, r := range results {
		if r.GetResponse() == nil && r.GetError() == nil {
			if err == nil {
				s.opts.Logger.Error("the backend left a step without an answer", "step", i)
			}
			results[i] = &spexv1.TransitionResult{Outcome: &spexv1.TransitionResult_Error{Error: detailFor(err)}}
		}
		results[i].RequestId = ids[i]
	}
	return results
}

// detailFor returns the detail of err as it would travel; nil is a step
// without an outcome, whose fate nobody knows.
func detailFor(err error) *typesv1.ErrorDetail {
	if err == nil {
		return &typesv1.ErrorDetail{Reason: typesv1.Reason_REASON_INTERNAL, Message: "internal error: the step got no answer"}
	}
	return ErrorFromStatus(StatusFromError(err)).Detail()
}

// failedStep is the result of a step that never reached the backend.
func failedStep(step *spexv1.TransitionRequest, d *typesv1.ErrorDetail) *spexv1.TransitionResult {
	return &spexv1.TransitionResult{RequestId: step.GetRequestId(), Outcome: &spexv1.TransitionResult_Error{Error: d}}
}

// skippedAfter is the error of a step behind one of the same instance that
// failed. It has the same reason, so that both are sent again or neither is,
// but this one is certain not to have been applied.
func skippedAfter(before *typesv1.ErrorDetail) *typesv1.ErrorDetail {
	return &typesv1.ErrorDetail{
		Reason:     before.GetReason(),
		Message:    "not applied, because an earlier step of the same instance failed: " + before.GetMessage(),
		Shard:      before.GetShard(),
		CurrentSeq: before.GetCurrentSeq(),
		NotApplied: true,
	}
}
