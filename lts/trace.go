package lts

import (
	"math"
	"slices"
)

// Side tells two systems that are compared apart.
type Side uint8

const (
	// Left is the first of the two, usually the specification.
	Left Side = iota
	// Right is the second.
	Right
	// Either is for questions only: whichever has an answer first.
	Either
)

// String is left, right or either.
func (s Side) String() string { return [...]string{"left", "right", "either"}[s] }

// Trace is a sequence of labels that one system can perform from its initial state
// and the other cannot. The other can perform it without its last label, unless a
// shorter one is not known (see Comparison.Capped).
type Trace struct {
	Labels []Label // without Tau if it is a weak trace
	In     Side    // Left or Right: the system that has it
}

// DistinguishingTrace returns a shortest trace of the system named by in that the
// other one does not have; with Either, a shortest one of all. It is nil if there
// is none, or if a limit was hit before one was found, which capped tells. A trace
// that comes with capped is right, only perhaps not a shortest.
//
// With weak, traces are those of visible actions, otherwise Tau is a label like any
// other. Labels of the two systems must be of one alphabet.
//
// The search is exponential in the size of the other system at worst and linear in
// the product of both where that is deterministic; see Limits.Sets.
func DistinguishingTrace(a, b *LTS, weak bool, in Side, lim Limits) (trace *Trace, capped bool) {
	e := Strong
	if weak {
		e = Branching
	}
	return quotientPair(a, b, e).distinguishingTrace(weak, in, lim.orDefaults())
}

func (p pair) distinguishingTrace(weak bool, in Side, lim Limits) (trace *Trace, capped bool) {
	var searches []*traceSearch
	var sides []Side
	if in != Right {
		searches, sides = append(searches, newTraceSearch(p.l, p.a, p.b, weak, lim)), append(sides, Left)
	}
	if in != Left {
		searches, sides = append(searches, newTraceSearch(p.l, p.b, p.a, weak, lim)), append(sides, Right)
	}
	for more := true; more; {
		more = false
		for i, s := range searches {
			more = s.level() || more
			if t := s.trace(sides[i]); t != nil {
				return t, capped || slices.ContainsFunc(searches, func(s *traceSearch) bool { return s.capped })
			}
		}
	}
	return nil, slices.ContainsFunc(searches, func(s *traceSearch) bool { return s.capped })
}

// traceSearch looks for a shortest trace of state from that state other lacks, by
// breadth-first search over pairs (s, D): s is a state that from reaches by a word,
// D the set of those that other reaches by the same word. An empty D ends it.
//
// Pairs that cannot matter are not followed: those with s in D, as then whatever s
// can do, D can; those where the same s has been seen with a subset of D, which
// lacks every trace that D lacks (an antichain, as in De Wulf, Doyen, Henzinger and
// Raskin, CAV 2006; only the last few sets of a state are looked at); and in a long
// search those where a state of D simulates s (Abdulla, Chen, Holik, Mayr and
// Vojnar, TACAS 2010).
type traceSearch struct {
	l     *LTS
	weak  bool
	sets  *setStore
	limit int

	pairs   []searchPair
	seen    map[uint64]struct{}
	last    []int32 // the pair of each state that was added last, or -1
	current []int32 // pairs of this level
	next    []int32
	found   int32 // the pair with an empty set, or -1
	capped  bool

	// simulation is there once there are more than simulateAfter pairs.
	simulation    *simulation
	simulateAfter int
	questions     int // how many more it is asked
}

// searchPair is a pair with the way to it.
type searchPair struct {
	state   State
	set     setID
	parent  int32 // -1: none
	label   Label
	sibling int32 // the pair of the same state that was added before
}

// simulateAfter is how many pairs a search looks at before it asks for simulation,
// which does not pay where searches are short.
const simulateAfter = 1 << 12

// questionsPerPair bounds what is asked for each pair allowed.
const questionsPerPair = 8

// antichainDepth is how many sets of a state a new one is compared with.
const antichainDepth = 16

func newTraceSearch(l *LTS, from, other State, weak bool, lim Limits) *traceSearch {
	t := &traceSearch{
		l: l, weak: weak, sets: newSetStore(l, weak, lim), limit: lim.Sets,
		seen: map[uint64]struct{}{}, last: make([]int32, l.States()), found: -1, simulateAfter: simulateAfter, questions: questionsPerPair * lim.Sets,
	}
	for i := range t.last {
		t.last[i] = -1
	}
	t.visit(from, t.sets.closure(other), -1, 0, &t.current)
	return t
}

