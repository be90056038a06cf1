package lts

import (
	"testing"

	"pgregory.net/rapid"
)

// variant is a way to change a system that keeps some equivalences.
type variant struct {
	name  string
	keeps []Equivalence
	apply func(t *rapid.T, l *LTS) *LTS
}

var (
	bisimilarities = []Equivalence{Strong, DivergencePreservingBranching, Branching, Weak}
	all            = Equivalences()
)

// edgesOf copies a system into a builder and returns its transitions too.
func edgesOf(l *LTS) (b *Builder, edges []edge) {
	b = &Builder{}
	b.AddStates(l.States())
	for s := range State(l.States()) {
		for _, step := range l.Steps(s) {
			edges = append(edges, edge{s, step})
		}
	}
	return b, edges
}

func addAll(b *Builder, edges []edge) {
	for _, e := range edges {
		b.Add(e.from, e.step.Label, e.step.To)
	}
}

var variants = []variant{
	{"another order of states", all, func(t *rapid.T, l *LTS) *LTS {
		return permuted(l, rapid.Uint64().Draw(t, "order"))
	}},
	{"a state twice, each incoming step to either", all, func(t *rapid.T, l *LTS) *LTS {
		b, edges := edgesOf(l)
		s := rapid.Int32Range(0, State(l.States())-1).Draw(t, "state")
		twin := b.AddState()
		for i := range edges {
			if edges[i].step.To == s && rapid.Bool().Draw(t, "to the twin") {
				edges[i].step.To = twin
			}
		}
		addAll(b, edges)
		for _, e := range edges {
			if e.from == s {
				b.Add(twin, e.step.Label, e.step.To)
			}
		}
		return b.Build(l.Initial())
	}},
	{"an internal step behind a step", []Equivalence{DivergencePreservingBranching, Branching, Weak, WeakSimulation, WeakTrace}, func(t *rapid.T, l *LTS) *LTS {
		b, edges := edgesOf(l)
		if len(edges) == 0 {
			return l
		}
		e := &edges[rapid.IntRange(0, len(edges)-1).Draw(t, "step")]
		between := b.AddState()
		b.Add(between, Tau, e.step.To)
		e.step.To = between
		addAll(b, edges)
		return b.Build(l.Initial())
	}},
	{"an internal loop", []Equivalence{Branching, Weak, WeakSimulation, WeakTrace}, func(t *rapid.T, l *LTS) *LTS {
		b, edges := edgesOf(l)
		addAll(b, edges)
		s := rapid.Int32Range(0, State(l.States())-1).Draw(t, "state")
		b.Add(s, Tau, s)
		return b.Build(l.Initial())
	}},
	{"loops unrolled once", all, func(_ *rapid.T, l *LTS) *LTS {
		var b Builder
		b.AddStates(2 * l.States())
		n := State(l.States())
		for s := range n {
			for _, step := range l.Steps(s) {
				// Steps back, by number, go to the other copy.
				to, other := step.To, step.To+n
				if step.To <= s {
					to, other = other, to
				}
				b.Add(s, step.Label, to)
				b.Add(s+n, step.Label, other)
			}
		}
		return b.Build(l.Initial())
	}},
	{"junk that is not reached", all, func(t *rapid.T, l *LTS) *LTS {
		b, edges := edgesOf(l)
		addAll(b, edges)
		junk := b.AddState()
		for s := range State(l.States()) {
			b.Add(junk, rapid.Int32Range(0, 3).Draw(t, "label"), s)
		}
		return b.Build(l.Initial())
	}},
	// The third of Milner's tau laws, which branching bisimilarity does not have.
	{"a step of what an internal step leads to", []Equivalence{Weak, WeakSimulation, WeakTrace}, func(t *rapid.T, l *LTS) *LTS {
		b, edges := edgesOf(l)
		addAll(b, edges)
		var news []edge
		for _, e := range edges {
			if e.step.Label != Tau {
				continue
			}
			for _, step := range l.Steps(e.step.To) {
				news = append(news, edge{e.from, step})
			}
		}
		if len(news) > 0 {
			e := news[rapid.IntRange(0, len(news)-1).Draw(t, "step")]
			b.Add(e.from, e.step.Label, e.step.To)
		}
		return b.Build(l.Initial())
	}},
}

