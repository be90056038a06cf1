package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// drawTransitions draws a small system with internal steps.
func drawTransitions(t *rapid.T, what string) []*typesv1.Transition {
	var list []*typesv1.Transition
	for range rapid.IntRange(1, 8).Draw(t, what) {
		next := &typesv1.Transition{
			From: rapid.SampledFrom([]string{"s0", "s1", "s2", "s3"}).Draw(t, "from"), Action: rapid.SampledFrom([]string{"a", "b", "c", spec.Internal}).Draw(t, "action"),
			To: rapid.SampledFrom([]string{"s0", "s1", "s2", "s3"}).Draw(t, "to"),
		}
		if len(list) == 0 {
			next.From = "s0"
		}
		if !slices.ContainsFunc(list, func(o *typesv1.Transition) bool { return transitionOf(o) == transitionOf(next) }) {
			list = append(list, next)
		}
	}
	return list
}

// walk is what the test knows of one instance.
type walk struct {
	key Key
	run []string
	// left is set once a step was not in the model.
	left, anywhere bool
}

// TestFrontiersEqualTheModels: whatever instances do, and however often the shard
// is restored from a snapshot, the frontier of one that has left the model is what
// model.Follow says of its whole run, its history being kept or not; and what is
// noticed is what Follow finds.
func TestFrontiersEqualTheModels(t *testing.T) {
	tally := map[string]int{}
	property := func(rt *rapid.T) {
		l, s := newShardLog(t)
		def := &typesv1.Specification{Name: "order", InitialState: "s0", Transitions: drawTransitions(rt, "specification"), HistoryLimit: uint32(rapid.SampledFrom([]int{3, 100}).Draw(rt, "history"))}
		table, err := FrontierTableOf(def)
		if err != nil {
			rt.Fatal(err)
		}
		parsed, err := spec.FromProto(def)
		if err != nil {
			rt.Fatal(err)
		}
		fs := model.NewFrontiers(parsed)
		known := map[model.Transition]bool{model.Init("s0"): true}
		for _, tr := range drawTransitions(rt, "model") {
			known[transitionOf(tr)] = true
		}
		c := content(def, sortedTransitions(known)...)
		c.FrontierTable = table
		l.do(installCommand(orderKey, inline(t, c), sealed, 1))
		walks := []*walk{{key: key1}, {key: key2, anywhere: true}}
		l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
		l.do(mockCommand(key2, &statev1.MockInstance{Spec: "order", SpecVersion: 1, State: "s1"}))
		for range rapid.IntRange(1, 14).Draw(rt, "steps") {
			w := rapid.SampledFrom(walks).Draw(rt, "instance")
			v, _ := s.Instance(w.key)
			next := model.Transition{
				From: v.State, Action: rapid.SampledFrom([]string{"a", "b", "c", "evil", spec.Internal}).Draw(rt, "action"),
				To: rapid.SampledFrom([]string{"s0", "s1", "s2", "s3", "new"}).Draw(rt, "state"),
			}
			res := l.do(stepCommand(w.key, next.Action, next.To, &statev1.Step{})).(*StepResult)
			w.run = append(w.run, next.Action)
			leaves := !w.left && !known[next]
			w.left = w.left || leaves
			if rapid.IntRange(0, 3).Draw(rt, "restore") == 0 {
				if err := s.Restore(bytes.NewReader(dump(t, s))); err != nil {
					rt.Fatal(err)
				}
			}
			v, _ = s.Instance(w.key)
			got, anywhere, followed := v.Frontier()
			if followed != w.left {
				rt.Fatalf("%v: followed=%t after %v", w.key, followed, w.run)
			}
			if !followed {
				continue
			}
			from := fs.Start()
			run := w.run
			if leaves {
				// What is not kept when the instance leaves the model is not known.
				first := 2
				if v.FirstKept > 1 {
					from, w.anywhere, first = fs.Anywhere(), true, max(2, int(v.FirstKept))
				}
				w.run = run[first-2:]
				run = w.run
			}
			if w.anywhere {
				from = fs.Anywhere()
			}
			want := fs.Follow(from, run)
			if anywhere != w.anywhere || !got.Equal(want.Frontier) {
				rt.Fatalf("%v: at %v (anywhere %t) after %v, want %v", w.key, got, anywhere, run, want.Frontier)
			}
			tally[fmt.Sprint(want.Violation, " ", w.anywhere)]++
			if (want.Violation == model.NoViolation) != (res.RunViolation == nil) || res.RunViolation.GetKind() != kindOf(want.Violation) {
				rt.Fatalf("%v: %v after %v, want %v", w.key, res.RunViolation, run, want.Violation)
			}
			if res.RunViolation == nil {
				continue
			}
			if at := int(v.Seq) - len(run) + 1 + want.At; int(res.RunViolation.GetSeq()) != at || v.RunViolation.GetExplanation() != res.RunViolation.GetExplanation() || res.RunViolation.GetExplanation() == "" {
				rt.Fatalf("%v: %v and %v after %v, want it at %d", w.key, res.RunViolation, v.RunViolation, run, at)
			}
			if len(run) <= lastActions && !w.anywhere && def.GetHistoryLimit() == 100 && res.RunViolation.GetExplanation() != want.Sentence {
				rt.Fatalf("%q, want %q", res.RunViolation.GetExplanation(), want.Sentence)
			}
		}
	}
	// The rarest kind comes about once in a hundred runs.
	for range 10 {
		rapid.Check(t, property)
	}
	for _, kind := range []string{"NONE false", "NONE true", "FORBIDDEN false", "FORBIDDEN true", "NOT_EQUIVALENT false"} {
		if tally[kind] == 0 {
			t.Errorf("no example of %s: %v", kind, tally)
		}
	}
}

