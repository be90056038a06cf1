package lts

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// decided are the equivalences that the refiner decides.
var decided = []Equivalence{Strong, DivergencePreservingBranching, Branching}

// relation is an equivalence by its definition.
func relation(l *LTS, e Equivalence) [][]bool {
	switch e {
	case Strong:
		return strongRelation(l)
	case DivergencePreservingBranching:
		return divergenceRelation(l)
	}
	return oracle(l)
}

// classesWithout is Classes with less help of sketches: none, or a few rounds. It
// leaves the work to the refiner.
func classesWithout(l *LTS, e Equivalence, sketchRounds int) *Partition {
	if e == Strong {
		return strongPartition(l, sketchRounds)
	}
	return branchingPartition(l, e == DivergencePreservingBranching, sketchRounds)
}

func TestClassesAreTheDefinition(t *testing.T) {
	rounds(t, 30, func(t *rapid.T) {
		l := draw(t, "l")
		for _, e := range decided {
			p, want := Classes(l, e), relation(l, e)
			bare := classesWithout(l, e, 0)
			for a := range State(l.States()) {
				for b := range State(l.States()) {
					if p.Same(a, b) != want[a][b] || bare.Same(a, b) != want[a][b] {
						t.Fatalf("%v of %d and %d: got %v, without sketches %v, want %v\n%s", e, a, b, p.Same(a, b), bare.Same(a, b), want[a][b], show(l))
					}
				}
			}
			if divergent := slices.ContainsFunc(seq(State(p.Blocks())), p.Diverges); divergent && e != DivergencePreservingBranching {
				t.Fatalf("%v does not tell divergence", e)
			}
		}
	})
}

// By definition: a class diverges if one of its states, and so each, can take
// internal steps for ever without leaving it.
func TestDivergesIsItsDefinition(t *testing.T) {
	rounds(t, 10, func(t *rapid.T) {
		l := draw(t, "l")
		p := Classes(l, DivergencePreservingBranching)
		for s := range State(l.States()) {
			want := divergesAmong(l, s, func(x State) bool { return p.Same(x, s) })
			if got := p.Diverges(p.Block(s)); got != want {
				t.Fatalf("class of state %d: got %v, want %v\n%s", s, got, want, show(l))
			}
		}
	})
}

// Changes of a large system that never make a difference for some equivalence, and
// what follows for the stronger and the weaker ones.
func TestTransformationsOfLargeSystems(t *testing.T) {
	rounds(t, 2, func(t *rapid.T) {
		l := drawLarge(t)
		n := State(l.States())
		order := rapid.Permutation(seq(n)).Draw(t, "order")
		renumbered, doubled, delayed := new(Builder), new(Builder), new(Builder)
		renumbered.AddStates(int(n))
		doubled.AddStates(2 * int(n)) // s and s+n are the same
		delayed.AddStates(2 * int(n)) // s+n has an internal step to s
		for s := range n {
			delayed.Add(s+n, Tau, s)
			for i, step := range l.Steps(s) {
				renumbered.Add(order[s], step.Label, order[step.To])
				// Loops are unrolled by this: every other step leads to the other copy.
				doubled.Add(s, step.Label, step.To+State(i%2)*n)
				doubled.Add(s+n, step.Label, step.To+State((i+1)%2)*n)
				delayed.Add(s, step.Label, step.To+State(i%2)*n)
			}
		}
		for _, tc := range []struct {
			name  string
			other *LTS
			keeps []Equivalence
		}{
			{"renumbered", renumbered.Build(order[l.Initial()]), decided},
			{"doubled", doubled.Build(l.Initial() + n), decided},
			{"delayed", delayed.Build(l.Initial() + n), decided[1:]},
		} {
			for _, e := range tc.keeps {
				checkSame(t, tc.name, l, tc.other, e)
			}
		}
	})
}

func checkSame(t *rapid.T, name string, a, b *LTS, e Equivalence) {
	t.Helper()
	for range 2 {
		u, shift := Union(a, b)
		if p := Classes(u, e); !p.Same(a.Initial(), b.Initial()+shift) {
			t.Fatalf("%s: not %v any more", name, e)
		}
		a, b = b, a
	}
}

// Labels are numbers without a meaning, and may be far apart.
func TestLabelsMayBeAnyNumbers(t *testing.T) {
	rounds(t, 2, func(t *rapid.T) {
		l := drawLarge(t)
		other := new(Builder)
		other.AddStates(l.States())
		for s := range State(l.States()) {
			for _, step := range l.Steps(s) {
				label := step.Label
				if label != Tau {
					label = math.MaxInt32 - (label-1)*10_000_000
				}
				other.Add(s, label, step.To)
			}
		}
		sparse := other.Build(l.Initial())
		for _, e := range decided {
			want, got := Classes(l, e), Classes(sparse, e)
			samePartition(t, got, want.block)
			for b := range Block(want.Blocks()) {
				if len(want.Signature(b)) != len(got.Signature(b)) {
					t.Fatalf("%v: block %d has another signature", e, b)
				}
			}
		}
	})
}

