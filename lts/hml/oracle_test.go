package hml

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/spexio/spex/lts"
)

// oracle computes, straight from the definitions and with nothing of the package,
// which states are told apart at which level: rounds[k][s] is the class of s by
// formulas of depth k.
func oracle(l *lts.LTS, e lts.Equivalence) (rounds [][]string) {
	n := l.States()
	silent := closure(l)
	loops := onCycle(l, silent)
	class := make([]string, n)
	for {
		rounds = append(rounds, class)
		next := make([]string, n)
		name := map[string]string{}
		for s := range lts.State(n) {
			key := class[s] + "|" + strings.Join(observations(l, e, silent, loops, class, s), " ")
			if name[key] == "" {
				name[key] = fmt.Sprint(len(name) + 1)
			}
			next[s] = name[key]
		}
		if count(next) == count(class) {
			return rounds
		}
		class = next
	}
}

func count(class []string) int {
	c := slices.Clone(class)
	slices.Sort(c)
	return len(slices.Compact(c))
}

func observations(l *lts.LTS, e lts.Equivalence, silent [][]lts.State, loops []bool, class []string, s lts.State) []string {
	set := map[string]bool{}
	switch e {
	case lts.Strong:
		for _, step := range l.Steps(s) {
			set[fmt.Sprint(step.Label, ">", class[step.To])] = true
		}
	case lts.Weak:
		for _, x := range silent[s] {
			set["e>"+class[x]] = true
			for _, step := range l.Steps(x) {
				if step.Label == lts.Tau {
					continue
				}
				for _, y := range silent[step.To] {
					set[fmt.Sprint(step.Label, ">", class[y])] = true
				}
			}
		}
	default:
		for _, x := range silent[s] {
			set[class[x]+"0>"+class[x]] = true
			if loops[x] && e == lts.DivergencePreservingBranching {
				set[class[x]+"loop"] = true
			}
			for _, step := range l.Steps(x) {
				set[fmt.Sprint(class[x], "-", step.Label, ">", class[step.To])] = true
				if step.Label == lts.Tau {
					set[class[x]+"0>"+class[step.To]] = true
					delete(set, fmt.Sprint(class[x], "-", step.Label, ">", class[step.To]))
				}
			}
		}
	}
	var out []string
	for o := range set {
		out = append(out, o)
	}
	sort.Strings(out)
	return out
}

// closure is what each state reaches by internal steps, itself too.
func closure(l *lts.LTS) [][]lts.State {
	out := make([][]lts.State, l.States())
	for s := range out {
		seen := map[lts.State]bool{lts.State(s): true}
		out[s] = []lts.State{lts.State(s)}
		for i := 0; i < len(out[s]); i++ {
			for _, step := range l.Steps(out[s][i]) {
				if step.Label == lts.Tau && !seen[step.To] {
					seen[step.To] = true
					out[s] = append(out[s], step.To)
				}
			}
		}
	}
	return out
}

// onCycle are the states on a cycle of internal steps.
func onCycle(l *lts.LTS, silent [][]lts.State) []bool {
	out := make([]bool, l.States())
	for s := range out {
		for _, step := range l.Steps(lts.State(s)) {
			if step.Label == lts.Tau && slices.Contains(silent[step.To], lts.State(s)) {
				out[s] = true
			}
		}
	}
	return out
}
