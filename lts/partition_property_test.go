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
func samePartition(t interface{ Fatalf(string, ...any) }, p *Partition, want []Block) {
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
		want := partitionBySignatures(l)
		samePartition(t, BranchingPartition(l), want)
		for rounds := range 3 {
			samePartition(t, classesWithout(l, Branching, rounds), want)
		}
	})
}

// The invariant of the refiner, checked by counting: bundles, positions and inert
// transitions are what they are said to be when refinement has ended, and the
// partition is stable.
func TestRefinerKeepsItsBooks(t *testing.T) {
	rounds(t, 2, func(t *rapid.T) {
		l := drawLarge(t)
		component, count := l.tauComponents()
		r, _ := newRefiner(l, component, count, nil, rapid.IntRange(0, 3).Draw(t, "rounds"))
		r.run()
		for i, s := range r.elements {
			n := r.states[s]
			b := r.blocks[n.block]
			inert := int32(0)
			for k := r.outOffsets[s]; k < r.outOffsets[s+1]; k++ {
				tr := r.transitions[r.out[k]]
				if tr.source != s || tr.bundle >= 0 && r.order[tr.slot] != r.out[k] {
					t.Fatalf("transition %d: %+v", r.out[k], tr)
				}
				if (tr.bundle < 0) != (b.size() == 1) {
					t.Fatalf("transition %d is in bundle %d, its source in a block of %d", r.out[k], tr.bundle, b.size())
				}
				if tr.bundle >= 0 && tr.bundle == b.internal && r.states[r.target[k]].block == n.block {
					inert++
				}
			}
			bottom := int32(i) < b.bottomEnd
			if n.position != int32(i) || int32(i) < b.start || int32(i) >= b.end || n.missing != 0 ||
				b.size() > 1 && (n.inert != inert || bottom != (inert == 0)) {
				t.Fatalf("state %d at %d: %+v in %+v, %d inert transitions", s, i, n, b, inert)
			}
		}
		for id, b := range r.blocks {
			if c := r.constellations[b.constellation]; c.start != b.start || c.end != b.end || b.marked != 0 || b.waiting >= 0 {
				t.Fatalf("block %d: %+v in constellation %+v", id, b, c)
			}
			for bundle := b.bundles; bundle >= 0; bundle = r.bundles[bundle].next {
				u := r.bundles[bundle]
				from := map[int32]bool{}
				for _, tr := range r.order[u.start:u.end] {
					if r.transitions[tr].bundle != bundle {
						t.Fatalf("bundle %d: transition %d is in bundle %d", bundle, tr, r.transitions[tr].bundle)
					}
					from[r.transitions[tr].source] = true
				}
				if u.empty() || u.mark != u.start || u.partner >= 0 || u.fresh >= 0 || u.queued {
					t.Fatalf("bundle %d: %+v", bundle, u)
				}
				for _, s := range r.elements[b.start:b.bottomEnd] {
					if bundle != b.internal && !from[s] {
						t.Fatalf("bottom state %d has no transition in bundle %d of its block", s, bundle)
					}
				}
			}
		}
	})
}
