// Package lts holds labelled transition systems in a compact form, and decides
// whether two of them behave alike by several equivalences (see Equivalence).
//
// Labels are small integers, and the internal action is the label Tau. Names are
// an Alphabet's business: nothing in the engine compares strings, so a visible
// action may be called "i" or "tau" without being taken for the internal one.
//
// An LTS and a Partition are immutable and safe for concurrent use; a Builder and
// an Alphabet are not. States, labels and transitions are numbered by 32 bits, and
// no algorithm recurses on the depth of its input.
package lts

import (
	"slices"
	"sync"
)

// State is the index of a state, from 0 to States()-1 of its LTS.
type State = int32

// Step is an outgoing transition of a state.
type Step struct {
	Label Label
	To    State
}

// LTS is a labelled transition system with an initial state: adjacency lists in two
// arrays, 8 bytes for a transition and 4 for a state. Build one with a Builder.
type LTS struct {
	initial State
	// offsets has one element more than there are states; the steps of state s
	// are steps[offsets[s]:offsets[s+1]], sorted, without duplicates.
	offsets []int32
	steps   []Step

	// The same transitions by target, made when somebody asks for them.
	backwards sync.Once
	inOffsets []int32
	inSteps   []Step
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

// Incoming returns the transitions that lead into a state, sorted by label and
// source, without duplicates: To of a step is the source here. The slice must not be
// changed. The first call makes the lists of all states, in linear time.
func (l *LTS) Incoming(s State) []Step {
	l.backwards.Do(l.reverse)
	return l.inSteps[l.inOffsets[s]:l.inOffsets[s+1]:l.inOffsets[s+1]]
}

func (l *LTS) reverse() {
	n := State(l.States())
	offsets := make([]int32, n+1)
	for _, step := range l.steps {
		offsets[step.To+1]++
	}
	startOf(offsets)
	steps := make([]Step, len(l.steps))
	for s := range n {
		for _, step := range l.Steps(s) {
			at := &offsets[step.To+1]
			steps[*at] = Step{step.Label, s}
			*at++
		}
	}
	for s := range n {
		sortSteps(steps[offsets[s]:offsets[s+1]])
	}
	l.inOffsets, l.inSteps = offsets, steps
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

// maxLabel is the largest label of the transitions, or Tau.
func (l *LTS) maxLabel() Label {
	largest := Tau
	for s := range State(l.States()) {
		if end := l.offsets[s+1]; end > l.offsets[s] {
			largest = max(largest, l.steps[end-1].Label)
		}
	}
	return largest
}

// withDenseLabels is the system itself if an array by label is no larger than the
// system, which an Alphabet sees to, or else one with other numbers for labels. Tau
// and the order stay.
func (l *LTS) withDenseLabels() *LTS {
	if int(l.maxLabel()) <= 1<<16+len(l.steps) {
		return l
	}
	labels := []Label{Tau}
	for _, step := range l.steps {
		labels = append(labels, step.Label)
	}
	slices.Sort(labels)
	labels = slices.Compact(labels)
	steps := make([]Step, len(l.steps))
	for i, step := range l.steps {
		label, _ := slices.BinarySearch(labels, step.Label)
		steps[i] = Step{Label(label), step.To}
	}
	return &LTS{initial: l.initial, offsets: l.offsets, steps: steps}
}
