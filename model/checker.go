package model

import (
	"slices"
	"sync"

	"github.com/spexio/spex/lts"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// Checker judges steps against one specification and one model. It is immutable
// as far as its users see, and safe for concurrent use. The first judgement that
// needs it computes what all judgements share.
type Checker struct {
	base *base
	// over holds what the model has beside that of the base; it may be nil.
	over   *overlay
	limits limits

	// diagnosis is why the model is not equivalent.
	diagnosisOnce     sync.Once
	diagnosisReason   string
	diagnosisSentence string

	// mu guards joint, the checker of the model with the pending transitions of the
	// last call; consecutive calls nearly always have the same ones.
	mu      sync.Mutex
	pending []Transition
	joint   *Checker
}

// limits bound the rules; what is beyond is left to the next rule.
type limits struct {
	// images bounds pairs of states and images, for rules N and L.
	images int
	// local bounds the steps that rule L looks at, per transition of the union, and
	// localMin is what it may always look at.
	local, localMin int
}

// defaultLimits let rule L cost no more than about a full refinement.
var defaultLimits = limits{images: maxImages, local: 8, localMin: 1 << 12}

// NewChecker makes a checker. The specification must be valid and, like the model, must
// not be changed afterwards; the model's transitions may be in any order.
func NewChecker(s *spec.Specification, model []Transition) *Checker {
	return newChecker(s, model, defaultLimits)
}

func newChecker(s *spec.Specification, model []Transition, l limits) *Checker {
	return &Checker{base: newBase(s, model), limits: l}
}

// Judge gives the judgement about one step. pending are the deviations that are
// taken into account for WithPending beside the model; they may be in any order, and
// must not be changed afterwards. The transition must be one that Check accepts. The
// verdict is exact: branching bisimilarity of the model with the step, where exactly
// one initialisation is required. It is that of Decide; what Judge adds costs more
// than the decision, so a caller that only wants to know asks Decide.
func (c *Checker) Judge(t Transition, pending []Transition) Judgement {
	if len(pending) == 0 {
		return c.JudgeWith(t, nil)
	}
	return c.JudgeWith(t, c.withPending(pending))
}

// JudgeWith is Judge for pending transitions whose checker the caller has: joint is
// what With made of them, or nil when there are none.
func (c *Checker) JudgeWith(t Transition, joint *Checker) Judgement {
	j := c.judge(t)
	j.BaselineEquivalent = c.equivalent()
	if joint == nil {
		return j
	}
	if j.Verdict == typesv1.Verdict_VERDICT_OK {
		j.WithPending = typesv1.Verdict_VERDICT_OK
		return j
	}
	j.WithPending = joint.Decide(t).Verdict
	if j.WithPending == typesv1.Verdict_VERDICT_OK { // t is pending itself
		j.WithPending = verdict(joint.equivalent())
	}
	if j.Verdict == still && j.WithPending == not {
		c.explainJoint(&j, t, joint)
	}
	return j
}

// withPending returns the checker of the model with the pending transitions.
func (c *Checker) withPending(pending []Transition) *Checker {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joint == nil || !same(c.pending, pending) {
		c.joint, c.pending = c.With(pending), pending
	}
	return c.joint
}

// same reports whether two lists are the same; nearly always they are one list.
func same(a, b []Transition) bool {
	if len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] {
		return true
	}
	return slices.Equal(a, b)
}

// judge judges without pending transitions.
func (c *Checker) judge(t Transition) Judgement {
	d := c.Decide(t)
	j := Judgement{Verdict: d.Verdict, Rule: d.Rule, Grade: c.gradeOf(t, d)}
	if d.Verdict != typesv1.Verdict_VERDICT_OK {
		j.Reason, j.Explanation = c.reason(t, d)
	}
	return j
}

// equivalent reports whether the model is equivalent.
func (c *Checker) equivalent() bool {
	return len(c.base.initials) == 1 && (c.over == nil || c.over.culprit == nil) && c.base.classes().equivalent
}

// Equivalent reports whether the model is branching bisimilar to its specification,
// which needs exactly one initialisation, and if not, one of the Reason constants.
func (c *Checker) Equivalent() (equivalent bool, reason string) {
	if c.equivalent() {
		return true, ""
	}
	reason, _ = c.baseline()
	return false, reason
}

// Explain is a sentence for people about the verdict of Equivalent.
func (c *Checker) Explain() string {
	if c.equivalent() {
		return "The model behaves as the specification says."
	}
	_, explanation := c.baseline()
	return explanation
}

// baseline is the reason and the sentence about a model that is not equivalent.
func (c *Checker) baseline() (reason, explanation string) {
	c.diagnosisOnce.Do(func() { c.diagnosisReason, c.diagnosisSentence = c.whole().diagnoseBaseline() })
	return c.diagnosisReason, c.diagnosisSentence
}

// located is a transition in the numbers of the union. A number counts only when the
// flag beside it is set.
type located struct {
	from, to                 lts.State
	label                    lts.Label
	hasFrom, hasTo, hasLabel bool
	known                    bool // the model has the transition
}

// locate looks a transition up. The transition must not be an initialisation.
func (c *Checker) locate(t Transition) (l located) {
	l.from, l.hasFrom = c.lookup(t.From)
	l.to, l.hasTo = c.lookup(t.To)
	l.label, l.hasLabel = c.base.label(t.Action)
	switch {
	case !l.hasFrom || !l.hasTo:
		return l
	case l.hasLabel && int(l.from) < c.base.graph.States() && hasStep(c.base.graph.Steps(l.from), lts.Step{Label: l.label, To: l.to}):
		l.known = true
	case c.over != nil:
		l.known = l.hasLabel && hasStep(c.over.out.at(l.from), lts.Step{Label: l.label, To: l.to})
		if !l.known && c.over.unclear() {
			_, l.known = c.over.apart[t]
		}
	}
	return l
}

// hasStep searches sorted steps.
func hasStep(steps []lts.Step, want lts.Step) bool {
	lo, hi := 0, len(steps)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if x := steps[mid]; x.Label < want.Label || x.Label == want.Label && x.To < want.To {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(steps) && steps[lo] == want
}

// lookup returns the number of a state and whether the model has it.
func (c *Checker) lookup(name string) (lts.State, bool) {
	s, ok := c.base.index[name]
	if !ok && c.over != nil {
		s, ok = c.over.states[name]
	}
	return s, ok
}

// class is the class of a state of the model.
func (c *Checker) class(s lts.State) lts.Block {
	if int(s) < c.base.graph.States() {
		return c.base.classes().Block(s)
	}
	return c.base.classes().isolated
}

// reachable reports whether the model can reach a state.
func (c *Checker) reachable(s lts.State) bool {
	return int(s) < c.base.graph.States() && c.base.classes().reachable[s] || c.over != nil && c.over.reachable[s]
}

// steps are the steps of a state, in two parts.
func (c *Checker) steps(s lts.State) (a, b []lts.Step) {
	if int(s) < c.base.graph.States() {
		a = c.base.graph.Steps(s)
	}
	if c.over != nil {
		b = c.over.out.at(s)
	}
	return a, b
}

// predecessors are the incoming steps of a state, in two parts; their To is the source.
func (c *Checker) predecessors(s lts.State) (a, b []lts.Step) {
	if int(s) < c.base.graph.States() {
		a = c.base.graph.Incoming(s)
	}
	if c.over != nil {
		b = c.over.in.at(s)
	}
	return a, b
}

// images are those of the model, which must have exactly one initialisation.
func (c *Checker) images() *images {
	if c.over != nil {
		return c.over.images(c)
	}
	return c.base.images(c.limits.images)
}
