package model

import (
	"math"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/explain"
	"github.com/spexio/spex/spec"
)

// gradeLimits bound what a grade may cost to some tenths of a second; beyond it the grade is
// explain.Undecided.
var gradeLimits = lts.Limits{Sets: 1 << 14, Pairs: 1 << 16}

// Graded is the graded verdict about a model.
type Graded struct {
	// Grade is empty for a model that has not exactly one initialisation: there is
	// nothing to compare then.
	Grade explain.Grade
	// Trace is for explain.ExtraBehaviour: visible actions that the model can take in this order and the
	// specification cannot. It is a shortest such trace unless that would have taken too long.
	Trace []string
}

// Incomplete reports whether the grade is explain.CoverageGap: the model does nothing that
// the specification does not, and has not shown everything.
func (g Graded) Incomplete() bool { return g.Grade == explain.CoverageGap }

// Grade grades the model as it is. It is computed once; see GradeWith for the cost.
func (c *Checker) Grade() Graded {
	b := c.whole().base
	b.gradeOnce.Do(func() {
		switch {
		case len(b.initials) != 1:
		case b.classes().equivalent:
			b.graded = Graded{Grade: explain.Equivalent}
		default:
			// What an overlay adds changes nothing up to equivalence.
			whole := &Checker{base: b, limits: c.limits}
			b.graded = whole.gradeDifferent(whole.reachableSystem(nil))
		}
	})
	return b.graded
}

// GradeWith grades the model with one more step, which must be one that Check accepts. When it is
// equivalent with the step this costs no more than Decide; else it costs about as much as a few full
// refinements, and more for specifications with internal choices, up to a fixed limit.
func (c *Checker) GradeWith(t Transition) Graded {
	c = c.whole()
	d := c.Decide(t)
	if d.Verdict == not && d.Rule == RuleInit {
		return Graded{}
	}
	if g, ok := c.cheapGrade(t, d); ok && g.Grade != explain.ExtraBehaviour {
		return g
	}
	return c.gradeStep(t)
}

// gradeOf is the grade alone, which is often to be had for less.
func (c *Checker) gradeOf(t Transition, d Decision) explain.Grade {
	if w := c.whole(); w != c {
		c, d = w, w.Decide(t)
	}
	if d.Verdict == not && d.Rule == RuleInit {
		return ""
	}
	if g, ok := c.cheapGrade(t, d); ok {
		return g.Grade
	}
	return c.gradeStep(t).Grade
}

// cheapGrade finds the grade of the model with a step, perhaps without a trace, from what is known.
func (c *Checker) cheapGrade(t Transition, d Decision) (Graded, bool) {
	switch d.Rule {
	case RuleKnown, RuleE0, RuleE1, RuleE2:
		// The step changes nothing up to equivalence.
		return c.Grade(), true
	}
	if d.Verdict == still {
		return Graded{Grade: explain.Equivalent}, true
	}
	if isInit(t) {
		return Graded{}, false
	}
	l, extra := c.locate(t), Graded{Grade: explain.ExtraBehaviour}
	if !l.hasLabel || l.label >= c.base.specLabels {
		return extra, true
	}
	if c.base.classes().deterministic && c.images().complete && c.exceeds(l) {
		return extra, true
	}
	return Graded{}, false
}

// exceeds reports whether the model with a step from a reachable state has a trace that the
// specification does not have, which must be deterministic: each path of the model then has a
// trace that leads the specification to one image and nowhere else. The images must be complete.
func (c *Checker) exceeds(l located) bool {
	if c.base.exceeds(c.limits) {
		return true
	}
	b, im := c.base.classes(), c.images().child()
	if !l.hasTo {
		l.to = lts.State(c.base.graph.States())
		if c.over != nil {
			l.to += lts.State(c.over.count)
		}
	}
	step := []lts.Step{{Label: l.label, To: l.to}}
	if im.exceeded(b, l.from, step) {
		return true
	}
	im.limit = math.MaxInt // what is added is bounded by what there can be
	for done := 0; done < len(im.at(l.from).list); done++ {
		// Where the images of the source grow, the step adds more.
		todo := im.step(b, im.at(l.from).list[done], l.label, l.to, nil)
		im.follow(b, todo, c.steps, nil)
	}
	for s := range im.extra {
		x, y := c.steps(s)
		if im.exceeded(b, s, x) || im.exceeded(b, s, y) || s == l.from && im.exceeded(b, s, step) {
			return true
		}
	}
	return false
}

