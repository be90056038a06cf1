package lts_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/spexio/spex/lts"
	"pgregory.net/rapid"
)

// triple is a transition with the name of its label.
type triple struct {
	from  lts.State
	label string
	to    lts.State
}

// named is a system of three states with an alphabet of its own.
func named(labels []string, transitions ...triple) *lts.System {
	s := &lts.System{Alphabet: new(lts.Alphabet), States: []string{"x", "y", "z"}}
	for _, l := range labels {
		s.Alphabet.Intern(l)
	}
	var b lts.Builder
	b.AddStates(3)
	for _, t := range transitions {
		label := lts.Tau
		if t.label != "" {
			label = s.Alphabet.Intern(t.label)
		}
		b.Add(t.from, label, t.to)
	}
	s.LTS = b.Build(1)
	return s
}

// triples are the transitions of a system, sorted.
func triples(s *lts.System) []string {
	var all []string
	for from := range lts.State(s.LTS.States()) {
		steps := s.LTS.Steps(from)
		if !slices.IsSortedFunc(steps, func(a, b lts.Step) int { return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.To, b.To)) }) {
			all = append(all, fmt.Sprintf("the steps of %d are not sorted: %v", from, steps))
		}
		for _, step := range steps {
			all = append(all, fmt.Sprint(triple{from, s.Alphabet.Name(step.Label), step.To}))
		}
	}
	slices.Sort(all)
	return all
}

func TestAlign(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b []string
		// want are the labels of the common alphabet.
		want []string
		// shared tells whether b keeps its LTS.
		shared bool
	}{
		{"the same labels", []string{"p", "q"}, []string{"p", "q"}, []string{"p", "q"}, true},
		{"fewer labels", []string{"p", "q"}, []string{"p"}, []string{"p", "q"}, true},
		{"more labels", []string{"p"}, []string{"p", "q"}, []string{"p", "q"}, true},
		{"another order", []string{"p", "q"}, []string{"q", "p"}, []string{"p", "q"}, false},
		{"other labels", []string{"p"}, []string{"q"}, []string{"p", "q"}, false},
		{"no labels", nil, nil, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			system := func(labels []string) *lts.System {
				transitions := []triple{{0, "", 1}, {2, "", 2}}
				for i, l := range labels {
					transitions = append(transitions, triple{0, l, lts.State(i)}, triple{lts.State(i), l, 2})
				}
				return named(labels, transitions...)
			}
			a, b := system(tt.a), system(tt.b)
			x, y := lts.Align(a, b)
			if x.Alphabet != y.Alphabet || x.LTS != a.LTS || (y.LTS == b.LTS) != tt.shared {
				t.Errorf("alphabets %p, %p; a is kept: %v; b is kept: %v, want %v", x.Alphabet, y.Alphabet, x.LTS == a.LTS, y.LTS == b.LTS, tt.shared)
			}
			var names []string
			for l := lts.Tau + 1; int(l) < x.Alphabet.Len(); l++ {
				names = append(names, x.Alphabet.Name(l))
			}
			if !slices.Equal(names, tt.want) {
				t.Errorf("labels %q, want %q", names, tt.want)
			}
			if got, want := triples(x), triples(a); !slices.Equal(got, want) {
				t.Errorf("a has become %v, was %v", got, want)
			}
			if got, want := triples(y), triples(b); !slices.Equal(got, want) {
				t.Errorf("b has become %v, was %v", got, want)
			}
			if y.LTS.Initial() != 1 || y.StateName(2) != "z" {
				t.Errorf("initial %d, state 2 %q", y.LTS.Initial(), y.StateName(2))
			}
			if a.Alphabet.Len() != len(tt.a)+1 || b.Alphabet.Len() != len(tt.b)+1 {
				t.Errorf("the alphabets of the arguments have grown to %d and %d", a.Alphabet.Len(), b.Alphabet.Len())
			}
		})
	}
}

func TestAlignLeavesOneAlphabetAlone(t *testing.T) {
	a := named([]string{"p"}, triple{0, "p", 1})
	b := &lts.System{LTS: a.LTS, Alphabet: a.Alphabet}
	if x, y := lts.Align(a, b); x != a || y != b {
		t.Error("systems with one alphabet were copied")
	}
}

// TestAssembleIsABuilder compares the two ways to make an LTS, on few states and on
// states with many steps.
func TestAssembleIsABuilder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "states")
		state := rapid.Int32Range(0, int32(n)-1)
		var b lts.Builder
		b.AddStates(n)
		var edges [][3]int32
		for range rapid.IntRange(0, 80).Draw(t, "transitions") {
			e := [3]int32{state.Draw(t, "from"), rapid.Int32Range(0, 6).Draw(t, "label"), state.Draw(t, "to")}
			edges = append(edges, e)
			b.Add(e[0], e[1], e[2])
		}
		initial := state.Draw(t, "initial")
		want := b.Build(initial)
		got := lts.Assemble(n, initial, func(yield func(lts.State, lts.Label, lts.State)) {
			for _, e := range edges {
				yield(e[0], e[1], e[2])
			}
		})
		if got.States() != want.States() || got.Initial() != want.Initial() || got.Transitions() != want.Transitions() {
			t.Fatalf("%d states, initial %d, %d transitions; want %d, %d, %d", got.States(), got.Initial(), got.Transitions(), want.States(), want.Initial(), want.Transitions())
		}
		for s := range lts.State(n) {
			if !slices.Equal(got.Steps(s), want.Steps(s)) {
				t.Errorf("steps of %d: %v, want %v", s, got.Steps(s), want.Steps(s))
			}
		}
	})
}

func TestAssembleRefusesWhatABuilderRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		initial lts.State
		edge    [3]int32
	}{
		{"initial state", 2, [3]int32{0, 0, 0}},
		{"negative initial state", -1, [3]int32{0, 0, 0}},
		{"source", 0, [3]int32{2, 0, 0}},
		{"negative source", 0, [3]int32{-1, 0, 0}},
		{"target", 0, [3]int32{0, 0, 2}},
		{"negative target", 0, [3]int32{0, 0, -1}},
		{"negative label", 0, [3]int32{0, -1, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			lts.Assemble(2, tt.initial, func(yield func(lts.State, lts.Label, lts.State)) { yield(tt.edge[0], tt.edge[1], tt.edge[2]) })
		})
	}
}
