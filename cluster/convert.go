package cluster

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func stepResponse(shard uint32, r *fsm.StepResult) *spexv1.StepResponse {
	return &spexv1.StepResponse{
		Namespace: r.Ref.Namespace, Id: r.Ref.ID, Incarnation: r.Ref.Incarnation, Seq: r.Ref.Seq,
		FromState: r.From, Action: r.Action, State: r.State, Verdict: r.Verdict, Judgement: r.Judgement,
		Rejected: r.Rejected, Duplicate: r.Duplicate, OffModel: r.OffModel, RunViolation: r.RunViolation,
		Spec: r.Spec.Name, SpecVersion: r.Spec.Version, ModelVersion: r.ModelVersion, Shard: shard, Index: r.Index,
	}
}

func instanceMessage(shard uint32, v *fsm.InstanceView) *spexv1.Instance {
	m := &spexv1.Instance{
		Namespace: v.Key.Namespace, Id: v.Key.ID, Incarnation: v.Incarnation, Spec: v.Spec.Name, SpecVersion: v.Spec.Version,
		State: v.State, Seq: v.Seq, Meta: v.Meta, CreatedAt: timestamppb.New(v.CreatedAt), UpdatedAt: timestamppb.New(v.UpdatedAt),
		OffModel: v.OffModel, Awaiting: v.Awaiting, Shard: shard, TimedOut: v.TimedOut, RunViolation: v.RunViolation,
	}
	if !v.Deadline.IsZero() {
		m.Deadline = timestamppb.New(v.Deadline)
	}
	if !v.PruneAt.IsZero() {
		m.PruneAt = timestamppb.New(v.PruneAt)
	}
	return m
}

func stepMessage(s fsm.StepView) *spexv1.Step {
	m := &spexv1.Step{Seq: s.Seq, FromState: s.From, Action: s.Action, State: s.State, Time: timestamppb.New(s.Time), Verdict: s.Verdict, Judgement: s.Judgement, RunViolation: s.RunViolation}
	if !s.EventTime.IsZero() {
		m.EventTime = timestamppb.New(s.EventTime)
	}
	return m
}

func deviationMessage(d fsm.DeviationView) *spexv1.DeviationInfo {
	return &spexv1.DeviationInfo{
		Spec: d.Spec.Name, SpecVersion: d.Spec.Version,
		Transition: &typesv1.Transition{From: d.Transition.From, Action: d.Transition.Action, To: d.Transition.To},
		Verdict:    d.Verdict, Reason: d.Reason, Explanation: d.Explanation, Grade: d.Grade, Count: d.Count,
		FirstInstance: d.First.ID, FirstTime: timestamppb.New(d.FirstAt), LastInstance: d.Last.ID, LastTime: timestamppb.New(d.LastAt),
	}
}

func modelInfo(m fsm.ModelStatus, shards uint32) *spexv1.ModelInfo {
	return &spexv1.ModelInfo{
		Spec: m.Key.Name, SpecVersion: m.Key.Version, Mode: m.Mode, Version: m.Version, ModeRevision: m.ModeRevision,
		Transitions: uint32(m.Transitions), Deviations: uint32(m.Deviations), AcknowledgedShards: uint32(len(m.Acknowledged)), Shards: shards,
	}
}

// unixNanos is 0 for a time that was not given.
func unixNanos(t *timestamppb.Timestamp) int64 {
	if t == nil {
		return 0
	}
	return t.AsTime().UnixNano()
}

func age(now, contact time.Time) int64 {
	if contact.IsZero() {
		return int64(time.Duration(1<<63 - 1))
	}
	return max(0, int64(now.Sub(contact)))
}

// errorDetail is the detail of any error; one without a reason is internal.
func errorDetail(err error) *typesv1.ErrorDetail {
	if e := asError(err); e != nil {
		return e.Detail()
	}
	return &typesv1.ErrorDetail{Reason: typesv1.Reason_REASON_INTERNAL, Message: err.Error()}
}