// Changes that keep an equivalence by a law of its theory keep it here.
func TestVariantsAreEquivalent(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			rounds(t, 3, func(t *rapid.T) {
				l := draw(t, "l")
				changed := v.apply(t, l)
				for _, e := range v.keeps {
					if got := Compare(l, changed, e, Limits{}).Holds; got != Yes {
						t.Fatalf("%s: %v for\n%s\n%s", e, got, show(l), show(changed))
					}
				}
			})
		})
	}
}

// A change that keeps an equivalence changes no verdict by it about another system.
func TestVariantsKeepVerdicts(t *testing.T) {
	rounds(t, 5, func(t *rapid.T) {
		l, other := draw(t, "l"), draw(t, "other")
		v := rapid.SampledFrom(variants).Draw(t, "variant")
		changed := v.apply(t, l)
		for _, e := range v.keeps {
			before, after := Compare(l, other, e, Limits{}).Holds, Compare(changed, other, e, Limits{}).Holds
			if before != after {
				t.Fatalf("%s, %s: %v, then %v for\n%s\n%s\nwith\n%s", v.name, e, before, after, show(l), show(changed), show(other))
			}
		}
	})
}

// Names of actions do not matter, as long as both systems use the same.
func TestLabelsCanBePermuted(t *testing.T) {
	rounds(t, 5, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		order := rapid.Permutation([]Label{1, 2, 3}).Draw(t, "labels")
		renamed := func(l *LTS) *LTS {
			b, edges := edgesOf(l)
			for i := range edges {
				if label := &edges[i].step.Label; *label != Tau {
					*label = order[*label-1]
				}
			}
			addAll(b, edges)
			return b.Build(l.Initial())
		}
		for _, e := range all {
			if before, after := Compare(a, b, e, Limits{}).Holds, Compare(renamed(a), renamed(b), e, Limits{}).Holds; before != after {
				t.Fatalf("%s: %v, then %v for\n%s\n%s", e, before, after, show(a), show(b))
			}
		}
	})
}

func TestMinimalSystemsAreEquivalentToTheirOrigin(t *testing.T) {
	for _, e := range bisimilarities[:3] {
		rounds(t, 5, func(t *rapid.T) {
			l := draw(t, "l")
			small, of := Minimize(l, e)
			if got := Compare(l, small, e, Limits{}).Holds; got != Yes {
				t.Fatalf("%s: %v for\n%s\n%s", e, got, show(l), show(small))
			}
			if p := Classes(small, e); p.Blocks() != small.States() {
				t.Fatalf("%s: not minimal:\n%s", e, show(small))
			}
			reached := l.Reachable(l.Initial())
			for s, to := range of {
				if (to >= 0) != reached[s] {
					t.Fatalf("%s: state %d is %d, reachable %v", e, s, to, reached[s])
				}
			}
		})
	}
}

func TestEquivalencesAreEquivalenceRelations(t *testing.T) {
	rounds(t, 5, func(t *rapid.T) {
		a := draw(t, "a")
		// Variants make equivalent pairs likely.
		b := rapid.SampledFrom(variants).Draw(t, "first").apply(t, a)
		c := rapid.SampledFrom(variants).Draw(t, "second").apply(t, b)
		if rapid.IntRange(0, 3).Draw(t, "another") == 0 {
			c = draw(t, "c")
		}
		for _, e := range all {
			holds := func(x, y *LTS) bool {
				there, back := Compare(x, y, e, Limits{}).Holds, Compare(y, x, e, Limits{}).Holds
				if there != back {
					t.Fatalf("%s is not symmetric for\n%s\n%s", e, show(x), show(y))
				}
				return there == Yes
			}
			if !holds(a, a) {
				t.Fatalf("%s is not reflexive for\n%s", e, show(a))
			}
			if holds(a, b) && holds(b, c) && !holds(a, c) {
				t.Fatalf("%s is not transitive for\n%s\n%s\n%s", e, show(a), show(b), show(c))
			}
		}
	})
}
