package local

import (
	"context"
	"fmt"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// InitInstance begins an instance.
func (e *engine) InitInstance(ctx context.Context, req *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error) {
	if err := api.CheckInit(req, nil); err != nil {
		return nil, out(err)
	}
	return e.begun(ctx, fsm.SpecKey{Namespace: req.Namespace, Name: req.Spec, Version: req.SpecVersion}, func(version uint64, refused string) *statev1.Command {
		return &statev1.Command{Kind: &statev1.Command_InitInstance{InitInstance: &statev1.InitInstance{
			Key: &statev1.Key{Namespace: req.Namespace, Id: req.Id}, Spec: req.Spec, SpecVersion: version, Refused: refused,
			InitialState: req.InitialState, Meta: req.Meta, RequestId: req.RequestId, EventTime: api.UnixNanos(req.EventTime),
		}}}
	})
}

// MockInstance puts an instance straight into a state.
func (e *engine) MockInstance(ctx context.Context, req *spexv1.MockInstanceRequest) (*spexv1.StepResponse, error) {
	if err := api.CheckMock(req, nil); err != nil {
		return nil, out(err)
	}
	return e.begun(ctx, fsm.SpecKey{Namespace: req.Namespace, Name: req.Spec, Version: req.SpecVersion}, func(version uint64, refused string) *statev1.Command {
		return &statev1.Command{Kind: &statev1.Command_MockInstance{MockInstance: &statev1.MockInstance{
			Key: &statev1.Key{Namespace: req.Namespace, Id: req.Id}, Spec: req.Spec, SpecVersion: version, Refused: refused,
			State: req.State, Meta: req.Meta, RequestId: req.RequestId,
		}}}
	})
}

// begun applies a command that begins an instance by the version that is asked
// for, by the newest for 0, and brings the version to the shard first if need be.
// What the newest was may have been retired while the command waited for its turn.
func (e *engine) begun(ctx context.Context, asked fsm.SpecKey, command func(version uint64, refused string) *statev1.Command) (*spexv1.StepResponse, error) {
	for again := false; ; again = true {
		key, refused := asked, ""
		key.Version, refused = e.catalog.VersionForNew(asked.Namespace, asked.Name, asked.Version)
		value, err := e.write(ctx, command(key.Version, refused))
		if fsm.ReasonOf(err) == typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED {
			if err = e.alone(ctx, func() error { return e.install(key) }); err == nil {
				value, err = e.write(ctx, command(key.Version, refused))
			}
		}
		if err == nil {
			return api.StepResponse(shardID, e.awaitVerdict(ctx, value.(*fsm.StepResult))), nil
		}
		behind := asked.Version == 0 && refused == "" && fsm.ReasonOf(err) == typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND
		if again || !behind {
			return nil, out(err)
		}
	}
}

// Transition records one step.
func (e *engine) Transition(ctx context.Context, req *spexv1.TransitionRequest) (*spexv1.StepResponse, error) {
	if err := api.CheckTransition(req, nil); err != nil {
		return nil, out(err)
	}
	value, err := e.write(ctx, &statev1.Command{Kind: &statev1.Command_Step{Step: &statev1.Step{
		Key: &statev1.Key{Namespace: req.Namespace, Id: req.Id}, Action: req.Action, ToState: req.ToState,
		RequestId: req.RequestId, ExpectedSeq: req.ExpectedSeq, EventTime: api.UnixNanos(req.EventTime), Incarnation: req.Incarnation,
	}}})
	if err != nil {
		return nil, out(err)
	}
	return api.StepResponse(shardID, e.awaitVerdict(ctx, value.(*fsm.StepResult))), nil
}

// DeleteInstance deletes an instance.
func (e *engine) DeleteInstance(ctx context.Context, req *spexv1.DeleteInstanceRequest) (*spexv1.DeleteInstanceResponse, error) {
	if err := api.CheckDelete(req, nil); err != nil {
		return nil, out(err)
	}
	value, err := e.write(ctx, &statev1.Command{Kind: &statev1.Command_DeleteInstance{DeleteInstance: &statev1.DeleteInstance{
		Key: &statev1.Key{Namespace: req.Namespace, Id: req.Id}, RequestId: req.RequestId, Incarnation: req.Incarnation,
	}}})
	if err != nil {
		return nil, out(err)
	}
	res := value.(*fsm.DeleteResult)
	return &spexv1.DeleteInstanceResponse{Deleted: res.Deleted, Incarnation: res.Incarnation, Index: res.Index, Duplicate: res.Duplicate}, nil
}

func (e *engine) open() error {
	select {
	case <-e.stop:
		return errClosed
	default:
		return nil
	}
}

// instance finds an instance for a read.
func (e *engine) instance(namespace, id string, minIndex uint64) (*fsm.InstanceView, *spexv1.ReadInfo, error) {
	if err := e.open(); err != nil {
		return nil, nil, out(err)
	}
	info := &spexv1.ReadInfo{Shard: shardID, Index: e.shard.Applied()}
	if minIndex > info.Index {
		return nil, nil, out(fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "index %d is not reached: the newest is %d", minIndex, info.Index))
	}
	v, index, ok := e.shard.InstanceAt(fsm.Key{Namespace: namespace, ID: id})
	if info.Index = index; !ok {
		return nil, nil, out(fsm.Errorf(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "there is no instance %q in the namespace %q", id, namespace))
	}
	return v, info, nil
}

