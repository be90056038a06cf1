package lts

// classes are the classes of an equivalence that one partition decides.
func classes(l *LTS, e Equivalence) *Partition { return Classes(l, e) }

// quotientOf has blocks as states and observations as steps.
func quotientOf(p *Partition, initial Block) *LTS {
	p.once.Do(p.observe)
	return &LTS{initial: initial, offsets: p.quotient.offsets, steps: p.quotient.steps}
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
