package hml

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spexio/spex/lts"
)

var equivalences = []lts.Equivalence{lts.Strong, lts.DivergencePreservingBranching, lts.Branching, lts.Weak}

// Every pair of states of random systems: a formula exists exactly if the
// definition tells them apart, it is true in the one and false in the other, and its
// depth is the first level at which the definition tells them apart.
func TestFormulasTellApartAtTheLeastDepth(t *testing.T) {
	for _, e := range equivalences {
		t.Run(e.String(), func(t *testing.T) {
			formulas, equivalent, deepest := 0, 0, 0
			for i := range 8 {
				rapid.Check(t, func(t *rapid.T) {
					l := draw(t, 7)
					if i%2 == 1 {
						l = dense(rapid.Uint64().Draw(t, "seed"))
					}
					rounds := oracle(l, e)
					for s := range lts.State(l.States()) {
						for u := range lts.State(l.States()) {
							depth := 0
							for depth < len(rounds) && rounds[depth][s] == rounds[depth][u] {
								depth++
							}
							f, err := Distinguish(l, s, u, e)
							if depth == len(rounds) {
								if equivalent++; !errors.Is(err, ErrEquivalent) {
									t.Fatalf("%d and %d: got %v, but they are equivalent\n%s", s, u, err, show(l))
								}
								continue
							}
							if err != nil {
								t.Fatalf("%d and %d: %v\n%s", s, u, err, show(l))
							}
							if formulas++; f.Depth() != depth {
								t.Fatalf("%d and %d: depth %d, the least is %d\n%s", s, u, f.Depth(), depth, show(l))
							}
							if holds := f.Holds(l); !holds[s] || holds[u] {
								t.Fatalf("%d and %d: %v, %v\n%s", s, u, holds[s], holds[u], show(l))
							}
							deepest = max(deepest, depth)
						}
					}
				})
			}
			t.Logf("%d formulas up to depth %d, %d equivalent pairs", formulas, deepest, equivalent)
			if formulas < 5000 || equivalent < 1000 {
				t.Errorf("too few pairs for a conclusion: %d formulas, %d equivalent", formulas, equivalent)
			}
		})
	}
}

// The last level of the definition is branching bisimilarity as the engine decides it.
func TestLevelsEndAtBranchingBisimilarity(t *testing.T) {
	for range 10 {
		rapid.Check(t, func(t *rapid.T) {
			l := draw(t, 8)
			rounds := oracle(l, lts.Branching)
			last, p := rounds[len(rounds)-1], lts.BranchingPartition(l)
			for s := range lts.State(l.States()) {
				for u := range lts.State(l.States()) {
					if (last[s] == last[u]) != p.Same(s, u) {
						t.Fatalf("%d and %d: levels say %v\n%s", s, u, last[s] == last[u], show(l))
					}
				}
			}
		})
	}
}

// No condition at the first step of a formula is superfluous: without it the formula
// would no longer tell the states apart.
func TestNoConditionIsSuperfluous(t *testing.T) {
	for _, e := range equivalences {
		conditions := 0
		for range 10 {
			rapid.Check(t, func(t *rapid.T) {
				l := choices(rapid.Uint64().Draw(t, "seed"))
				f, err := Distinguish(l, 0, 1, e)
				if err != nil {
					return
				}
				for i := range f.nodes {
					if !first(f, int32(i)) {
						continue
					}
					conditions += len(f.nodes[i].args)
					for j := range f.nodes[i].args {
						less := &Formula{nodes: slices.Clone(f.nodes)}
						less.nodes[i].args = slices.Delete(slices.Clone(f.nodes[i].args), j, j+1)
						if holds := less.Holds(l); holds[0] != holds[1] {
							t.Fatalf("condition %d of part %d can go\n%s\n%s", j, i, f.Text(letters{}), show(l))
						}
					}
				}
			})
		}
		t.Logf("%v: %d conditions", e, conditions)
		if conditions < 50 {
			t.Errorf("%v: only %d conditions", e, conditions)
		}
	}
}

// first reports whether a conjunction is what the first step of a formula says, and
// occurs nowhere else.
func first(f *Formula, id int32) bool {
	root := f.nodes[f.root()]
	if root.op == opNot {
		root = f.nodes[root.after]
	}
	uses := 0
	for i := range f.nodes {
		f.nodes[i].operands(func(o int32) {
			if o == id {
				uses++
			}
		})
	}
	return f.nodes[id].op == opAnd && uses == 1 && (root.after == id || root.op == opStep && root.before == id)
}
