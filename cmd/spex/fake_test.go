package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// fakeCluster serves the API from memory: one namespace, one shard, no
// replication. Steps are judged by the real checker.
type fakeCluster struct {
	spexv1.UnimplementedInstanceServiceServer
	spexv1.UnimplementedSpecificationServiceServer
	spexv1.UnimplementedModelServiceServer
	spexv1.UnimplementedClusterServiceServer

	addr string

	// mu guards everything below.
	mu        sync.Mutex
	clock     time.Time
	index     uint64
	specs     map[string]*fakeSpec
	instances map[string]*fakeInstance
	// order lists instance ids by the time of their init.
	order []string
	// requests holds the first answer to each request id.
	requests map[string]*spexv1.StepResponse
	// batches counts TransitionBatch calls, served or not.
	batches int
	// refuseBatch, when set, may fail the n-th TransitionBatch (from 1) as a whole.
	refuseBatch func(n int) error
	// pending makes novel steps answer PENDING until they were asked for so often.
	pending int
	asked   map[string]int
	// statusAnswer replaces the answer of GetStatus.
	statusAnswer *spexv1.GetStatusResponse
	// settings is nil for the defaults.
	settings *spexv1.ClusterSettings
	// placing is nil until something is asked of it.
	placing *fakePlacement
	// listFailures are reported by listings.
	listFailures []*spexv1.ShardFailure
}

type fakeSpec struct {
	spec       *spec.Specification
	version    uint64
	appliedAt  time.Time
	mode       typesv1.ModelMode
	model      []spec.Transition
	revision   uint64
	deviations []*spexv1.DeviationInfo
	// earlier are the deviations from older versions.
	earlier []*spexv1.DeviationInfo
	events  []*spexv1.ModelEvent
}

type fakeInstance struct {
	info  *spexv1.Instance
	steps []*spexv1.Step
}

