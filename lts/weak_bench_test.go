package lts

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// weakFamilies make systems of about m transitions that are hard in different ways.
var weakFamilies = []struct {
	name string
	make func(m int) *LTS
}{
	// Three steps a state, a third of them internal.
	{"random", func(m int) *LTS {
		r := rand.New(rand.NewPCG(7, 8))
		n := State(m / 3)
		var b Builder
		b.AddStates(int(n))
		for range m {
			b.Add(r.Int32N(n), max(0, r.Int32N(6)-1), r.Int32N(n))
		}
		return b.Build(0)
	}},
	// Cells that pass one of two values on internally: internal steps that cannot be
	// left out lie side by side.
	{"buffers", func(m int) *LTS {
		cells, size := 1, 3
		for size*(cells+1) < m {
			cells, size = cells+1, size*3
		}
		return bufferChain(cells)
	}},
	// One visible step after the other, and an internal one at the end.
	{"line", func(m int) *LTS {
		var b Builder
		b.AddStates(m + 1)
		for s := range State(m - 1) {
			b.Add(s, 1, s+1)
		}
		b.Add(State(m-1), Tau, State(m))
		b.Add(State(m-1), 2, 0)
		return b.Build(0)
	}},
	// One state with a step to every state of a line.
	{"fan", func(m int) *LTS {
		var b Builder
		n := State(m / 2)
		b.AddStates(int(n) + 2)
		for s := range n {
			b.Add(s, 1, s+1)
			b.Add(n+1, 1, s)
		}
		b.Add(n+1, Tau, n/2)
		return b.Build(n + 1)
	}},
	// Internal steps on a line each of which drops one of few options.
	{"ladder", func(m int) *LTS {
		var b Builder
		n := State(m / 2)
		b.AddStates(int(n) + 1)
		for s := range n {
			label := Label(1)
			if s%8 != 0 {
				label = Tau
			}
			b.Add(s, label, s+1)
			b.Add(s, 2+s%8, s/2)
		}
		return b.Build(0)
	}},
	// The worst: a line of internal steps each of which drops an option of its own.
	{"options", func(m int) *LTS {
		var b Builder
		n := State(m / 2)
		b.AddStates(int(n) + 1)
		for s := range n {
			b.Add(s, Tau, s+1)
			b.Add(s, 1+s, n)
		}
		return b.Build(0)
	}},
}

// bufferChain is a row of cells that are empty or hold one of two values; values come
// in at the left, move on internally, and go out at the right.
func bufferChain(cells int) *LTS {
	total, power := State(1), make([]State, cells)
	for i := range power {
		power[i] = total
		total *= 3
	}
	var b Builder
	b.AddStates(int(total))
	for s := range total {
		for i := range cells {
			value := s / power[i] % 3
			switch {
			case value == 0 && i == 0:
				b.Add(s, 1, s+power[0])
				b.Add(s, 2, s+2*power[0])
			case value != 0 && i == cells-1:
				b.Add(s, 2+value, s-value*power[i])
			case value != 0 && s/power[i+1]%3 == 0:
				b.Add(s, Tau, s-value*power[i]+value*power[i+1])
			}
		}
	}
	return b.Build(0)
}

// The refinement alone, after the branching quotient that goes before it.
func BenchmarkWeakRefinement(b *testing.B) {
	for _, family := range weakFamilies {
		for _, m := range []int{1_000, 10_000, 100_000} {
			if family.name == "options" && m > 10_000 {
				continue // quadratic, and the branching partition is as well
			}
			b.Run(fmt.Sprintf("%s/%d", family.name, m), func(b *testing.B) {
				l := family.make(m)
				q := Quotient(l, Classes(l, Branching))
				var work int64
				blocks := 0
				b.ReportAllocs()
				for b.Loop() {
					r := newWeakRefiner(q)
					r.run(-1, -1, 0)
					work, blocks = r.work, len(r.first)
				}
				b.ReportMetric(float64(q.Transitions()), "transitions")
				b.ReportMetric(float64(blocks), "classes")
				b.ReportMetric(float64(work)/float64(q.Transitions()), "looks/transition")
			})
		}
	}
}
