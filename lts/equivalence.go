package lts

import (
	"fmt"
	"strings"
)

// Equivalence is a notion of when two systems behave alike. The constants are
// ordered: each one implies those after it, which makes them the rungs of a
// ladder (van Glabbeek, The Linear Time - Branching Time Spectrum II, 1993).
// StrongTrace is the exception that the order hides: it does not follow from the
// weaker bisimilarities before it, only from Strong.
type Equivalence uint8

const (
	// Strong is strong bisimilarity: the internal action is matched like any other.
	Strong Equivalence = iota
	// DivergencePreservingBranching is branching bisimilarity that also tells
	// whether a state can take internal steps for ever without changing its class.
	DivergencePreservingBranching
	// Branching is divergence-blind branching bisimilarity, the notion that models
	// are judged by.
	Branching
	// Weak is weak bisimilarity, also called observation equivalence.
	Weak
	// WeakSimulation is weak simulation in both directions.
	WeakSimulation
	// StrongTrace is equality of the sets of finite traces, the internal action
	// being a letter like any other.
	StrongTrace
	// WeakTrace is equality of the sets of finite traces of visible actions.
	WeakTrace
)

// equivalenceNames are the names on the command line; aliases are those of mCRL2.
var equivalenceNames = [...]string{"strong", "dpbranching", "branching", "weak", "weak-simulation", "trace", "weak-trace"}

var equivalenceAliases = map[string]Equivalence{
	"bisim": Strong, "dpbranching-bisim": DivergencePreservingBranching, "branching-bisim": Branching, "weak-bisim": Weak,
}

// String is the name that ParseEquivalence reads.
func (e Equivalence) String() string {
	if int(e) < len(equivalenceNames) {
		return equivalenceNames[e]
	}
	return fmt.Sprintf("equivalence(%d)", uint8(e))
}

// Equivalences lists all of them, strongest first.
func Equivalences() []Equivalence {
	all := make([]Equivalence, len(equivalenceNames))
	for i := range all {
		all[i] = Equivalence(i)
	}
	return all
}

// ParseEquivalence reads a name, of ours or of mCRL2. The error lists the names.
func ParseEquivalence(name string) (Equivalence, error) {
	for i, n := range equivalenceNames {
		if n == name {
			return Equivalence(i), nil
		}
	}
	if e, ok := equivalenceAliases[name]; ok {
		return e, nil
	}
	return 0, fmt.Errorf("there is no equivalence %q: use one of %s", name, strings.Join(equivalenceNames[:], ", "))
}
