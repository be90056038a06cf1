package lts

import (
	"testing"

	"pgregory.net/rapid"
)

// drawLarge makes a system that is too large for the definition: 50 to 500 states, of
// which many behave alike, with chains and cycles of internal steps.
func drawLarge(t *rapid.T) *LTS {
	n := rapid.Int32Range(50, 500).Draw(t, "states")
	labels := rapid.Int32Range(1, 4).Draw(t, "labels")
	// Transitions per state, in tenths, and how many of those in ten are internal.
	density := rapid.Int32Range(5, 30).Draw(t, "density")
	internal := rapid.Int32Range(0, 9).Draw(t, "internal")
	chain := rapid.Int32Range(0, n-1).Draw(t, "chain")
	forward := rapid.Bool().Draw(t, "forward only")
	seed := rapid.Uint64().Draw(t, "seed")
	next := func(k int32) int32 {
		seed = seed*6364136223846793005 + 1442695040888963407
		return int32(seed>>33) % k
	}
	var b Builder
	b.AddStates(int(n))
	for s := range chain {
		b.Add(s, Tau, s+1)
	}
	for range n * density / 10 {
		from, to, label := next(n), next(n), Tau
		if next(10) >= internal {
			label = 1 + next(labels)
		} else if forward && from > to {
			from, to = to, from
		}
		b.Add(from, label, to)
	}
	return b.Build(0)
}

// samePartition compares classes that may be numbered otherwise.
func samePartition(t *rapid.T, p *Partition, want []Block) {
	to, from := map[Block]Block{}, map[Block]Block{}
	for s, w := range want {
		g := p.Block(State(s))
		if other, ok := to[g]; ok && other != w {
			t.Fatalf("state %d is in block %d with others that it differs from", s, g)
		}
		if other, ok := from[w]; ok && other != g {
			t.Fatalf("state %d is in block %d, others that are equivalent to it in block %d", s, g, other)
		}
		to[g], from[w] = w, g
	}
	if p.Blocks() != len(to) {
		t.Fatalf("%d blocks, and %d are said to be", len(to), p.Blocks())
	}
}

func TestPartitionIsThatOfSignatures(t *testing.T) {
	rounds(t, 5, func(t *rapid.T) {
		l := drawLarge(t)
		samePartition(t, BranchingPartition(l), partitionBySignatures(l))
	})
}
