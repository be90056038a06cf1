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

// be is the verb that follows a list of names.
func be(names []string) string {
	if len(names) == 1 {
		return " is"
	}
	return " are"
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
	if c.equivalent() || !c.images().complete {
		// In an equivalent model the state's own class tells best what it is.
		if own := c.class(state); len(c.base.specNames(own)) > 0 {
			return []lts.Block{own}
		}
	}
	// In the order of the classes, so that sentences do not depend on that of the search.
	return slices.Sorted(slices.Values(c.images().at(state).list))
}

// allowed says what the specification allows in the place of a state of the model.
func (c *Checker) allowed(name string) string {
	state, _ := c.lookup(name)
	blocks := c.place(state)
	if len(blocks) == 0 {
		return fmt.Sprintf("specification %q has no state that behaves like %q", c.base.spec.Name, name)
	}
	var states, options []string
	for _, block := range blocks {
		states = append(states, c.base.specNames(block)...)
		for _, o := range c.base.classes().Signature(block) {
			if o.Label != lts.Tau {
				options = append(options, c.base.alphabet.Name(o.Label))
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
		return fmt.Sprintf("%s specification %q allows no further step", where, c.base.spec.Name)
	}
	return fmt.Sprintf("%s specification %q allows only %s", where, c.base.spec.Name, list(options, "and"))
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
		describe(t), t.From, c.base.spec.Name)
}

func (c *Checker) explainNotInSpec(t Transition) string {
	return fmt.Sprintf("%s is not allowed: the specification has no action %q; %s.", describe(t), t.Action, c.allowed(t.From))
}

func (c *Checker) explainNotEnabled(t Transition) string {
	return fmt.Sprintf("%s is not allowed: %s.", describe(t), c.allowed(t.From))
}

func (c *Checker) explainAllowed(t Transition) string {
	return fmt.Sprintf("%s is not in the model, but specification %q allows it: with it the model behaves as the specification says.",
		describe(t), c.base.spec.Name)
}

// explainJoint completes a judgement about a step that is harmless by itself and
// not together with the pending deviations, whose checker is joint.
func (c *Checker) explainJoint(j *Judgement, t Transition, joint *Checker) {
	name := c.base.spec.Name
	switch {
	case !joint.equivalent():
		j.Explanation += fmt.Sprintf(" The deviations pending on specification %q are not equivalent, with this step or without it: ", name)
		if joint.over != nil && joint.over.culprit != nil {
			j.Explanation += joint.blame(*joint.over.culprit)
		} else {
			j.Explanation += joint.Explain()
		}
	case j.Reason == ReasonUnreachableSource:
		_, why := joint.reason(t, joint.Decide(t))
		j.Explanation += " With the pending deviations it is not equivalent: " + why
	default:
		j.Reason = ReasonOptionLost
		j.Explanation = fmt.Sprintf("%s is allowed by itself, but not together with the deviations pending on specification %q: with all of them the model cannot make every choice of the specification any more.",
			describe(t), name)
	}
}

// blame explains why rule N decides about a step from a reachable state.
func (c *Checker) blame(t Transition) string {
	l := c.locate(t)
	switch {
	case !l.hasLabel || l.label >= c.base.specLabels:
		return c.explainNotInSpec(t)
	case c.images().complete && len(c.reached(c.images().at(l.from).list, l.label)) == 0:
		return c.explainNotEnabled(t)
	}
	return fmt.Sprintf("%s can be in no model that behaves as specification %q says.", describe(t), c.base.spec.Name)
}
