package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/spec"
)

// maxListed bounds the names in one list of an explanation.
const maxListed = 5

// list writes quoted names, at most maxListed of them.
func list(names []string, conjunction string) string {
	var quoted []string
	for _, n := range names {
		quoted = append(quoted, fmt.Sprintf("%q", n))
	}
	if len(quoted) > maxListed {
		more := len(quoted) - maxListed
		quoted = append(quoted[:maxListed], fmt.Sprintf("%d more", more))
	}
	switch len(quoted) {
	case 0:
		return ""
	case 1:
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " " + conjunction + " " + quoted[len(quoted)-1]
}

// describe names a step at the beginning of a sentence.
func describe(t Transition) string {
	what := "An internal step"
	if t.Action != spec.Internal {
		what = fmt.Sprintf("Action %q", t.Action)
	}
	return fmt.Sprintf("%s from state %q to %q", what, t.From, t.To)
}

// place gives the blocks of the specification that a reachable state may correspond to.
func (c *Checker) place(state lts.State) []lts.Block {
	b := c.shared()
	if b.equivalent || !c.images().complete {
		// In an equivalent model the state's own class tells best what it is.
		if own := b.partition.Block(state); len(b.specBlocks[own]) > 0 {
			return []lts.Block{own}
		}
	}
	return c.images().of[state]
}

// allowed says what the specification allows in the place of a state of the model.
func (c *Checker) allowed(name string) string {
	b := c.shared()
	blocks := c.place(c.index[name])
	if len(blocks) == 0 {
		return fmt.Sprintf("specification %q has no state that behaves like %q", c.spec.Name, name)
	}
	var states, options []string
	for _, block := range blocks {
		states = append(states, b.specBlocks[block]...)
		for _, o := range b.partition.Signature(block) {
			if o.Label != lts.Tau {
				options = append(options, c.alphabet.Name(o.Label))
			} else {
				options = append(options, spec.Internal)
			}
		}
	}
	slices.Sort(options)
	options = slices.Compact(options)
	where := "in that state"
	// Where the names are the same, as in a model that speaks the specification's
	// language, repeating the name would only be in the way.
	if len(states) > 0 && states[0] != "" && !(len(states) == 1 && states[0] == name) {
		where += " (" + list(states, "or") + " of the specification)"
	}
	if len(options) == 0 {
		return fmt.Sprintf("%s specification %q allows no further step", where, c.spec.Name)
	}
	return fmt.Sprintf("%s specification %q allows only %s", where, c.spec.Name, list(options, "and"))
}

func explainNoInitial() string {
	return "The model has no initialisation, so nothing can be said about where it begins; record one instance from its start."
}

func (c *Checker) explainInitials(states []string) string {
	return fmt.Sprintf("Instances begin in different states (%s), and a model must have exactly one initial state.", list(states, "and"))
}

func explainFirstInitial(t Transition) string {
	return fmt.Sprintf("This is the model's first initialisation; beginning in state %q the model behaves as the specification says.", t.To)
}

func (c *Checker) explainUnreachable(t Transition) string {
	return fmt.Sprintf("%s is not in the model, which stays equivalent only because it cannot reach state %q; the step itself was not compared with specification %q.",
		describe(t), t.From, c.spec.Name)
}

func (c *Checker) explainNotInSpec(t Transition) string {
	return fmt.Sprintf("%s is not allowed: the specification has no action %q; %s.", describe(t), t.Action, c.allowed(t.From))
}

func (c *Checker) explainNotEnabled(t Transition) string {
	return fmt.Sprintf("%s is not allowed: %s.", describe(t), c.allowed(t.From))
}

func (c *Checker) explainAllowed(t Transition) string {
	return fmt.Sprintf("%s is not in the model, but specification %q allows it: with it the model behaves as the specification says.",
		describe(t), c.spec.Name)
}

// explainJoint completes a judgement about a step that is harmless by itself and
// not together with the pending deviations.
func (c *Checker) explainJoint(j *Judgement, t Transition, together Judgement, joint *Checker) {
	if j.Reason != ReasonUnreachableSource {
		j.Reason = ReasonOptionLost
		j.Explanation = fmt.Sprintf("%s is allowed by itself, but not together with the deviations pending on specification %q: with all of them the model cannot make every choice of the specification any more.",
			describe(t), c.spec.Name)
		return
	}
	j.Explanation += " With the pending deviations it is not equivalent: "
	if together.Explanation == "" {
		together.Explanation = joint.Explain()
	}
	j.Explanation += together.Explanation
}

// diagnose finds the reason why the model, which has exactly one initialisation, is
// not equivalent with the step, whose source is reachable and whose action the specification has.
func (c *Checker) diagnose(t Transition) (reason, explanation string) {
	b := c.shared()
	blocks := c.place(c.index[t.From])
	if c.images().complete {
		// All images count here: a step that fits one of them is not to be blamed alone.
		blocks = c.images().of[c.index[t.From]]
	}
	if len(blocks) == 0 {
		return ReasonBaselineNotEquivalent, c.explainUnchanged()
	}
	label, _ := c.lookup(t.Action)
	var reached []lts.Block
	for _, block := range blocks {
		reached = append(reached, targets(b.partition, block, label)...)
	}
	if len(reached) == 0 {
		return ReasonActionNotEnabled, c.explainNotEnabled(t)
	}
	if !b.equivalent {
		return ReasonBaselineNotEquivalent, c.explainUnchanged()
	}
	if label == lts.Tau {
		if lost := c.lost(t); len(lost) > 0 {
			return ReasonTauDropsOption, fmt.Sprintf("%s silently takes away a choice: %s is possible before it and not after it, and specification %q makes no such internal choice there.",
				describe(t), list(lost, "and"), c.spec.Name)
		}
	}
	if !c.mayMatch(t.To, reached) {
		return ReasonWrongTarget, fmt.Sprintf("%s leads to the wrong state: in state %q specification %q allows such a step, but then behaves like its own state %s, which %q does not.",
			describe(t), t.From, c.spec.Name, c.blockNames(reached), t.To)
	}
	return ReasonOptionLost, fmt.Sprintf("%s takes away a choice: with it state %q does not behave as before, and the model cannot make every choice of the specification any more; %s.",
		describe(t), t.From, c.allowed(t.From))
}

// lost are the actions that the source of an internal step offers and its target does
// not, also not after further internal steps.
func (c *Checker) lost(t Transition) []string {
	b := c.shared()
	after := map[lts.Label]bool{}
	if to, ok := c.index[t.To]; ok {
		for label := range c.offers(b.partition.Block(to)) {
			after[label] = true
		}
	}
	var lost []string
	for label := range c.offers(b.partition.Block(c.index[t.From])) {
		if !after[label] {
			lost = append(lost, c.alphabet.Name(label))
		}
	}
	slices.Sort(lost)
	return lost
}

// offers are the visible actions that are possible in a block, also after internal steps.
func (c *Checker) offers(start lts.Block) map[lts.Label]bool {
	p := c.shared().partition
	labels := map[lts.Label]bool{}
	seen := map[lts.Block]bool{start: true}
	todo := []lts.Block{start}
	for len(todo) > 0 {
		block := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, o := range p.Signature(block) {
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

// mayMatch reports whether a state of the model may correspond to one of the blocks.
func (c *Checker) mayMatch(state string, blocks []lts.Block) bool {
	b := c.shared()
	s, known := c.index[state]
	if !known {
		for _, block := range blocks {
			if len(b.partition.Signature(block)) == 0 {
				return true
			}
		}
		return false
	}
	if !b.reachable[s] || !c.images().complete {
		return slices.Contains(blocks, b.partition.Block(s))
	}
	for _, block := range blocks {
		if slices.Contains(c.images().of[s], block) {
			return true
		}
	}
	return false
}

// blockNames names the specification's states of some blocks.
func (c *Checker) blockNames(blocks []lts.Block) string {
	var names []string
	for _, block := range blocks {
		names = append(names, c.shared().specBlocks[block]...)
	}
	slices.Sort(names)
	return list(slices.Compact(names), "or")
}

// explainUnchanged is for steps that cannot be blamed, because the model is not
// equivalent without them.
func (c *Checker) explainUnchanged() string {
	return fmt.Sprintf("The model is not equivalent to specification %q even without this step: ", c.spec.Name) + c.Explain()
}

// diagnoseBaseline finds the reason why the model by itself is not equivalent.
func (c *Checker) diagnoseBaseline() (reason, explanation string) {
	switch {
	case len(c.initials) == 0:
		return ReasonNoInitial, explainNoInitial()
	case len(c.initials) > 1:
		return ReasonMultipleInitial, c.explainInitials(c.initials)
	}
	b := c.shared()
	seen := map[string]bool{}
	for _, t := range c.model {
		if isInit(t) || !b.reachable[c.index[t.From]] {
			continue
		}
		seen[t.Action] = true
		label, inSpec := c.lookup(t.Action)
		if !inSpec {
			return ReasonActionNotInSpec, c.explainNotInSpec(t)
		}
		blocks := c.images().of[c.index[t.From]]
		impossible := c.images().complete && len(blocks) > 0
		for _, block := range blocks {
			impossible = impossible && len(targets(b.partition, block, label)) == 0
		}
		if impossible {
			return ReasonActionNotEnabled, c.explainNotEnabled(t)
		}
	}
	var unseen []string
	for _, t := range c.spec.Transitions {
		if !seen[t.Action] && t.Action != spec.Internal && !slices.Contains(unseen, t.Action) {
			unseen = append(unseen, t.Action)
		}
	}
	if len(unseen) > 0 {
		return ReasonBaselineNotEquivalent, fmt.Sprintf("The model never takes %s, which specification %q offers.", list(unseen, "or"), c.spec.Name)
	}
	return ReasonBaselineNotEquivalent, fmt.Sprintf("The model takes only steps that specification %q has, but does not offer the same choices in the same places.", c.spec.Name)
}
