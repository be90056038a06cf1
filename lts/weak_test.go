package lts

import (
	"testing"

	"pgregory.net/rapid"
)

func TestWeakPartitionIsTheDefinition(t *testing.T) {
	rounds(t, 30, func(t *rapid.T) {
		l := draw(t, "l")
		want := weakRelation(l, true)
		p := weakPartition(l)
		for a := range State(l.States()) {
			for b := range State(l.States()) {
				if got := p.Same(a, b); got != want[a][b] {
					t.Fatalf("states %d and %d: engine says %v, the definition says %v\n%s", a, b, got, want[a][b], show(l))
				}
			}
		}
	})
}

// The signatures of weak classes make a system that is weakly bisimilar, in which no
// two states are.
func TestWeakQuotient(t *testing.T) {
	rounds(t, 10, func(t *rapid.T) {
		l := draw(t, "l")
		p := weakPartition(l)
		var u Builder
		u.AddLTS(l)
		shift := u.AddStates(p.Blocks())
		for b := range Block(p.Blocks()) {
			for _, o := range p.Signature(b) {
				if o.Label == Tau && o.To == b {
					t.Fatalf("block %d has an internal step to itself\n%s", b, show(l))
				}
				u.Add(shift+b, o.Label, shift+o.To)
			}
		}
		same := weakRelation(u.Build(0), true)
		for s := range State(l.States()) {
			for b := range Block(p.Blocks()) {
				if same[s][shift+b] != (p.Block(s) == b) {
					t.Fatalf("state %d of block %d and the signature of block %d: weakly bisimilar %v\n%s",
						s, p.Block(s), b, same[s][shift+b], show(l))
				}
			}
		}
	})
}

// The refinement does not find the classes of the branching quotient only, where most
// small systems have collapsed, but of any system without internal cycles.
func TestWeakRefinerOnAcyclicInternalSteps(t *testing.T) {
	rounds(t, 30, func(t *rapid.T) {
		n := rapid.Int32Range(1, 9).Draw(t, "states")
		var b Builder
		b.AddStates(int(n))
		for range rapid.IntRange(0, 24).Draw(t, "transitions") {
			from, to := rapid.Int32Range(0, n-1).Draw(t, "from"), rapid.Int32Range(0, n-1).Draw(t, "to")
			label := rapid.Int32Range(0, 2).Draw(t, "label")
			if label == Tau && from <= to {
				continue
			}
			b.Add(from, label, to)
		}
		l := b.Build(0)
		want := weakRelation(l, true)
		r := newWeakRefiner(l)
		if !r.run(-1, -1, 0) {
			t.Fatal("no limit, but not finished")
		}
		for x := range n {
			for y := range n {
				if got := r.block[x] == r.block[y]; got != want[x][y] {
					t.Fatalf("states %d and %d: engine says %v, the definition says %v\n%s", x, y, got, want[x][y], show(l))
				}
			}
		}
	})
}

func TestWeakLongChains(t *testing.T) {
	// Internal steps before one visible step: two classes.
	var b Builder
	b.AddStates(chainLength + 2)
	for s := range State(chainLength) {
		b.Add(s, Tau, s+1)
	}
	b.Add(chainLength, 1, chainLength+1)
	if p := weakPartition(b.Build(0)); p.Blocks() != 2 {
		t.Errorf("a chain of internal steps before a visible one has 2 classes, got %d", p.Blocks())
	}
	// A chain of internal steps each of which drops an option is the worst case.
	const n = 4_000
	var c Builder
	c.AddStates(n)
	for s := range State(n - 2) {
		c.Add(s, 1+s%2, s+1)
		if s%2 == 0 {
			c.Add(s, Tau, s+2)
			c.Add(s, 3, n-1)
		}
	}
	l := c.Build(0)
	if p := weakPartition(l); p.Same(0, 2) || p.Same(0, n/2) {
		t.Errorf("states at different distances from the end differ, got %d classes", p.Blocks())
	}
}

func TestWeakStopsAtLimit(t *testing.T) {
	var alphabet Alphabet
	a, b := parse(t, &alphabet, "0 a 1, 1 tau 2, 2 b 3, 1 c 3"), parse(t, &alphabet, "0 a 1, 1 tau 2, 2 b 3, 1 c 3, 0 a 2")
	q := quotientPair(a, b, Branching)
	r := newWeakRefiner(q.l)
	if r.run(q.a, q.b, 1) {
		t.Error("one step cannot decide this")
	}
	if got := compareWeak(q, Limits{Pairs: DefaultPairs}); got.Holds != Yes || got.Capped {
		t.Errorf("the third law of weak bisimilarity: got %+v", got)
	}
}
