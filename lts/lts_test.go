package lts

import (
	"slices"
	"testing"
)

func TestFirstVectors(t *testing.T) {
	for _, tc := range []struct {
		name string
		a, b string
		want bool
	}{
		{"deadlock", "0", "0", true},
		{"deadlock and one step", "0", "0 a 1", false},
		{"late and early choice have the same traces", "0 a 1, 1 b 2, 1 c 3", "0 a 1, 0 a 2, 1 b 3, 2 c 4", false},
		{"stutter before a step", "0 a 1", "0 tau 1, 1 a 2", true},
		{"stutter after a step", "0 a 1, 1 b 2", "0 a 1, 1 tau 2, 2 b 3", true},
		{"internal step drops an option", "0 a 1, 0 b 2", "0 a 1, 0 b 2, 0 tau 3, 3 a 4", false},
		{"internal choice and visible choice", "0 tau 1, 1 a 2, 0 b 3", "0 a 1, 0 b 2", false},
		{"internal loop", "0 a 1", "0 tau 0, 0 a 1", true},
		{"internal loop at a deadlock", "0", "0 tau 0", true},
		{"internal cycle of two", "0 a 1, 0 b 2", "0 tau 1, 1 tau 0, 0 a 2, 1 b 3", true},
		{"duplicated states", "0 a 1, 1 b 2", "0 a 1, 0 a 2, 1 b 3, 2 b 4", true},
		{"second law of branching bisimilarity", "0 a 1, 1 b 2, 1 c 2", "0 a 1, 1 tau 2, 1 b 3, 2 b 3, 2 c 3", true},
		{"third law of weak bisimilarity", "0 a 1, 1 tau 2, 2 b 3, 1 c 3", "0 a 1, 1 tau 2, 2 b 3, 1 c 3, 0 a 2", false},
		{"visible actions i and tau are not internal", "0 a 1", "0 'tau 1, 1 a 2", false},
		{"visible action i", "0 i 1, 1 a 2", "0 a 1", false},
		{"initial state without steps beside others", "0 a 1", "7, 0 a 1", false},
		{"B2 with both additions", "0 a 1, 0 a 2, 1 b 3, 2 b 3, 2 c 3", "0 a 2, 0 a 4, 2 b 3, 2 c 3, 4 b 3, 4 c 3", false},
		{"unrolled loop", "0 a 1, 1 b 0", "0 a 1, 1 b 2, 2 a 3, 3 b 0", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var alphabet Alphabet
			a, b := parse(t, &alphabet, tc.a), parse(t, &alphabet, tc.b)
			if got := BranchingBisimilar(a, b); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if got := BranchingBisimilar(b, a); got != tc.want {
				t.Errorf("the other way round: got %v, want %v", got, tc.want)
			}
			var u Builder
			shift := u.AddLTS(a)
			u.AddLTS(b)
			checkAgainstOracle(t, u.Build(shift))
		})
	}
}

func TestAlphabetNeverGivesTau(t *testing.T) {
	var a Alphabet
	for i, name := range []string{"", "i", "tau", "__internal__", "i"} {
		if l := a.Intern(name); l == Tau || a.Name(l) != name {
			t.Errorf("%d: label %d of %q has name %q", i, l, name, a.Name(l))
		}
	}
	if a.Len() != 5 {
		t.Errorf("4 names and tau, got %d labels", a.Len())
	}
	if _, ok := a.Lookup("missing"); ok || a.Name(Tau) != "" || a.Name(9) != "" {
		t.Error("unknown names and labels must be reported")
	}
}

