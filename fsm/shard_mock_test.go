package fsm

import (
	"bytes"
	"testing"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// A mock overwrites what is there, is answered once for each request, has an empty
// history that snapshots keep, and goes on with seq 2.
func TestMock(t *testing.T) {
	l, s := newOrders(t, typesv1.ModelMode_MODEL_MODE_LEARNING)
	key := Key{"default", "x"}
	mock := func(state, id string) *statev1.Command {
		return mockCommand(key, &statev1.MockInstance{Spec: order().GetName(), SpecVersion: 1, State: state, RequestId: id})
	}
	began := l.do(initCommand(key, &statev1.InitInstance{Spec: order().GetName(), SpecVersion: 1, RequestId: "init"})).(*StepResult)
	first := l.do(mock("xxx", "m1")).(*StepResult)
	if first.Duplicate || first.Ref.Incarnation <= began.Ref.Incarnation || first.Ref.Seq != 1 || first.State != "xxx" {
		t.Fatalf("the mock got %+v", first)
	}
	if v, ok := s.Instance(key); !ok || v.State != "xxx" || v.Seq != 1 || v.FirstKept != 2 || s.Stats().Instances != 1 {
		t.Fatalf("the instance is %+v", v)
	}
	again := NewShard()
	if err := again.Restore(bytes.NewReader(dump(t, s))); err != nil {
		t.Fatal(err)
	}
	if hash(t, again) != hash(t, s) {
		t.Error("a snapshot loses something of a mock")
	}
	if r := l.do(mock("xxx", "m1")).(*StepResult); !r.Duplicate || r.Ref != first.Ref {
		t.Errorf("the same request got %+v", r)
	}
	l.refused(typesv1.Reason_REASON_REQUEST_ID_REUSED, mock("yyy", "m1"))
	l.refused(typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED, mockCommand(key, &statev1.MockInstance{Spec: "none", SpecVersion: 1, State: "s"}))
	l.refused(typesv1.Reason_REASON_INVALID_ARGUMENT, mock("", ""))
	// The request that began the instance before is not applied again.
	if r := l.do(initCommand(key, &statev1.InitInstance{Spec: order().GetName(), SpecVersion: 1, RequestId: "init"})).(*StepResult); !r.Duplicate {
		t.Errorf("a late init got %+v", r)
	}
	if r := l.do(stepCommand(key, "a", "z", &statev1.Step{})).(*StepResult); r.Ref.Seq != 2 || r.From != "xxx" {
		t.Errorf("the step got %+v", r)
	}
	l.refused(typesv1.Reason_REASON_SEQUENCE_MISMATCH, stepCommand(key, "a", "z", &statev1.Step{ExpectedSeq: 1}))
}
