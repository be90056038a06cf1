package lts

import "slices"

// What is here decides by the definitions and knows nothing of the engine but the
// LTS type, like oracle in oracle_test.go.

// silentOf is what each state reaches by internal steps, itself too.
func silentOf(l *LTS) [][]State {
	silent := make([][]State, l.States())
	for s := range silent {
		silent[s] = []State{State(s)}
		for i := 0; i < len(silent[s]); i++ {
			for _, step := range l.Steps(silent[s][i]) {
				if step.Label == Tau && !slices.Contains(silent[s], step.To) {
					silent[s] = append(silent[s], step.To)
				}
			}
		}
	}
	return silent
}

// weakStepsOf lists for each state s all (a, t) with s =a=> t; for Tau any number of internal steps.
func weakStepsOf(l *LTS) [][]Step {
	silent := silentOf(l)
	weak := make([][]Step, l.States())
	for s := range weak {
		for _, x := range silent[s] {
			weak[s] = append(weak[s], Step{Tau, x})
			for _, step := range l.Steps(x) {
				if step.Label != Tau {
					for _, y := range silent[step.To] {
						weak[s] = append(weak[s], Step{step.Label, y})
					}
				}
			}
		}
	}
	return weak
}

// weakRelation is the greatest weak simulation between all states of a system,
// rel[s][t] meaning that t simulates s, or the greatest weak bisimulation.
func weakRelation(l *LTS, bisimulation bool) [][]bool {
	weak := weakStepsOf(l)
	answers := func(rel [][]bool, s, t State) bool {
		for _, step := range l.Steps(s) {
			if !slices.ContainsFunc(weak[t], func(o Step) bool { return o.Label == step.Label && rel[step.To][o.To] }) {
				return false
			}
		}
		return true
	}
	return greatest(l.States(), bisimulation, answers)
}

// strongRelation is the greatest strong bisimulation.
func strongRelation(l *LTS) [][]bool {
	return greatest(l.States(), true, func(rel [][]bool, s, t State) bool {
		for _, step := range l.Steps(s) {
			if !slices.ContainsFunc(l.Steps(t), func(o Step) bool { return o.Label == step.Label && rel[step.To][o.To] }) {
				return false
			}
		}
		return true
	})
}

// greatest removes pairs for which the left state has a step that the right one does
// not answer, and with symmetric those where it is the other way round, until none is left.
func greatest(n int, symmetric bool, answers func(rel [][]bool, s, t State) bool) [][]bool {
	rel := make([][]bool, n)
	for s := range rel {
		rel[s] = make([]bool, n)
		for t := range rel[s] {
			rel[s][t] = true
		}
	}
	for changed := true; changed; {
		changed = false
		for s := range State(n) {
			for t := range State(n) {
				if rel[s][t] && (!answers(rel, s, t) || symmetric && !answers(rel, t, s)) {
					rel[s][t], changed = false, true
				}
			}
		}
	}
	return rel
}

// divergenceRelation is the greatest divergence-preserving branching bisimulation:
// the definition of branching bisimulation, and for every infinite path of internal
// steps from s some state on it is related to a state that t reaches by one internal
// step or more. That condition comes to the same as the usual one, and a relation may
// only lose from having fewer pairs, so there is a greatest (van Glabbeek, Luttik and
// Trcka, Branching Bisimilarity with Explicit Divergence, 2009).
func divergenceRelation(l *LTS) [][]bool {
	silent := silentOf(l)
	answers := func(rel [][]bool, s, t State) bool {
		for _, step := range l.Steps(s) {
			if step.Label == Tau && rel[step.To][t] {
				continue
			}
			if !slices.ContainsFunc(silent[t], func(mid State) bool {
				return rel[s][mid] && slices.ContainsFunc(l.Steps(mid), func(o Step) bool { return o.Label == step.Label && rel[step.To][o.To] })
			}) {
				return false
			}
		}
		return !divergesAmong(l, s, func(x State) bool {
			return !slices.ContainsFunc(l.Steps(t), func(first Step) bool {
				return first.Label == Tau && slices.ContainsFunc(silent[first.To], func(later State) bool { return rel[x][later] })
			})
		})
	}
	return greatest(l.States(), true, answers)
}