func TestBuilderSortsAndDeduplicates(t *testing.T) {
	var b Builder
	b.AddStates(3)
	b.Add(0, 2, 1)
	b.Add(2, Tau, 0)
	b.Add(0, 1, 2)
	b.Add(0, 2, 1)
	l := b.Build(2)
	if got := l.Steps(0); !slices.Equal(got, []Step{{1, 2}, {2, 1}}) {
		t.Errorf("steps of 0: %v", got)
	}
	if len(l.Steps(1)) != 0 || l.Transitions() != 3 || l.States() != 3 || l.Initial() != 2 {
		t.Errorf("got %s", show(l))
	}
	clone := b.Clone()
	clone.Add(1, 1, 1)
	b.Add(1, 2, 2)
	if got := clone.Build(0).Steps(1); !slices.Equal(got, []Step{{1, 1}}) {
		t.Errorf("a clone must not see later additions: %v", got)
	}
}

func TestBuilderRefusesUnknownStates(t *testing.T) {
	for name, f := range map[string]func(*Builder){
		"source":  func(b *Builder) { b.Add(1, 1, 0) },
		"target":  func(b *Builder) { b.Add(0, 1, 1) },
		"label":   func(b *Builder) { b.Add(0, -1, 0) },
		"initial": func(b *Builder) { b.Build(1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			var b Builder
			b.AddState()
			f(&b)
		}()
	}
}

// The length is that of a chain that overflows the stack of a recursive search.
const chainLength = 1_000_000

func TestLongTauChain(t *testing.T) {
	var b Builder
	b.AddStates(chainLength + 2)
	for s := range State(chainLength) {
		b.Add(s, Tau, s+1)
	}
	b.Add(chainLength, 1, chainLength+1)
	l := b.Build(0)
	p := BranchingPartition(l)
	if p.Blocks() != 2 || !p.Same(0, chainLength) || p.Same(0, chainLength+1) {
		t.Errorf("a chain of internal steps before one visible step has 2 classes, got %d", p.Blocks())
	}
}

func TestLongTauCycle(t *testing.T) {
	var b Builder
	b.AddStates(chainLength + 1)
	for s := range State(chainLength) {
		b.Add(s, Tau, (s+1)%chainLength)
	}
	b.Add(chainLength/2, 1, chainLength)
	if p := BranchingPartition(b.Build(0)); p.Blocks() != 2 || !p.Same(0, chainLength-1) {
		t.Errorf("one cycle of internal steps is one class, got %d classes", p.Blocks())
	}
}

// Each round of a naive refinement splits one state off a chain, which makes it
// quadratic: this would run for minutes.
func TestLongVisibleChain(t *testing.T) {
	const n = 200_000
	var b Builder
	b.AddStates(n)
	for s := range State(n - 1) {
		b.Add(s, 1, s+1)
	}
	if p := BranchingPartition(b.Build(0)); p.Blocks() != n {
		t.Errorf("all %d states of a chain differ, got %d classes", n, p.Blocks())
	}
}

func TestReachable(t *testing.T) {
	var alphabet Alphabet
	l := parse(t, &alphabet, "0 a 1, 1 tau 2, 3 a 0")
	if got := l.Reachable(l.Initial()); !slices.Equal(got, []bool{true, true, true, false}) {
		t.Errorf("got %v", got)
	}
	if got := l.Reachable(); slices.Contains(got, true) {
		t.Errorf("nothing is reachable from nowhere, got %v", got)
	}
}

func TestSignatures(t *testing.T) {
	var alphabet Alphabet
	l := parse(t, &alphabet, "0 tau 1, 1 a 2, 0 b 2, 2 tau 2")
	p := BranchingPartition(l)
	a, b := alphabet.Intern("a"), alphabet.Intern("b")
	end := p.Block(2)
	want := []Observation{{Tau, p.Block(1)}, {b, end}}
	if got := p.Signature(p.Block(0)); !slices.Equal(got, want) {
		t.Errorf("the step that drops b is an observation: got %v, want %v", got, want)
	}
	if !p.Observes(p.Block(1), Observation{a, end}) || p.Observes(p.Block(1), Observation{b, end}) || p.Observes(end, Observation{Tau, end}) {
		t.Error("wrong observations")
	}
}