// exceeds is the same about the model as it is.
func (b *base) exceeds(l limits) bool {
	b.exceedsOnce.Do(func() {
		im := b.images(l.images)
		for s := range im.own {
			b.exceedsOf = b.exceedsOf || im.exceeded(b.classes(), lts.State(s), b.graph.Steps(lts.State(s)))
		}
	})
	return b.exceedsOf
}

// exceeded reports whether the specification cannot take one of the steps from some image.
func (im *images) exceeded(c *classes, s lts.State, steps []lts.Step) bool {
	for _, step := range steps {
		for _, block := range im.at(s).list {
			if step.Label != lts.Tau && len(c.by(block, step.Label)) == 0 {
				return true
			}
		}
	}
	return false
}

// gradeStep grades the model with a step that makes it, or leaves it, not equivalent.
func (c *Checker) gradeStep(t Transition) Graded {
	if isInit(t) || c.over != nil && c.over.unclear() {
		return newChecker(c.base.spec, Union(c.transitions(), []Transition{t}), c.limits).Grade()
	}
	l := c.locate(t)
	if !l.hasLabel {
		// An action that neither has: any name that differs from the others will do.
		l.label = lts.Label(c.base.alphabet.Len())
	}
	system := c.reachableSystem(&l)
	if c.base.classes().deterministic && c.images().complete && l.hasLabel && l.label < c.base.specLabels && !c.exceeds(l) {
		// A deterministic system that has all traces of another one simulates it.
		switch lts.WeaklySimulates(c.base.specLTS, system, gradeLimits) {
		case lts.Yes:
			return Graded{Grade: explain.BranchingMismatch}
		case lts.No:
			return Graded{Grade: explain.CoverageGap}
		}
		return Graded{Grade: explain.Undecided}
	}
	g := c.gradeDifferent(system)
	if !l.hasLabel {
		for i, action := range g.Trace {
			if action == "" {
				g.Trace[i] = t.Action
			}
		}
	}
	return g
}

// gradeDifferent grades a system that is not equivalent to the specification.
func (c *Checker) gradeDifferent(system *lts.LTS) Graded {
	grade, trace := explain.GradeOfDifferent(c.base.specLTS, system, gradeLimits)
	g := Graded{Grade: grade}
	if trace != nil {
		g.Trace = make([]string, len(trace.Labels))
		for i, label := range trace.Labels {
			if g.Trace[i] = c.base.alphabet.Name(label); label == lts.Tau {
				g.Trace[i] = spec.Internal
			}
		}
	}
	return g
}

// reachableSystem is what the model can reach, with one more step if there is one.
func (c *Checker) reachableSystem(more *located) *lts.LTS {
	var b lts.Builder
	index := map[lts.State]lts.State{}
	var order []lts.State
	state := func(s lts.State) lts.State {
		n, ok := index[s]
		if !ok {
			n = b.AddState()
			index[s] = n
			order = append(order, s)
		}
		return n
	}
	const fresh = lts.State(-1) // the target that the model does not have
	state(c.base.initial)
	for i := 0; i < len(order); i++ {
		s := order[i]
		if s == fresh {
			continue
		}
		x, y := c.steps(s)
		for _, part := range [2][]lts.Step{x, y} {
			for _, step := range part {
				b.Add(lts.State(i), step.Label, state(step.To))
			}
		}
		if more != nil && more.hasFrom && more.from == s {
			to := fresh
			if more.hasTo {
				to = more.to
			}
			b.Add(lts.State(i), more.label, state(to))
		}
	}
	return b.Build(0)
}
