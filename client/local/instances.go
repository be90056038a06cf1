package local

import (
	"context"
	"encoding/base64"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// InitInstance begins an instance.
func (e *engine) InitInstance(ctx context.Context, req *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error) {
	var c checks
	c.namespace(&req.Namespace)
	c.add(spec.CheckSpecName("spec", req.Spec))
	c.add(spec.CheckIdentifier("id", req.Id))
	if req.InitialState != "" {
		c.add(spec.CheckState("initial_state", req.InitialState))
	}
	c.add(spec.CheckMeta(req.Meta))
	at := c.eventTime(req.EventTime)
	c.size(req)
	c.requestID(req.RequestId, false, "")
	if c.err != nil {
		return nil, out(c.err)
	}
	key, err := e.specFor(req.Namespace, req.Spec, req.SpecVersion)
	if err != nil {
		return nil, out(err)
	}
	return e.begun(ctx, key, &statev1.Command{Kind: &statev1.Command_InitInstance{InitInstance: &statev1.InitInstance{
		Key: &statev1.Key{Namespace: req.Namespace, Id: req.Id}, Spec: req.Spec, SpecVersion: key.Version,
		InitialState: req.InitialState, Meta: req.Meta, RequestId: req.RequestId, EventTime: at,
	}}})
}

// MockInstance puts an instance straight into a state.
func (e *engine) MockInstance(ctx context.Context, req *spexv1.MockInstanceRequest) (*spexv1.StepResponse, error) {
	var c checks
	c.namespace(&req.Namespace)
	c.add(spec.CheckSpecName("spec", req.Spec))
	c.add(spec.CheckIdentifier("id", req.Id))
	c.add(spec.CheckState("state", req.State))
	c.add(spec.CheckMeta(req.Meta))
	c.size(req)
	c.requestID(req.RequestId, false, "")
	if c.err != nil {
		return nil, out(c.err)
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
	return stepResponse(e.awaitVerdict(ctx, value.(*fsm.StepResult))), nil
}

// Transition records one step.
func (e *engine) Transition(ctx context.Context, req *spexv1.TransitionRequest) (*spexv1.StepResponse, error) {
	var c checks
	c.namespace(&req.Namespace)
	c.add(spec.CheckIdentifier("id", req.Id))
	c.add(spec.CheckAction("action", req.Action))
	c.add(spec.CheckState("to_state", req.ToState))
	at := c.eventTime(req.EventTime)
	c.size(req)
	c.requestID(req.RequestId, req.ExpectedSeq == 0, "expected_seq")
	if c.err != nil {
		return nil, out(c.err)
	}
	value, err := e.write(ctx, &statev1.Command{Kind: &statev1.Command_Step{Step: &statev1.Step{
		Key: &statev1.Key{Namespace: req.Namespace, Id: req.Id}, Action: req.Action, ToState: req.ToState,
		RequestId: req.RequestId, ExpectedSeq: req.ExpectedSeq, EventTime: at, Incarnation: req.Incarnation,
	}}})
	if err != nil {
		return nil, out(err)
	}
	return stepResponse(e.awaitVerdict(ctx, value.(*fsm.StepResult))), nil
}

// DeleteInstance deletes an instance.
func (e *engine) DeleteInstance(ctx context.Context, req *spexv1.DeleteInstanceRequest) (*spexv1.DeleteInstanceResponse, error) {
	var c checks
	c.namespace(&req.Namespace)
	c.add(spec.CheckIdentifier("id", req.Id))
	c.requestID(req.RequestId, req.Incarnation == 0, "incarnation")
	if c.err != nil {
		return nil, out(c.err)
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
func (e *engine) instance(namespace *string, id string, minIndex uint64) (*fsm.InstanceView, *spexv1.ReadInfo, error) {
	var c checks
	c.namespace(namespace)
	c.add(spec.CheckIdentifier("id", id))
	if c.err == nil {
		c.err = e.open()
	}
	if c.err != nil {
		return nil, nil, out(c.err)
	}
	info := &spexv1.ReadInfo{Shard: shardID, Index: e.shard.Applied()}
	if minIndex > info.Index {
		return nil, nil, out(fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "index %d is not reached: the newest is %d", minIndex, info.Index))
	}
	v, ok := e.shard.Instance(fsm.Key{Namespace: *namespace, ID: id})
	if !ok {
		return nil, nil, out(fsm.Errorf(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "there is no instance %q in the namespace %q", id, *namespace))
	}
	return v, info, nil
}

// GetInstance reads an instance.
func (e *engine) GetInstance(_ context.Context, req *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error) {
	v, info, err := e.instance(&req.Namespace, req.Id, req.MinIndex)
	if err != nil {
		return nil, err
	}
	return &spexv1.GetInstanceResponse{Instance: instanceMessage(v), Read: info}, nil
}

// GetHistory reads a page of the steps of an instance.
func (e *engine) GetHistory(_ context.Context, req *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error) {
	v, info, err := e.instance(&req.Namespace, req.Id, req.MinIndex)
	if err != nil {
		return nil, err
	}
	var c checks
	size := c.page("page_size", req.PageSize, spec.MaxPage, spec.MaxPage)
	next := v.FirstKept
	if req.NewestFirst {
		next = v.Seq
	}
	if req.PageToken != "" {
		var incarnation uint64
		raw, err := base64.RawURLEncoding.DecodeString(req.PageToken)
		if _, scanned := fmt.Sscanf(string(raw), "%d.%d", &incarnation, &next); err != nil || scanned != nil {
			c.err = badToken()
		} else if incarnation != v.Incarnation {
			c.err = fsm.Errorf(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "the instance %q was initialised again between two pages: read its history from the beginning", req.Id)
		}
		if !req.NewestFirst {
			next = max(next, v.FirstKept)
		}
	}
	if c.err != nil {
		return nil, out(c.err)
	}
	resp := &spexv1.GetHistoryResponse{Instance: instanceMessage(v), FirstKeptSeq: v.FirstKept, Read: info}
	for {
		s, ok := v.Step(next)
		if !ok {
			return resp, nil
		}
		if len(resp.Steps) == size {
			resp.NextPageToken = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d", v.Incarnation, next))
			return resp, nil
		}
		resp.Steps = append(resp.Steps, stepMessage(s))
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
	var c checks
	c.namespace(&req.Namespace)
	if req.Spec != "" {
		c.add(spec.CheckSpecName("spec", req.Spec))
	}
	if req.State != "" {
		c.add(spec.CheckState("state", req.State))
	}
	size := c.page("page_size", req.PageSize, 100, spec.MaxPage)
	after, err := base64.RawURLEncoding.DecodeString(req.PageToken)
	if err != nil && c.err == nil {
		c.err = badToken()
	}
	if c.err == nil {
		c.err = e.open()
	}
	if c.err != nil {
		return nil, out(c.err)
	}
	info := &spexv1.ReadInfo{Shard: shardID, Index: e.shard.Applied()}
	page, err := e.examine(ctx, req, string(after), size)
	if err != nil {
		return nil, out(err)
	}
	resp := &spexv1.ListInstancesResponse{
		Reads: []*spexv1.ReadInfo{info}, NextPageToken: nextPage(page), Examined: uint64(page.Examined),
		Unevaluated: uint64(page.Unevaluated), UnevaluatedError: page.Problem,
	}
	for _, v := range page.Matched {
		resp.Instances = append(resp.Instances, instanceMessage(v))
	}
	return resp, nil
}

func stepResponse(r *fsm.StepResult) *spexv1.StepResponse {
	return &spexv1.StepResponse{
		Namespace: r.Ref.Namespace, Id: r.Ref.ID, Incarnation: r.Ref.Incarnation, Seq: r.Ref.Seq,
		FromState: r.From, Action: r.Action, State: r.State, Verdict: r.Verdict, Judgement: r.Judgement,
		Rejected: r.Rejected, Duplicate: r.Duplicate, OffModel: r.OffModel, RunViolation: r.RunViolation,
		Spec: r.Spec.Name, SpecVersion: r.Spec.Version, ModelVersion: r.ModelVersion, Shard: shardID, Index: r.Index,
	}
}

func instanceMessage(v *fsm.InstanceView) *spexv1.Instance {
	return &spexv1.Instance{
		Namespace: v.Key.Namespace, Id: v.Key.ID, Incarnation: v.Incarnation, Spec: v.Spec.Name, SpecVersion: v.Spec.Version,
		State: v.State, Seq: v.Seq, Meta: v.Meta, CreatedAt: timestamppb.New(v.CreatedAt), UpdatedAt: timestamppb.New(v.UpdatedAt),
		OffModel: v.OffModel, Awaiting: v.Awaiting, Shard: shardID, RunViolation: v.RunViolation,
	}
}

func stepMessage(s fsm.StepView) *spexv1.Step {
	m := &spexv1.Step{Seq: s.Seq, FromState: s.From, Action: s.Action, State: s.State, Time: timestamppb.New(s.Time), Verdict: s.Verdict, Judgement: s.Judgement, RunViolation: s.RunViolation}
	if !s.EventTime.IsZero() {
		m.EventTime = timestamppb.New(s.EventTime)
	}
	return m
}