// TestFrontierIsBounded: where a specification has very many places, what is
// stored of an instance stays small, and it can still be caught.
func TestFrontierIsBounded(t *testing.T) {
	// After "a" the instance is in any of 3,000 places, every second of which allows "b".
	def := &typesv1.Specification{Name: "order", InitialState: "s0"}
	for i := range 3000 {
		name := fmt.Sprint("p", i)
		def.Transitions = append(def.Transitions, &typesv1.Transition{From: "s0", Action: "a", To: name}, &typesv1.Transition{From: name, Action: fmt.Sprint("end", i), To: "over"})
	}
	table, err := FrontierTableOf(def)
	if err != nil {
		t.Fatal(err)
	}
	l, s := newShardLog(t)
	c := content(def, model.Init("s0"))
	c.FrontierTable = table
	p, chunks, err := NewPayload(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, chunk := range chunks {
		l.do(chunkCommand(chunk))
	}
	l.do(installCommand(orderKey, p, sealed, 1))
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
	l.do(stepCommand(key1, "a", "x", &statev1.Step{}))
	at := func() model.Frontier {
		v, _ := s.Instance(key1)
		f, _, _ := v.Frontier()
		return f
	}
	if n := len(at().Strict); n != len(table.GetPlaces()) {
		t.Fatalf("in %d places, want all %d", n, len(table.GetPlaces()))
	}
	if raw, _ := at().MarshalBinary(); len(raw) > 16 {
		t.Fatalf("it takes %d bytes", len(raw))
	}
	l.do(stepCommand(key1, "end7", "y", &statev1.Step{}))
	if f := at(); len(f.Strict) != 1 {
		t.Fatalf("then in %v", f)
	}
	res := l.do(stepCommand(key1, "end7", "y", &statev1.Step{})).(*StepResult)
	if v := res.RunViolation; v.GetSeq() != 4 || !strings.Contains(v.GetExplanation(), `"end7"`) {
		t.Fatalf("%v", v)
	}
}

// TestDamagedTrails: a snapshot whose frontiers do not fit is refused.
func TestDamagedTrails(t *testing.T) {
	p := newSpecState(orderKey)
	p.define(order())
	raw, _ := model.Frontier{Strict: []uint32{0}, Weak: []uint32{0}}.MarshalBinary()
	if _, err := p.restoreTrail(&statev1.InstanceRecord{Frontier: raw}); err == nil || !strings.Contains(err.Error(), "no table") {
		t.Errorf("without a table: %v", err)
	}
	table, err := FrontierTableOf(order())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.track(table); err != nil {
		t.Fatal(err)
	}
	if _, err := p.restoreTrail(&statev1.InstanceRecord{Frontier: []byte{9}}); err == nil {
		t.Error("a frontier that is none was read")
	}
	if trail, err := p.restoreTrail(&statev1.InstanceRecord{}); trail != nil || err != nil {
		t.Errorf("of an instance on the model: %v, %v", trail, err)
	}
	table.Places[0].Targets = nil
	if _, err := frontiersOf("order", table); err == nil || !strings.Contains(err.Error(), "targets") {
		t.Errorf("a table with steps to nowhere: %v", err)
	}
}
