package lts

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
		next  int32 // index into the steps of the state
	}
	n := l.States()
	// While a state is open or not visited, component[s] is -1 or less: -1 if it is
	// not visited, else -2 - low, where low is the number, in order of visits, of
	// the earliest open state that it is known to reach.
	component = make([]int32, n)
	for s := range component {
		component[s] = -1
	}
	var open []State
	var calls []frame
	var index []int32 // of each call: the number of the visit, which is that of the state in open
	for root := range State(n) {
		if component[root] != -1 {
			continue
		}
		if l.leaf(root) {
			component[root] = count
			count++
			continue
		}
		calls = append(calls, frame{state: root})
		index = append(index, 0)
		open = append(open[:0], root)
		component[root] = -2
		for len(calls) > 0 {
			top := &calls[len(calls)-1]
			s := top.state
			steps := l.Steps(s)
			if int(top.next) < len(steps) && steps[top.next].Label == Tau {
				to := steps[top.next].To
				top.next++
				if component[to] == -1 {
					if l.leaf(to) {
						component[to] = count
						count++
						continue
					}
					component[to] = -2 - int32(len(open))
					calls = append(calls, frame{state: to})
					index = append(index, int32(len(open)))
					open = append(open, to)
				} else if component[to] < 0 {
					component[s] = max(component[s], component[to])
				}
				continue
			}
			own, low := index[len(index)-1], -2-component[s]
			calls, index = calls[:len(calls)-1], index[:len(index)-1]
			if low == own {
				for _, member := range open[own:] {
					component[member] = count
				}
				open = open[:own]
				count++
			}
			if len(calls) > 0 && component[s] < 0 {
				caller := calls[len(calls)-1].state
				component[caller] = max(component[caller], component[s])
			}
		}
	}
	return component, count
}

// leaf reports whether a state has no tau step.
func (l *LTS) leaf(s State) bool {
	first := l.offsets[s]
	return first == l.offsets[s+1] || l.steps[first].Label != Tau
}

// divergent reports for each component whether it can take internal steps for ever
// without leaving it: it has several states, or one with an internal loop.
func (l *LTS) divergent(component []int32, count int32) []bool {
	yes := make([]bool, count)
	for s := range State(l.States()) {
		for _, step := range l.tauSteps(s) {
			if component[s] == component[step.To] {
				yes[component[s]] = true
			}
		}
	}
	return yes
}
