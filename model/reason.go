package model

import (
	"fmt"
	"slices"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/spec"
)

// reason says why the decision about a step that the model does not know is as it is.
func (c *Checker) reason(t Transition, d Decision) (reason, explanation string) {
	if w := c.whole(); w != c {
		return w.reason(t, w.Decide(t))
	}
	initials := c.base.initials
	switch {
	case isInit(t) && len(initials) > 0:
		return ReasonMultipleInitial, c.explainInitials(append(slices.Clip(initials), t.To))
	case isInit(t) && d.Verdict == still:
		return ReasonAllowed, explainFirstInitial(t)
	case isInit(t):
		return ReasonBaselineNotEquivalent, c.With([]Transition{t}).Explain()
	case len(initials) == 0:
		return ReasonNoInitial, explainNoInitial()
	case len(initials) > 1:
		return ReasonMultipleInitial, c.explainInitials(initials)
	}
	unchanged := d.Rule == RuleE0 || d.Rule == RuleE1 || d.Rule == RuleE2
	switch {
	case unchanged && d.Verdict == not:
		return ReasonBaselineNotEquivalent, c.explainUnchanged()
	case d.Rule == RuleE0:
		return ReasonUnreachableSource, c.explainUnreachable(t)
	case d.Verdict == still:
		return ReasonAllowed, c.explainAllowed(t)
	}
	l := c.locate(t)
	if !l.hasLabel || l.label >= c.base.specLabels {
		return ReasonActionNotInSpec, c.explainNotInSpec(t)
	}
	if l.hasTo && c.over != nil && c.over.unclear() && !c.reachable(l.to) {
		return c.over.fullChecker(c).diagnose(t, d)
	}
	return c.diagnose(t, d)
}

// diagnose finds the reason why the model, which has exactly one initialisation, is
// not equivalent with the step, whose source is reachable and whose action the specification has.
func (c *Checker) diagnose(t Transition, d Decision) (reason, explanation string) {
	l := c.locate(t)
	blocks := c.place(l.from)
	if c.images().complete {
		// All images count here: a step that fits one of them is not to be blamed alone.
		blocks = c.images().at(l.from).list
	}
	if len(blocks) == 0 {
		return ReasonBaselineNotEquivalent, c.explainUnchanged()
	}
	reached := c.reached(blocks, l.label)
	if len(reached) == 0 {
		return ReasonActionNotEnabled, c.explainNotEnabled(t)
	}
	if !c.equivalent() {
		// A new state may still turn out to go on as it should, one with a past cannot change it.
		if d.Rule == RuleN && l.hasTo && !c.images().doomed {
			return ReasonWrongTarget, c.explainWrongTarget(t, reached, "which no path to %q allows")
		}
		return ReasonBaselineNotEquivalent, c.explainUnchanged()
	}
	target := c.base.classes().isolated
	if l.hasTo {
		target = c.class(l.to)
	}
	if l.label == lts.Tau {
		if lost := c.lost(c.class(l.from), target); len(lost) > 0 {
			return ReasonTauDropsOption, fmt.Sprintf("%s silently takes away a choice: %s possible before it and not after it, and specification %q makes no such internal choice there.",
				describe(t), list(lost, "and")+be(lost), c.base.spec.Name)
		}
	}
	if !slices.Contains(reached, target) {
		return ReasonWrongTarget, c.explainWrongTarget(t, reached, "which %q does not")
	}
	return ReasonOptionLost, c.explainOptionLost(t, l)
}

// explainOptionLost says where the loss shows, if rule L finds that.
func (c *Checker) explainOptionLost(t Transition, l located) string {
	failed, known := c.firstToFail(l)
	name := c.base.spec.Name
	switch {
	case !known:
		return fmt.Sprintf("%s takes away a choice: with it state %q does not behave as before, and the model cannot make every choice of the specification any more; %s.",
			describe(t), t.From, c.allowed(t.From))
	case failed == l.from:
		return fmt.Sprintf("%s takes away a choice: with it state %q behaves like no state of specification %q that it could be in; %s.",
			describe(t), t.From, name, c.allowed(t.From))
	}
	return fmt.Sprintf("%s takes away a choice: with it state %q does not behave as before, and then the model, in state %q, cannot make every choice any more that specification %q has there; %s.",
		describe(t), t.From, c.stateName(failed), name, c.allowed(t.From))
}

