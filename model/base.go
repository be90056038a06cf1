package model

import (
	"slices"
	"sync"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/spec"
)

// base is what all judgements about one specification and one model share. What is
// computed late is computed once, whoever asks first.
type base struct {
	spec  *spec.Specification
	model []Transition // in any order, perhaps with duplicates

	specLTS *lts.LTS

	// union holds the states of the specification first, then one state without steps,
	// then the states of the model. The state without steps stands for all that nobody
	// has seen yet: with it there is always a class for them, and it changes no other.
	union    *lts.Builder
	graph    *lts.LTS // of union
	alphabet *lts.Alphabet
	// specLabels counts the labels of the specification, which are the first of the alphabet.
	specLabels  lts.Label
	specStates  lts.State
	specInitial lts.State
	isolated    lts.State
	names       []string // of the states of the union
	index       map[string]lts.State
	// initials are the targets of the model's initialisations, sorted; initial is the state
	// of one of them.
	initials []string
	initial  lts.State

	classesOnce sync.Once
	classesOf   classes
	namesOnce   sync.Once
	specBlocks  map[lts.Block][]string
	imagesOnce  sync.Once
	imagesOf    *images
	gradeOnce   sync.Once
	graded      Graded
	exceedsOnce sync.Once
	exceedsOf   bool
}

// classes are the classes of equivalence of the states of the union.
type classes struct {
	*lts.Partition
	// isolated is the class of states without behaviour, the only one with an empty signature.
	isolated lts.Block
	// start is the class of the specification's initial state.
	start      lts.Block
	equivalent bool
	// reachable says which states of the union the model can reach.
	reachable []bool
	// deterministic is set when in no class that the specification can reach an internal
	// step is possible, or two steps with the same action.
	deterministic bool
}

func newBase(s *spec.Specification, model []Transition) *base {
	sys := s.LTS()
	b := &base{
		spec:        s,
		model:       model,
		specLTS:     sys.LTS,
		union:       &lts.Builder{},
		alphabet:    sys.Alphabet,
		specLabels:  lts.Label(sys.Alphabet.Len()),
		specStates:  lts.State(sys.LTS.States()),
		specInitial: sys.LTS.Initial(),
		names:       slices.Clone(sys.States),
		index:       make(map[string]lts.State, len(model)/2+1),
	}
	b.union.AddLTS(sys.LTS) // comes first, so its states keep their numbers
	b.isolated = b.union.AddState()
	for len(b.names) <= int(b.isolated) {
		// The state without steps, and the one state of a specification without states.
		b.names = append(b.names, "")
	}
	for _, t := range b.model {
		if isInit(t) {
			if b.initial = b.state(t.To); !slices.Contains(b.initials, t.To) {
				b.initials = append(b.initials, t.To)
			}
			continue
		}
		b.union.Add(b.state(t.From), spec.Label(b.alphabet, t.Action), b.state(t.To))
	}
	slices.Sort(b.initials)
	b.graph = b.union.Build(b.initial)
	return b
}

// state returns the state of the union for a state of the model, which it adds if
// needed. Only newBase may call it.
func (b *base) state(name string) lts.State {
	s, ok := b.index[name]
	if !ok {
		s = b.union.AddState()
		b.index[name] = s
		b.names = append(b.names, name)
	}
	return s
}

// label returns the label of an action and whether the specification or the model has it.
func (b *base) label(action string) (lts.Label, bool) {
	if action == spec.Internal {
		return lts.Tau, true
	}
	return b.alphabet.Lookup(action)
}

// classes refines the union. The model must have exactly one initialisation.
func (b *base) classes() *classes {
	b.classesOnce.Do(func() {
		c := &b.classesOf
		c.Partition = lts.BranchingPartition(b.graph)
		c.isolated = c.Block(b.isolated)
		c.start = c.Block(b.specInitial)
		c.equivalent = c.Block(b.initial) == c.start
		c.reachable = b.graph.Reachable(b.initial)
		c.deterministic = c.isDeterministic()
	})
	return &b.classesOf
}

// isDeterministic looks at the classes that the specification can reach.
func (c *classes) isDeterministic() bool {
	seen := make([]bool, c.Blocks())
	seen[c.start] = true
	todo := []lts.Block{c.start}
	for len(todo) > 0 {
		sig := c.Signature(todo[len(todo)-1])
		todo = todo[:len(todo)-1]
		for i, o := range sig {
			if o.Label == lts.Tau || i > 0 && sig[i-1].Label == o.Label {
				return false
			}
			if !seen[o.To] {
				seen[o.To] = true
				todo = append(todo, o.To)
			}
		}
	}
	return true
}

// preserves reports whether a step between states of the two classes leaves all classes as
// they are, and by which rule: the states of the source's class can do this already, so
// the classes are still a branching bisimulation, and as their quotient is the same,
// nothing becomes equivalent that was not.
func (c *classes) preserves(from lts.Block, label lts.Label, to lts.Block) (Rule, bool) {
	if label == lts.Tau && from == to {
		return RuleE1, true
	}
	if c.Observes(from, lts.Observation{Label: label, To: to}) {
		return RuleE2, true
	}
	return "", false
}

// by is the part of a class's signature that has the label. Where a class can be
// after a step is that, and for an internal step also the class itself.
func (c *classes) by(b lts.Block, label lts.Label) []lts.Observation {
	sig := c.Signature(b)
	lo, hi := 0, len(sig)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if sig[mid].Label < label {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	end := lo
	for end < len(sig) && sig[end].Label == label {
		end++
	}
	return sig[lo:end]
}

// specNames are the names of the specification's states in each class, in their order.
func (b *base) specNames(block lts.Block) []string {
	b.namesOnce.Do(func() {
		b.specBlocks = make(map[lts.Block][]string)
		for s := range b.specStates {
			block := b.classes().Block(s)
			b.specBlocks[block] = append(b.specBlocks[block], b.names[s])
		}
	})
	return b.specBlocks[block]
}