// divergesAmong reports whether a state has an infinite path of internal steps all of
// whose states are allowed: there is one when there is a path longer than there are states.
func divergesAmong(l *LTS, s State, allowed func(State) bool) bool {
	now := map[State]bool{s: allowed(s)}
	for range l.States() + 1 {
		next := map[State]bool{}
		for x, ok := range now {
			for _, step := range l.Steps(x) {
				if ok && step.Label == Tau && allowed(step.To) {
					next[step.To] = true
				}
			}
		}
		now = next
	}
	return len(now) > 0
}

// afterStates is the set of states that one letter leads to, as a mask; systems have at most 64 states.
func afterStates(l *LTS, from uint64, letter Label, weak bool) uint64 {
	closed := func(mask uint64) uint64 {
		if !weak {
			return mask
		}
		for before := uint64(0); before != mask; {
			before = mask
			for s := range State(l.States()) {
				for _, step := range l.Steps(s) {
					if mask>>s&1 == 1 && step.Label == Tau {
						mask |= 1 << step.To
					}
				}
			}
		}
		return mask
	}
	if letter < 0 {
		return closed(from)
	}
	to := uint64(0)
	for s := range State(l.States()) {
		for _, step := range l.Steps(s) {
			if from>>s&1 == 1 && step.Label == letter {
				to |= 1 << step.To
			}
		}
	}
	return closed(to)
}

// shortestDifference makes both systems deterministic and returns the length of a
// shortest word of a that b does not have, or -1.
func shortestDifference(a, b *LTS, weak bool, letters Label) int {
	type both struct{ a, b uint64 }
	start := both{afterStates(a, 1<<a.Initial(), -1, weak), afterStates(b, 1<<b.Initial(), -1, weak)}
	seen := map[both]int{start: 0}
	first := Tau
	if weak {
		first++
	}
	for todo := []both{start}; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		for letter := first; letter <= letters; letter++ {
			next := both{afterStates(a, at.a, letter, weak), afterStates(b, at.b, letter, weak)}
			if next.a == 0 {
				continue
			}
			if next.b == 0 {
				return seen[at] + 1
			}
			if _, ok := seen[next]; !ok {
				seen[next] = seen[at] + 1
				todo = append(todo, next)
			}
		}
	}
	return -1
}

// hasTrace reports whether a system has a word.
func hasTrace(l *LTS, word []Label, weak bool) bool {
	at := afterStates(l, 1<<l.Initial(), -1, weak)
	for _, letter := range word {
		at = afterStates(l, at, letter, weak)
	}
	return at != 0
}

// definition is what the definitions say of two systems, for every fact of a ladder.
func definition(a, b *LTS, letters Label) (k knowledge) {
	var u Builder
	shift := a.States()
	u.AddLTS(a)
	u.AddLTS(b)
	l := u.Build(a.Initial())
	s, t := a.Initial(), b.Initial()+State(shift)
	weak, simulation := weakRelation(l, true), weakRelation(l, false)
	k[isStrong] = answer(strongRelation(l)[s][t])
	k[isDivergencePreserving] = answer(divergenceRelation(l)[s][t])
	k[isBranching] = answer(oracle(l)[s][t])
	k[isWeak] = answer(weak[s][t])
	k[leftSimulated], k[rightSimulated] = answer(simulation[s][t]), answer(simulation[t][s])
	k[leftStrongTraces] = answer(shortestDifference(a, b, false, letters) < 0)
	k[rightStrongTraces] = answer(shortestDifference(b, a, false, letters) < 0)
	k[leftWeakTraces] = answer(shortestDifference(a, b, true, letters) < 0)
	k[rightWeakTraces] = answer(shortestDifference(b, a, true, letters) < 0)
	return k
}
