package model

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/explain"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// additionsFlag makes TestBruteRules long: go test ./model -run Brute -additions 500000
var additionsFlag = flag.Int("additions", 50_000, "additions that TestBruteRules decides")

// seedFlag draws other models.
var seedFlag = flag.Uint64("seed", 26, "seed of TestBruteRules")

// The two oracles share nothing but the definition.
func TestOraclesAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var equivalent int
	for range 400 {
		y := drawTiny(r)
		want := definition(y.specification(), y.transitions())
		if got := y.oracle(y.modelStates, y.model, y.initials); got != want {
			t.Fatalf("got %v, want %v: %+v", got, want, y)
		}
		if want {
			equivalent++
		}
	}
	if equivalent < 100 || equivalent > 350 {
		t.Errorf("%d of 400 are equivalent", equivalent)
	}
}

// world is one random model with the transitions that were added to it.
type world struct {
	*testing.T
	r     *rand.Rand
	y     *tiny
	model []edge // with what was added
	c     *Checker
	// tally counts by rule, and things of interest by name.
	tally map[string]int
	// before relates all states of the union, a new one included.
	before relation
	// equivalent is what the oracle has said about the model.
	equivalent bool
}

// Every rule gives the verdict of the definition wherever it applies, on models that
// are equivalent and models that are not, in the checker of a model and in one that
// shares what was computed for a smaller model.
func TestBruteRules(t *testing.T) {
	w := &world{T: t, r: rand.New(rand.NewPCG(20, *seedFlag)), tally: map[string]int{}}
	for w.tally["additions"] < *additionsFlag {
		w.y = drawTiny(w.r)
		w.draw()
		w.additions()
	}
	t.Logf("%v", w.tally)
	// Of half a million additions twenty thousand each.
	least := w.tally["additions"] / 25
	if least < 10_000 {
		least /= 2 // few models make uneven shares
	}
	for _, name := range []string{"N", "D", "L", "F", "E1+E2"} {
		if w.tally[name] < least {
			t.Errorf("rule %s decided %d of %d additions, want %d", name, w.tally[name], w.tally["additions"], least)
		}
	}
	for _, name := range []string{"KNOWN", "INIT", "E0", "shared", "unclear", "culprit", "repaired", "not minimal", "doomed", "L not", "L still", "F not", "F still", "N of a gap",
		string(explain.Equivalent), string(explain.ExtraBehaviour), string(explain.CoverageGap), string(explain.BranchingMismatch)} {
		if w.tally[name] < least/400 {
			t.Errorf("%s: only %d examples", name, w.tally[name])
		}
	}
}

// draw makes a checker of the model, in one of several ways, and of some additions.
func (w *world) draw() {
	l := defaultLimits
	switch w.r.IntN(10) {
	case 0, 1:
		l.images = w.r.IntN(4)
	case 2, 3:
		l.local, l.localMin = 0, w.r.IntN(6)
	}
	w.model = w.y.model
	w.c = newChecker(w.y.specification(), w.y.transitions(), l)
	if w.r.IntN(2) == 0 {
		// Most additions are ones that change no class.
		for range 1 + w.r.IntN(40) {
			e := w.edge()
			if rule := w.c.Decide(e.transition()).Rule; rule == RuleE0 && w.r.IntN(16) > 0 || rule != RuleE1 && rule != RuleE2 && w.r.IntN(64) > 0 {
				continue
			}
			w.model = append(slices.Clip(w.model), e)
			w.c = w.c.With([]Transition{e.transition()})
		}
	}
	if w.c.over != nil {
		w.tally["shared models"]++
	}
	w.before = newSystem(w.y.specStates, w.y.spec, w.y.modelStates+2, w.model).bisimilar()
	w.equivalent = len(w.y.initials) == 1 && w.before[0]>>(w.y.specStates+w.y.initials[0])&1 != 0
	if w.c.equivalent() != w.equivalent {
		w.fail("the model is equivalent: %v", w.equivalent)
	}
}

// edge draws a step; two states beyond the model's are new.
func (w *world) edge() edge {
	n := w.y.modelStates + 2
	return edge{w.r.IntN(n), w.r.IntN(tinyLabels), w.r.IntN(n)}
}

func (w *world) fail(format string, args ...any) {
	w.Helper()
	w.Fatalf("%s\nspec %v\nmodel %v\nadded %v", fmt.Sprintf(format, args...), w.y.spec, w.y.transitions(), w.model[len(w.y.model):])
}

// additions decides additions between all states of the model, but few of the kind that
// rule E0 decides, of which there would be too many.
func (w *world) additions() {
	for s := range w.y.modelStates + 1 {
		if w.r.IntN(8) == 0 {
			w.initialisation(s)
		}
		for to := range w.y.modelStates + 1 {
			for label := range tinyLabels {
				e := edge{s, label, to}
				d := w.c.Decide(e.transition())
				if d.Rule == RuleE0 && w.r.IntN(8) > 0 || label == foreign && w.r.IntN(4) > 0 {
					continue
				}
				w.addition(e, d)
			}
		}
	}
}

func (w *world) count(d Decision) {
	w.tally["additions"]++
	w.tally[string(d.Rule)]++
	if d.Rule == RuleE1 || d.Rule == RuleE2 {
		w.tally["E1+E2"]++
	}
	if w.c.over != nil && !w.c.over.unclear() {
		w.tally["shared "+string(d.Rule)]++
	}
	if d.Rule == RuleL || d.Rule == RuleF {
		w.tally[string(d.Rule)+map[typesv1.Verdict]string{still: " still", not: " not"}[d.Verdict]]++
	}
}

