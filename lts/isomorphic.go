package lts

import "slices"

// Equivalent reports whether two systems that Minimize made, both for e, are
// equivalent by e: Strong, DivergencePreservingBranching or Branching. Labels must be
// of one alphabet. Minimal systems are equivalent exactly if they are isomorphic, which
// takes far less time to find out than comparing the systems they were made from, and
// minimising two systems is work that can be done at the same time.
func Equivalent(a, b *LTS, e Equivalence) bool {
	switch Isomorphic(a, b) {
	case Yes:
		return true
	case No:
		return false
	}
	return Compare(a, b, e, Limits{}).Holds == Yes
}

// Isomorphic reports whether the parts of two systems that their initial states reach
// are the same up to the numbers of states. Labels must be of one alphabet. It takes
// linear time; Unknown says that too many states of one system look alike, which
// is rare where no two of them are equivalent.
//
// An isomorphism maps the initial state to the initial state, and where a state has
// one step with a label that leads to a state of a certain look, the step of the other
// state that is like it. So nearly all pairs are forced one after the other, and any two
// that do not fit refute it. The look of a state is a hash of the steps that it begins,
// up to some depth: equal for states that an isomorphism maps to each other, so that a
// collision of hashes costs time and nothing else.
func Isomorphic(a, b *LTS) Answer {
	m := &matcher{a: a, b: b, toB: unmatched(a.States()), toA: unmatched(b.States())}
	m.lookA, m.lookB = firstLook(a), firstLook(b)
	if !m.pair(a.Initial(), b.Initial()) {
		return No
	}
	for depth := 4; ; depth *= 2 {
		for range depth {
			m.lookA, m.lookB = nextLook(a, m.lookA), nextLook(b, m.lookB)
		}
		switch {
		case !m.run():
			return No
		case len(m.open) == 0:
			return Yes
		case depth >= maxLook:
			return Unknown
		}
	}
}

// maxLook bounds the depth up to which the look of a state is computed.
const maxLook = 64

// none stands for no state.
const none State = -1

func unmatched(n int) []State {
	s := make([]State, n)
	for i := range s {
		s[i] = none
	}
	return s
}

// matcher builds an isomorphism.
type matcher struct {
	a, b         *LTS
	lookA, lookB []uint64
	// toB and toA are the isomorphism as far as it is known, none elsewhere.
	toB, toA []State
	// todo holds states of a that were paired and whose steps have not been looked at.
	todo []State
	// open holds states of a that were paired and have steps that still look alike.
	open []State

	stepsA, stepsB []lookedStep
}

// lookedStep is a step with the look of where it leads.
type lookedStep struct {
	label Label
	to    State
	look  uint64
}

func compareLooked(x, y lookedStep) int {
	switch {
	case x.label != y.label:
		return int(x.label) - int(y.label)
	case x.look < y.look:
		return -1
	case x.look > y.look:
		return 1
	}
	return 0
}

// pair notes that two states must be mapped to each other, and reports whether they can be.
func (m *matcher) pair(x, y State) bool {
	switch {
	case m.toB[x] == y && m.toA[y] == x:
		return true
	case m.toB[x] != none || m.toA[y] != none || m.lookA[x] != m.lookB[y]:
		return false
	}
	m.toB[x], m.toA[y] = y, x
	m.todo = append(m.todo, x)
	return true
}

// run pairs all that is forced, and reports false when something does not fit.
func (m *matcher) run() bool {
	for {
		for len(m.todo) > 0 {
			x := m.todo[len(m.todo)-1]
			m.todo = m.todo[:len(m.todo)-1]
			if !m.follow(x) {
				return false
			}
		}
		// Choices that were open may have become clear by what was paired since.
		again := m.open
		before := len(again)
		m.open = nil
		for _, x := range again {
			if !m.follow(x) {
				return false
			}
		}
		if len(m.todo) == 0 && len(m.open) == before {
			return true
		}
	}
}

// follow pairs the targets of the steps of a paired state, where that is forced.
func (m *matcher) follow(x State) bool {
	y := m.toB[x]
	if len(m.a.Steps(x)) != len(m.b.Steps(y)) {
		return false
	}
	m.stepsA = looked(m.stepsA[:0], m.a.Steps(x), m.lookA)
	m.stepsB = looked(m.stepsB[:0], m.b.Steps(y), m.lookB)
	p, q := m.stepsA, m.stepsB
	open := false
	for i := 0; i < len(p); {
		end := i + 1
		for end < len(p) && compareLooked(p[end], p[i]) == 0 {
			end++
		}
		// The group of b must be as long, and begin and end where that of a does.
		if compareLooked(p[i], q[i]) != 0 || compareLooked(p[i], q[end-1]) != 0 || end < len(q) && compareLooked(p[i], q[end]) == 0 {
			return false
		}
		clear, fits := m.group(p[i:end], q[i:end])
		if !fits {
			return false
		}
		open = open || !clear
		i = end
	}
	if open {
		m.open = append(m.open, x)
	}
	return true
}

// looked sorts steps by label and look.
func looked(out []lookedStep, steps []Step, look []uint64) []lookedStep {
	for _, s := range steps {
		out = append(out, lookedStep{s.Label, s.To, look[s.To]})
	}
	if len(out) > 1 {
		slices.SortFunc(out, compareLooked)
	}
	return out
}

// group pairs the targets of steps that look alike, if no more than one on each side
// has no partner. It reports whether all have partners now, and whether they fit.
func (m *matcher) group(p, q []lookedStep) (clear, fits bool) {
	free := 0
	var last State
	for _, s := range p {
		if to := m.toB[s.to]; to == none {
			free, last = free+1, s.to
		} else if !slices.ContainsFunc(q, func(t lookedStep) bool { return t.to == to }) {
			return false, false
		}
	}
	if free != 1 {
		return free == 0, true
	}
	for _, t := range q {
		if m.toA[t.to] == none {
			return true, m.pair(last, t.to)
		}
	}
	// As many of q have partners as of p, and not all of p have.
	return false, false
}

// blend is a step of a hash function.
func blend(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

// firstLook is what can be seen of states without following a step.
func firstLook(l *LTS) []uint64 {
	look := make([]uint64, l.States())
	for s := range State(l.States()) {
		h := uint64(1)
		for _, step := range l.Steps(s) {
			h = blend(h, uint64(step.Label))
		}
		look[s] = h
	}
	return look
}

// nextLook looks one step farther. Steps with the same label are summed up, so that
// their order makes no difference.
func nextLook(l *LTS, look []uint64) []uint64 {
	next := make([]uint64, len(look))
	for s := range State(l.States()) {
		h := look[s]
		for _, step := range l.Steps(s) {
			h += blend(uint64(step.Label)+0x51_7c_c1_b7, look[step.To])
		}
		next[s] = blend(h, 0xa5)
	}
	return next
}
