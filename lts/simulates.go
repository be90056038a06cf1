package lts

// Simulation answers whether states of one system weakly simulate states of
// another, one question after the other, and keeps what it finds out. It is not
// safe for concurrent use.
type Simulation struct {
	m      *simulation
	of     *Partition
	shift  State // of states of the second system
	capped bool
}

// NewSimulation prepares questions about two systems, whose labels must be of one
// alphabet. Limits.Pairs bounds all questions together.
func NewSimulation(a, b *LTS, lim Limits) *Simulation {
	whole, shift := Union(a, b)
	of := Classes(whole, Branching)
	return &Simulation{m: newSimulation(Quotient(whole, of), lim.orDefaults()), of: of, shift: shift}
}

// Has reports whether state y of the second system weakly simulates state x of the
// first one. Once it has answered Unknown, it does so for every question that is
// not settled already.
func (s *Simulation) Has(x, y State) Answer {
	left, right := s.of.Block(x), s.of.Block(y+s.shift)
	if left == right {
		return Yes
	}
	if s.capped {
		if id, ok := s.m.index[key(left, right)]; ok && s.m.pairs[id].refuted {
			return No
		}
		return Unknown
	}
	answer := s.m.ask(left, right)
	s.capped = answer == Unknown
	return answer
}
