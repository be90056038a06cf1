package lts

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// draw makes a random system of 1 to 6 states and labels up to 3, where 0 is tau.
func draw(t *rapid.T, name string) *LTS {
	n := rapid.Int32Range(1, 6).Draw(t, name+" states")
	labels := rapid.Int32Range(0, 3).Draw(t, name+" labels")
	var b Builder
	b.AddStates(int(n))
	for range rapid.IntRange(0, 14).Draw(t, name+" transitions") {
		state := rapid.Int32Range(0, n-1)
		b.Add(state.Draw(t, "from"), rapid.Int32Range(0, labels).Draw(t, "label"), state.Draw(t, "to"))
	}
	return b.Build(rapid.Int32Range(0, n-1).Draw(t, name+" initial"))
}

// rounds runs a property several times as often as rapid does by itself.
func rounds(t *testing.T, n int, property func(*rapid.T)) {
	for range n {
		rapid.Check(t, property)
	}
}

func TestPartitionIsTheDefinition(t *testing.T) {
	rounds(t, 50, func(t *rapid.T) { checkAgainstOracle(t, draw(t, "l")) })
}

func TestBisimilarityIsTheDefinition(t *testing.T) {
	rounds(t, 20, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		var u Builder
		u.AddLTS(a)
		shift := u.AddLTS(b)
		want := oracle(u.Build(0))[a.Initial()][b.Initial()+shift]
		if got := BranchingBisimilar(a, b); got != want {
			t.Fatalf("got %v, want %v for\n%s\n%s", got, want, show(a), show(b))
		}
	})
}

// The members of a block have the signature of the block, by its definition.
func TestSignatureIsItsDefinition(t *testing.T) {
	rounds(t, 10, func(t *rapid.T) {
		l := draw(t, "l")
		p := BranchingPartition(l)
		for s := range State(l.States()) {
			var want []Observation
			seen := map[State]bool{s: true}
			for todo := []State{s}; len(todo) > 0; todo = todo[1:] {
				for _, step := range l.Steps(todo[0]) {
					if step.Label != Tau || !p.Same(step.To, s) {
						want = append(want, Observation{step.Label, p.Block(step.To)})
					} else if !seen[step.To] {
						seen[step.To] = true
						todo = append(todo, step.To)
					}
				}
			}
			slices.SortFunc(want, func(a, b Observation) int { return int(a.Label-b.Label)*1000 + int(a.To-b.To) })
			want = slices.Compact(want)
			if got := p.Signature(p.Block(s)); !slices.Equal(got, want) {
				t.Fatalf("signature of state %d: got %v, want %v\n%s", s, got, want, show(l))
			}
		}
	})
}

// Changes that never make a difference: renumbering, an internal loop, a copy of
// a state, an internal step in front of a state, a state that nothing reaches, and
// the quotient.
func TestTransformationsKeepBisimilarity(t *testing.T) {
	rounds(t, 10, func(t *rapid.T) {
		l := draw(t, "l")
		n := State(l.States())
		order := rapid.Permutation(seq(n)).Draw(t, "order")
		pick := rapid.Int32Range(0, n-1).Draw(t, "state")
		var renumbered, looped, copied, delayed, extended Builder
		for _, b := range []*Builder{&renumbered, &looped, &copied, &delayed, &extended} {
			b.AddStates(int(n))
		}
		twin, before := copied.AddState(), delayed.AddState()
		for s := range n {
			for _, step := range l.Steps(s) {
				renumbered.Add(order[s], step.Label, order[step.To])
				looped.Add(s, step.Label, step.To)
				copied.Add(s, step.Label, step.To)
				extended.Add(s, step.Label, step.To)
				if step.To == pick {
					copied.Add(s, step.Label, twin)
					delayed.Add(s, step.Label, before)
				} else {
					delayed.Add(s, step.Label, step.To)
				}
				if s == pick {
					copied.Add(twin, step.Label, step.To)
				}
			}
		}
		looped.Add(pick, Tau, pick)
		delayed.Add(before, Tau, pick)
		extra := extended.AddState()
		extended.Add(extra, 1, pick)
		for name, other := range map[string]*LTS{
			"renumbered":        renumbered.Build(order[l.Initial()]),
			"internal loop":     looped.Build(l.Initial()),
			"copied state":      copied.Build(l.Initial()),
			"internal step":     delayed.Build(l.Initial()),
			"unreachable state": extended.Build(l.Initial()),
			"quotient":          quotient(l),
		} {
			if !BranchingBisimilar(l, other) {
				t.Fatalf("%s (state %d) makes a difference:\n%s\n%s", name, pick, show(l), show(other))
			}
		}
		// The quotient is minimal: all its states differ.
		q := quotient(l)
		if p := BranchingPartition(q); p.Blocks() != q.States() {
			t.Fatalf("the quotient has %d states in %d classes", q.States(), p.Blocks())
		}
		// A new visible action at the initial state is a difference.
		var more Builder
		more.AddLTS(l)
		more.Add(l.Initial(), 99, l.Initial())
		if BranchingBisimilar(l, more.Build(l.Initial())) {
			t.Fatalf("a new action makes no difference:\n%s", show(l))
		}
	})
}

func seq(n State) []State {
	out := make([]State, n)
	for i := range out {
		out[i] = State(i)
	}
	return out
}

// quotient builds the system whose states are the classes.
func quotient(l *LTS) *LTS {
	p := BranchingPartition(l)
	var b Builder
	b.AddStates(p.Blocks())
	for block := range Block(p.Blocks()) {
		for _, o := range p.Signature(block) {
			b.Add(block, o.Label, o.To)
		}
	}
	return b.Build(p.Block(l.Initial()))
}
