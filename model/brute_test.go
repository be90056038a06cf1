package model

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/spec"
)

// definition decides U15 straight from the definition of branching bisimilarity,
// over names, sharing nothing with the checker: it begins with all pairs of a model state
// and a specification state and removes those that violate the definition.
func definition(s *spec.Specification, model []Transition) bool {
	var initials []string
	var m []Transition
	for _, t := range Union(model) {
		if isInit(t) {
			initials = append(initials, t.To)
		} else {
			m = append(m, t)
		}
	}
	if len(initials) != 1 {
		return false
	}
	mStates, sStates := map[string]bool{initials[0]: true}, map[string]bool{s.InitialState: true}
	for _, t := range m {
		mStates[t.From], mStates[t.To] = true, true
	}
	for _, t := range s.Transitions {
		sStates[t.From], sStates[t.To] = true, true
	}
	type pair struct{ m, s string }
	rel := map[pair]bool{}
	for x := range mStates {
		for y := range sStates {
			rel[pair{x, y}] = true
		}
	}
	// answered: every step of x in own is matched by y in other, where related(x, y)
	// looks a pair up with the sides in the right order.
	answered := func(x, y string, own, other []Transition, related func(x, y string) bool) bool {
		reach := []string{y}
		for i := 0; i < len(reach); i++ {
			for _, t := range other {
				if t.From == reach[i] && t.Action == spec.Internal && !slices.Contains(reach, t.To) {
					reach = append(reach, t.To)
				}
			}
		}
		for _, t := range own {
			if t.From != x || t.Action == spec.Internal && related(t.To, y) {
				continue
			}
			if !slices.ContainsFunc(other, func(u Transition) bool {
				return u.Action == t.Action && slices.Contains(reach, u.From) && related(x, u.From) && related(t.To, u.To)
			}) {
				return false
			}
		}
		return true
	}
	for changed := true; changed; {
		changed = false
		for p := range rel {
			if !answered(p.m, p.s, m, s.Transitions, func(x, y string) bool { return rel[pair{x, y}] }) ||
				!answered(p.s, p.m, s.Transitions, m, func(x, y string) bool { return rel[pair{y, x}] }) {
				delete(rel, p)
				changed = true
			}
		}
	}
	return rel[pair{initials[0], s.InitialState}]
}

// drawPair makes a small specification and a model of it, in which states may be
// split in two and steps may be missing or internal.
func drawPair(t *rapid.T) (*spec.Specification, []Transition) {
	actions := []string{spec.Internal, "a", "b"}
	n := rapid.IntRange(1, 3).Draw(t, "spec states")
	state := rapid.IntRange(0, n-1)
	s := &spec.Specification{Name: "S", InitialState: "s0"}
	for range rapid.IntRange(0, 5).Draw(t, "spec transitions") {
		tr := Transition{From: fmt.Sprintf("s%d", state.Draw(t, "from")), Action: rapid.SampledFrom(actions).Draw(t, "action"),
			To: fmt.Sprintf("s%d", state.Draw(t, "to"))}
		if !slices.Contains(s.Transitions, tr) {
			s.Transitions = append(s.Transitions, tr)
		}
	}
	s.Normalize()
	// Each state has one or two copies in the model; each step leads from every
	// copy of its source to some copies of its target.
	copies := func(name string) []string {
		if rapid.Bool().Draw(t, "copy of "+name) {
			return []string{name, name + "'"}
		}
		return []string{name}
	}
	names := map[string][]string{}
	for _, name := range s.States() {
		names[name] = copies(name)
	}
	var m []Transition
	for _, tr := range s.Transitions {
		for _, from := range names[tr.From] {
			to := rapid.SampledFrom(names[tr.To])
			m = append(m, Transition{From: from, Action: tr.Action, To: to.Draw(t, "target")})
			m = append(m, Transition{From: from, Action: tr.Action, To: to.Draw(t, "other target")})
		}
	}
	if len(m) > 0 && rapid.IntRange(0, 3).Draw(t, "drop") == 0 {
		m = slices.Delete(m, 0, 1)
	}
	if rapid.IntRange(0, 19).Draw(t, "initialisation") > 0 {
		m = append(m, Init("s0"))
	}
	if rapid.IntRange(0, 9).Draw(t, "second initialisation") == 0 {
		m = append(m, Init("s1"))
	}
	return s, m
}

// additions are all steps between the states that the model has, states of the
// specification and a new state, with every action, a foreign one, and initialisations.
func additions(model []Transition) []Transition {
	states := []string{"s0", "new"}
	for _, t := range model {
		for _, v := range []string{t.From, t.To} {
			if v != "" && !slices.Contains(states, v) {
				states = append(states, v)
			}
		}
	}
	var out []Transition
	for _, from := range states {
		for _, to := range states {
			for _, action := range []string{spec.Internal, "a", "b", "foreign"} {
				out = append(out, Transition{From: from, Action: action, To: to})
			}
		}
		out = append(out, Init(from))
	}
	return out
}

