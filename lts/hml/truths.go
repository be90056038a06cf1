package hml

import (
	"math/bits"
	"slices"

	"github.com/spexio/spex/lts"
)

// truths holds where the formulas of a factory are true in the graph, while the
// formula is being made. It works on merged states and on the steps that the
// search uses, which makes it fast; Holds is what the result is checked with.
type truths struct {
	v     *levels
	words int
	sets  [][]uint64
	// edges are the steps by label, as pairs of states.
	edges map[lts.Label][][2]lts.State
	todo  []lts.State // of silently, kept for the next time
}

func newTruths(v *levels) truths {
	t := truths{v: v, words: (len(v.block) + 63) / 64, edges: map[lts.Label][][2]lts.State{}}
	for s := range lts.State(len(v.block)) {
		for _, step := range v.g.l.Steps(s) {
			t.edges[step.Label] = append(t.edges[step.Label], [2]lts.State{s, step.To})
		}
	}
	all := make([]uint64, t.words)
	for s := range lts.State(len(v.block)) {
		put(all, s)
	}
	t.sets = [][]uint64{all}
	return t
}

func in(set []uint64, s lts.State) bool { return set[s>>6]>>(uint(s)&63)&1 != 0 }

func put(set []uint64, s lts.State) { set[s>>6] |= 1 << (uint(s) & 63) }

// of reports whether a formula is true in a state.
func (t *truths) of(id int32, s lts.State) bool { return in(t.sets[id], s) }

// add evaluates the next node.
func (t *truths) add(n *node) {
	set := make([]uint64, t.words)
	switch n.op {
	case opNot:
		for i, w := range t.sets[n.after] {
			set[i] = t.sets[yes][i] &^ w
		}
	case opAnd:
		copy(set, t.sets[n.args[0]])
		for _, a := range n.args[1:] {
			for i, w := range t.sets[a] {
				set[i] &= w
			}
		}
	case opDiamond, opWeak: // the graph of a weak comparison has the weak steps
		t.step(n.label, t.sets[n.after], set)
	case opStep:
		t.step(n.label, t.sets[n.after], set)
		for i, w := range t.sets[n.before] {
			if n.label == lts.Tau {
				set[i] |= t.sets[n.after][i]
			}
			set[i] &= w
		}
		t.silently(set)
	case opDiverge:
		for _, e := range t.edges[t.v.g.endless] {
			if in(t.sets[n.after], e[0]) {
				put(set, e[0])
			}
		}
		t.silently(set)
	}
	t.sets = append(t.sets, set)
}

// step marks the states with a step into a set; the label is one of the original system.
func (t *truths) step(label lts.Label, target, set []uint64) {
	dense := lts.Label(0)
	if label != lts.Tau {
		// The label for divergence, at the end, is not in order.
		named := t.v.g.labels
		if t.v.g.endless != 0 {
			named = named[:t.v.g.endless]
		}
		i, _ := slices.BinarySearch(named, label)
		dense = lts.Label(i)
	}
	for _, e := range t.edges[dense] {
		if in(target, e[1]) {
			put(set, e[0])
		}
	}
}

// silently adds the states that reach a marked one by internal steps.
func (t *truths) silently(set []uint64) {
	if len(t.edges[lts.Tau]) == 0 {
		return
	}
	todo := t.todo[:0]
	for i, w := range set {
		for ; w != 0; w &= w - 1 {
			todo = append(todo, lts.State(i<<6+bits.TrailingZeros64(w)))
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, p := range t.v.silent[s] {
			if !in(set, p) {
				put(set, p)
				todo = append(todo, p)
			}
		}
	}
	t.todo = todo
}
