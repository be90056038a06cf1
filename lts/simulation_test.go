package lts

import (
	"testing"

	"pgregory.net/rapid"
)

func TestWeaklySimulatesIsTheDefinition(t *testing.T) {
	rounds(t, 50, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		var u Builder
		u.AddLTS(a)
		shift := u.AddLTS(b)
		rel := weakRelation(u.Build(0), false)
		for _, tc := range []struct {
			l, r *LTS
			want bool
		}{
			{a, b, rel[a.Initial()][b.Initial()+shift]},
			{b, a, rel[b.Initial()+shift][a.Initial()]},
		} {
			if got := WeaklySimulates(tc.l, tc.r, Limits{}); got != answer(tc.want) {
				t.Fatalf("got %v, want %v for\n%s\n%s", got, tc.want, show(tc.l), show(tc.r))
			}
		}
	})
}

// A system simulates what is left of it without some transitions, and is simulated
// by it with a choice more.
func TestSubsystemIsSimulated(t *testing.T) {
	rounds(t, 10, func(t *rapid.T) {
		l := draw(t, "l")
		var less Builder
		less.AddStates(l.States())
		for s := range State(l.States()) {
			for _, step := range l.Steps(s) {
				if rapid.Bool().Draw(t, "keep") {
					less.Add(s, step.Label, step.To)
				}
			}
		}
		if sub := less.Build(l.Initial()); WeaklySimulates(sub, l, Limits{}) != Yes {
			t.Fatalf("a part of a system is not simulated by it:\n%s\n%s", show(sub), show(l))
		}
	})
}

func TestSimulationIsCapped(t *testing.T) {
	a, b := guess(10, true), guess(10, false)
	want := WeaklySimulates(a, b, Limits{})
	if want != No {
		t.Fatalf("got %v, a has a trace more", want)
	}
	unknown := 0
	for pairs := 1; pairs < 200; pairs++ {
		for _, got := range []Answer{WeaklySimulates(a, b, Limits{Pairs: pairs}), WeaklySimulates(b, a, Limits{Pairs: pairs})} {
			if got == Unknown {
				unknown++
			}
		}
		if got := WeaklySimulates(a, b, Limits{Pairs: pairs}); got == Yes {
			t.Errorf("%d pairs: a cap made a wrong answer", pairs)
		}
		if got := WeaklySimulates(b, a, Limits{Pairs: pairs}); got == No {
			t.Errorf("%d pairs: a cap made a wrong answer", pairs)
		}
	}
	if unknown == 0 {
		t.Error("no cap was hit")
	}
}

// Pairs of a chain of internal steps and a chain twice as long: no recursion.
func TestSimulationOfLongChains(t *testing.T) {
	chain := func(n State, every State, end Label) *LTS {
		var b Builder
		b.AddStates(int(n) + 1)
		for s := range n {
			label := Label(1)
			if s%every == 0 {
				label = Tau
			}
			b.Add(s, label, s+1)
		}
		b.Add(n, end, n)
		return b.Build(0)
	}
	short, long := chain(100_000, 1_000_000, 2), chain(200_000, 2, 2)
	if got := WeaklySimulates(short, long, Limits{}); got != No {
		t.Errorf("one visible step less: got %v", got)
	}
	if got := WeaklySimulates(chain(200_000, 2, 2), chain(300_000, 3, 2), Limits{}); got != No {
		t.Errorf("the left chain has half of its steps visible, the right one two thirds: got %v", got)
	}
}

// A simulation that has run into its limit is asked on by trace searches, a million
// times; it must not take memory for that.
func TestCappedSimulationTakesNoMorePairs(t *testing.T) {
	q := quotientPair(guess(10, true), guess(10, false), Branching)
	m := newSimulation(q.l, Limits{Pairs: 20})
	if got := m.ask(q.a, q.b); got != Unknown || !m.capped {
		t.Fatalf("20 pairs: got %v, capped %v", got, m.capped)
	}
	before := len(m.pairs)
	for s := range State(q.l.States()) {
		for x := range State(q.l.States()) {
			if m.ask(s, x) == Yes {
				t.Errorf("%d is not known to simulate %d", x, s)
			}
		}
	}
	if len(m.pairs) != before || len(m.index) != before {
		t.Errorf("%d pairs have become %d", before, len(m.pairs))
	}
}
