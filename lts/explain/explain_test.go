package explain

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spexio/spex/lts"
)

// system reads transitions like "0 pay 1, 1 tau 2"; the first state is the initial one.
func system(t testing.TB, alphabet *lts.Alphabet, text string) *lts.System {
	t.Helper()
	sys := &lts.System{Alphabet: alphabet}
	var b lts.Builder
	index := map[string]lts.State{}
	state := func(name string) lts.State {
		s, known := index[name]
		if !known {
			s = b.AddState()
			index[name] = s
			sys.States = append(sys.States, name)
		}
		return s
	}
	for part := range strings.SplitSeq(text, ",") {
		f := strings.Fields(part)
		if len(f) == 1 {
			state(f[0])
			continue
		}
		if len(f) != 3 {
			t.Fatalf("not a transition: %q", part)
		}
		label := lts.Tau
		if f[1] != "tau" {
			label = alphabet.Intern(f[1])
		}
		b.Add(state(f[0]), label, state(f[2]))
	}
	sys.LTS = b.Build(0)
	return sys
}

func compare(t testing.TB, left, right string, o Options) *Report {
	t.Helper()
	var alphabet lts.Alphabet
	r, err := Compare(system(t, &alphabet, left), system(t, &alphabet, right), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// show writes what matters of a report.
func show(r *Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n%s\n", r.Holds, r.Grade, r.Summary)
	for _, t := range []struct {
		name  string
		trace *Trace
	}{{"extra", r.Extra}, {"missing", r.Missing}} {
		if t.trace != nil {
			fmt.Fprintf(&b, "%s: %s, instead %s, run %s", t.name, strings.Join(t.trace.Actions, " "), strings.Join(t.trace.Instead, " "), t.trace.Start)
			for _, s := range t.trace.Run {
				fmt.Fprintf(&b, " -%s-> %s", s.Action, s.State)
			}
			b.WriteString("\n")
		}
	}
	if r.Coverage != nil && !r.Coverage.Complete() {
		fmt.Fprintf(&b, "not shown: %v\n", r.Coverage.Missing)
	}
	if r.AnyHolds {
		fmt.Fprintf(&b, "strongest: %s\n", r.Strongest)
	}
	return b.String()
}

func TestReports(t *testing.T) {
	cases := []struct{ name, left, right, want string }{
		{"the same", "n pay p, p ship s", "1 pay 2, 2 ship 3", `
yes EQUIVALENT
The specification and the implementation are branching bisimilar.
strongest: strong
`},
		{"tau stutter", "0 a 1, 1 b 2", "0 a 1, 1 tau 2, 2 b 3", `
yes EQUIVALENT
The specification and the implementation are branching bisimilar.
strongest: dpbranching
`},
		{"tau loop", "0 a 1", "0 a 1, 1 tau 1", `
yes EQUIVALENT
The specification and the implementation are branching bisimilar.
strongest: branching
`},
		{"extra action", "n pay p, p ship s, n cancel c", "n pay p, p ship s, n cancel c, p cancel c", `
no EXTRA_BEHAVIOUR
After pay, the implementation can do cancel, and the specification cannot: there it allows only ship.
extra: pay cancel, instead ship, run n -pay-> p -cancel-> c
`},
		{"extra action behind internal steps", "0 a 1, 1 b 2", "0 a 1, 1 tau 2, 2 tau 3, 3 b 4, 3 c 5", `
no EXTRA_BEHAVIOUR
After "a", the implementation can do "c", and the specification cannot: there it allows only "b".
extra: a c, instead b, run 0 -a-> 1 -tau-> 2 -tau-> 3 -c-> 5
`},
		{"extra at the start", "0", "0 a 1", `
no EXTRA_BEHAVIOUR
At the start the implementation can do "a", and the specification cannot: there it allows nothing more.
extra: a, instead , run 0 -a-> 1
`},
		{"not covered", "n pay p, p ship s, p refund r, r close d, n cancel c", "n pay p, p ship s", `
no COVERAGE_GAP
The implementation does nothing that the specification forbids, but has not shown everything that it offers: 3 of 5 transitions are missing.
missing: cancel, instead pay, run n -cancel-> c
not shown: [{n cancel c} {p refund r} {r close d}]
`},
		{"a.(b+c) is not a.b+a.c", "0 a 1, 1 b 2, 1 c 3", "0 a 1, 0 a 2, 1 b 3, 2 c 4", `
no COVERAGE_GAP
The implementation does nothing that the specification forbids, but it does not keep all choices open as long.
strongest: trace
`},
		{"a.b+a.c is not a.(b+c)", "0 a 1, 0 a 2, 1 b 3, 2 c 4", "0 a 1, 1 b 2, 1 c 3", `
no BRANCHING_MISMATCH
The implementation takes only sequences of actions that the specification allows, but choices are made at different points.
strongest: trace
`},
		// Which of the two "a" was seen is told by what follows.
		{"one of two choices", "0 a 1, 0 a 2, 1 b 3, 2 c 4", "0 a 1, 1 b 2", `
no COVERAGE_GAP
The implementation does nothing that the specification forbids, but has not shown everything that it offers: 2 of 4 transitions are missing.
missing: a c, instead b, run 0 -a-> 2 -c-> 4
not shown: [{0 a 2} {2 c 4}]
`},
		{"tau drops an option", "0 a 1, 0 b 2", "0 a 1, 0 b 2, 0 tau 3, 3 a 1", `
no BRANCHING_MISMATCH
The implementation takes only sequences of actions that the specification allows, but choices are made at different points.
strongest: weak-simulation
`},
		{"tau.a+b is not a+b", "0 tau 1, 1 a 2, 0 b 3", "0 a 2, 0 b 3", `
no BRANCHING_MISMATCH
The implementation takes only sequences of actions that the specification allows, but choices are made at different points.
strongest: weak-simulation
`},
		{"weakly bisimilar only", "0 a 1, 1 b 2, 1 tau 3, 3 c 4", "0 a 1, 1 b 2, 1 tau 3, 3 c 4, 0 a 3", `
no BRANCHING_MISMATCH
The specification and the implementation can do the same (they are weakly bisimilar), but internal steps take choices away at different points.
strongest: weak
`},
		// An inert internal step cannot be seen, and does not count.
		{"inert steps are not missing", "0 a 1, 1 tau 2, 2 b 3", "0 a 1, 1 b 2", `
yes EQUIVALENT
The specification and the implementation are branching bisimilar.
strongest: dpbranching
`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := compare(t, c.left, c.right, Options{Equivalence: lts.Branching})
			if got := show(r); got != c.want[1:] {
				t.Errorf("got\n%swant\n%s", got, c.want[1:])
			}
			if (r.Formula == nil) != (r.Holds == lts.Yes) {
				t.Errorf("holds %v, formula %v", r.Holds, r.Formula)
			}
			if r.Formula != nil && len(r.Formula.Words) == 0 {
				t.Error("no words for the formula")
			}
		})
	}
}

// draw makes a random system over a, b and internal steps.
func draw(t *rapid.T, name string, alphabet *lts.Alphabet) *lts.System {
	n := rapid.Int32Range(1, 5).Draw(t, name+" states")
	var b lts.Builder
	b.AddStates(int(n))
	for range rapid.IntRange(0, 9).Draw(t, name+" transitions") {
		state := rapid.Int32Range(0, n-1)
		b.Add(state.Draw(t, "from"), rapid.Int32Range(0, 2).Draw(t, "label"), state.Draw(t, "to"))
	}
	return &lts.System{LTS: b.Build(0), Alphabet: alphabet}
}

// words are the visible words of at most n letters that a system has.
func words(l *lts.LTS, n int) map[string]bool {
	out := map[string]bool{}
	var walk func(word []lts.Label, text string)
	walk = func(word []lts.Label, text string) {
		if len(lts.After(l, word, true)) == 0 {
			return
		}
		out[text] = true
		if len(word) == n {
			return
		}
		for label := lts.Label(1); label <= 2; label++ {
			walk(append(slices.Clone(word), label), text+string(rune('a'+label-1)))
		}
	}
	walk(nil, "")
	return out
}

// What a report says of random systems agrees with the definitions.
func TestReportsAreTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var alphabet lts.Alphabet
		alphabet.Intern("a")
		alphabet.Intern("b")
		left, right := draw(t, "left", &alphabet), draw(t, "right", &alphabet)
		r, err := Compare(left, right, Options{Equivalence: lts.Branching})
		if err != nil {
			t.Fatal(err)
		}
		ofLeft, ofRight := words(left.LTS, 12), words(right.LTS, 12)
		check := func(name string, trace *Trace, has, other map[string]bool, sys *lts.System) {
			extra := false
			for w := range has {
				extra = extra || !other[w]
			}
			if trace == nil {
				if extra {
					t.Fatalf("%s: there is a trace, and none is reported", name)
				}
				return
			}
			word := strings.Join(trace.Actions, "")
			if !has[word] || other[word] {
				t.Fatalf("%s: %q does not tell the systems apart", name, word)
			}
			for w := range has {
				if len(w) < len(word) && !other[w] {
					t.Fatalf("%s: %q is longer than %q", name, word, w)
				}
			}
			var visible []string
			at := sys.LTS.Initial()
			for _, s := range trace.Run {
				var to lts.State
				fmt.Sscan(s.State, &to)
				label := lts.Tau
				if !s.Internal {
					visible = append(visible, s.Action)
					label, _ = alphabet.Lookup(s.Action)
				}
				if !slices.Contains(sys.LTS.Steps(at), lts.Step{Label: label, To: to}) {
					t.Fatalf("%s: there is no step %v from %d", name, s, at)
				}
				at = to
			}
			if !slices.Equal(visible, trace.Actions) {
				t.Fatalf("%s: the run shows %v, not %v", name, visible, trace.Actions)
			}
		}
		check("extra", r.Extra, ofRight, ofLeft, right)
		check("missing", r.Missing, ofLeft, ofRight, left)
		grade, _ := GradeOf(left.LTS, right.LTS, lts.Limits{})
		if grade != r.Grade {
			t.Fatalf("GradeOf says %s, Compare %s", grade, r.Grade)
		}
		if grade == Equivalent && !r.Coverage.Complete() {
			t.Fatalf("equivalent and not covered: %v", r.Coverage.Missing)
		}
		if (grade == Equivalent) != lts.BranchingBisimilar(left.LTS, right.LTS) {
			t.Fatalf("grade %s", grade)
		}
	})
}

func TestAlphabetsMustBeShared(t *testing.T) {
	var a, b lts.Alphabet
	if _, err := Compare(system(t, &a, "0 x 1"), system(t, &b, "0 x 1"), Options{}); err != ErrAlphabets {
		t.Errorf("got %v", err)
	}
}

func TestLargeSystemsAreNotExplained(t *testing.T) {
	r := compare(t, "0 a 1, 1 b 2", "0 a 1", Options{Equivalence: lts.Branching, MaxExplained: 2})
	if r.Holds != lts.No || r.Grade != "" || !strings.Contains(r.LeftOut, "3 transitions") {
		t.Errorf("%+v", r)
	}
}

func TestOnlyTheVerdict(t *testing.T) {
	r := compare(t, "0 a 1, 1 b 2", "0 a 1", Options{Equivalence: lts.Weak, VerdictOnly: true})
	if r.Holds != lts.No || r.Grade != "" || r.Ladder != nil || r.Summary != "The specification and the implementation are not weakly bisimilar." {
		t.Errorf("%+v", r)
	}
}
