package explain

import (
	"fmt"
	"strings"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/hml"
)

// maxListed bounds the names in one list of a sentence.
const maxListed = 5

// list writes names, at most maxListed of them.
func list(names []string, conjunction string) string {
	mentioned := make([]string, 0, len(names))
	for _, n := range names {
		mentioned = append(mentioned, hml.Mention(n))
	}
	if len(mentioned) > maxListed {
		more := fmt.Sprintf("%d more", len(mentioned)-maxListed+1)
		mentioned = append(mentioned[:maxListed-1], more)
	}
	switch n := len(mentioned) - 1; n {
	case -1:
		return ""
	case 0:
		return mentioned[0]
	default:
		return strings.Join(mentioned[:n], ", ") + " " + conjunction + " " + mentioned[n]
	}
}

// capital begins a sentence with "The" where it begins with "the"; other names stay
// as they are.
func capital(s string) string {
	if rest, ok := strings.CutPrefix(s, "the "); ok {
		return "The " + rest
	}
	return s
}

// relation names an equivalence in a sentence: "the systems are ...".
func relation(e lts.Equivalence) string {
	switch e {
	case lts.Strong:
		return "strongly bisimilar"
	case lts.DivergencePreservingBranching:
		return "branching bisimilar, divergence included"
	case lts.Branching:
		return "branching bisimilar"
	case lts.Weak:
		return "weakly bisimilar"
	case lts.WeakSimulation:
		return "similar in both directions, internal steps aside"
	case lts.StrongTrace:
		return "equal in their traces, internal steps included"
	}
	return "equal in their traces of visible actions"
}

// verdict is the answer to what was asked, as the beginning of a sentence.
func (c *comparison) verdict() string {
	subject := capital(c.o.Left) + " and " + c.o.Right
	switch c.report.Holds {
	case lts.Yes:
		return subject + " are " + relation(c.o.Equivalence)
	case lts.No:
		return subject + " are not " + relation(c.o.Equivalence)
	}
	return "It could not be decided within the limits whether " + c.o.Left + " and " + c.o.Right + " are " + relation(c.o.Equivalence)
}

// Forbidden says what a trace does that the other system does not allow.
func (t *Trace) Forbidden(who, other string) string {
	last := t.Actions[len(t.Actions)-1]
	begin := "At the start "
	if before := t.Actions[:len(t.Actions)-1]; len(before) > 0 {
		begin = "After " + hml.Sequence(before) + ", "
	}
	instead := "nothing more"
	if len(t.Instead) > 0 {
		instead = "only " + list(t.Instead, "and")
	}
	return fmt.Sprintf("%s%s can do %s, and %s cannot: there it allows %s.", begin, who, hml.Mention(last), other, instead)
}

// summary is the sentence about the whole.
func (c *comparison) summary() string {
	r := &c.report
	switch r.Grade {
	case Equivalent:
		if r.Holds == lts.No {
			return fmt.Sprintf("%s. They are branching bisimilar, though.", c.verdict())
		}
		return c.verdict() + "."
	case ExtraBehaviour:
		if r.Extra != nil {
			return r.Extra.Forbidden(c.o.Right, c.o.Left)
		}
		return fmt.Sprintf("%s has a sequence of actions that %s does not allow.", capital(c.o.Right), c.o.Left)
	case CoverageGap:
		text := fmt.Sprintf("%s does nothing that %s forbids, but ", capital(c.o.Right), c.o.Left)
		switch {
		case r.Coverage == nil:
			return text + "not everything that it offers."
		case r.Coverage.Complete():
			return text + "it does not keep all choices open as long."
		}
		return text + fmt.Sprintf("has not shown everything that it offers: %d of %d transitions are missing.", len(r.Coverage.Missing), r.Coverage.Total)
	case BranchingMismatch:
		if r.AnyHolds && r.Strongest < lts.WeakSimulation {
			return fmt.Sprintf("%s and %s can do the same (they are %s), but internal steps take choices away at different points.", capital(c.o.Left), c.o.Right, relation(r.Strongest))
		}
		return fmt.Sprintf("%s takes only sequences of actions that %s allows, but choices are made at different points.", capital(c.o.Right), c.o.Left)
	}
	return fmt.Sprintf("%s. How they differ could not be found out within the limits.", c.verdict())
}