// included says whether all traces of the one are traces of the other, once level has returned false.
func (t *traceSearch) included() Answer {
	switch {
	case t.found >= 0:
		return No
	case t.capped:
		return Unknown
	}
	return Yes
}

// level follows all pairs that words of one length lead to and reports whether
// there are longer ones to be looked at.
func (t *traceSearch) level() bool {
	if t.weak {
		// First all pairs of this level: one that a longer word leads to as well would
		// not be followed again.
		for i := 0; i < len(t.current); i++ {
			at := t.current[i]
			for _, step := range t.l.tauSteps(t.pairs[at].state) {
				t.visit(step.To, t.pairs[at].set, at, Tau, &t.current)
			}
		}
	}
	for i := 0; i < len(t.current) && !t.ended(); i++ {
		at := t.current[i]
		p := t.pairs[at]
		row := t.sets.row(p.set)
		for _, step := range t.l.Steps(p.state) {
			if t.weak && step.Label == Tau {
				continue
			}
			for len(row) > 0 && row[0].label < step.Label {
				row = row[1:]
			}
			to := emptySet
			if len(row) > 0 && row[0].label == step.Label {
				to = row[0].to
			}
			if t.visit(step.To, to, at, step.Label, &t.next); t.ended() {
				break
			}
		}
	}
	t.current, t.next = t.next, t.current[:0]
	return !t.ended() && len(t.current) > 0
}

// ended reports whether there is nothing more to find, or no room to find it.
func (t *traceSearch) ended() bool { return t.found >= 0 || t.capped }

// visit adds a pair to a level, unless it cannot matter.
func (t *traceSearch) visit(s State, set setID, parent int32, label Label, level *[]int32) {
	if t.sets.capped {
		// The set may be empty only because there was no room for it.
		t.capped = true
		return
	}
	if set != emptySet && t.covered(s, set) {
		return
	}
	if len(t.pairs) >= t.limit {
		t.capped = true
		return
	}
	id := int32(len(t.pairs))
	t.pairs = append(t.pairs, searchPair{state: s, set: set, parent: parent, label: label, sibling: t.last[s]})
	t.last[s] = id
	t.seen[key(s, set)] = struct{}{}
	if set == emptySet {
		t.found = id
		return
	}
	*level = append(*level, id)
}

// covered reports whether a pair has been seen, or needs not be.
func (t *traceSearch) covered(s State, set setID) bool {
	if _, seen := t.seen[key(s, set)]; seen || t.sets.contains(set, s) {
		return true
	}
	for i, p := 0, t.last[s]; i < antichainDepth && p >= 0; i, p = i+1, t.pairs[p].sibling {
		if t.sets.includes(set, t.pairs[p].set) {
			return true
		}
	}
	return len(t.pairs) > t.simulateAfter && t.simulated(s, set)
}

// simulated reports whether some state of a set is known to simulate another state.
func (t *traceSearch) simulated(s State, set setID) bool {
	if t.simulation == nil {
		t.simulation = newSimulationBy(t.l, t.weak, Limits{Pairs: max(1, t.limit/4)})
	}
	members := t.sets.members(set)
	if t.questions -= len(members); t.questions < 0 || t.simulation.capped {
		return false
	}
	for _, d := range members {
		if t.simulation.ask(s, d) == Yes {
			return true
		}
	}
	return false
}

func key(s State, set setID) uint64 { return uint64(uint32(s))<<32 | uint64(uint32(set)) }

// trace is the trace that was found, or nil.
func (t *traceSearch) trace(in Side) *Trace {
	if t.found < 0 {
		return nil
	}
	var labels []Label
	for p := t.pairs[t.found]; p.parent >= 0; p = t.pairs[p.parent] {
		if !t.weak || p.label != Tau {
			labels = append(labels, p.label)
		}
	}
	slices.Reverse(labels)
	return &Trace{Labels: labels, In: in}
}

// After returns the states that a word leads to from the initial state, sorted: none
// if the word is not a trace. With weak, internal steps may come before, between
// and after the labels. It is for explaining traces and takes time linear in the
// word and the system.
func After(l *LTS, word []Label, weak bool) []State {
	st := newSetStore(l, weak, Limits{})
	st.elements, st.work = math.MaxInt64, math.MaxInt64
	set := st.closure(l.Initial())
	for _, label := range word {
		for _, s := range st.members(set) {
			for _, step := range l.Steps(s) {
				if step.Label == label {
					st.add(step.To)
				}
			}
		}
		set = st.close()
	}
	return slices.Clone(st.members(set))
}
