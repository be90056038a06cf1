package lts

// WeaklySimulates reports whether b weakly simulates a: there is a relation of their
// states, the initial ones related, in which every step of the left state is
// answered by a weak step of the right state with the same label (an internal one by
// any number of internal steps) into related states. Labels must be of one alphabet.
//
// Only pairs that matter are looked at: linear in the product of two deterministic
// systems, at most the product of one and the weak steps of the other. Unknown says
// that Limits.Pairs was hit.
func WeaklySimulates(a, b *LTS, lim Limits) Answer {
	q := quotientPair(a, b, Branching)
	return weaklySimulates(q.l, q.a, q.b, lim.orDefaults())
}

// simulation finds out whether a pair of states is in the greatest weak simulation,
// or the greatest strong one, which trace searches use, if its sets are not weak.
// It supposes that a pair is until some step of the left state, an obligation, has
// no answer left. An obligation holds on to one answer at a time and moves to the
// next when the pair of states that the answer leads to is found out not to be in
// the simulation.
type simulation struct {
	l     *LTS
	sets  *setStore
	limit int

	pairs []simulationPair
	index map[uint64]int32
	// obligations of a pair follow each other, one for each step of its left state.
	obligations []obligation
	todo        []int32 // obligations that need an answer
	capped      bool
}

type simulationPair struct {
	left, right State
	obligations int32 // the first one
	waiting     int32 // first of the obligations that hold on to this pair, or -1
	refuted     bool
}

type obligation struct {
	pair   int32
	answer int32 // number of the answer that it holds on to, or tries next
	next   int32 // in the list of those that hold on to the same pair
}

func weaklySimulates(l *LTS, a, b State, lim Limits) Answer {
	if a == b {
		return Yes
	}
	return newSimulation(l, lim).ask(a, b)
}

func newSimulation(l *LTS, lim Limits) *simulation { return newSimulationBy(l, true, lim) }

// newSimulationBy makes a weak simulation or a strong one.
func newSimulationBy(l *LTS, weak bool, lim Limits) *simulation {
	return &simulation{
		l: l, sets: newSetStore(l, weak, Limits{Sets: lim.Pairs}), limit: lim.Pairs, index: map[uint64]int32{},
	}
}

// ask reports whether b simulates a. Obligations that are left open when the
// pair is refuted are taken up by the next question.
func (m *simulation) ask(a, b State) Answer {
	if m.capped {
		// There is no room for another pair; what is known is still right.
		if id, ok := m.index[key(a, b)]; ok && m.pairs[id].refuted {
			return No
		}
		return Unknown
	}
	root := m.pair(a, b)
	for len(m.todo) > 0 && !m.capped && !m.pairs[root].refuted {
		o := m.todo[len(m.todo)-1]
		m.todo = m.todo[:len(m.todo)-1]
		m.find(o)
	}
	switch {
	case m.pairs[root].refuted:
		return No
	case m.capped || m.sets.capped:
		return Unknown
	}
	return Yes
}

// pair returns the number of a pair and makes its obligations if it is new.
func (m *simulation) pair(left, right State) int32 {
	k := key(left, right)
	if id, ok := m.index[k]; ok {
		return id
	}
	id := int32(len(m.pairs))
	m.index[k] = id
	first := int32(len(m.obligations))
	m.pairs = append(m.pairs, simulationPair{left: left, right: right, obligations: first, waiting: -1})
	steps := m.l.Steps(left)
	if len(m.pairs)+len(m.obligations)+len(steps) > m.limit {
		m.capped = true
		return id
	}
	if offers := m.offersAll(left, right); m.sets.capped {
		m.capped = true
		return id
	} else if !offers {
		m.pairs[id].refuted = true
		return id
	}
	for range steps {
		m.todo = append(m.todo, int32(len(m.obligations)))
		m.obligations = append(m.obligations, obligation{pair: id, next: -1})
	}
	return id
}

// offersAll reports whether the right state has a step for every label of the
// left one: the cheap reason why most pairs are not in the simulation.
func (m *simulation) offersAll(left, right State) bool {
	row := m.sets.row(m.sets.closure(right))
	for _, step := range m.l.Steps(left) {
		if step.Label == Tau && m.sets.weak {
			continue
		}
		for len(row) > 0 && row[0].label < step.Label {
			row = row[1:]
		}
		if len(row) == 0 || row[0].label != step.Label {
			return false
		}
	}
	return true
}

// find looks for an answer to an obligation, or refutes its pair.
func (m *simulation) find(o int32) {
	id := m.obligations[o].pair
	p := m.pairs[id]
	if p.refuted {
		return
	}
	step := m.l.Steps(p.left)[o-p.obligations]
	answers := m.sets.closure(p.right)
	if step.Label != Tau || !m.sets.weak {
		answers = m.sets.next(answers, step.Label)
	}
	if m.sets.capped {
		m.capped = true
		return
	}
	if m.sets.contains(answers, step.To) {
		return // every state simulates itself
	}
	for ; int(m.obligations[o].answer) < len(m.sets.members(answers)); m.obligations[o].answer++ {
		with := m.pair(step.To, m.sets.members(answers)[m.obligations[o].answer])
		if m.capped {
			return
		}
		if !m.pairs[with].refuted {
			m.obligations[o].next = m.pairs[with].waiting
			m.pairs[with].waiting = o
			return
		}
	}
	m.pairs[id].refuted = true
	for w := m.pairs[id].waiting; w >= 0; {
		m.todo = append(m.todo, w)
		w = m.obligations[w].next
	}
}
