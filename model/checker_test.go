package model

import (
	"slices"
	"strings"
	"sync"
	"testing"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

const ok = typesv1.Verdict_VERDICT_OK

// steps reads "s0 a s1, s1 tau s2" and "init s0"; tau is the internal action, 'tau
// and 'i are visible actions of that name.
func steps(t testing.TB, text string) []Transition {
	t.Helper()
	var out []Transition
	for part := range strings.SplitSeq(text, ",") {
		switch f := strings.Fields(part); {
		case len(f) == 0:
		case len(f) == 2 && f[0] == "init":
			out = append(out, Init(f[1]))
		case len(f) == 3 && f[1] == "tau":
			out = append(out, Transition{From: f[0], Action: spec.Internal, To: f[2]})
		case len(f) == 3:
			out = append(out, Transition{From: f[0], Action: strings.TrimPrefix(f[1], "'"), To: f[2]})
		default:
			t.Fatalf("cannot read %q", part)
		}
	}
	return out
}

func specification(t testing.TB, name, text string) *spec.Specification {
	t.Helper()
	s := &spec.Specification{Name: name, Transitions: steps(t, text)}
	s.Normalize()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

// The Elixir library's specifications.
const (
	tree  = "s0 a s1, s0 a s2, s1 b s3, s1 c s4"
	cycle = "s0 a s1, s1 b s2, s2 c s0"
	arrow = "s0 a s1"
	point = "s0 a s0"
)

func TestFixtures(t *testing.T) {
	for _, tc := range []struct {
		spec, text, file string
		equivalent       bool
		reason           string
	}{
		{"Cycle", cycle, "cycle.spex", true, ""},
		{"Point", point, "point.spex", true, ""},
		{"Tree", tree, "tree.spex", false, ReasonActionNotEnabled},
		{"Arrow", arrow, "arrow.spex", false, ReasonNoInitial},
	} {
		t.Run(tc.spec, func(t *testing.T) {
			f := read(t, tc.file)
			if f.Spec != tc.spec {
				t.Errorf("the file is about %q", f.Spec)
			}
			c := NewChecker(specification(t, tc.spec, tc.text), f.Transitions)
			equivalent, reason := c.Equivalent()
			if equivalent != tc.equivalent || reason != tc.reason {
				t.Errorf("got %v %q, want %v %q: %s", equivalent, reason, tc.equivalent, tc.reason, c.Explain())
			}
			if c.Explain() == "" {
				t.Error("no explanation")
			}
		})
	}
}

func TestEquivalentSingleChecks(t *testing.T) {
	for _, tc := range []struct {
		name, spec, model, reason string
	}{
		{"exactly it", arrow, "init s0, s0 a s1", ""},
		{"internal loop", arrow, "init s0, s0 a s1, s0 tau s0", ""},
		{"internal step before", arrow, "init s0, s0 tau s0_tau, s0_tau a s1", ""},
		{"other action", arrow, "init s0, s0 a s1, s0 b s1", ReasonActionNotInSpec},
		{"no initialisation", arrow, "s0 a s1", ReasonNoInitial},
		{"two initialisations", arrow, "init s0, init s1, s0 a s1", ReasonMultipleInitial},
		{"two initialisations of states that behave alike", "s0 a s0", "init s0, init s1, s0 a s0, s1 a s1", ReasonMultipleInitial},
		{"coverage gap", "s0 a s1, s1 b s2", "init s0, s0 a s1", ReasonBaselineNotEquivalent},
		{"B4: initial state without steps of its own", arrow, "init x, s0 a s1", ReasonBaselineNotEquivalent},
		{"B4: initial state without steps, specification without steps", "", "init x, s0 a s1", ""},
		{"B5: visible action i is not internal", arrow, "init s0, s0 i s2, s2 a s1", ReasonActionNotInSpec},
		{"B5: visible action tau is not internal", arrow, "init s0, s0 'tau s2, s2 a s1", ReasonActionNotInSpec},
		{"B5: a specification with i and a model with internal steps", "s0 i s1, s1 'tau s2", "init s0, s0 tau s5, s5 i s1, s1 'tau s2, s2 tau s2", ""},
		{"B5: internal steps instead of i", "s0 i s1, s1 a s2", "init s0, s0 tau s1, s1 a s2", ReasonActionNotEnabled},
		{"specification with internal steps", "s0 tau s1, s1 a s2, s0 b s2", "init x, x b y, x tau z, z a y", ""},
		{"specification's internal choice is not kept", "s0 tau s1, s1 a s2, s0 b s2", "init x, x b y, x a y", ReasonActionNotEnabled},
		{"unreachable steps do not matter", arrow, "init s0, s0 a s1, s7 evil s8", ""},
		{"state names differ", arrow, "init one, one a two", ""},
		{"a specification's name for another state", arrow, "init s1, s1 a s0", ""},
		{"empty specification and empty model with a start", "", "init s0", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := NewChecker(specification(t, "S", tc.spec), steps(t, tc.model))
			equivalent, reason := c.Equivalent()
			if equivalent != (tc.reason == "") || reason != tc.reason {
				t.Errorf("got %v %q, want %q: %s", equivalent, reason, tc.reason, c.Explain())
			}
		})
	}
}

// judgeCase is a row of the tests of Judge.
type judgeCase struct {
	name              string
	spec, model, step string
	pending           string
	want              typesv1.Verdict
	reason            string
	withPending       typesv1.Verdict
	// explains are parts of the explanation.
	explains []string
}

func (tc judgeCase) run(t *testing.T) {
	c := NewChecker(specification(t, "S", tc.spec), steps(t, tc.model))
	baseline, _ := c.Equivalent()
	step := steps(t, tc.step)[0]
	j := c.Judge(step, steps(t, tc.pending))
	if j.Verdict != tc.want || j.Reason != tc.reason || j.WithPending != tc.withPending || j.BaselineEquivalent != baseline {
		t.Errorf("got %v %s, with pending %v, baseline %v (%s)\nwant %v %s, with pending %v, baseline %v",
			j.Verdict, j.Reason, j.WithPending, j.BaselineEquivalent, j.Explanation, tc.want, tc.reason, tc.withPending, baseline)
	}
	for _, part := range tc.explains {
		if !strings.Contains(j.Explanation, part) {
			t.Errorf("the explanation lacks %q: %s", part, j.Explanation)
		}
	}
	if (j.Explanation == "") != (j.Verdict == ok) || (j.Reason == "") != (j.Verdict == ok) {
		t.Errorf("reason %q and explanation %q for %v", j.Reason, j.Explanation, j.Verdict)
	}
}

const fullTree = "init s0, " + tree

func TestJudge(t *testing.T) {
	for _, tc := range []judgeCase{
		{name: "known", spec: tree, model: fullTree, step: "s0 a s1", want: ok},
		{name: "known initialisation", spec: tree, model: fullTree, step: "init s0", want: ok},
		{name: "internal step in place", spec: tree, model: fullTree, step: "s0 tau s0", want: still, reason: ReasonAllowed,
			explains: []string{`An internal step from state "s0" to "s0"`, "allows it"}},
		{name: "action not enabled", spec: tree, model: fullTree, step: "s0 b s1", want: not, reason: ReasonActionNotEnabled,
			explains: []string{`Action "b" from state "s0" to "s1" is not allowed`, `in that state specification "S" allows only "a"`}},
		{name: "action not enabled at the end", spec: tree, model: fullTree, step: "s3 a s1", want: not, reason: ReasonActionNotEnabled,
			explains: []string{`in that state ("s2", "s3" or "s4" of the specification)`, "no further step"}},
		{name: "action not in the specification", spec: tree, model: fullTree, step: "s1 evil s3", want: not, reason: ReasonActionNotInSpec,
			explains: []string{`has no action "evil"`, `in that state specification "S"`, `allows only "b" and "c"`}},
		{name: "second initialisation", spec: tree, model: fullTree, step: "init s2", want: not, reason: ReasonMultipleInitial,
			explains: []string{`"s0" and "s2"`}},
		{name: "first initialisation", spec: arrow, model: "s0 a s1", step: "init s0", want: still, reason: ReasonAllowed,
			explains: []string{`"s0"`}},
		{name: "first initialisation in a wrong state", spec: arrow, model: "s0 a s1", step: "init s1", want: not, reason: ReasonBaselineNotEquivalent},
		{name: "no initialisation", spec: arrow, model: "s0 a s1", step: "s0 a s2", want: not, reason: ReasonNoInitial},
		{name: "two initialisations", spec: arrow, model: "init s0, init s1, s0 a s1", step: "s0 a s2", want: not, reason: ReasonMultipleInitial},
		{name: "new state that behaves alike", spec: arrow, model: "init s0, s0 a s1", step: "s0 a s9", want: still, reason: ReasonAllowed},
		{name: "new state that cannot go on", spec: cycle, model: "init s0, " + cycle, step: "s0 a s9", want: not, reason: ReasonWrongTarget,
			explains: []string{`in state "s0"`, `its own state "s1", which "s9" does not`}},
		{name: "wrong target", spec: cycle, model: "init s0, " + cycle, step: "s0 a s2", want: not, reason: ReasonWrongTarget,
			explains: []string{`its own state "s1", which "s2" does not`}},
		{name: "internal step takes options away", spec: "s0 a s1, s0 b s1", model: "init s0, s0 a s1, s0 b s1, x a s1", step: "s0 tau x", want: not,
			reason: ReasonTauDropsOption, explains: []string{`"b" is possible before it and not after it`}},
		{name: "internal step to the end", spec: arrow, model: "init s0, s0 a s1", step: "s0 tau s1", want: not,
			reason: ReasonTauDropsOption, explains: []string{`"a"`}},
		{name: "internal step to a state that offers more", spec: "s0 a s1, s1 b s2", model: "init s0, s0 a s1, s1 b s2, x a s1, x b s2", step: "s0 tau x",
			want: not, reason: ReasonWrongTarget},
		{name: "a choice that no state is left for", spec: "0 a 1, 0 a 2, 1 b 3, 2 b 3, 2 c 3", model: "init 0, 0 a 1, 0 a 2, 1 b 3, 2 b 3, 2 c 3",
			step: "1 c 3", want: not, reason: ReasonOptionLost, explains: []string{`"c" from state "1"`, `the model, in state "0", cannot make every choice`}},
		{name: "a state between two classes", spec: "0 a 1, 0 a 2, 1 b 3, 2 c 3, 2 d 3", model: "init 0, 0 a 1, 0 a 2, 1 b 3, 2 c 3, 2 d 3",
			step: "1 c 3", want: not, reason: ReasonOptionLost, explains: []string{`with it state "1" behaves like no state of specification "S" that it could be in`}},
		{name: "move to another class", spec: "0 a 1, 0 a 2, 1 b 3, 2 b 3, 2 c 3", model: "init 0, 0 a 1, 0 a 2, 1 b 3, 2 b 3, 2 c 3, 0 a x, x b 3",
			step: "x c 3", want: still, reason: ReasonAllowed},
		{name: "B5: user's action i", spec: arrow, model: "init s0, s0 a s1", step: "s0 i s0", want: not, reason: ReasonActionNotInSpec},
		{name: "B5: user's action tau", spec: arrow, model: "init s0, s0 a s1", step: "s0 'tau s0", want: not, reason: ReasonActionNotInSpec},
		{name: "B5: internal step although i is an action", spec: "s0 i s1", model: "init s0, s0 i s1", step: "s0 tau s0", want: still, reason: ReasonAllowed},
		{name: "B4: the first step of the initial state", spec: arrow, model: "init s0, s7 a s8", step: "s0 a s1", want: still, reason: ReasonAllowed},
		{name: "B4: initial state without steps", spec: "", model: "init s0, s7 a s8", step: "s9 a s0", want: still, reason: ReasonUnreachableSource},
	} {
		t.Run(tc.name, tc.run)
	}
}

// B1: a violation behind a harmless deviation into a new state.
func TestB1HiddenViolation(t *testing.T) {
	const m = "init s0, s0 a s1"
	for _, tc := range []judgeCase{
		{name: "the harmless deviation", spec: arrow, model: m, step: "s0 a new", want: still, reason: ReasonAllowed},
		{name: "the violation, compatible verdict", spec: arrow, model: m, step: "new evil s1", want: still, reason: ReasonUnreachableSource,
			explains: []string{`only because it cannot reach state "new"`}},
		{name: "the violation with the pending deviation", spec: arrow, model: m, pending: "s0 a new", step: "new evil s1",
			want: still, reason: ReasonUnreachableSource, withPending: not,
			explains: []string{`cannot reach state "new"`, "With the pending deviations", `no action "evil"`}},
		{name: "a known action behind the deviation", spec: arrow, model: m, pending: "s0 a new", step: "new a s1",
			want: still, reason: ReasonUnreachableSource, withPending: not, explains: []string{`"a" from state "new" to "s1" is not allowed`}},
		{name: "an unreachable source and nothing wrong", spec: arrow, model: m, pending: "s0 a new", step: "new tau s1",
			want: still, reason: ReasonUnreachableSource, withPending: still},
		{name: "pending itself", spec: arrow, model: m, pending: "s0 a new, new evil s1", step: "new evil s1",
			want: still, reason: ReasonUnreachableSource, withPending: not},
	} {
		t.Run(tc.name, tc.run)
	}
}

// B2: two deviations, each harmless, not harmless together.
func TestB2JointDeviations(t *testing.T) {
	const s = "0 a 1, 0 a 2, 1 b 3, 2 b 3, 2 c 3"
	const m = "init 0, 0 a 1, 0 a 1', 0 a 2, 1 b 3, 1' b 3, 2 b 3, 2 c 3"
	for _, tc := range []judgeCase{
		{name: "first alone", spec: s, model: m, step: "1 c 3", want: still, reason: ReasonAllowed},
		{name: "second alone", spec: s, model: m, step: "1' c 3", want: still, reason: ReasonAllowed},
		{name: "second with the first pending", spec: s, model: m, pending: "1 c 3", step: "1' c 3",
			want: still, reason: ReasonOptionLost, withPending: not, explains: []string{"not together with the deviations pending"}},
		{name: "a pending deviation that does not matter", spec: s, model: m, pending: "0 tau 0", step: "1' c 3",
			want: still, reason: ReasonAllowed, withPending: still},
		{name: "known steps do not deviate", spec: s, model: m, pending: "1 c 3", step: "2 c 3", want: ok, withPending: ok},
	} {
		t.Run(tc.name, tc.run)
	}
}

// B3: a model that does not cover its specification makes every novel step "not
// equivalent"; the reason tells whether the step is to blame.
func TestB3Baseline(t *testing.T) {
	const s = "s0 a s1, s1 b s2, s1 c s2"
	const m = "init s0, s0 a s1, s1 b s2"
	for _, tc := range []judgeCase{
		{name: "harmless", spec: s, model: m, step: "s0 a s9", want: not, reason: ReasonBaselineNotEquivalent, explains: []string{"even without this step", `never takes "c"`}},
		{name: "harmless internal step", spec: s, model: m, step: "s0 tau s0", want: not, reason: ReasonBaselineNotEquivalent},
		{name: "unreachable", spec: s, model: m, step: "s9 a s0", want: not, reason: ReasonBaselineNotEquivalent},
		{name: "to blame for its action", spec: s, model: m, step: "s1 evil s2", want: not, reason: ReasonActionNotInSpec},
		{name: "to blame for its place", spec: s, model: m, step: "s0 b s2", want: not, reason: ReasonActionNotEnabled,
			explains: []string{`allows only "a"`}},
		{name: "what was missing", spec: s, model: m, step: "s1 c s2", want: still, reason: ReasonAllowed},
	} {
		t.Run(tc.name, tc.run)
	}
}

// Judging changes nothing that later judgements depend on, also from many goroutines.
func TestJudgeConcurrently(t *testing.T) {
	c := NewChecker(specification(t, "S", cycle), steps(t, "init s0, "+cycle))
	all := steps(t, "s0 a s9, s0 evil s1, s2 c s0, s1 b s2, s1 tau s1, s9 a s0, init s4, s0 b s1, s2 c s2")
	pendings := [][]Transition{nil, steps(t, "s1 tau s1"), steps(t, "s9 x s9, s0 tau s0")}
	want := make(map[int]Judgement)
	for i := range all {
		for k, p := range pendings {
			want[i*len(pendings)+k] = NewChecker(specification(t, "S", cycle), steps(t, "init s0, "+cycle)).Judge(all[i], p)
		}
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 3 * len(want) {
				key := (n*7 + g) % len(want)
				if got := c.Judge(all[key/len(pendings)], pendings[key%len(pendings)]); got != want[key] {
					t.Errorf("%v: got %+v, want %+v", all[key/len(pendings)], got, want[key])
				}
			}
		})
	}
	wg.Wait()
}

func TestUnionAndCompare(t *testing.T) {
	a, b := steps(t, "s0 b s1, s0 a s2, s0 a s1, init s1"), steps(t, "a z z, s0 a s1, init s0")
	if got, want := Union(a, b), steps(t, "init s0, init s1, a z z, s0 a s1, s0 a s2, s0 b s1"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if a[0] != (Transition{From: "s0", Action: "b", To: "s1"}) {
		t.Error("Union changed its argument")
	}
}