func (w *world) initialisation(s int) {
	d := w.c.Decide(Init(stateName(s)))
	w.count(d)
	want := ok
	if !slices.Contains(w.y.initials, s) {
		want = verdict(w.y.oracle(w.y.modelStates+2, w.model, append(slices.Clip(w.y.initials), s)))
	}
	if d.Verdict != want {
		w.fail("initialisation in %s: got %v, want %v", stateName(s), d, want)
	}
}

func (w *world) addition(e edge, d Decision) {
	w.count(d)
	t := e.transition()
	if slices.Contains(w.model, e) {
		if d != (Decision{ok, RuleKnown}) {
			w.fail("%v is known: got %v", t, d)
		}
		return
	}
	u := newSystem(w.y.specStates, w.y.spec, w.y.modelStates+2, append(slices.Clip(w.model), e))
	after := u.bisimilar()
	equivalent := len(w.y.initials) == 1 && after[0]>>(w.y.specStates+w.y.initials[0])&1 != 0
	if d.Verdict != verdict(equivalent) {
		w.fail("%v: got %v, want %v", t, d, verdict(equivalent))
	}
	if equivalent && !w.equivalent {
		w.tally["repaired"]++
	}
	if (d.Rule == RuleE1 || d.Rule == RuleE2) && !slices.Equal(w.before, after) {
		w.fail("%v: %v, but the classes change", t, d)
	}
	if len(w.y.initials) == 1 {
		w.each(e, d, equivalent, after)
	}
}

// each tries the rules that apply beside the one that decided.
func (w *world) each(e edge, d Decision, equivalent bool, after relation) {
	c := w.c
	if c.over != nil {
		w.tally["shared"]++
		if c.over.unclear() {
			w.tally["unclear"]++
		}
	}
	if w.r.IntN(64) == 0 {
		w.grade(e, equivalent)
	}
	if c.over != nil && w.r.IntN(8) == 0 {
		// What is shared makes no difference, except that it may be known more exactly what is wrong.
		got, want := c.judge(e.transition()), newChecker(c.base.spec, c.transitions(), c.limits).judge(e.transition())
		if got.Verdict != want.Verdict || w.equivalent && got.Reason != want.Reason || got.Grade != want.Grade {
			w.fail("%v: got %+v\nwant %+v", e.transition(), got, want)
		}
	}
	if c.over != nil && c.over.culprit != nil {
		w.tally["culprit"]++
		if equivalent || w.equivalent {
			w.fail("%v: equivalent in spite of %v", e.transition(), *c.over.culprit)
		}
		return
	}
	l := c.locate(e.transition())
	if !l.hasFrom || !c.reachable(l.from) || !l.hasLabel || l.label >= c.base.specLabels || c.over != nil && c.over.unclear() && l.hasTo && !c.reachable(l.to) {
		return
	}
	b := c.base.classes()
	same := slices.Equal(w.before, after)
	stable := d.Rule == RuleE1 || d.Rule == RuleE2
	if equivalent && w.equivalent && !stable {
		w.tally["not minimal"]++ // E1 and E2 are sufficient, not necessary
	}
	if same && w.equivalent && !stable {
		w.fail("%v: %v, although no class changes", e.transition(), d)
	}
	if w.equivalent && b.deterministic && equivalent != stable {
		w.fail("%v: rule D, but equivalent: %v, by E1 or E2: %v", e.transition(), equivalent, stable)
	}
	if c.images().complete && c.images().doomed {
		w.tally["doomed"]++
		if w.equivalent || equivalent {
			w.fail("%v: a doomed model is equivalent", e.transition())
		}
	}
	if !w.equivalent && w.r.IntN(4) == 0 {
		w.grade(e, equivalent)
	}
	if c.impossible(l) {
		if equivalent {
			w.fail("%v: rule N, but it is equivalent", e.transition())
		}
		if !w.equivalent && !c.images().doomed {
			w.tally["N of a gap"]++
		}
	}
	if got, ok := c.recheck(l); ok && got != equivalent {
		w.fail("%v: rule L says %v", e.transition(), got)
	}
	if d.Rule != RuleF && w.r.IntN(4) == 0 && c.equivalentWith(l) != equivalent {
		w.fail("%v: rule F says %v", e.transition(), !equivalent)
	}
}

// grade compares the grade of a model with a step with that of systems made afresh.
func (w *world) grade(e edge, equivalent bool) {
	var left, right lts.Builder
	left.AddStates(w.y.specStates)
	right.AddStates(w.y.modelStates + 2)
	for _, x := range w.y.spec {
		left.Add(lts.State(x.from), lts.Label(x.label), lts.State(x.to))
	}
	for _, x := range append(slices.Clip(w.model), e) {
		right.Add(lts.State(x.from), lts.Label(x.label), lts.State(x.to))
	}
	specification, model := left.Build(0), right.Build(lts.State(w.y.initials[0]))
	want, _ := explain.GradeOf(specification, model, lts.Limits{})
	got := w.c.GradeWith(e.transition())
	if got.Grade != want || w.c.gradeOf(e.transition(), w.c.Decide(e.transition())) != want {
		w.fail("%v: got grade %v, want %s", e.transition(), got, want)
	}
	w.tally[string(want)]++
	if (want == explain.Equivalent) != equivalent || (got.Trace != nil) != (want == explain.ExtraBehaviour) {
		w.fail("%v: %v", e.transition(), got)
	}
	if got.Trace != nil {
		var word []lts.Label
		for _, action := range got.Trace {
			word = append(word, lts.Label(slices.Index(tinyActions[:], action)))
		}
		if len(lts.After(model, word, true)) == 0 || len(lts.After(specification, word, true)) > 0 {
			w.fail("%v: the trace of %v is wrong", e.transition(), got)
		}
	}
}