// GetInstance reads an instance.
func (e *engine) GetInstance(_ context.Context, req *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error) {
	if err := api.CheckGet(req); err != nil {
		return nil, out(err)
	}
	v, info, err := e.instance(req.Namespace, req.Id, req.MinIndex)
	if err != nil {
		return nil, err
	}
	return &spexv1.GetInstanceResponse{Instance: api.Instance(shardID, v), Read: info}, nil
}

// GetHistory reads a page of the steps of an instance.
func (e *engine) GetHistory(_ context.Context, req *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error) {
	if err := api.CheckHistory(req); err != nil {
		return nil, out(err)
	}
	v, info, err := e.instance(req.Namespace, req.Id, req.MinIndex)
	if err != nil {
		return nil, err
	}
	next := v.FirstKept
	if req.NewestFirst {
		next = v.Seq
	}
	if req.PageToken != "" {
		var incarnation uint64
		place, err := openToken(historyToken, req.PageToken)
		if err != nil {
			return nil, out(err)
		}
		if _, err := fmt.Sscanf(string(place), "%d.%d", &incarnation, &next); err != nil {
			return nil, out(badToken())
		}
		if incarnation != v.Incarnation {
			return nil, out(fsm.Errorf(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "the instance %q was initialised again between two pages: read its history from the beginning", req.Id))
		}
		if !req.NewestFirst {
			next = max(next, v.FirstKept)
		}
	}
	resp := &spexv1.GetHistoryResponse{Instance: api.Instance(shardID, v), FirstKeptSeq: v.FirstKept, Read: info}
	for {
		s, ok := v.Step(next)
		if !ok {
			return resp, nil
		}
		if len(resp.Steps) == int(req.PageSize) {
			resp.NextPageToken = sealToken(historyToken, fmt.Appendf(nil, "%d.%d", v.Incarnation, next))
			return resp, nil
		}
		resp.Steps = append(resp.Steps, api.Step(s))
		if req.NewestFirst {
			next--
		} else {
			next++
		}
	}
}

// ListInstances reads a page of the instances, in the order of their ids. The
// token is the id to go on after.
func (e *engine) ListInstances(ctx context.Context, req *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
	if err := api.CheckList(req); err != nil {
		return nil, out(err)
	}
	after, err := openToken(listToken, req.PageToken)
	if err != nil {
		return nil, out(err)
	}
	if err := e.open(); err != nil {
		return nil, out(err)
	}
	info := &spexv1.ReadInfo{Shard: shardID, Index: e.shard.Applied()}
	page, err := e.examine(ctx, req, string(after), int(req.PageSize))
	if err != nil {
		return nil, out(err)
	}
	resp := &spexv1.ListInstancesResponse{
		Reads: []*spexv1.ReadInfo{info}, NextPageToken: nextPage(listToken, page), Examined: uint64(page.Examined),
		Unevaluated: uint64(page.Unevaluated), UnevaluatedError: page.Problem,
	}
	for _, v := range page.Matched {
		resp.Instances = append(resp.Instances, api.Instance(shardID, v))
	}
	return resp, nil
}
