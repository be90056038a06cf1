package main

import (
	"strings"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// runViolationJSON says what the steps of an instance prove by themselves.
type runViolationJSON struct {
	Kind        string `json:"kind"`
	Seq         uint64 `json:"seq"`
	FoundSeq    uint64 `json:"found_seq"`
	Explanation string `json:"explanation"`
}

func runViolationToJSON(v *typesv1.RunViolation) *runViolationJSON {
	if v == nil {
		return nil
	}
	return &runViolationJSON{
		Kind: strings.TrimPrefix(v.GetKind().String(), "RUN_VIOLATION_KIND_"), Seq: v.GetSeq(), FoundSeq: v.GetFoundSeq(), Explanation: v.GetExplanation(),
	}
}

// show says it in a line.
func (v *runViolationJSON) show() string {
	return "the run violates the specification: " + v.Explanation
}

// jointJSON is what a deviation does together with those that came before it in
// the cluster.
type jointJSON struct {
	Verdict        string           `json:"verdict"`
	Joint          bool             `json:"joint"`
	With           []transitionJSON `json:"with"`
	Explanation    string           `json:"explanation"`
	ModelVersion   uint64           `json:"model_version"`
	PendingVersion uint64           `json:"pending_version"`
}

func jointToJSON(j *typesv1.JointJudgement) *jointJSON {
	if j == nil {
		return nil
	}
	return &jointJSON{
		Verdict: verdictName(j.GetVerdict()), Joint: j.GetJoint(), With: mapSlice(j.GetWith(), transitionToJSON), Explanation: j.GetExplanation(),
		ModelVersion: j.GetModelVersion(), PendingVersion: j.GetPendingVersion(),
	}
}
