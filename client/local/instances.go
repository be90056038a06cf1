package local

import (
	"context"
	"encoding/base64"
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
	key, err := e.specFor(req.Namespace, req.Spec, req.SpecVersion)
	if err != nil {
		return nil, out(err)
	}
	return e.begun(ctx, key, &statev1.Command{Kind: &statev1.Command_InitInstance{InitInstance: &statev1.InitInstance{
		Key: &statev1.Key{Namespace: req.Namespace, Id: req.Id}, Spec: req.Spec, SpecVersion: key.Version,
		InitialState: req.InitialState, Meta: req.Meta, RequestId: req.RequestId, EventTime: api.UnixNanos(req.EventTime),
	}}})
}

// MockInstance puts an instance straight into a state.
func (e *engine) MockInstance(ctx context.Context, req *spexv1.MockInstanceRequest) (*spexv1.StepResponse, error) {
	if err := api.CheckMock(req, nil); err != nil {
		return nil, out(err)
	}
	key, err := e.specFor(req.Namespace, req.Spec, req.SpecVersion)
	if err != nil {
		return nil, out(err)
	}
	return e.begun(ctx, key, &statev1.Command{Kind: &statev1.Command_MockInstance{MockInstance: &statev1.MockInstance{
		Key: &statev1.Key{Namespace: req.Namespace, Id: req.Id}, Spec: req.Spec, SpecVersion: key.Version, State: req.State, Meta: req.Meta, RequestId: req.RequestId,
	}}})
}

func noSpec(namespace, name string, version uint64) error {
	if version != 0 {
		return fsm.Errorf(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no version %d of the specification %q in the namespace %q", version, name, namespace)
	}
	return fsm.Errorf(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no specification %q in the namespace %q: apply it first", name, namespace)
}

// specFor finds the version that a new instance gets; a specification that was
// deleted takes none.
func (e *engine) specFor(namespace, name string, version uint64) (fsm.SpecKey, error) {
	v, ok := e.catalog.Spec(namespace, name, version)
	if ok && version != 0 {
		_, ok = e.catalog.Spec(namespace, name, 0)
		version = 0
	}
	if !ok {
		return fsm.SpecKey{}, noSpec(namespace, name, version)
	}
	return v.Key, nil
}

// begun applies a command that needs its specification on the shard.
func (e *engine) begun(ctx context.Context, key fsm.SpecKey, cmd *statev1.Command) (*spexv1.StepResponse, error) {
	value, err := e.write(ctx, cmd)
	if fsm.ReasonOf(err) == typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED {
		if err = e.alone(ctx, func() error { return e.install(key) }); err == nil {
			value, err = e.write(ctx, cmd)
		}
	}
	if err != nil {
		return nil, out(err)
	}
	return api.StepResponse(shardID, e.awaitVerdict(ctx, value.(*fsm.StepResult))), nil
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
	v, ok := e.shard.Instance(fsm.Key{Namespace: namespace, ID: id})
	if !ok {
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
		raw, err := base64.RawURLEncoding.DecodeString(req.PageToken)
		if _, scanned := fmt.Sscanf(string(raw), "%d.%d", &incarnation, &next); err != nil || scanned != nil {
			return nil, out(badToken())
		} else if incarnation != v.Incarnation {
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
			resp.NextPageToken = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d", v.Incarnation, next))
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

func badToken() error {
	return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the page_token is not one that this call gave out: leave it empty to begin")
}

// ListInstances reads a page of the instances, in the order of their ids. The
// token is the id to go on after.
func (e *engine) ListInstances(ctx context.Context, req *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
	if err := api.CheckList(req); err != nil {
		return nil, out(err)
	}
	after, err := base64.RawURLEncoding.DecodeString(req.PageToken)
	if err != nil {
		return nil, out(badToken())
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
		Reads: []*spexv1.ReadInfo{info}, NextPageToken: nextPage(page), Examined: uint64(page.Examined),
		Unevaluated: uint64(page.Unevaluated), UnevaluatedError: page.Problem,
	}
	for _, v := range page.Matched {
		resp.Instances = append(resp.Instances, api.Instance(shardID, v))
	}
	return resp, nil
}
