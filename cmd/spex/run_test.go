package main

import (
	"strings"
	"testing"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// What a run proves, and what deviations do together, is told to people too.
func TestRunViolationsAreShown(t *testing.T) {
	v := &typesv1.RunViolation{Kind: typesv1.RunViolationKind_RUN_VIOLATION_KIND_FORBIDDEN, Seq: 3, FoundSeq: 3, Explanation: "it does not allow \"evil\"."}
	joint := &typesv1.JointJudgement{Joint: true, Verdict: typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT, Explanation: "not with a, b.", With: []*typesv1.Transition{{From: "s"}}}
	var p painter
	draw := map[string]func(*strings.Builder){
		"the run violates the specification: it does not": func(b *strings.Builder) {
			drawStepResult(b, p, stepResultToJSON(&spexv1.StepResponse{Id: "o1", RunViolation: v}))
		},
		"violates its specification": func(b *strings.Builder) {
			b.WriteString(instanceNote(instanceToJSON(&spexv1.Instance{RunViolation: v})).text)
		},
		"together with others: not with": func(b *strings.Builder) {
			drawDeviations(b, p, []deviationJSON{deviationToJSON(&spexv1.DeviationInfo{Joint: joint})}, true, false)
		},
		"run_violation  ": func(b *strings.Builder) {
			id := uint64(1)
			b.WriteString(drawEvent(watchJSON{Kind: "run_violation", ID: &id, Transition: &transitionJSON{}, RunViolation: runViolationToJSON(v)}, p))
		},
	}
	for want, f := range draw {
		var b strings.Builder
		if f(&b); !strings.Contains(b.String(), want) {
			t.Errorf("%q lacks %q", b.String(), want)
		}
	}
	if j := jointToJSON(joint); len(j.With) != 1 || j.Verdict != "deviation_not_equivalent" {
		t.Errorf("%+v", j)
	}
	if j := runViolationToJSON(v); j.Kind != "FORBIDDEN" {
		t.Errorf("%+v", j)
	}
}
