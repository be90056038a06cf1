package ltsfile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/spexio/spex/lts"
)

// sparse is a random system of a shape that models have: n transitions, 2n/5 states
// that can all be reached, eight visible actions and an internal one.
func sparse(n int) *lts.System {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	alphabet := new(lts.Alphabet)
	labels := []lts.Label{lts.Tau}
	for i := range 8 {
		labels = append(labels, alphabet.Intern("act"+strconv.Itoa(i)))
	}
	states := int32(n*2/5 + 1)
	var b lts.Builder
	b.AddStates(int(states))
	for i := range int32(n) {
		from, to := rng.Int32N(states), rng.Int32N(states)
		if i+1 < states {
			from, to = rng.Int32N(i+1), i+1
		}
		b.Add(from, labels[rng.IntN(len(labels))], to)
	}
	return &lts.System{LTS: b.Build(0), Alphabet: alphabet}
}

// BenchmarkRead reads systems of 10^4 to 10^6 transitions in every format.
func BenchmarkRead(b *testing.B) {
	for _, f := range Formats() {
		for _, n := range []int{1e4, 1e5, 1e6} {
			b.Run(fmt.Sprintf("%s/%d", f, n), func(b *testing.B) {
				var text bytes.Buffer
				if err := Write(&text, sparse(n), f, WriteOptions{}); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(text.Len()))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Read("bench", bytes.NewReader(text.Bytes()), f, Options{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkParseAUT leaves out what follows the reading of the text: sorting the
// transitions of 10^6 into an LTS.
func BenchmarkParseAUT(b *testing.B) {
	var text bytes.Buffer
	if err := Write(&text, sparse(1e6), AUT, WriteOptions{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		o := Options{}.withDefaults()
		src := newSource("bench", bytes.NewReader(text.Bytes()), &o)
		if err := readAUT(src, newDraft(src, &o)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrite writes a system of 10^6 transitions in every format.
func BenchmarkWrite(b *testing.B) {
	s := sparse(1e6)
	for _, f := range Formats() {
		b.Run(string(f), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var n counter
				if err := Write(&n, s, f, WriteOptions{}); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(n))
			}
		})
	}
}

// counter is a writer that only counts.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