// stateName is the name of a state of the model.
func (c *Checker) stateName(s lts.State) string {
	if int(s) < len(c.base.names) {
		return c.base.names[s]
	}
	for name, n := range c.over.states {
		if n == s {
			return name
		}
	}
	return ""
}

// reached are the classes where some classes can be after a step.
func (c *Checker) reached(blocks []lts.Block, label lts.Label) []lts.Block {
	var out []lts.Block
	for _, block := range blocks {
		if label == lts.Tau {
			out = append(out, block)
		}
		for _, o := range c.base.classes().by(block, label) {
			out = append(out, o.To)
		}
	}
	return out
}

// explainWrongTarget ends with why the target is wrong, where %q stands for it.
func (c *Checker) explainWrongTarget(t Transition, reached []lts.Block, why string) string {
	return fmt.Sprintf("%s leads to the wrong state: in state %q specification %q allows such a step, but then behaves like its own state %s, "+why+".",
		describe(t), t.From, c.base.spec.Name, c.blockNames(reached), t.To)
}

// lost are the actions that one class offers and another does not, also not after
// internal steps.
func (c *Checker) lost(before, after lts.Block) []string {
	kept := c.offers(after)
	var lost []string
	for label := range c.offers(before) {
		if !kept[label] {
			lost = append(lost, c.base.alphabet.Name(label))
		}
	}
	slices.Sort(lost)
	return lost
}

// offers are the visible actions that are possible in a class, also after internal steps.
func (c *Checker) offers(start lts.Block) map[lts.Label]bool {
	labels := map[lts.Label]bool{}
	seen := map[lts.Block]bool{start: true}
	todo := []lts.Block{start}
	for len(todo) > 0 {
		block := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, o := range c.base.classes().Signature(block) {
			if o.Label != lts.Tau {
				labels[o.Label] = true
			} else if !seen[o.To] {
				seen[o.To] = true
				todo = append(todo, o.To)
			}
		}
	}
	return labels
}

// blockNames names the specification's states of some classes.
func (c *Checker) blockNames(blocks []lts.Block) string {
	var names []string
	for _, block := range blocks {
		names = append(names, c.base.specNames(block)...)
	}
	slices.Sort(names)
	return list(slices.Compact(names), "or")
}

// explainUnchanged is for steps that cannot be blamed, because the model is not
// equivalent without them.
func (c *Checker) explainUnchanged() string {
	return fmt.Sprintf("The model is not equivalent to specification %q even without this step: ", c.base.spec.Name) + c.Explain()
}

// diagnoseBaseline finds the reason why the model by itself is not equivalent.
func (c *Checker) diagnoseBaseline() (reason, explanation string) {
	switch initials := c.base.initials; {
	case len(initials) == 0:
		return ReasonNoInitial, explainNoInitial()
	case len(initials) > 1:
		return ReasonMultipleInitial, c.explainInitials(initials)
	}
	seen := map[string]bool{}
	for _, t := range c.transitions() {
		l := c.locate(t)
		if isInit(t) || !c.reachable(l.from) {
			continue
		}
		seen[t.Action] = true
		if l.label >= c.base.specLabels {
			return ReasonActionNotInSpec, c.explainNotInSpec(t)
		}
		blocks := c.images().at(l.from).list
		if c.images().complete && len(blocks) > 0 && len(c.reached(blocks, l.label)) == 0 {
			return ReasonActionNotEnabled, c.explainNotEnabled(t)
		}
	}
	name := c.base.spec.Name
	var unseen []string
	for _, t := range c.base.spec.Transitions {
		if !seen[t.Action] && t.Action != spec.Internal && !slices.Contains(unseen, t.Action) {
			unseen = append(unseen, t.Action)
		}
	}
	if len(unseen) > 0 {
		return ReasonBaselineNotEquivalent, fmt.Sprintf("The model never takes %s, which specification %q offers.", list(unseen, "or"), name)
	}
	return ReasonBaselineNotEquivalent, fmt.Sprintf("The model takes only steps that specification %q has, but does not offer the same choices in the same places.", name)
}
