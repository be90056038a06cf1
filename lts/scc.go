package lts

// condensed is an LTS whose tau cycles are collapsed: its tau transitions form an
// acyclic graph in which every tau step leads to a component with a smaller number.
type condensed struct {
	component []int32 // of each state
	count     int32
	// Steps of component c are steps[offsets[c]:offsets[c+1]]; tau steps inside a
	// component are left out, the rest may have duplicates.
	offsets []int32
	steps   []Step
	// Predecessors of component c are preds[predOffsets[c]:predOffsets[c+1]].
	predOffsets []int32
	preds       []Step // To is the source here
}

func (c *condensed) stepsOf(i int32) []Step { return c.steps[c.offsets[i]:c.offsets[i+1]] }
func (c *condensed) predsOf(i int32) []Step { return c.preds[c.predOffsets[i]:c.predOffsets[i+1]] }

// tauSteps are the steps with label Tau: as Tau is the smallest label they come first.
func (l *LTS) tauSteps(s State) []Step {
	steps := l.Steps(s)
	n := 0
	for n < len(steps) && steps[n].Label == Tau {
		n++
	}
	return steps[:n]
}

// tauComponents finds the strongly connected components of the tau transitions by
// Tarjan's algorithm. A component gets its number after all components that it
// reaches by tau, so tau steps between components lead to smaller numbers. The
// stack is a slice, since tau chains may be as long as the system.
func (l *LTS) tauComponents() (component []int32, count int32) {
	type frame struct {
		state State
		next  int32 // index into tauSteps of the state
	}
	n := l.States()
	component = make([]int32, n)
	index := make([]int32, n) // 0: not visited, else order of the visit
	low := make([]int32, n)
	for s := range component {
		component[s] = -1
	}
	var open []State
	var calls []frame
	visited := int32(0)
	enter := func(s State) {
		visited++
		index[s], low[s] = visited, visited
		open = append(open, s)
		calls = append(calls, frame{state: s})
	}
	for root := range State(n) {
		if index[root] != 0 {
			continue
		}
		enter(root)
		for len(calls) > 0 {
			top := &calls[len(calls)-1]
			s := top.state
			if tau := l.tauSteps(s); int(top.next) < len(tau) {
				to := tau[top.next].To
				top.next++
				if index[to] == 0 {
					enter(to)
				} else if component[to] < 0 {
					low[s] = min(low[s], index[to])
				}
				continue
			}
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				caller := calls[len(calls)-1].state
				low[caller] = min(low[caller], low[s])
			}
			if low[s] != index[s] {
				continue
			}
			for {
				member := open[len(open)-1]
				open = open[:len(open)-1]
				component[member] = count
				if member == s {
					break
				}
			}
			count++
		}
	}
	return component, count
}

// condense collapses the tau components.
func (l *LTS) condense() *condensed {
	c := &condensed{}
	c.component, c.count = l.tauComponents()
	c.offsets = make([]int32, c.count+1)
	c.predOffsets = make([]int32, c.count+1)
	each := func(visit func(from int32, step Step)) {
		for s := range State(l.States()) {
			from := c.component[s]
			for _, step := range l.Steps(s) {
				to := c.component[step.To]
				if step.Label != Tau || from != to {
					visit(from, Step{step.Label, to})
				}
			}
		}
	}
	each(func(from int32, step Step) {
		c.offsets[from+1]++
		c.predOffsets[step.To+1]++
	})
	for i := range c.count {
		c.offsets[i+1] += c.offsets[i]
		c.predOffsets[i+1] += c.predOffsets[i]
	}
	c.steps = make([]Step, c.offsets[c.count])
	c.preds = make([]Step, c.offsets[c.count])
	nextStep := append([]int32(nil), c.offsets...)
	nextPred := append([]int32(nil), c.predOffsets...)
	each(func(from int32, step Step) {
		c.steps[nextStep[from]] = step
		nextStep[from]++
		c.preds[nextPred[step.To]] = Step{step.Label, from}
		nextPred[step.To]++
	})
	return c
}
