package fsm

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

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
	got := task.Judge(func() bool { return false }, model.NewChecker(s, list))
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

// copies is a task whose last deviation violates the specification together with
// all n that are pending: every copy of a state needs one of its own.
func copies(t *testing.T, n int) (JointTask, *model.Checker) {
	def := &typesv1.Specification{Name: "b2", InitialState: "0", Transitions: []*typesv1.Transition{
		{From: "0", Action: "a", To: "1"}, {From: "0", Action: "a", To: "2"}, {From: "1", Action: "b", To: "3"}, {From: "2", Action: "b", To: "3"}, {From: "2", Action: "c", To: "3"},
	}}
	s, err := spec.FromProto(def)
	if err != nil {
		t.Fatal(err)
	}
	list := []model.Transition{model.Init("0"), {From: "0", Action: "a", To: "2"}, {From: "2", Action: "b", To: "3"}, {From: "2", Action: "c", To: "3"}}
	task := JointTask{ModelVersion: 1}
	for i := range n + 1 {
		state := numbered("1x", i)
		list = append(list, model.Transition{From: "0", Action: "a", To: state}, model.Transition{From: state, Action: "b", To: "3"})
		task.Next = append(task.Next, model.Transition{From: state, Action: "c", To: "3"})
	}
	return task, model.NewChecker(s, list)
}

// The search for those that a deviation does not go together with ends once they
// are too many to be told.
func TestTooManyCulprits(t *testing.T) {
	for _, c := range []struct{ pending, with, most int }{{16, 16, 70}, {17, 0, 45}, {64, 0, 50}} {
		task, checker := copies(t, c.pending)
		task.Pending, task.Next = task.Next[:c.pending], task.Next[c.pending:]
		asked := 0
		got := task.Judge(func() bool { asked++; return false }, checker)
		if len(got) != 1 || !got[0].GetJoint() || len(got[0].GetWith()) != c.with || got[0].GetExplanation() == "" {
			t.Errorf("%d pending: %v", c.pending, got)
		}
		if asked > c.most {
			t.Errorf("%d pending: it took %d checks", c.pending, asked)
		}
	}
}

// A joint judgement that is stopped returns what it has, wherever it is.
func TestJointJudgementsAreStopped(t *testing.T) {
	task, checker := copies(t, 9)
	task.Next = append(task.Next, model.Transition{From: "3", Action: "evil", To: "3"})
	all := 0
	want := task.Judge(func() bool { all++; return false }, checker)
	if len(want) != len(task.Next) {
		t.Fatalf("%d judgements", len(want))
	}
	for at := range all {
		asked := 0
		got := task.Judge(func() bool { asked++; return asked > at }, checker)
		if asked > at+2 {
			t.Fatalf("it asked %d times after it was stopped", asked-at)
		}
		if len(got) >= len(want) {
			t.Fatalf("stopped after %d of %d: %d judgements", at, all, len(got))
		}
		for i, j := range got {
			if !proto.Equal(j, want[i]) {
				t.Fatalf("stopped after %d: %v, want %v", at, j, want[i])
			}
		}
	}
}