// Every verdict, by whatever short cut it comes, is that of the definition.
func TestJudgeIsTheDefinition(t *testing.T) {
	reasons := map[string]int{}
	for range 6 {
		rapid.Check(t, func(t *rapid.T) {
			s, m := drawPair(t)
			c := NewChecker(s, m)
			baseline := definition(s, m)
			if got, reason := c.Equivalent(); got != baseline || got != (reason == "") {
				t.Fatalf("baseline: got %v (%s), want %v\nspec %v\nmodel %v", got, reason, baseline, s.Transitions, m)
			}
			all := additions(m)
			pendings := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom(all), 0, 2), 1, 3).Draw(t, "pending")
			for i, step := range all {
				pending := pendings[i%len(pendings)]
				j := c.Judge(step, pending)
				reasons[j.Reason]++
				want, wantPending := verdict(definition(s, append(slices.Clip(m), step))), verdict(false)
				if slices.Contains(m, step) {
					want, wantPending = ok, ok
				} else if len(pending) > 0 {
					wantPending = verdict(definition(s, slices.Concat(m, pending, []Transition{step})))
				}
				if len(pending) == 0 {
					wantPending = 0
				}
				if j.Verdict != want || j.WithPending != wantPending || j.BaselineEquivalent != baseline {
					t.Fatalf("%v: got %+v\nwant %v, with pending %v, baseline %v\nspec %v\nmodel %v\npending %v",
						step, j, want, wantPending, baseline, s.Transitions, m, pending)
				}
				checkReason(t, s, m, step, j)
			}
		})
	}
	for _, reason := range []string{"", ReasonAllowed, ReasonUnreachableSource, ReasonActionNotInSpec, ReasonActionNotEnabled, ReasonWrongTarget,
		ReasonTauDropsOption, ReasonOptionLost, ReasonNoInitial, ReasonMultipleInitial, ReasonBaselineNotEquivalent} {
		if reasons[reason] == 0 {
			t.Errorf("no example of reason %q: %v", reason, reasons)
		}
	}
}

// checkReason checks what a reason claims.
func checkReason(t *rapid.T, s *spec.Specification, m []Transition, step Transition, j Judgement) {
	fail := func(problem string) { t.Fatalf("%v: %+v: %s\nspec %v\nmodel %v", step, j, problem, s.Transitions, m) }
	reachable := map[string]bool{}
	var initials []string
	for _, tr := range m {
		if isInit(tr) {
			initials = append(initials, tr.To)
			reachable[tr.To] = true
		}
	}
	for changed := true; changed; {
		changed = false
		for _, tr := range m {
			if reachable[tr.From] && !reachable[tr.To] {
				reachable[tr.To] = true
				changed = true
			}
		}
	}
	inSpec := step.Action == spec.Internal || slices.ContainsFunc(s.Transitions, func(tr Transition) bool { return tr.Action == step.Action })
	switch j.Reason {
	case ReasonUnreachableSource:
		if reachable[step.From] {
			fail("the source is reachable")
		}
	case ReasonActionNotInSpec:
		if inSpec || !reachable[step.From] {
			fail("the specification has the action, or the source is not reachable")
		}
	case ReasonActionNotEnabled:
		if !inSpec || j.Verdict != not {
			fail("the specification lacks the action")
		}
		if _, list, _ := strings.Cut(j.Explanation, "allows only"); strings.Contains(list, strconv.Quote(step.Action)) {
			fail("the explanation lists the action as allowed")
		}
	case ReasonTauDropsOption:
		if step.Action != spec.Internal {
			fail("the step is not internal")
		}
	case ReasonWrongTarget:
		if !j.BaselineEquivalent && j.Rule != RuleN {
			fail("the step was not shown to be impossible")
		}
	case ReasonOptionLost:
		if j.Verdict == not && !j.BaselineEquivalent {
			fail("the model was not equivalent before")
		}
	case ReasonNoInitial:
		if len(initials) != 0 {
			fail("there is an initialisation")
		}
	case ReasonBaselineNotEquivalent:
		if j.BaselineEquivalent {
			fail("the model was equivalent before")
		}
	}
}

// A model that is the specification itself, of the greatest size that a
// specification may have, is judged in a time that a server can afford.
func BenchmarkJudge(b *testing.B) {
	for _, shape := range []string{"chain", "tree", "random"} {
		b.Run(shape, func(b *testing.B) {
			s := &spec.Specification{Name: "S"}
			for i := range spec.MaxTransitions {
				from, to := i, i+1
				switch shape {
				case "tree":
					from = i / 2
				case "random":
					from, to = i%2500, i*7919%2503
				}
				s.Transitions = append(s.Transitions, Transition{From: fmt.Sprint(from), Action: fmt.Sprint("a", i%50), To: fmt.Sprint(to)})
			}
			s.Normalize()
			if err := s.Validate(); err != nil {
				b.Fatal(err)
			}
			c := NewChecker(s, append(slices.Clip(s.Transitions), Init(s.InitialState)))
			if equivalent, reason := c.Equivalent(); !equivalent {
				b.Fatal(reason)
			}
			step := Transition{From: "2", Action: "a7", To: "1"}
			for b.Loop() {
				if j := c.Judge(step, nil); j.Verdict != not {
					b.Fatal(j)
				}
			}
		})
	}
}

// The images are what the specification can do along a path: the initial state has
// at least the initial block, and a search that is given up says so.
func TestImagesFollowThePaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawPair(t)
		c := NewChecker(s, m)
		if len(c.base.initials) != 1 {
			return
		}
		p := c.base.classes()
		// Walk both sides along random steps of the model.
		state, blocks := c.base.initial, []lts.Block{p.start}
		for range 6 {
			for _, block := range blocks {
				if !c.images().at(state).has(block) {
					t.Fatalf("state %q misses block %d\nspec %v\nmodel %v", c.base.names[state], block, s.Transitions, m)
				}
			}
			steps := c.base.graph.Steps(state)
			if len(steps) == 0 {
				return
			}
			step := rapid.SampledFrom(steps).Draw(t, "step")
			var next []lts.Block
			next = append(next, c.reached(blocks, step.Label)...)
			slices.Sort(next)
			state, blocks = step.To, slices.Compact(next)
		}
	})
}
