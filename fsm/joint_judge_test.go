package fsm

import (
	"slices"
	"testing"

	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// TestJudgeJointly: of many deviations that are harmless one by one, those are
// named that one does not go together with, and only what does not violate the
// specification counts for later ones.
func TestJudgeJointly(t *testing.T) {
	def := &typesv1.Specification{Name: "b2", InitialState: "0", Transitions: []*typesv1.Transition{
		{From: "0", Action: "a", To: "1"}, {From: "0", Action: "a", To: "2"}, {From: "1", Action: "b", To: "3"}, {From: "2", Action: "b", To: "3"}, {From: "2", Action: "c", To: "3"},
	}}
	s, err := spec.FromProto(def)
	if err != nil {
		t.Fatal(err)
	}
	// The model has three copies of 1: with c from all of them, none is left.
	list := []model.Transition{model.Init("0"), {From: "0", Action: "a", To: "2"}, {From: "2", Action: "b", To: "3"}, {From: "2", Action: "c", To: "3"}}
	for _, copied := range []string{"1", "1x", "1y"} {
		list = append(list, model.Transition{From: "0", Action: "a", To: copied}, model.Transition{From: copied, Action: "b", To: "3"})
	}
	cFrom := func(state string) model.Transition { return model.Transition{From: state, Action: "c", To: "3"} }
	harmless := []model.Transition{{From: "2", Action: "b", To: "end"}, {From: "1x", Action: "b", To: "end"}, {From: "2", Action: "c", To: "end"}}
	task := JointTask{ModelVersion: 4, PendingVersion: 7, Pending: harmless, Next: []model.Transition{
		cFrom("1"), {From: "3", Action: "evil", To: "3"}, cFrom("1x"), cFrom("1y"), {From: "1y", Action: "b", To: "end"},
	}}
	got := task.Judge(model.NewChecker(s, list))
	wantVerdicts := []typesv1.Verdict{stillEquivalent, notEquivalent, stillEquivalent, notEquivalent, stillEquivalent}
	wantVersions := []uint64{7, 8, 8, 9, 9}
	if len(got) != len(wantVerdicts) {
		t.Fatalf("%d judgements", len(got))
	}
	for i, j := range got {
		if j.GetVerdict() != wantVerdicts[i] || j.GetPendingVersion() != wantVersions[i] || j.GetModelVersion() != 4 || j.GetJoint() != (i == 3) {
			t.Errorf("%v: %v", task.Next[i], j)
		}
	}
	var with []string
	for _, w := range got[3].GetWith() {
		with = append(with, w.GetFrom())
	}
	if slices.Sort(with); !slices.Equal(with, []string{"1", "1x"}) || got[3].GetExplanation() == "" {
		t.Errorf("together with %v: %s", with, got[3].GetExplanation())
	}
}
