package main

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// The verdicts as the command line writes them.
const (
	verdictOK              = "ok"
	verdictStillEquivalent = "deviation_still_equivalent"
	verdictNotEquivalent   = "deviation_not_equivalent"
	verdictPending         = "pending"
)

// verdictName writes a verdict. A verdict of a newer server is written as it
// is called there, so that nothing is taken for ok.
func verdictName(v typesv1.Verdict) string {
	return enumName(v.String(), "VERDICT_")
}

func modeName(m typesv1.ModelMode) string {
	return enumName(m.String(), "MODEL_MODE_")
}

func enumName(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

func timeJSON(t *timestamppb.Timestamp) jsonTime {
	if t == nil {
		return jsonTime{}
	}
	return jsonTime(t.AsTime())
}

// mapSlice converts a list; the result is never nil, so that JSON has [].
func mapSlice[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}

func transitionToJSON(t *typesv1.Transition) transitionJSON {
	return transitionJSON{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()}
}

func judgementToJSON(j *typesv1.Judgement) *judgementJSON {
	if j == nil {
		return nil
	}
	out := &judgementJSON{
		Verdict:            verdictName(j.GetVerdict()),
		Reason:             j.GetReason(),
		Explanation:        j.GetExplanation(),
		BaselineEquivalent: j.GetBaselineEquivalent(),
		SpecVersion:        j.GetSpecVersion(),
		ModelVersion:       j.GetModelVersion(),
		PendingVersion:     j.GetPendingVersion(),
		Rule:               j.GetRule(),
		Grade:              optional(j.GetGrade()),
	}
	if j.GetWithPending() != typesv1.Verdict_VERDICT_UNSPECIFIED {
		with := verdictName(j.GetWithPending())
		out.WithPending = &with
	}
	return out
}

func stepResultToJSON(r *spexv1.StepResponse) stepResultJSON {
	return stepResultJSON{
		Namespace:    r.GetNamespace(),
		ID:           r.GetId(),
		Incarnation:  r.GetIncarnation(),
		Seq:          r.GetSeq(),
		FromState:    r.GetFromState(),
		Action:       r.GetAction(),
		State:        r.GetState(),
		Verdict:      verdictName(r.GetVerdict()),
		Judgement:    judgementToJSON(r.GetJudgement()),
		Rejected:     r.GetRejected(),
		Duplicate:    r.GetDuplicate(),
		OffModel:     r.GetOffModel(),
		RunViolation: runViolationToJSON(r.GetRunViolation()),
		Spec:         r.GetSpec(),
		SpecVersion:  r.GetSpecVersion(),
		ModelVersion: r.GetModelVersion(),
		Shard:        r.GetShard(),
		Index:        r.GetIndex(),
	}
}

func instanceToJSON(i *spexv1.Instance) instanceJSON {
	meta := i.GetMeta()
	if meta == nil {
		meta = map[string]string{}
	}
	return instanceJSON{
		Namespace:    i.GetNamespace(),
		ID:           i.GetId(),
		Incarnation:  i.GetIncarnation(),
		Spec:         i.GetSpec(),
		SpecVersion:  i.GetSpecVersion(),
		State:        i.GetState(),
		Seq:          i.GetSeq(),
		Meta:         meta,
		CreatedAt:    timeJSON(i.GetCreatedAt()),
		UpdatedAt:    timeJSON(i.GetUpdatedAt()),
		OffModel:     i.GetOffModel(),
		RunViolation: runViolationToJSON(i.GetRunViolation()),
		Awaiting:     i.GetAwaiting(),
		Deadline:     timeJSON(i.GetDeadline()),
		TimedOut:     i.GetTimedOut(),
		PruneAt:      timeJSON(i.GetPruneAt()),
		Shard:        i.GetShard(),
	}
}

func stepToJSON(s *spexv1.Step) stepJSON {
	return stepJSON{
		Seq:          s.GetSeq(),
		FromState:    s.GetFromState(),
		Action:       s.GetAction(),
		State:        s.GetState(),
		Time:         timeJSON(s.GetTime()),
		EventTime:    timeJSON(s.GetEventTime()),
		Verdict:      verdictName(s.GetVerdict()),
		Judgement:    judgementToJSON(s.GetJudgement()),
		RunViolation: runViolationToJSON(s.GetRunViolation()),
	}
}

func readToJSON(r *spexv1.ReadInfo, stale bool) readJSON {
	out := readJSON{
		Consistency: "linearizable",
		Shard:       r.GetShard(),
		Index:       r.GetIndex(),
		AgeSeconds:  time.Duration(r.GetAgeNanos()).Seconds(),
		NodeID:      r.GetNodeId(),
	}
	if stale {
		out.Consistency = "stale"
	}
	return out
}

func modelToJSON(m *spexv1.ModelInfo) modelJSON {
	if m == nil {
		m = &spexv1.ModelInfo{}
	}
	return modelJSON{
		Spec:               m.GetSpec(),
		SpecVersion:        m.GetSpecVersion(),
		Mode:               modeName(m.GetMode()),
		Version:            m.GetVersion(),
		ModeRevision:       m.GetModeRevision(),
		Transitions:        m.GetTransitions(),
		Deviations:         m.GetDeviations(),
		AcknowledgedShards: m.GetAcknowledgedShards(),
		Shards:             m.GetShards(),
		Equivalent:         m.Equivalent,
	}
}

func specInfoToJSON(s *spexv1.SpecificationInfo) specInfoJSON {
	out := specInfoJSON{
		Name:        s.GetName(),
		Version:     s.GetVersion(),
		States:      s.GetStates(),
		Transitions: s.GetTransitions(),
		AppliedAt:   timeJSON(s.GetAppliedAt()),
	}
	if s.GetModel() != nil {
		m := modelToJSON(s.GetModel())
		out.Model = &m
	}
	return out
}

func deviationToJSON(d *spexv1.DeviationInfo) deviationJSON {
	return deviationJSON{
		Spec:          d.GetSpec(),
		SpecVersion:   d.GetSpecVersion(),
		Transition:    transitionToJSON(d.GetTransition()),
		Verdict:       verdictName(d.GetVerdict()),
		Reason:        d.GetReason(),
		Explanation:   d.GetExplanation(),
		Grade:         optional(d.GetGrade()),
		Count:         d.GetCount(),
		FirstInstance: d.GetFirstInstance(),
		FirstTime:     timeJSON(d.GetFirstTime()),
		LastInstance:  d.GetLastInstance(),
		LastTime:      timeJSON(d.GetLastTime()),
		Joint:         jointToJSON(d.GetJoint()),
		Rejection:     rejectionToJSON(d.GetRejection()),
	}
}

func statusToJSON(s *spexv1.GetStatusResponse) statusJSON {
	out := statusJSON{
		ClusterID:     s.GetClusterId(),
		ClusterName:   s.GetClusterName(),
		NodeID:        s.GetNodeId(),
		FeatureLevel:  s.GetFeatureLevel(),
		ReplicasAsked: s.GetReplicasAsked(),
		Paused:        s.GetPlacementPaused(),
		Nodes:         mapSlice(s.GetNodes(), nodeToJSON),
		Catalog:       shardToJSON(s.GetCatalog()),
		Shards:        mapSlice(s.GetShards(), shardToJSON),
	}
	out.Problems = append([]string{}, statusProblems(out)...)
	out.Healthy = len(out.Problems) == 0
	return out
}

func nodeToJSON(n *spexv1.NodeStatus) nodeJSON {
	return nodeJSON{
		ID:            n.GetId(),
		Name:          n.GetName(),
		ClientAddress: n.GetClientAddress(),
		PeerAddress:   n.GetPeerAddress(),
		State:         stateName(n.GetState()),
		Gossip:        n.GetGossip(),
		Reachable:     n.GetReachable(),
		Version:       n.GetVersion(),
		Replicas:      n.GetReplicas(),
		Leaders:       n.GetLeaders(),
		CatalogVoter:  n.GetCatalogVoter(),
		ClockOffset:   clockOffsetJSON(n.GetClockOffset()),
		Alarms:        append([]string{}, n.GetAlarms()...),
		Space:         spaceToJSON(n.GetSpace()),
	}
}

func clockOffsetJSON(d *durationpb.Duration) *string {
	if d == nil {
		return nil
	}
	text := d.AsDuration().Round(time.Millisecond).String()
	return &text
}

func shardToJSON(s *spexv1.ShardStatus) shardJSON {
	if s == nil {
		s = &spexv1.ShardStatus{}
	}
	return shardJSON{
		ID:               s.GetId(),
		Leader:           s.GetLeader(),
		LeaderName:       s.GetLeaderName(),
		Term:             s.GetTerm(),
		Formed:           s.GetFormed(),
		Instances:        s.GetInstances(),
		Awaiting:         s.GetAwaiting(),
		FailureTolerance: s.FailureTolerance,
		Replicas:         mapSlice(s.GetReplicas(), replicaToJSON),
	}
}

func replicaToJSON(r *spexv1.ReplicaStatus) replicaJSON {
	return replicaJSON{
		NodeID:         r.GetNodeId(),
		NodeName:       r.GetNodeName(),
		State:          r.GetState(),
		Voter:          r.GetVoter(),
		AppliedIndex:   r.GetAppliedIndex(),
		CommitIndex:    r.GetCommitIndex(),
		Lag:            r.GetLag(),
		StateHash:      r.GetStateHash(),
		StateHashIndex: r.GetStateHashIndex(),
		Error:          r.GetError(),
	}
}

// durationJSON writes a duration as in specifications; nil for never.
func durationJSON(d time.Duration) *string {
	if d == 0 {
		return nil
	}
	s := d.String()
	return &s
}

func specToJSON(s *spec.Specification, version uint64) specJSON {
	m := s.Proto()
	policy := m.GetErrorPolicy()
	action := func(a typesv1.ErrorAction) string { return enumName(a.String(), "ERROR_ACTION_") }
	return specJSON{
		Name:              s.Name,
		Version:           version,
		InitialState:      s.InitialState,
		States:            append([]string{}, s.States()...),
		TerminalStates:    append([]string{}, s.Terminal()...),
		Transitions:       mapSlice(m.GetTransitions(), transitionToJSON),
		TransitionTimeout: durationJSON(s.TransitionTimeout),
		TimeoutInTerminal: s.TimeoutInTerminalStates,
		PruneTimeout:      durationJSON(s.PruneTimeout),
		PrunableStates: prunableJSON{
			Kind:   enumName(m.GetPrunableStates().GetKind().String(), "KIND_"),
			States: append([]string{}, s.Prunable.States...),
		},
		OnMissingModel: enumName(m.GetOnMissingModel().String(), "ON_MISSING_MODEL_"),
		OnError: errorPolicyJSON{
			DeviationStillEquivalent: action(policy.GetDeviationStillEquivalent()),
			DeviationNotEquivalent:   action(policy.GetDeviationNotEquivalent()),
			TransitionTimeout:        action(policy.GetTransitionTimeout()),
		},
		HistoryLimit: s.HistoryLimit,
	}
}
