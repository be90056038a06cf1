package model

import (
	"slices"

	"github.com/spexio/spex/lts"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Decide gives the verdict about one step, which must be one that Check accepts. A step
// that the model has costs a few look-ups; most others cost little more once a
// first one has made the Checker compute what they share. Rules E0, E1, E2, N and D are tried
// in this order, then L, which looks at part of the model, then F, which looks at
// all of it and at the specification.
func (c *Checker) Decide(t Transition) Decision {
	if isInit(t) {
		return c.decideInit(t)
	}
	l := c.locate(t)
	if l.known {
		return Decision{typesv1.Verdict_VERDICT_OK, RuleKnown}
	}
	if len(c.base.initials) != 1 {
		return Decision{not, RuleInit}
	}
	if c.over != nil && c.over.culprit != nil {
		return Decision{not, RuleN}
	}
	b := c.base.classes()
	if !l.hasFrom || !c.reachable(l.from) {
		// Nothing that the model can do changes.
		return Decision{verdict(b.equivalent), RuleE0}
	}
	if l.hasTo && c.over != nil && c.over.unclear() && !c.reachable(l.to) {
		return c.over.fullChecker(c).Decide(t)
	}
	if !l.hasLabel || l.label >= c.base.specLabels {
		// Nothing in the specification can be the image of the source.
		return Decision{not, RuleN}
	}
	target := b.isolated
	if l.hasTo {
		target = c.class(l.to)
	}
	if rule, ok := b.preserves(c.class(l.from), l.label, target); ok {
		return Decision{verdict(b.equivalent), rule}
	}
	if c.impossible(l) {
		return Decision{not, RuleN}
	}
	if b.equivalent && b.deterministic {
		return Decision{not, RuleD}
	}
	if equivalent, ok := c.recheck(l); ok {
		return Decision{verdict(equivalent), RuleL}
	}
	return Decision{verdict(c.equivalentWith(l)), RuleF}
}

// decideInit decides about an initialisation.
func (c *Checker) decideInit(t Transition) Decision {
	switch {
	case slices.Contains(c.base.initials, t.To):
		return Decision{typesv1.Verdict_VERDICT_OK, RuleKnown}
	case len(c.base.initials) > 0:
		return Decision{not, RuleInit}
	}
	return Decision{verdict(c.With([]Transition{t}).equivalent()), RuleF}
}

// impossible is rule N. A branching bisimulation between the specification and the model
// with the step relates the source to one of its images, and the target to a class
// that the specification reaches by the step from there, which must be an image of
// the target too. So if there is no such class there is no such bisimulation. The
// argument needs only what the model can do, so it holds for models that are not
// equivalent as well; and one that is doomed has no equivalent extension.
func (c *Checker) impossible(l located) bool {
	im := c.images()
	if !im.complete {
		return false
	}
	if im.doomed {
		return true
	}
	b := c.base.classes()
	for _, block := range im.at(l.from).list {
		if l.label == lts.Tau && c.fits(im, l, block) {
			return false
		}
		for _, o := range b.by(block, l.label) {
			if c.fits(im, l, o.To) {
				return false
			}
		}
	}
	return true
}

// fits reports whether a class may be the image of a step's target.
func (c *Checker) fits(im *images, l located, block lts.Block) bool {
	switch {
	case !l.hasTo:
		// A state that nobody has seen has no steps.
		return block == c.base.classes().isolated
	case c.reachable(l.to):
		return im.at(l.to).has(block)
	}
	return true
}

// equivalentWith is rule F: it decides by full refinement whether the model, which has
// exactly one initialisation, is equivalent with one more step, whose source it has
// and whose action the specification has.
func (c *Checker) equivalentWith(l located) bool {
	b := c.base
	u := b.union.Clone()
	if c.over != nil {
		u.AddStates(c.over.count)
		for i, from := range c.over.out.ends {
			u.Add(from, c.over.out.steps[i].Label, c.over.out.steps[i].To)
		}
	}
	to := l.to
	if !l.hasTo {
		to = u.AddState()
	}
	u.Add(l.from, l.label, to)
	return lts.BranchingPartition(u.Build(b.initial)).Same(b.initial, b.specInitial)
}
