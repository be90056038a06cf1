// Package lts holds labelled transition systems in a compact form and decides
// branching bisimilarity.
//
// Labels are small integers, and the internal action is the label Tau. Names are
// an Alphabet's business: nothing in the engine compares strings, so a visible
// action may be called "i" or "tau" without being taken for the internal one.
// Equivalence is divergence blind: an internal loop makes no difference.
//
// An LTS and a Partition are immutable and safe for concurrent use; a Builder and
// an Alphabet are not.
package lts

import (
	"fmt"
	"slices"
)

// State is the index of a state, from 0 to States()-1 of its LTS.
type State = int32

// Label is the index of an action. Tau is the internal one, every other label is visible.
type Label = int32

// Tau is the label of the internal action.
const Tau Label = 0

// Alphabet gives names to labels. The zero value is an alphabet with Tau only.
type Alphabet struct {
	ids   map[string]Label
	names []string // names[l-1] is the name of label l
}

// Intern returns the label of a visible action, which it adds if it is new. It
// never returns Tau, whatever the name.
func (a *Alphabet) Intern(name string) Label {
	if l, ok := a.ids[name]; ok {
		return l
	}
	if a.ids == nil {
		a.ids = make(map[string]Label)
	}
	a.names = append(a.names, name)
	l := Label(len(a.names))
	a.ids[name] = l
	return l
}

// Lookup returns the label of a visible action and whether the alphabet has it.
func (a *Alphabet) Lookup(name string) (Label, bool) {
	l, ok := a.ids[name]
	return l, ok
}

// Name is the name of a visible label; it is empty for Tau and for labels that the
// alphabet does not have.
func (a *Alphabet) Name(l Label) string {
	if l <= Tau || int(l) > len(a.names) {
		return ""
	}
	return a.names[l-1]
}

// Len is the number of labels including Tau, that is, the next label that Intern gives out.
func (a *Alphabet) Len() int { return len(a.names) + 1 }

// Step is an outgoing transition of a state.
type Step struct {
	Label Label
	To    State
}

// LTS is a labelled transition system with an initial state. Build one with a Builder.
type LTS struct {
	initial State
	// offsets has one element more than there are states; the steps of state s
	// are steps[offsets[s]:offsets[s+1]], sorted, without duplicates.
	offsets []int32
	steps   []Step
}

// States is the number of states.
func (l *LTS) States() int { return len(l.offsets) - 1 }

// Transitions is the number of transitions.
func (l *LTS) Transitions() int { return len(l.steps) }

// Initial is the initial state.
func (l *LTS) Initial() State { return l.initial }

// Steps returns the outgoing transitions of a state, sorted by label and target,
// without duplicates. The slice must not be changed.
func (l *LTS) Steps(s State) []Step {
	return l.steps[l.offsets[s]:l.offsets[s+1]:l.offsets[s+1]]
}

// Reachable reports for every state whether a path leads to it from the given states.
func (l *LTS) Reachable(from ...State) []bool {
	seen := make([]bool, l.States())
	var todo []State
	visit := func(s State) {
		if !seen[s] {
			seen[s] = true
			todo = append(todo, s)
		}
	}
	for _, s := range from {
		visit(s)
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, step := range l.Steps(s) {
			visit(step.To)
		}
	}
	return seen
}

// edge is a transition of a Builder.
type edge struct {
	from State
	step Step
}

// Builder collects states and transitions. The zero value is empty. It may go on
// being used after Build.
type Builder struct {
	states int32
	edges  []edge
}

// AddState adds a state and returns it.
func (b *Builder) AddState() State {
	b.states++
	return b.states - 1
}

// AddStates adds n states and returns the first of them.
func (b *Builder) AddStates(n int) State {
	first := b.states
	b.states += int32(n)
	return first
}

// Add adds a transition; both states must have been added before, and the label must not be negative.
func (b *Builder) Add(from State, label Label, to State) {
	if from < 0 || from >= b.states || to < 0 || to >= b.states || label < 0 {
		panic(fmt.Sprintf("lts: transition (%d, %d, %d) in a system of %d states", from, label, to, b.states))
	}
	b.edges = append(b.edges, edge{from, Step{label, to}})
}

// AddLTS adds a copy of all states and transitions of another system and returns
// what must be added to a state of that system to get its copy.
func (b *Builder) AddLTS(l *LTS) State {
	shift := b.AddStates(l.States())
	for s := range State(l.States()) {
		for _, step := range l.Steps(s) {
			b.edges = append(b.edges, edge{s + shift, Step{step.Label, step.To + shift}})
		}
	}
	return shift
}

// Clone returns a builder with the same content; additions to either do not show in the other.
func (b *Builder) Clone() *Builder {
	return &Builder{states: b.states, edges: slices.Clip(b.edges)}
}

// Build makes the LTS with the given initial state, which must have been added.
func (b *Builder) Build(initial State) *LTS {
	if initial < 0 || initial >= b.states {
		panic(fmt.Sprintf("lts: initial state %d in a system of %d states", initial, b.states))
	}
	// Count, place, then sort and deduplicate the steps of each state.
	offsets := make([]int32, b.states+1)
	for _, e := range b.edges {
		offsets[e.from+1]++
	}
	for s := range b.states {
		offsets[s+1] += offsets[s]
	}
	steps := make([]Step, len(b.edges))
	next := slices.Clone(offsets)
	for _, e := range b.edges {
		steps[next[e.from]] = e.step
		next[e.from]++
	}
	out, begin := int32(0), int32(0)
	for s := range b.states {
		end := offsets[s+1]
		own := steps[begin:end]
		slices.SortFunc(own, compareSteps)
		own = slices.Compact(own)
		out += int32(copy(steps[out:], own))
		begin = end
		offsets[s+1] = out
	}
	return &LTS{initial: initial, offsets: offsets, steps: steps[:out:out]}
}

func compareSteps(a, b Step) int {
	if a.Label != b.Label {
		return int(a.Label) - int(b.Label)
	}
	return int(a.To) - int(b.To)
}
