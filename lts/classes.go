package lts

// Classes computes the classes of Strong, DivergencePreservingBranching, Branching or
// Weak bisimilarity. It panics for other equivalences, which are not decided by
// classes of states; Compare has those.
//
// For n states and m transitions the first three take time O(m log n) and memory
// O(m + n), about 50 bytes for a transition; see weakPartition for Weak.
func Classes(l *LTS, e Equivalence) *Partition {
	switch e {
	case Strong:
		return strongPartition(l, sketchRounds)
	case DivergencePreservingBranching:
		return branchingPartition(l, true, sketchRounds)
	case Branching:
		return branchingPartition(l, false, sketchRounds)
	case Weak:
		return weakPartition(l)
	}
	panic("lts: no classes of " + e.String())
}

// BranchingPartition computes the classes of divergence-blind branching bisimilarity.
func BranchingPartition(l *LTS) *Partition { return Classes(l, Branching) }

// BranchingBisimilar reports whether the initial states of two systems, whose
// labels must be of one alphabet, are branching bisimilar.
func BranchingBisimilar(a, b *LTS) bool {
	u, shift := Union(a, b)
	return BranchingPartition(u).Same(a.initial, b.initial+shift)
}

// strongPartition computes strong bisimilarity. The number of rounds of sketches, here
// and below, makes a difference to the time alone.
func strongPartition(l *LTS, sketchRounds int) *Partition {
	r, number := newRefiner(l.withDenseLabels(), nil, int32(l.States()), nil, sketchRounds)
	r.run()
	return r.partition(l, number, false)
}

// branchingPartition computes branching bisimilarity. To preserve divergence, a
// component of internal steps that can go on for ever gets a step of its own, with a
// label that nothing else has: then equivalent states agree on whether they reach,
// inside their class, internal steps without end.
func branchingPartition(l *LTS, divergence bool, sketchRounds int) *Partition {
	component, count := l.tauComponents()
	var divergent []bool
	if divergence {
		divergent = l.divergent(component, count)
	}
	r, number := newRefiner(l.withDenseLabels(), component, count, divergent, sketchRounds)
	r.run()
	return r.partition(l, number, true)
}

// partition is the result for l, whose states the refiner has under the given numbers.
func (r *refiner) partition(l *LTS, number []int32, internalIsInert bool) *Partition {
	block, speaks := make([]Block, len(number)), make([]bool, len(number))
	for s, c := range number {
		block[s] = r.states[c].block
		// The first state of a block is a bottom state.
		speaks[s] = r.elements[r.blocks[block[s]].start] == c
	}
	p := newPartition(l, block, len(r.blocks), internalIsInert, speaks)
	if r.divergent != nil {
		// If a block diverges, all its bottom states do.
		p.diverges = make([]bool, p.blocks)
		for s, c := range number {
			if speaks[s] && r.divergent[c] {
				p.diverges[p.block[s]] = true
			}
		}
	}
	return p
}

// Quotient is the system with the classes of a partition of l as states, the one of
// the initial state as the initial state, and what a class can do as the steps. It
// is equivalent to l. Classes that no path leads to are in it too; Minimize leaves
// them out.
func Quotient(l *LTS, p *Partition) *LTS {
	p.once.Do(p.observe)
	initial := p.block[l.initial]
	if p.diverges == nil {
		// Both are immutable, so they can share the arrays.
		return &LTS{initial: initial, offsets: p.quotient.offsets, steps: p.quotient.steps}
	}
	return Assemble(p.blocks, initial, func(yield func(State, Label, State)) {
		for b := range Block(p.blocks) {
			for _, o := range p.Signature(b) {
				yield(b, o.Label, o.To)
			}
			if p.Diverges(b) {
				yield(b, Tau, b)
			}
		}
	})
}

// Minimize returns the smallest system that is equivalent to l, which for the
// equivalences of Classes other than Weak is unique up to the numbers of its states,
// and where each state of l is in it; -1 if no path leads to the state from the
// initial one. States are numbered by how far they are from the initial state,
// which is 0. For Weak the system has as few states as can be, but may have steps
// that are not needed. It panics for equivalences that Classes does not have.
func Minimize(l *LTS, e Equivalence) (minimal *LTS, of []State) {
	reached, to := reachablePart(l)
	p := Classes(reached, e)
	// What is left is numbering, in the order of a search.
	minimal, order := reachablePart(Quotient(reached, p))
	of = make([]State, l.States())
	for s, r := range to {
		of[s] = -1
		if r >= 0 {
			of[s] = order[p.Block(r)]
		}
	}
	return minimal, of
}

// reachablePart numbers the states that can be reached in the order of a breadth-first
// search and leaves out the others, whose numbers are -1.
func reachablePart(l *LTS) (part *LTS, number []State) {
	number = make([]State, l.States())
	for s := range number {
		number[s] = -1
	}
	number[l.initial] = 0
	found := []State{l.initial}
	transitions := 0
	for i := 0; i < len(found); i++ {
		for _, step := range l.Steps(found[i]) {
			transitions++
			if number[step.To] < 0 {
				number[step.To] = State(len(found))
				found = append(found, step.To)
			}
		}
	}
	offsets, steps := make([]int32, 1, len(found)+1), make([]Step, 0, transitions)
	for _, s := range found {
		for _, step := range l.Steps(s) {
			steps = append(steps, Step{step.Label, number[step.To]})
		}
		offsets = append(offsets, int32(len(steps)))
	}
	return &LTS{offsets: offsets, steps: normalize(offsets, steps)}, number
}