func TestMinimize(t *testing.T) {
	rounds(t, 10, func(t *rapid.T) { checkMinimize(t, draw(t, "l")) })
	rounds(t, 1, func(t *rapid.T) { checkMinimize(t, drawLarge(t)) })
}

func checkMinimize(t *rapid.T, l *LTS) {
	reachable := l.Reachable(l.Initial())
	for _, e := range decided {
		small, of := Minimize(l, e)
		checkSame(t, "minimal", l, small, e)
		if small.Initial() != 0 || slices.Contains(small.Reachable(0), false) {
			t.Fatalf("%v: initial %d, or states that cannot be reached\n%s", e, small.Initial(), show(small))
		}
		if p := Classes(small, e); p.Blocks() != small.States() {
			t.Fatalf("%v: the minimal system has %d states and %d classes", e, small.States(), p.Blocks())
		}
		p := Classes(l, e)
		to := map[Block]State{}
		for s := range State(l.States()) {
			if reachable[s] != (of[s] >= 0) {
				t.Fatalf("%v: state %d becomes %d", e, s, of[s])
			}
			if of[s] < 0 {
				continue
			}
			if other, ok := to[p.Block(s)]; ok && other != of[s] {
				t.Fatalf("%v: state %d becomes %d, one that is equivalent becomes %d", e, s, of[s], other)
			}
			to[p.Block(s)] = of[s]
		}
		if len(to) != small.States() {
			t.Fatalf("%v: %d classes, %d states", e, len(to), small.States())
		}
		// No transition can be left out: that would not be the same system any more.
		if again, _ := Minimize(small, e); again.Transitions() != small.Transitions() {
			t.Fatalf("%v: %d transitions, then %d", e, small.Transitions(), again.Transitions())
		}
	}
}

// Equivalence is transitive; that it is symmetric checkSame sees to.
func TestBisimilarityIsTransitive(t *testing.T) {
	rounds(t, 10, func(t *rapid.T) {
		x, y, z := draw(t, "x"), draw(t, "y"), draw(t, "z")
		for _, e := range decided {
			same := func(a, b *LTS) bool {
				u, shift := Union(a, b)
				return Classes(u, e).Same(a.Initial(), b.Initial()+shift)
			}
			if same(x, y) && same(y, z) && !same(x, z) {
				t.Fatalf("%v is not transitive:\n%s\n%s\n%s", e, show(x), show(y), show(z))
			}
		}
	})
}

func TestUnionAndIncoming(t *testing.T) {
	rounds(t, 5, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		var both Builder
		both.AddLTS(a)
		both.AddLTS(b)
		want := both.Build(a.Initial())
		u, shift := Union(a, b)
		if show(u) != show(want) || int(shift) != a.States() {
			t.Fatalf("got %s shifted by %d, want %s", show(u), shift, show(want))
		}
		var back Builder
		back.AddStates(u.States())
		for s := range State(u.States()) {
			for _, step := range u.Steps(s) {
				back.Add(step.To, step.Label, s)
			}
		}
		reverse := back.Build(0)
		for s := range State(u.States()) {
			if !slices.Equal(u.Incoming(s), reverse.Steps(s)) {
				t.Fatalf("into state %d: got %v, want %v", s, u.Incoming(s), reverse.Steps(s))
			}
		}
	})
}

// Signatures of strong bisimilarity have internal steps like others.
func TestStrongSignatures(t *testing.T) {
	var alphabet Alphabet
	l := parse(t, &alphabet, "0 tau 0, 0 a 1, 1 tau 2, 2 a 3")
	p := Classes(l, Strong)
	a := alphabet.Intern("a")
	if got := p.Signature(p.Block(0)); !slices.Equal(got, []Observation{{Tau, p.Block(0)}, {a, p.Block(1)}}) {
		t.Errorf("got %v", got)
	}
	if !p.Observes(p.Block(1), Observation{Tau, p.Block(2)}) {
		t.Error("an internal step must be observed")
	}
}

// A quotient that preserves divergence has a loop where there was one.
func TestQuotientKeepsDivergence(t *testing.T) {
	var alphabet Alphabet
	l := parse(t, &alphabet, "0 tau 1, 1 tau 0, 1 a 2")
	p := Classes(l, DivergencePreservingBranching)
	q := Quotient(l, p)
	if got := q.Steps(q.Initial()); len(got) != 2 || got[0] != (Step{Tau, q.Initial()}) {
		t.Errorf("got %v", got)
	}
	if q := Quotient(l, Classes(l, Branching)); len(q.Steps(q.Initial())) != 1 {
		t.Errorf("without divergence there is no loop: %s", show(q))
	}
}

func TestObservesDoesNotAllocate(t *testing.T) {
	var alphabet Alphabet
	l := parse(t, &alphabet, "0 a 1, 0 b 1, 1 c 0")
	p := BranchingPartition(l)
	o := Observation{alphabet.Intern("b"), p.Block(1)}
	if n := testing.AllocsPerRun(100, func() { p.Observes(p.Block(0), o) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestClassesOfOthersPanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var b Builder
	b.AddState()
	Classes(b.Build(0), WeakTrace)
}
