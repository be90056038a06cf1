package api

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// StepResponse is the answer to an init, a mock or a step that the shard has stored.
func StepResponse(shard uint32, r *fsm.StepResult) *spexv1.StepResponse {
	return &spexv1.StepResponse{
		Namespace: r.Ref.Namespace, Id: r.Ref.ID, Incarnation: r.Ref.Incarnation, Seq: r.Ref.Seq,
		FromState: r.From, Action: r.Action, State: r.State, Verdict: r.Verdict, Judgement: r.Judgement,
		Rejected: r.Rejected, Duplicate: r.Duplicate, OffModel: r.OffModel, RunViolation: r.RunViolation,
		Spec: r.Spec.Name, SpecVersion: r.Spec.Version, ModelVersion: r.ModelVersion, Shard: shard, Index: r.Index,
	}
}

// Instance is what is told about an instance of the shard, without its history.
func Instance(shard uint32, v *fsm.InstanceView) *spexv1.Instance {
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

// Step is a step of a history.
func Step(s fsm.StepView) *spexv1.Step {
	m := &spexv1.Step{Seq: s.Seq, FromState: s.From, Action: s.Action, State: s.State, Time: timestamppb.New(s.Time), Verdict: s.Verdict, Judgement: s.Judgement, RunViolation: s.RunViolation}
	if !s.EventTime.IsZero() {
		m.EventTime = timestamppb.New(s.EventTime)
	}
	return m
}

// Deviation is a distinct deviation of one shard, without notes and joint judgements.
func Deviation(d fsm.DeviationView) *spexv1.DeviationInfo {
	return &spexv1.DeviationInfo{
		Spec: d.Spec.Name, SpecVersion: d.Spec.Version,
		Transition: &typesv1.Transition{From: d.Transition.From, Action: d.Transition.Action, To: d.Transition.To},
		Verdict:    d.Verdict, Reason: d.Reason, Explanation: d.Explanation, Grade: d.Grade, Count: d.Count,
		FirstInstance: d.First.ID, FirstTime: timestamppb.New(d.FirstAt), LastInstance: d.Last.ID, LastTime: timestamppb.New(d.LastAt),
	}
}

// Note adds to a deviation what the catalog knows: what was noted when it was
// rejected, and what it does together with those before it.
func Note(catalog *fsm.Catalog, key fsm.SpecKey, d *spexv1.DeviationInfo) {
	t := ModelTransitions([]*typesv1.Transition{d.GetTransition()})[0]
	d.Joint = catalog.Joint(key, t)
	if r, ok := catalog.Review(key, t); ok && !r.Accepted {
		d.Rejection = &spexv1.Rejection{Owner: r.Owner, Reason: r.Reason, Principal: r.Principal, Time: timestamppb.New(r.At)}
	}
}

// ModelInfo is what is told about a model that works on so many shards, without
// whether it is equivalent.
func ModelInfo(m fsm.ModelStatus, shards uint32) *spexv1.ModelInfo {
	return &spexv1.ModelInfo{
		Spec: m.Key.Name, SpecVersion: m.Key.Version, Mode: m.Mode, Version: m.Version, ModeRevision: m.ModeRevision,
		Transitions: uint32(m.Transitions), Deviations: uint32(m.Deviations), AcknowledgedShards: uint32(len(m.Acknowledged)), Shards: shards,
	}
}

// Report copies a report of the shard, without what it tells about a run.
func Report(shard uint32, r *statev1.ReportRecord) *spexv1.Report {
	return &spexv1.Report{
		Shard: shard, Id: r.GetId(), Kind: r.GetKind(), Time: timestamppb.New(time.Unix(0, r.GetTime())),
		Namespace: r.GetSpec().GetNamespace(), Spec: r.GetSpec().GetName(), SpecVersion: r.GetSpec().GetVersion(),
		Instance: r.GetStep().GetKey().GetId(), Incarnation: r.GetStep().GetIncarnation(), Seq: r.GetStep().GetSeq(),
		State: r.GetState(), Transition: proto.CloneOf(r.GetTransition()), Judgement: proto.CloneOf(r.GetJudgement()),
		ModelMode: r.GetMode(), ModeRevision: r.GetModeRevision(), Rejected: r.GetRejected(), Deadline: timestampOf(r.GetDeadline()), Joint: proto.CloneOf(r.GetJoint()),
	}
}

// timestampOf is nil for 0.
func timestampOf(nanos int64) *timestamppb.Timestamp {
	if nanos == 0 {
		return nil
	}
	return timestamppb.New(time.Unix(0, nanos))
}

// UnixNanos is t in nanoseconds since 1970, and 0 for one that was not given.
func UnixNanos(t *timestamppb.Timestamp) int64 {
	if t == nil {
		return 0
	}
	return t.AsTime().UnixNano()
}
