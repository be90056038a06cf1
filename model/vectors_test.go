package model

import (
	"slices"
	"strings"
	"testing"

	"github.com/spexio/spex/lts/explain"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// The classic examples of the theory, graded.
func TestGradeVectors(t *testing.T) {
	for _, tc := range []struct {
		name, spec, model string
		want              explain.Grade
		trace             string
	}{
		// The specification can follow the model, which nobody has seen offer both: it may yet.
		{"a.(b+c) against a.b + a.c", "0 a 1, 1 b 2, 1 c 2", "init x, x a y, x a z, y b w, z c w", explain.CoverageGap, ""},
		{"a.b + a.c against a.(b+c)", "0 a 1, 0 a 2, 1 b 3, 2 c 3", "init x, x a y, y b w, y c w", explain.BranchingMismatch, ""},
		{"an internal step in place", "0 a 1, 1 b 2", "init x, x a y, y tau y', y' b z", explain.Equivalent, ""},
		{"an internal step that drops an option", "0 a 1, 0 b 1", "init x, x a y, x b y, x tau x', x' a y", explain.BranchingMismatch, ""},
		{"an internal loop", "0 a 1", "init x, x a y, x tau x, y tau y", explain.Equivalent, ""},
		{"tau.a + b against a + b", "0 a 1, 0 b 1", "init x, x tau x', x' a y, x b y", explain.BranchingMismatch, ""},
		{"a + b against tau.a + b", "0 tau 1, 1 a 2, 0 b 2", "init x, x a y, x b y", explain.BranchingMismatch, ""},
		{"states twice", "0 a 1, 1 b 0", "init x, x a y, x a y', y b x, y' b x', x' a y", explain.Equivalent, ""},
		{"something missing", "0 a 1, 0 b 1", "init x, x a y", explain.CoverageGap, ""},
		{"the end is missing", "0 a 1, 1 b 2", "init x, x a y", explain.CoverageGap, ""},
		{"something more", "0 a 1, 1 b 2", "init x, x a y, y c z", explain.ExtraBehaviour, "a c"},
		{"too early", "0 a 1, 1 b 2", "init x, x a y, y b z, x b z", explain.ExtraBehaviour, "b"},
		{"B4: a start without steps", "0 a 1", "init x, s0 a s1", explain.CoverageGap, ""},
		{"B5: i is visible", "0 a 1", "init x, x i y, y a z", explain.ExtraBehaviour, "i"},
		{"no start", "0 a 1", "x a y", "", ""},
		{"two starts", "0 a 1", "init x, init z, x a y", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, all := specification(t, "S", tc.spec), steps(t, tc.model)
			c := NewChecker(s, all)
			if got := c.Grade(); got.Grade != tc.want || strings.Join(got.Trace, " ") != tc.trace {
				t.Errorf("got %v, want %s %s", got, tc.want, tc.trace)
			}
			if equivalent, _ := c.Equivalent(); equivalent != (tc.want == explain.Equivalent) {
				t.Errorf("equivalent: %v", equivalent)
			}
			// The same comes of the model without one of its steps and that step.
			for i, step := range all {
				if isInit(step) {
					continue
				}
				rest := NewChecker(s, slices.Delete(slices.Clone(all), i, i+1))
				got := rest.GradeWith(step)
				if got.Grade != tc.want || len(got.Trace) != len(strings.Fields(tc.trace)) {
					t.Errorf("%v added last: got %v", step, got)
				}
				if j := rest.Judge(step, nil); j.Grade != tc.want || (j.Verdict == still) != (tc.want == explain.Equivalent) {
					t.Errorf("%v added last: judged %+v", step, j)
				}
			}
		})
	}
}