// startFake serves a new fake on a port of its own until the test ends.
func startFake(t *testing.T) *fakeCluster {
	t.Helper()
	f := &fakeCluster{
		clock:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		specs:     map[string]*fakeSpec{},
		instances: map[string]*fakeInstance{},
		requests:  map[string]*spexv1.StepResponse{},
		asked:     map[string]int{},
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = lis.Addr().String()
	srv := grpc.NewServer()
	spexv1.RegisterInstanceServiceServer(srv, f)
	spexv1.RegisterSpecificationServiceServer(srv, f)
	spexv1.RegisterModelServiceServer(srv, f)
	spexv1.RegisterClusterServiceServer(srv, f)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return f
}

// refusal makes a gRPC error with a reason, as the server does.
func refusal(code codes.Code, reason typesv1.Reason, format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	st, err := status.New(code, msg).WithDetails(&typesv1.ErrorDetail{Reason: reason, Message: msg, NotApplied: true})
	if err != nil {
		return err
	}
	return st.Err()
}

// tickLocked moves the clock and the log by one entry.
func (f *fakeCluster) tickLocked() *timestamppb.Timestamp {
	f.clock = f.clock.Add(1500 * time.Millisecond)
	f.index++
	return timestamppb.New(f.clock)
}

func (f *fakeCluster) InitInstance(_ context.Context, req *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if first := f.requests[req.GetRequestId()]; first != nil {
		return duplicate(first), nil
	}
	s := f.specs[req.GetSpec()]
	if s == nil {
		return nil, refusal(codes.NotFound, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no specification %q", req.GetSpec())
	}
	if f.instances[req.GetId()] != nil {
		return nil, refusal(codes.AlreadyExists, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_ALREADY_IN_USE, "the identifier %q is in use", req.GetId())
	}
	state := req.GetInitialState()
	if state == "" {
		state = s.spec.InitialState
	}
	now := f.tickLocked()
	in := &fakeInstance{info: &spexv1.Instance{
		Namespace: req.GetNamespace(), Id: req.GetId(), Incarnation: f.index, Spec: req.GetSpec(), SpecVersion: s.version,
		Meta: req.GetMeta(), CreatedAt: now, Shard: 1,
	}}
	f.instances[req.GetId()] = in
	f.order = append(f.order, req.GetId())
	resp := f.recordLocked(in, s, spec.Transition{Action: spec.Initialisation, To: state}, req.GetEventTime(), now)
	f.requests[req.GetRequestId()] = resp
	return resp, nil
}

func (f *fakeCluster) Transition(_ context.Context, req *spexv1.TransitionRequest) (*spexv1.StepResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.transitionLocked(req)
}

func (f *fakeCluster) transitionLocked(req *spexv1.TransitionRequest) (*spexv1.StepResponse, error) {
	if first := f.requests[req.GetRequestId()]; first != nil {
		return f.againLocked(first, req.GetRequestId()), nil
	}
	in := f.instances[req.GetId()]
	if in == nil {
		return nil, refusal(codes.NotFound, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "there is no instance %q", req.GetId())
	}
	if want := req.GetExpectedSeq(); want != 0 && want != in.info.GetSeq()+1 {
		return nil, refusal(codes.FailedPrecondition, typesv1.Reason_REASON_SEQUENCE_MISMATCH,
			"the next step of the instance %q gets seq %d, not %d", req.GetId(), in.info.GetSeq()+1, want)
	}
	t := spec.Transition{From: in.info.GetState(), Action: req.GetAction(), To: req.GetToState()}
	resp := f.recordLocked(in, f.specs[in.info.GetSpec()], t, req.GetEventTime(), f.tickLocked())
	f.requests[req.GetRequestId()] = resp
	return f.againLocked(resp, ""), nil
}

// againLocked gives an answer, which is PENDING as often as the test asked for.
func (f *fakeCluster) againLocked(first *spexv1.StepResponse, requestID string) *spexv1.StepResponse {
	out := first
	if requestID != "" {
		out = duplicate(first)
	}
	if first.GetVerdict() == typesv1.Verdict_VERDICT_OK {
		return out
	}
	key := fmt.Sprint(first.GetId(), first.GetSeq())
	if f.asked[key]++; f.asked[key] <= f.pending {
		out = proto.CloneOf(out)
		out.Verdict, out.Judgement, out.Rejected = typesv1.Verdict_VERDICT_PENDING, nil, false
	}
	return out
}

func duplicate(first *spexv1.StepResponse) *spexv1.StepResponse {
	out := proto.CloneOf(first)
	out.Duplicate = true
	return out
}

// recordLocked stores and judges a step.
func (f *fakeCluster) recordLocked(in *fakeInstance, s *fakeSpec, t spec.Transition, event, now *timestamppb.Timestamp) *spexv1.StepResponse {
	verdict := typesv1.Verdict_VERDICT_OK
	var judgement *typesv1.Judgement
	switch {
	case slices.Contains(s.model, t):
	case s.mode == typesv1.ModelMode_MODEL_MODE_LEARNING:
		s.model = append(s.model, t)
		s.revision++
	default:
		j := model.NewChecker(s.spec, s.model).Judge(t, nil)
		verdict = j.Verdict
		judgement = &typesv1.Judgement{
			Verdict: j.Verdict, Reason: j.Reason, Explanation: "A sentence about why.", BaselineEquivalent: j.BaselineEquivalent,
			SpecVersion: s.version, ModelVersion: s.revision, Rule: string(j.Rule), Grade: string(j.Grade),
		}
		in.info.OffModel = true
		s.noteDeviation(in.info.GetId(), t, judgement, now)
	}
	in.info.Seq++
	in.info.State, in.info.UpdatedAt = t.To, now
	in.steps = append(in.steps, &spexv1.Step{
		Seq: in.info.GetSeq(), FromState: t.From, Action: t.Action, State: t.To, Time: now, EventTime: event,
		Verdict: verdict, Judgement: judgement,
	})
	return &spexv1.StepResponse{
		Namespace: in.info.GetNamespace(), Id: in.info.GetId(), Incarnation: in.info.GetIncarnation(), Seq: in.info.GetSeq(),
		FromState: t.From, Action: t.Action, State: t.To, Verdict: verdict, Judgement: judgement,
		Rejected: verdict == typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT,
		OffModel: in.info.GetOffModel(), Spec: s.spec.Name, SpecVersion: s.version, ModelVersion: s.revision, Shard: 1, Index: f.index,
	}
}

func (s *fakeSpec) noteDeviation(id string, t spec.Transition, j *typesv1.Judgement, now *timestamppb.Timestamp) {
	for _, d := range s.deviations {
		if d.GetTransition().GetFrom() == t.From && d.GetTransition().GetAction() == t.Action && d.GetTransition().GetTo() == t.To {
			d.Count++
			d.LastInstance, d.LastTime = id, now
			return
		}
	}
	s.deviations = append(s.deviations, &spexv1.DeviationInfo{
		Spec: s.spec.Name, SpecVersion: s.version, Transition: &typesv1.Transition{From: t.From, Action: t.Action, To: t.To},
		Verdict: j.GetVerdict(), Reason: j.GetReason(), Explanation: j.GetExplanation(), Grade: j.GetGrade(),
		Count: 1, FirstInstance: id, FirstTime: now, LastInstance: id, LastTime: now,
	})
}

func (f *fakeCluster) TransitionBatch(_ context.Context, req *spexv1.TransitionBatchRequest) (*spexv1.TransitionBatchResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches++
	if f.refuseBatch != nil {
		if err := f.refuseBatch(f.batches); err != nil {
			return nil, err
		}
	}
	resp := &spexv1.TransitionBatchResponse{}
	failed := map[string]bool{}
	for _, step := range req.GetTransitions() {
		result := &spexv1.TransitionResult{RequestId: step.GetRequestId()}
		r, err := f.transitionLocked(step)
		switch {
		case failed[step.GetId()]:
			result.Outcome = &spexv1.TransitionResult_Error{Error: &typesv1.ErrorDetail{
				Reason: typesv1.Reason_REASON_SEQUENCE_MISMATCH, Message: "an earlier step of the instance failed", NotApplied: true}}
		case err != nil:
			failed[step.GetId()] = true
			detail := status.Convert(err).Details()[0].(*typesv1.ErrorDetail)
			result.Outcome = &spexv1.TransitionResult_Error{Error: detail}
		default:
			result.Outcome = &spexv1.TransitionResult_Response{Response: r}
		}
		resp.Results = append(resp.Results, result)
	}
	return resp, nil
}
