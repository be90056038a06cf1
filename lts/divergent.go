package lts

// Divergent reports for every state whether it is on a loop of internal steps.
func (l *LTS) Divergent() []bool {
	component, count := l.tauComponents()
	loops := l.divergent(component, count)
	on := make([]bool, l.States())
	for s := range on {
		on[s] = loops[component[s]]
	}
	return on
}
