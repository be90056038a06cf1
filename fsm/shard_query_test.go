package fsm

import (
	"fmt"
	"slices"
	"testing"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// TestDeleteAtAStep: a deletion that names the last step does nothing to an
// instance that has moved on, nor to a later one of that identifier.
func TestDeleteAtAStep(t *testing.T) {
	l, s := newOrders(t, learning)
	key := key1
	first := l.do(initCommand(key, &statev1.InitInstance{Spec: "order", SpecVersion: 1})).(*StepResult)
	del := func(incarnation, seq uint64) *DeleteResult {
		return l.do(deleteCommand(key, &statev1.DeleteInstance{Incarnation: incarnation, LastSeq: seq})).(*DeleteResult)
	}
	l.do(stepCommand(key, "pay", "paid", &statev1.Step{}))
	before := body(t, s)
	for _, seq := range []uint64{1, 3} {
		if res := del(first.Ref.Incarnation, seq); res.Deleted || body(t, s) != before {
			t.Fatalf("a deletion at seq %d of an instance at 2 did something: %+v", seq, res)
		}
	}
	if res := del(first.Ref.Incarnation, 2); !res.Deleted {
		t.Fatalf("got %+v", res)
	}
	again := l.do(initCommand(key, &statev1.InitInstance{Spec: "order", SpecVersion: 1})).(*StepResult)
	if res := del(first.Ref.Incarnation, 1); res.Deleted {
		t.Fatal("a later incarnation was deleted")
	}
	if v, ok := s.Instance(key); !ok || v.Incarnation != again.Ref.Incarnation {
		t.Fatalf("got %+v, %v", v, ok)
	}
}

// TestDeleteAtAStepIsAnotherRequest: the step is part of what a request id stands for.
func TestDeleteAtAStepIsAnotherRequest(t *testing.T) {
	l, _ := newOrders(t, learning)
	key, id := key1, requestID(base, 7)
	l.do(initCommand(key, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
	cmd := func(seq uint64) *statev1.Command {
		return deleteCommand(key, &statev1.DeleteInstance{RequestId: id, LastSeq: seq})
	}
	l.do(cmd(9))
	if res := l.do(cmd(9)).(*DeleteResult); !res.Duplicate || res.Deleted {
		t.Fatalf("the repetition got %+v", res)
	}
	if res := l.entry(cmd(1))[0]; res.Err == nil {
		t.Fatalf("the id was taken for another step: %+v", res.Value)
	}
}

// TestScanSaysWhatIsTerminal: a state is that once the model leads to it and not
// away; Scan and List show the same instances.
func TestScanSaysWhatIsTerminal(t *testing.T) {
	l, s := newOrders(t, learning)
	for i := range 3 {
		key := Key{"default", fmt.Sprint("i", i)}
		l.do(initCommand(key, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
		if i > 0 {
			l.do(stepCommand(key, "pay", "paid", &statev1.Step{}))
		}
		if i > 1 {
			l.do(deleteCommand(key, &statev1.DeleteInstance{}))
		}
	}
	list, last, more := s.Scan("default", "", "", "", 10)
	var terminal []bool
	for _, c := range list {
		terminal = append(terminal, c.Terminal)
	}
	if !slices.Equal(terminal, []bool{false, true}) || last != "i2" || more {
		t.Errorf("got %v, %q, %v", terminal, last, more)
	}
	listed, _, _ := s.List("default", "", "", "", 10)
	if len(listed) != len(list) {
		t.Errorf("List has %d instances and Scan %d", len(listed), len(list))
	}
	if list, last, more := s.Scan("default", "", "", "i0", 1); len(list) != 1 || list[0].Key.ID != "i1" || last != "i1" || !more {
		t.Errorf("got %v, %q, %v", list, last, more)
	}
	if list, _, more := s.Scan("other", "", "", "", 10); len(list) != 0 || more {
		t.Errorf("another namespace has %v", list)
	}
}
