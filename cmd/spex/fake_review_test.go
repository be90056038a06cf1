package main

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// event notes what happened to the model.
func (s *fakeSpec) event(now *timestamppb.Timestamp, e *spexv1.ModelEvent) {
	s.revision++
	e.Time, e.Version, e.Principal = now, s.revision, "anonymous"
	s.events = append(s.events, e)
}

func (s *fakeSpec) grade(list []spec.Transition) *spexv1.ModelGrade {
	c := model.NewChecker(s.spec, list)
	equivalent, _ := c.Equivalent()
	g := c.Grade()
	return &spexv1.ModelGrade{Equivalent: equivalent, Grade: string(g.Grade), Trace: g.Trace}
}

func transitionsOf(list []*typesv1.Transition) []spec.Transition {
	return mapSlice(list, func(t *typesv1.Transition) spec.Transition {
		return spec.Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()}
	})
}

// find gives the deviation by a transition.
func (s *fakeSpec) find(t *typesv1.Transition) *spexv1.DeviationInfo {
	for _, d := range s.deviations {
		if transitionsOf([]*typesv1.Transition{d.GetTransition()})[0] == transitionsOf([]*typesv1.Transition{t})[0] {
			return d
		}
	}
	return nil
}

func (f *fakeCluster) AcceptDeviations(_ context.Context, req *spexv1.AcceptDeviationsRequest) (*spexv1.AcceptDeviationsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.findLocked(req.GetSpec())
	if err != nil {
		return nil, err
	}
	list := transitionsOf(req.GetTransitions())
	before, after := s.grade(s.model), s.grade(model.Union(s.model, list))
	novel := slices.DeleteFunc(slices.Clone(list), func(t spec.Transition) bool { return slices.Contains(s.model, t) })
	if !req.GetForce() {
		for _, t := range req.GetTransitions() {
			if s.find(t) == nil && len(novel) > 0 {
				return nil, refusal(codes.NotFound, typesv1.Reason_REASON_DEVIATION_NOT_FOUND, "no step of %q has deviated so", s.spec.Name)
			}
		}
		if !after.GetEquivalent() {
			return nil, refusal(codes.FailedPrecondition, typesv1.Reason_REASON_MODEL_NOT_EQUIVALENT,
				"the model of %q would not be equivalent to its specification (grade before %s, after %s)", s.spec.Name, before.GetGrade(), after.GetGrade())
		}
	}
	if len(novel) == 0 {
		return &spexv1.AcceptDeviationsResponse{Model: s.info(), Before: before, After: after}, nil
	}
	s.model = model.Union(s.model, list)
	s.deviations = slices.DeleteFunc(s.deviations, func(d *spexv1.DeviationInfo) bool {
		return slices.Contains(list, transitionsOf([]*typesv1.Transition{d.GetTransition()})[0])
	})
	s.event(f.tickLocked(), &spexv1.ModelEvent{
		Kind: typesv1.ModelEventKind_MODEL_EVENT_KIND_ACCEPTED, Added: uint32(len(novel)), Owner: req.GetOwner(), Reason: req.GetReason(),
		ExpiresAt: req.GetExpiresAt(), Transitions: req.GetTransitions(),
	})
	return &spexv1.AcceptDeviationsResponse{Model: s.info(), Added: uint32(len(novel)), Changed: true, Before: before, After: after}, nil
}

func (f *fakeCluster) RejectDeviations(_ context.Context, req *spexv1.RejectDeviationsRequest) (*spexv1.RejectDeviationsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.findLocked(req.GetSpec())
	if err != nil {
		return nil, err
	}
	changed := false
	for _, t := range req.GetTransitions() {
		d := s.find(t)
		if d == nil {
			return nil, refusal(codes.NotFound, typesv1.Reason_REASON_DEVIATION_NOT_FOUND, "no step of %q has deviated so", s.spec.Name)
		}
		if d.GetRejection().GetReason() != req.GetReason() {
			d.Rejection = &spexv1.Rejection{Owner: req.GetOwner(), Reason: req.GetReason(), Principal: "anonymous", Time: f.tickLocked()}
			changed = true
		}
	}
	if changed {
		s.event(f.tickLocked(), &spexv1.ModelEvent{
			Kind: typesv1.ModelEventKind_MODEL_EVENT_KIND_REJECTED, Owner: req.GetOwner(), Reason: req.GetReason(), Transitions: req.GetTransitions(),
		})
	}
	return &spexv1.RejectDeviationsResponse{Model: s.info(), Changed: changed}, nil
}

func (f *fakeCluster) ListModelHistory(_ context.Context, req *spexv1.ListModelHistoryRequest) (*spexv1.ListModelHistoryResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.findLocked(req.GetSpec())
	if err != nil {
		return nil, err
	}
	resp := &spexv1.ListModelHistoryResponse{Model: s.info()}
	for _, e := range slices.Backward(s.events) {
		if resp.Truncated = len(resp.Events) == int(req.GetLimit()); resp.Truncated {
			break
		}
		resp.Events = append(resp.Events, e)
	}
	return resp, nil
}
