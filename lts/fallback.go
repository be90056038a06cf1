package lts

// classes are the classes of an equivalence that one partition decides.
func classes(l *LTS, e Equivalence) *Partition {
	switch e {
	case Branching:
		return BranchingPartition(l)
	case Strong:
		return unshift(BranchingPartition(shiftLabels(l)))
	case DivergencePreservingBranching:
		return BranchingPartition(markDivergence(l))
	case Weak:
		return weakPartition(l)
	}
	panic("lts: no classes of " + e.String())
}

func shiftLabels(l *LTS) *LTS {
	var b Builder
	b.AddStates(l.States())
	for s := range State(l.States()) {
		for _, step := range l.Steps(s) {
			b.Add(s, step.Label+1, step.To)
		}
	}
	return b.Build(l.Initial())
}

func unshift(p *Partition) *Partition {
	for _, sig := range p.signatures {
		for i := range sig {
			sig[i].Label--
		}
	}
	return p
}

func markDivergence(l *LTS) *LTS {
	component, count := l.tauComponents()
	size := make([]int32, count)
	div := Label(0)
	for _, c := range component {
		size[c]++
	}
	for _, step := range l.steps {
		div = max(div, step.Label+1)
	}
	var b Builder
	b.AddLTS(l)
	for s := range State(l.States()) {
		diverges := size[component[s]] > 1
		for _, step := range l.tauSteps(s) {
			diverges = diverges || step.To == s
		}
		if diverges {
			b.Add(s, max(div, 1), s)
		}
	}
	return b.Build(l.Initial())
}

// quotientOf has blocks as states and observations as steps.
func quotientOf(p *Partition, initial Block) *LTS {
	var b Builder
	b.AddStates(p.Blocks())
	for block := range Block(p.Blocks()) {
		for _, o := range p.Signature(block) {
			b.Add(block, o.Label, o.To)
		}
	}
	return b.Build(initial)
}

// incoming holds the steps of an LTS by their target; Step.To is the source.
type incoming struct {
	offsets []int32
	steps   []Step
}

func (in *incoming) of(s State) []Step { return in.steps[in.offsets[s]:in.offsets[s+1]] }

func incomingOf(l *LTS) *incoming {
	var b Builder
	b.AddStates(l.States())
	for s := range State(l.States()) {
		for _, step := range l.Steps(s) {
			b.Add(step.To, step.Label, s)
		}
	}
	r := b.Build(0)
	return &incoming{offsets: r.offsets, steps: r.steps}
}
