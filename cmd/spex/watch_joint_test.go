package main

import (
	"strings"
	"testing"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// A joint deviation says which step it is, and together with which others, to
// people and to programs.
func TestJointDeviationsAreShown(t *testing.T) {
	e := reportToEvent(client.Report{Report: &spexv1.Report{
		Id: 5, Kind: typesv1.ReportKind_REPORT_KIND_JOINT_DEVIATION, Spec: "b2", Instance: "i", Seq: 3, State: "3",
		Transition: &typesv1.Transition{From: "1x", Action: "c", To: "3"},
		Joint: &typesv1.JointJudgement{
			Verdict: typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT, Joint: true,
			With: []*typesv1.Transition{{From: "1", Action: "c", To: "3"}}, Explanation: "not together with 1 --[c]-> 3",
		},
	}})
	if e.Kind != "joint_deviation" || e.Shard != 0 || e.Joint == nil || len(e.Joint.With) != 1 || e.Joint.With[0].From != "1" {
		t.Errorf("the JSON is %+v", e)
	}
	text := drawEvent(e, painter{})
	for _, want := range []string{"0/5", "joint_deviation", "i#3", "1x --[c]-> 3", "not equivalent together", "not together with 1 --[c]-> 3"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}