// Each rule decides what it is for, and says so.
func TestRuleVectors(t *testing.T) {
	const (
		b2Spec  = "0 a 1, 0 a 2, 1 b 3, 2 b 3, 2 c 3"
		b2Model = "init 0, 0 a 1, 0 a 1', 0 a 2, 1 b 3, 1' b 3, 2 b 3, 2 c 3"
		gap     = "init s0, s0 a s1, s1 b s2, s7 b s2"
	)
	for _, tc := range []struct {
		name, spec, model, step string
		want                    typesv1.Verdict
		rule                    Rule
		grade                   explain.Grade
	}{
		{"known", cycle, "init s0, " + cycle, "s0 a s1", ok, RuleKnown, explain.Equivalent},
		{"known in a model with a gap", cycle, gap, "s0 a s1", ok, RuleKnown, explain.CoverageGap},
		{"a second start", cycle, "init s0, " + cycle, "init s1", not, RuleInit, ""},
		{"a step without a start", cycle, cycle, "s0 x s1", not, RuleInit, ""},
		{"the first start", cycle, cycle, "init s0", still, RuleF, explain.Equivalent},
		{"the first start, wrong", cycle, cycle, "init s1", not, RuleF, explain.ExtraBehaviour},
		{"from nowhere", cycle, "init s0, " + cycle, "new evil s0", still, RuleE0, explain.Equivalent},
		{"from nowhere in a model with a gap", cycle, gap, "new evil s0", not, RuleE0, explain.CoverageGap},
		{"internal, in place", cycle, "init s0, " + cycle, "s1 tau s1", still, RuleE1, explain.Equivalent},
		{"internal, to a new state at the end", arrow, "init s0, " + arrow, "s1 tau new", still, RuleE1, explain.Equivalent},
		{"the same once more", arrow, "init s0, " + arrow, "s0 a new", still, RuleE2, explain.Equivalent},
		{"an action that the specification lacks", cycle, "init s0, " + cycle, "s0 evil s1", not, RuleN, explain.ExtraBehaviour},
		{"not there", cycle, "init s0, " + cycle, "s0 b s1", not, RuleN, explain.ExtraBehaviour},
		{"not to there", cycle, "init s0, " + cycle, "s0 a s0", not, RuleN, explain.ExtraBehaviour},
		{"to a new state in the middle", cycle, "init s0, " + cycle, "s0 a new", not, RuleN, explain.BranchingMismatch},
		{"to a state of the wrong kind that was not reached", cycle, "init s0, " + cycle + ", u a s1", "s0 a u", not, RuleD, explain.ExtraBehaviour},
		{"what was missing", "s0 a s1, s1 b s2, s1 c s2", "init s0, s0 a s1, s1 b s2", "s1 c s2", still, RuleL, explain.Equivalent},
		{"B2: to another class", b2Spec, b2Model, "1 c 3", still, RuleL, explain.Equivalent},
		{"a choice is lost", b2Spec, "init 0, 0 a 1, 0 a 2, 1 b 3, 2 b 3, 2 c 3", "1 c 3", not, RuleL, explain.BranchingMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := NewChecker(specification(t, "S", tc.spec), steps(t, tc.model))
			step := steps(t, tc.step)[0]
			if got := c.Decide(step); got != (Decision{tc.want, tc.rule}) {
				t.Errorf("got %v, want %v by %s", got, tc.want, tc.rule)
			}
			j := c.Judge(step, nil)
			if j.Verdict != tc.want || j.Rule != tc.rule || j.Grade != tc.grade {
				t.Errorf("got %+v, want grade %s", j, tc.grade)
			}
		})
	}
}

// With shares what additions leave as it is, and nothing that they do not.
func TestWith(t *testing.T) {
	const choice = ", s2 d t1, s2 d t2, s2 d t3, t1 b s0, t2 b s0, t3 b s0, t3 c s0"
	s, m := specification(t, "S", cycle+choice), "init s0, "+cycle+choice
	for _, tc := range []struct {
		name, added string
		shared      bool
		step        string
		want        Decision
	}{
		{"nothing new", "s0 a s1, init s0", true, "s0 a s1", Decision{ok, RuleKnown}},
		{"what changes nothing", "s0 tau s0, s9 x s9", true, "s0 tau s0", Decision{ok, RuleKnown}},
		{"one after the other", "s2 tau s2, s2 c s0", true, "s1 b s2", Decision{ok, RuleKnown}},
		{"a state moves to another class", "t1 c s0", false, "t2 c s0", Decision{not, RuleL}},
		{"an impossible step", "s0 b s2", true, "s1 b s2", Decision{ok, RuleKnown}},
		{"an impossible step before", "s0 evil s2", true, "s1 b new", Decision{not, RuleN}},
		{"a new state that goes on as another does", "s2 tau new, new a s1", false, "s0 a new", Decision{not, RuleN}},
		{"a foreign action that cannot be reached", "s8 x s9", true, "s9 x s8", Decision{still, RuleE0}},
		{"a second start", "init s1", false, "s0 b s0", Decision{not, RuleInit}},
		{"B1: the step that reaches what was added", "n a s1", true, "s2 c n", Decision{still, RuleE2}},
		{"B1: the step that reaches what was wrong", "n b s1", true, "s2 c n", Decision{not, RuleL}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := NewChecker(s, steps(t, m))
			with := c.With(steps(t, tc.added))
			if shared := with.base == c.base; shared != tc.shared {
				t.Errorf("shared: %v", shared)
			}
			step := steps(t, tc.step)[0]
			if got := with.Decide(step); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			whole := NewChecker(s, steps(t, m+", "+tc.added))
			got, want := with.Judge(step, nil), whole.Judge(step, nil)
			if got.Rule = want.Rule; got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}
