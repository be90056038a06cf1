package hml

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/spexio/spex/lts"
)

// doubling makes systems whose n-th states are told apart by a formula that needs the
// one for the states before twice: the tree doubles n times, the graph grows by a
// constant.
func doubling(n int) (l *lts.LTS, s, t lts.State) {
	const a, b, c, d = 1, 2, 3, 4
	var out lts.Builder
	s, t = out.AddState(), out.AddState()
	out.Add(s, d, s)
	for range n {
		u, v := out.AddState(), out.AddState()
		x, y, z := out.AddState(), out.AddState(), out.AddState()
		out.Add(u, a, x)
		for _, from := range []lts.State{u, v} {
			out.Add(from, a, y)
			out.Add(from, a, z)
		}
		out.Add(x, b, s)
		out.Add(x, c, s)
		out.Add(y, b, t)
		out.Add(y, c, s)
		out.Add(z, b, s)
		out.Add(z, c, t)
		s, t = u, v
	}
	return out.Build(s), s, t
}

func TestGraphStaysSmallWhereTreeExplodes(t *testing.T) {
	for _, e := range equivalences {
		for _, n := range []int{4, 10, 40, 200} {
			l, s, u := doubling(n)
			f, err := Distinguish(l, s, u, e)
			if err != nil {
				t.Fatalf("%v, %d: %v", e, n, err)
			}
			if f.Size() > 5*n+5 {
				t.Errorf("%v, %d: %d parts", e, n, f.Size())
			}
			if least := uint64(1) << min(n, 63); n < 63 && f.TreeSize() < least || n >= 64 && f.TreeSize() != math.MaxUint64 {
				t.Errorf("%v, %d: the tree has %d parts, which is not exponential", e, n, f.TreeSize())
			}
			for what, text := range map[string]string{"text": f.Text(letters{}), "mcf": f.MCF(letters{})} {
				if len(text) > 600*(n+1) && n > 4 {
					t.Errorf("%v, %d: %s of %d bytes", e, n, what, len(text))
				}
			}
			if words := f.Words(letters{}, "A", "B"); len(words) > maxLines+2 {
				t.Errorf("%v, %d: %d lines of words", e, n, len(words))
			}
		}
	}
}

func TestSharedPartsGetNames(t *testing.T) {
	l, s, u := doubling(3)
	f, err := Distinguish(l, s, u, lts.Strong)
	if err != nil {
		t.Fatal(err)
	}
	want := `let F1 = <a>(<b><d>true && <c><d>true)
let F2 = <a>(<b>F1 && <c>F1)
in <a>(<b>F2 && <c>F2)`
	if got := f.Text(letters{}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// line is a chain of n actions and, as its last state, one of n+1.
func line(n int) *lts.LTS {
	var b lts.Builder
	first := b.AddStates(n + 2)
	for s := range lts.State(n + 1) {
		b.Add(first+s, 1, first+s+1)
	}
	return b.Build(0)
}

// A formula as deep as the system: no stack overflows, and the texts stay readable.
func TestDeepFormula(t *testing.T) {
	const n = 3000
	l := line(n)
	for _, e := range equivalences {
		f, err := Distinguish(l, 0, 1, e)
		if err != nil {
			t.Fatal(err)
		}
		if f.Depth() != n+1 || f.Size() != n+2 {
			t.Errorf("%v: depth %d, %d parts", e, f.Depth(), f.Size())
		}
		words := f.Words(letters{}, "A", "B")
		if want := `After "a" (3000 times), A can do "a"; B cannot.`; len(words) != 1 || words[0] != want {
			t.Errorf("%v: got %q, want %q", e, words, want)
		}
		if text := f.Text(letters{}); len(text) > 30*n {
			t.Errorf("%v: text of %d bytes", e, len(text))
		}
		if text := f.MCF(letters{}); len(text) > 150*n {
			t.Errorf("%v: mcf of %d bytes", e, len(text))
		}
	}
}

// Internal steps in a long row, with a difference at the end of it, and on a cycle.
func TestLongInternalPaths(t *testing.T) {
	const n = 20000
	for _, cycle := range []bool{false, true} {
		var b lts.Builder
		b.AddStates(2*n + 1)
		end := lts.State(2 * n)
		for i := range lts.State(n - 1) {
			b.Add(i, lts.Tau, i+1)
			b.Add(n+i, lts.Tau, n+i+1)
		}
		if cycle {
			b.Add(n-1, lts.Tau, 0)
			b.Add(2*n-1, lts.Tau, n)
		}
		b.Add(n-1, 1, end)
		b.Add(2*n-1, 1, end)
		b.Add(2*n-1, 2, end)
		l := b.Build(0)
		for _, e := range equivalences[1:] {
			f, err := Distinguish(l, 0, n, e)
			if err != nil || f.Depth() != 1 {
				t.Fatalf("%v: %v", e, err)
			}
			if got, want := f.Words(letters{}, "A", "B")[0], `B can do "b"; A cannot.`; got != want {
				t.Errorf("%v: got %q, want %q", e, got, want)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	l, s, u := doubling(6)
	if _, err := Distinguish(l, s, s, lts.Branching); !errors.Is(err, ErrEquivalent) {
		t.Errorf("a state and itself: %v", err)
	}
	if _, err := Distinguish(l, s, u, lts.WeakTrace); !errors.Is(err, ErrUnsupported) {
		t.Errorf("traces: %v", err)
	}
	for _, lim := range []Limits{{States: 10}, {Items: 10}, {Parts: 10}} {
		for _, e := range equivalences {
			if f, err := lim.Distinguish(l, s, u, e); !errors.Is(err, ErrTooLarge) || f != nil {
				t.Errorf("%v with limits %+v: %v", e, lim, err)
			}
		}
	}
	// What the two states do not reach does not count.
	f, err := Limits{States: 2}.Distinguish(l, 0, 1, lts.Branching)
	if err != nil || f.Depth() != 1 {
		t.Errorf("two states: %v", err)
	}
}

func TestDocument(t *testing.T) {
	l, alphabet, s, u := pair(t, "0 pay 1, 1 ship 2, 1 cancel 3", "0 pay 1, 1 ship 2, 1 cancel 3, 1 tau 4, 4 ship 2")
	f, err := Distinguish(l, s, u, lts.Branching)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(f.Document(alphabet))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		`{"depth":3,"root":5,"parts":[{"id":0,"op":"true"}`,
		`{"id":1,"op":"branching","action":"cancel","after":0,"before":0}`,
		`{"id":2,"op":"not","of":[1]}`,
		`{"id":3,"op":"branching","internal":true,"after":2,"before":0}`,
		`{"id":4,"op":"branching","action":"pay","after":3,"before":0}`,
		`{"id":5,"op":"not","of":[4]}]}`,
	}, ",")
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
