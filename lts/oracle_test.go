package lts

import (
	"fmt"
	"strings"
	"testing"
)

// oracle decides branching bisimilarity of all pairs of states straight from the
// definition: it begins with every pair related and removes pairs that violate the
// definition until none does. It shares nothing with the engine but the LTS type.
func oracle(l *LTS) [][]bool {
	n := State(l.States())
	rel := make([][]bool, n)
	silent := make([][]State, n) // what each state reaches by internal steps, itself too
	for s := range n {
		rel[s] = make([]bool, n)
		for t := range rel[s] {
			rel[s][t] = true
		}
		seen := map[State]bool{s: true}
		silent[s] = []State{s}
		for i := 0; i < len(silent[s]); i++ {
			for _, step := range l.Steps(silent[s][i]) {
				if step.Label == Tau && !seen[step.To] {
					seen[step.To] = true
					silent[s] = append(silent[s], step.To)
				}
			}
		}
	}
	// answers: every step of s is matched by t.
	answers := func(s, t State) bool {
		for _, step := range l.Steps(s) {
			if step.Label == Tau && rel[step.To][t] {
				continue
			}
			matched := false
			for _, mid := range silent[t] {
				if !rel[s][mid] {
					continue
				}
				for _, other := range l.Steps(mid) {
					matched = matched || other.Label == step.Label && rel[step.To][other.To]
				}
			}
			if !matched {
				return false
			}
		}
		return true
	}
	for changed := true; changed; {
		changed = false
		for s := range n {
			for t := range n {
				if rel[s][t] && !(answers(s, t) && answers(t, s)) {
					rel[s][t], rel[t][s] = false, false
					changed = true
				}
			}
		}
	}
	return rel
}

// checkAgainstOracle compares all pairs of states, and that signatures describe the steps.
func checkAgainstOracle(t interface{ Fatalf(string, ...any) }, l *LTS) {
	want := oracle(l)
	p := BranchingPartition(l)
	for a := range State(l.States()) {
		for b := range State(l.States()) {
			if got := p.Same(a, b); got != want[a][b] {
				t.Fatalf("states %d and %d: engine says %v, the definition says %v\n%s", a, b, got, want[a][b], show(l))
			}
		}
	}
}

func show(l *LTS) string {
	var b strings.Builder
	fmt.Fprintf(&b, "initial %d of %d:", l.Initial(), l.States())
	for s := range State(l.States()) {
		for _, step := range l.Steps(s) {
			fmt.Fprintf(&b, " %d-%d->%d", s, step.Label, step.To)
		}
	}
	return b.String()
}

// parse reads "0 a 1, 1 tau 2": transitions between numbered states; the first
// number is the initial state, and "7" alone is a state without transitions. The
// word tau stands for the internal action; to name a visible action tau write 'tau.
func parse(t testing.TB, alphabet *Alphabet, text string) *LTS {
	t.Helper()
	var b Builder
	states := map[string]State{}
	state := func(name string) State {
		if s, ok := states[name]; ok {
			return s
		}
		states[name] = b.AddState()
		return states[name]
	}
	for part := range strings.SplitSeq(text, ",") {
		f := strings.Fields(part)
		switch {
		case len(f) == 1:
			state(f[0])
		case len(f) == 3 && f[1] == "tau":
			b.Add(state(f[0]), Tau, state(f[2]))
		case len(f) == 3:
			b.Add(state(f[0]), alphabet.Intern(strings.TrimPrefix(f[1], "'")), state(f[2]))
		default:
			t.Fatalf("cannot read %q", part)
		}
	}
	return b.Build(0)
}
