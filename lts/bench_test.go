package lts

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// family makes systems of about m transitions, all of one kind.
type family struct {
	name string
	make func(m int) *LTS
}

// families are kinds of systems that one algorithm or another is slow for.
var families = []family{
	{"visible line", line},
	{"wide fan", fan},
	{"internal chain with one option", func(m int) *LTS { return internalChain(m, 1) }},
	{"internal chain with options of their own", func(m int) *LTS { return internalChain(m, m) }},
	{"internal cycles", internalCycles},
	{"one class", oneClass},
	{"Fibonacci ring", fibonacciRing},
	{"sparse random", sparseRandom},
	{"row of buffers", buffers},
}

// line is a path over eight letters that repeats after a while: its states differ by
// how far the end is.
func line(m int) *LTS {
	var b Builder
	b.AddStates(m + 1)
	for s := range State(m) {
		b.Add(s, 1+s%8, s+1)
	}
	return b.Build(0)
}

// fan is one state with m steps by as many labels as states, half of the targets
// being able to come back.
func fan(m int) *LTS {
	n := 2 * m / 3
	var b Builder
	b.AddStates(n + 1)
	for s := range State(n) {
		b.Add(0, 1+s%1024, s+1)
		if s%2 == 0 {
			b.Add(s+1, 1, 0)
		}
	}
	return b.Build(0)
}

// internalChain is a path of m/2 internal steps where each state has a visible step
// by one of so many labels. Signatures of states of a chain with labels of their own
// have a length that grows with the chain, so they take quadratic space together.
func internalChain(m, labels int) *LTS {
	n := State(m / 2)
	var b Builder
	b.AddStates(int(n) + 1)
	for s := range n {
		if s+1 < n {
			b.Add(s, Tau, s+1)
		}
		b.Add(s, 1+s%Label(labels), n)
	}
	return b.Build(0)
}

// internalCycles are cycles of 100 internal steps, linked by visible ones.
func internalCycles(m int) *LTS {
	const size = 100
	n := State(m / (size + 1) * size)
	var b Builder
	b.AddStates(int(n))
	for s := range n {
		if s%size == size-1 {
			b.Add(s, Tau, s-size+1)
			b.Add(s, 1+s/size%3, (s+1)%n)
		} else {
			b.Add(s, Tau, s+1)
		}
	}
	return b.Build(0)
}

// oneClass is a random graph where all states can do the same, so nothing is ever split.
func oneClass(m int) *LTS {
	r := rand.New(rand.NewPCG(1, 2))
	n := m / 4
	var b Builder
	b.AddStates(n)
	for s := range State(n) {
		for label := range Label(4) {
			b.Add(s, label, r.Int32N(int32(n)))
		}
	}
	return b.Build(0)
}

// fibonacciRing is a ring of letters of the Fibonacci word, which needs as many
// rounds as states and halves blocks as unevenly as it can.
func fibonacciRing(m int) *LTS {
	word, last := []byte{1}, []byte{1, 2}
	for len(last) < m {
		word, last = last, append(append([]byte{}, last...), word...)
	}
	n := State(len(last))
	var b Builder
	b.AddStates(int(n))
	for s := range n {
		b.Add(s, Label(last[s]), (s+1)%n)
	}
	return b.Build(0)
}

// sparseRandom has 2.5 transitions for a state, a third of them internal.
func sparseRandom(m int) *LTS {
	r := rand.New(rand.NewPCG(3, 4))
	n := int32(m * 2 / 5)
	label := func() Label {
		if r.IntN(3) == 0 {
			return Tau
		}
		return 1 + r.Int32N(8)
	}
	var b Builder
	b.AddStates(int(n))
	for s := int32(1); s < n; s++ {
		b.Add(r.Int32N(s), label(), s)
	}
	for range m - int(n) + 1 {
		b.Add(r.Int32N(n), label(), r.Int32N(n))
	}
	return b.Build(0)
}

// buffers is the row of cells with the number of transitions that comes closest.
func buffers(m int) *LTS {
	cells := 2
	for n := 9; n*4 < m; n *= 3 {
		cells++
	}
	return bufferChain(cells)
}

// BenchmarkClasses reports time and memory per transition, to see growth.
func BenchmarkClasses(b *testing.B) {
	for _, f := range families {
		for _, m := range []int{10_000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/%d", f.name, m), func(b *testing.B) {
				l := f.make(m)
				b.ReportAllocs()
				blocks := 0
				for b.Loop() {
					blocks = BranchingPartition(l).Blocks()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(l.Transitions()), "ns/transition")
				b.ReportMetric(float64(blocks), "classes")
			})
		}
	}
}

// BenchmarkEquivalences compares the three equivalences on one system.
func BenchmarkEquivalences(b *testing.B) {
	l := sparseRandom(100_000)
	for _, e := range decided {
		b.Run(e.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Classes(l, e)
			}
		})
	}
}

// BenchmarkSignatures includes the partition, which they are made from.
func BenchmarkSignatures(b *testing.B) {
	for _, m := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(m), func(b *testing.B) {
			l := internalChain(m, m)
			b.ReportAllocs()
			for b.Loop() {
				BranchingPartition(l).Signature(0)
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	l := sparseRandom(1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		var u Builder
		u.AddLTS(l)
		u.Build(0)
	}
}

func BenchmarkUnion(b *testing.B) {
	l := sparseRandom(1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		Union(l, l)
	}
}

// The families are what they are said to be, in a small size, and the algorithm
// agrees with the other one about them.
func TestFamilies(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := f.make(600)
			if m := l.Transitions(); m < 200 || m > 2000 {
				t.Errorf("%d transitions", m)
			}
			for _, p := range []*Partition{BranchingPartition(l), classesWithout(l, Branching, 0), classesWithout(l, Branching, 1)} {
				samePartition(t, p, partitionBySignatures(l))
			}
		})
	}
}
