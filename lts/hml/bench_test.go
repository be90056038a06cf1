package hml

import (
	"errors"
	"fmt"
	"testing"

	"github.com/spexio/spex/lts"
)

// sparse is a random system of n states and 2n transitions, of which a third are
// internal, and a copy of it with one transition less. The numbers are those of a
// fixed generator.
func sparse(n int, labels uint64) (l *lts.LTS, s, t lts.State) {
	seed := uint64(n)
	random := func(below uint64) uint64 {
		seed = seed*6364136223846793005 + 1442695040888963407
		return (seed >> 33) % below
	}
	var b lts.Builder
	b.AddStates(2 * n)
	shift := lts.State(n)
	for i := range 2 * n {
		from, label, to := lts.State(random(uint64(n))), lts.Label(random(labels)+1), lts.State(random(uint64(n)))
		if i < n-1 {
			from, to = to%(lts.State(i)+1), lts.State(i+1) // everything can be reached
		}
		if random(3) == 0 {
			label = lts.Tau
		}
		b.Add(from, label, to)
		if i != n { // the copy lacks this one
			b.Add(from+shift, label, to+shift)
		}
	}
	return b.Build(0), 0, shift
}

func BenchmarkDistinguish(b *testing.B) {
	for _, n := range []int{100, 1000, 10000, 100000} {
		for _, e := range equivalences {
			b.Run(fmt.Sprintf("sparse/%v/%d", e, n), func(b *testing.B) {
				l, s, t := sparse(n, 3)
				run(b, l, s, t, e)
			})
			b.Run(fmt.Sprintf("line/%v/%d", e, n), func(b *testing.B) {
				run(b, line(n), 0, 1, e)
			})
			b.Run(fmt.Sprintf("doubling/%v/%d", e, n), func(b *testing.B) {
				l, s, t := doubling(n / 5)
				run(b, l, s, t, e)
			})
		}
	}
}

func run(b *testing.B, l *lts.LTS, s, t lts.State, e lts.Equivalence) {
	b.ReportAllocs()
	var f *Formula
	for b.Loop() {
		var err error
		if f, err = Distinguish(l, s, t, e); err != nil {
			if errors.Is(err, ErrTooLarge) {
				b.Skip(err)
			}
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(f.Depth()), "depth")
	b.ReportMetric(float64(f.Size()), "parts")
}
