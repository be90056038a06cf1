package lts

import (
	"fmt"
	"math"
	"slices"
)

// Align gives two systems one alphabet, which comparing them takes. Neither argument
// is changed. The results share the LTS of the arguments where their labels stay as
// they are: always for a, and for b too when its labels have the same numbers in the
// alphabet of a, as those of two files with the same actions have. Otherwise the
// transitions of b are copied with other labels.
func Align(a, b *System) (*System, *System) {
	if a.Alphabet == b.Alphabet {
		return a, b
	}
	merged := a.Alphabet
	of := make([]Label, b.Alphabet.Len())
	same := true
	for l := Tau + 1; int(l) < len(of); l++ {
		name := b.Alphabet.Name(l)
		m, known := merged.Lookup(name)
		if !known {
			if merged == a.Alphabet {
				merged = merged.clone()
			}
			m = merged.Intern(name)
		}
		of[l] = m
		same = same && m == l
	}
	x, y := *a, *b
	x.Alphabet, y.Alphabet = merged, merged
	if !same {
		y.LTS = Assemble(b.LTS.States(), b.LTS.Initial(), func(yield func(State, Label, State)) {
			for s := range State(b.LTS.States()) {
				for _, step := range b.LTS.Steps(s) {
					yield(s, of[step.Label], step.To)
				}
			}
		})
	}
	return &x, &y
}

// clone is an alphabet with the same labels that can be extended on its own.
func (a *Alphabet) clone() *Alphabet {
	c := new(Alphabet)
	for l := Tau + 1; int(l) < a.Len(); l++ {
		c.Intern(a.Name(l))
	}
	return c
}

// Assemble makes an LTS of n states from a sequence of transitions, in any order,
// duplicates included. edges is called twice, and must yield the same transitions
// both times. Other than a Builder this keeps no copy of them, so that it needs no
// more memory than the result. It panics where Builder.Add and Builder.Build do.
func Assemble(n int, initial State, edges func(yield func(from State, label Label, to State))) *LTS {
	if initial < 0 || int(initial) >= n {
		panic(fmt.Sprintf("lts: initial state %d in a system of %d states", initial, n))
	}
	// While steps are placed, offsets[s+1] is where the next step of s goes; it ends
	// up where the steps of s end.
	offsets := make([]int32, n+1)
	total := 0
	edges(func(from State, label Label, to State) {
		if uint(from) >= uint(n) || uint(to) >= uint(n) || label < 0 || total == math.MaxInt32 {
			panic(fmt.Sprintf("lts: transition %d, (%d, %d, %d), in a system of %d states", total, from, label, to, n))
		}
		offsets[from+1]++
		total++
	})
	sum := int32(0)
	for s := range n {
		count := offsets[s+1]
		offsets[s+1] = sum
		sum += count
	}
	steps := make([]Step, total)
	edges(func(from State, label Label, to State) {
		steps[offsets[from+1]] = Step{label, to}
		offsets[from+1]++
	})
	begin, out := int32(0), int32(0)
	for s := range n {
		own := steps[begin:offsets[s+1]]
		begin = offsets[s+1]
		sortSteps(own)
		out += int32(copy(steps[out:], slices.Compact(own)))
		offsets[s+1] = out
	}
	return &LTS{initial: initial, offsets: offsets, steps: steps[:out:out]}
}
