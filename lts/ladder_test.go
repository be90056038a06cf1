package lts

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// verdicts writes a ladder in the order of the rungs: = holds, < and > only the left
// system is below or above, # neither, - not (no halves), ? unknown.
func verdicts(rungs []Rung) string {
	var b strings.Builder
	for _, r := range rungs {
		left, right := r.Equivalence.halves()
		switch {
		case r.Holds == Yes:
			b.WriteByte('=')
		case r.Holds == Unknown:
			b.WriteByte('?')
		case left == right:
			b.WriteByte('-')
		case r.LeftInRight == Yes:
			b.WriteByte('<')
		case r.RightInLeft == Yes:
			b.WriteByte('>')
		default:
			b.WriteByte('#')
		}
	}
	return b.String()
}

// vectors are pairs with the verdict of every rung: strong, dpbranching, branching,
// weak, weak simulation, traces, weak traces.
var vectors = []struct{ name, a, b, want string }{
	{"deadlock", "0", "0", "======="},
	{"deadlock and a step", "0", "0 a 1", "----<<<"},
	{"late and early choice", "0 a 1, 1 b 2, 1 c 3", "0 a 1, 0 a 2, 1 b 3, 2 c 4", "---->=="},
	{"tau stutter before", "0 a 1", "0 tau 1, 1 a 2", "-====#="},
	{"tau stutter after", "0 a 1, 1 b 2", "0 a 1, 1 tau 2, 2 b 3", "-====#="},
	{"tau that drops an option", "0 a 1, 0 b 2", "0 a 1, 0 b 2, 0 tau 3, 3 a 4", "----=<="},
	{"tau loop", "0 a 1", "0 tau 0, 0 a 1", "--===<="},
	{"tau loop at a deadlock", "0", "0 tau 0", "--===<="},
	{"tau.a + b and a + b", "0 tau 1, 1 a 2, 0 b 3", "0 a 1, 0 b 2", "----=#="},
	{"duplicated states", "0 a 1, 1 b 2", "0 a 1, 0 a 2, 1 b 3, 2 b 4", "======="},
	{"unrolled loop", "0 a 1, 1 b 0", "0 a 1, 1 b 2, 2 a 3, 3 b 0", "======="},
	{"first law: a.tau and a", "0 a 1", "0 a 1, 1 tau 2", "-====<="},
	{"second law: a + tau.a and tau.a", "0 a 1, 0 tau 2, 2 a 1", "0 tau 2, 2 a 1", "-====>="},
	{"second law with a choice", "0 c 4, 0 tau 2, 2 a 1, 0 a 1", "0 c 4, 0 tau 2, 2 a 1", "---==>="},
	{"third law", "0 a 1, 1 tau 2, 2 b 3, 1 c 3", "0 a 1, 1 tau 2, 2 b 3, 1 c 3, 0 a 2", "---==<="},
	{"same traces, simulation one way", "0 a 1, 1 b 2", "0 a 1, 1 b 2, 0 a 3", "----==="},
	{"choice by tau", "0 tau 1, 0 tau 2, 1 a 3, 2 b 4", "0 a 1, 0 b 2", "----=#="},
	{"choices one step down", "0 a 1, 1 tau 2, 1 tau 3, 2 b 4, 3 c 5", "0 a 1, 0 a 2, 1 b 3, 2 c 4", "---->#="},
	{"visible actions i and tau", "0 a 1", "0 'tau 1, 1 a 2", "----###"},
	{"initial state without steps beside others", "0 a 1", "7, 0 a 1", "---->>>"},
	{"B2 with both additions", "0 a 1, 0 a 2, 1 b 3, 2 b 3, 2 c 3", "0 a 2, 0 a 4, 2 b 3, 2 c 3, 4 b 3, 4 c 3", "----==="},
	{"other letters", "0 a 1", "0 b 1", "----###"},
	{"more of both", "0 a 1, 1 b 2", "0 a 1, 1 c 2", "----###"},
	{"three-fold choice by traces only", "0 a 1, 0 a 2, 1 b 3, 2 c 4", "0 a 1, 1 b 2, 1 c 3, 0 a 4, 4 b 5", "----<=="},
}

func TestLadderVectors(t *testing.T) {
	mirror := strings.NewReplacer("<", ">", ">", "<")
	for _, tc := range vectors {
		t.Run(tc.name, func(t *testing.T) {
			var alphabet Alphabet
			a, b := parse(t, &alphabet, tc.a), parse(t, &alphabet, tc.b)
			if got := verdicts(Ladder(a, b, Limits{})); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if got := verdicts(Ladder(b, a, Limits{})); got != mirror.Replace(tc.want) {
				t.Errorf("the other way round: got %s, want %s", got, mirror.Replace(tc.want))
			}
			checkLadder(t, a, b, Label(alphabet.Len()))
		})
	}
}

// checkLadder compares Ladder and Compare with the definitions.
func checkLadder(t interface{ Fatalf(string, ...any) }, a, b *LTS, letters Label) {
	want := definition(a, b, letters)
	rungs := Ladder(a, b, Limits{})
	for i, e := range Equivalences() {
		left, right := e.halves()
		for how, c := range map[string]Comparison{"Ladder": rungs[i].Comparison, "Compare": Compare(a, b, e, Limits{})} {
			if c.Holds != both(want[left], want[right]) {
				t.Fatalf("%s: %v: got %v, the definition says %v for\n%s\n%s", how, e, c.Holds, both(want[left], want[right]), show(a), show(b))
			}
			if left != right && (c.LeftInRight != want[left] || c.RightInLeft != want[right]) {
				t.Fatalf("%s: %v: got %v and %v, the definition says %v and %v for\n%s\n%s",
					how, e, c.LeftInRight, c.RightInLeft, want[left], want[right], show(a), show(b))
			}
			if c.Capped {
				t.Fatalf("%s: %v: capped for\n%s\n%s", how, e, show(a), show(b))
			}
			traces := e == StrongTrace || e == WeakTrace
			if (c.Trace != nil) != (traces && c.Holds == No && !(how == "Ladder" && rungs[i].Implied)) {
				t.Fatalf("%s: %v: trace %v for\n%s\n%s", how, e, c.Trace, show(a), show(b))
			}
			if c.Trace != nil {
				if wrong := checkTrace(a, b, e == WeakTrace, c.Trace); wrong != "" {
					t.Fatalf("%s: %v: %v is %s for\n%s\n%s", how, e, c.Trace, wrong, show(a), show(b))
				}
			}
		}
	}
}

func TestLadderIsTheDefinition(t *testing.T) {
	rounds(t, 20, func(t *rapid.T) { checkLadder(t, draw(t, "a"), draw(t, "b"), 3) })
}

// randomPair makes a system and another that is it with some changes, most of which
// keep some equivalence. Drawn systems mostly differ in everything.
func randomPair(r *rand.Rand) (a, b *LTS) {
	n := 1 + r.Int32N(6)
	labels := 1 + r.Int32N(3)
	var left, right Builder
	left.AddStates(int(n))
	right.AddStates(int(n))
	for range r.IntN(3 * int(n)) {
		from, label, to := r.Int32N(n), r.Int32N(labels), r.Int32N(n)
		left.Add(from, label, to)
		switch r.IntN(16) {
		case 0: // a stutter before
			x := right.AddState()
			right.Add(from, Tau, x)
			right.Add(x, label, to)
		case 1: // a stutter after
			x := right.AddState()
			right.Add(from, label, x)
			right.Add(x, Tau, to)
		case 2: // a stutter beside
			x := right.AddState()
			right.Add(from, label, to)
			right.Add(from, label, x)
			right.Add(x, Tau, to)
		case 3: // a copy that stops
			right.Add(from, label, to)
			right.Add(from, label, right.AddState())
		case 4: // a loop
			right.Add(from, label, to)
			right.Add(to, Tau, to)
		case 5: // one step lost
		case 6: // one step more
			right.Add(from, label, to)
			right.Add(to, r.Int32N(3), from)
		default:
			right.Add(from, label, to)
		}
	}
	initial := r.Int32N(n)
	return left.Build(initial), right.Build(initial)
}

// Pairs that are close to each other have ladders of many kinds. Besides being right,
// those kinds must come up: a fact that never differs from another is not tested.
func TestLadderOfSimilarSystems(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[string]int{}
	for range 3000 {
		a, b := randomPair(r)
		checkLadder(t, a, b, 3)
		seen[verdicts(Ladder(a, b, Limits{}))]++
	}
	for _, want := range []string{"=======", "-====#=", "--===<=", "---==<=", "----=<=", "----<<<", "----###"} {
		if seen[want] == 0 {
			t.Errorf("no pair with verdicts %s among %v", want, seen)
		}
	}
}

// What the table of implications says, and only that: every implication holds of all
// random pairs by the definitions, and what the table does not say has a counterexample.
func TestImplicationsByBruteForce(t *testing.T) {
	var follows [facts][facts]bool
	for f := range facts {
		var k knowledge
		k.set(f, Yes)
		for g := range facts {
			follows[f][g] = k[g] == Yes
			if k[g] == No {
				t.Errorf("fact %d refutes fact %d", f, g)
			}
		}
	}
	var refuted [facts][facts]bool
	check := func(a, b *LTS, letters Label) {
		k := definition(a, b, letters)
		for f := range facts {
			for g := range facts {
				if k[f] != Yes || k[g] != No {
					continue
				}
				refuted[f][g] = true
				if follows[f][g] {
					t.Fatalf("fact %d does not imply fact %d for\n%s\n%s", f, g, show(a), show(b))
				}
			}
		}
	}
	for _, v := range vectors {
		var alphabet Alphabet
		a, b := parse(t, &alphabet, v.a), parse(t, &alphabet, v.b)
		check(a, b, Label(alphabet.Len()))
		check(b, a, Label(alphabet.Len()))
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		a, b := randomPair(r)
		check(a, b, 3)
	}
	for f := range facts {
		for g := range facts {
			if !follows[f][g] && !refuted[f][g] {
				t.Errorf("fact %d seems to imply fact %d, and the table does not say so", f, g)
			}
		}
	}
}

// Known facts are closed under the table in both directions, in any order of learning.
func TestKnowledgeIsClosed(t *testing.T) {
	var k knowledge
	k.set(leftWeakTraces, No)
	for _, f := range []fact{isStrong, isDivergencePreserving, isBranching, isWeak, leftSimulated, leftStrongTraces} {
		if k[f] != No {
			t.Errorf("fact %d: a weak trace of the left system alone refutes it, got %v", f, k[f])
		}
	}
	for _, f := range []fact{rightSimulated, rightStrongTraces, rightWeakTraces} {
		if k[f] != Unknown {
			t.Errorf("fact %d: a weak trace of the left system says nothing of it, got %v", f, k[f])
		}
	}
	k = knowledge{}
	k.set(isWeak, Yes)
	if k[leftStrongTraces] != Unknown || k[isBranching] != Unknown || k[rightWeakTraces] != Yes {
		t.Errorf("weak bisimilarity: got %v", k)
	}
}

// With limits of any size an answer is the right one or none, and one that is
// missing says that it was capped.
func TestLimitsNeverMakeWrongAnswers(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	unknown := map[Equivalence]int{}
	for range 300 {
		a, b := randomPair(r)
		want := definition(a, b, 3)
		for size := 1; size < 24; size += 1 + size/4 {
			for _, lim := range []Limits{{Sets: size}, {Pairs: size}, {Sets: size, Pairs: size}} {
				for i, rung := range Ladder(a, b, lim) {
					e := Equivalence(i)
					left, right := e.halves()
					for _, c := range []Comparison{rung.Comparison, Compare(a, b, e, lim)} {
						wrong := func(got, want Answer) bool { return got != Unknown && got != want }
						if wrong(c.Holds, both(want[left], want[right])) || left != right && (wrong(c.LeftInRight, want[left]) || wrong(c.RightInLeft, want[right])) {
							t.Fatalf("%v, %+v: got %+v, want %v and %v for\n%s\n%s", e, lim, c, want[left], want[right], show(a), show(b))
						}
						if c.Holds == Unknown && !c.Capped {
							t.Fatalf("%v, %+v: no answer and not capped for\n%s\n%s", e, lim, show(a), show(b))
						}
						if c.Holds == Unknown {
							unknown[e]++
						}
						if c.Trace != nil {
							if has, lacks := hasTrace(a, c.Trace.Labels, e == WeakTrace), hasTrace(b, c.Trace.Labels, e == WeakTrace); has == lacks || has != (c.Trace.In == Left) {
								t.Fatalf("%v, %+v: %v is not a trace of one system for\n%s\n%s", e, lim, c.Trace, show(a), show(b))
							}
						}
					}
				}
			}
		}
	}
	for _, e := range []Equivalence{WeakSimulation, StrongTrace, WeakTrace} {
		if unknown[e] == 0 {
			t.Errorf("no limit was hit for %v", e)
		}
	}
}

// stuttered is a system with internal steps and copies of states put in, which is
// branching bisimilar to it and preserves divergence.
func stuttered(r *rand.Rand, l *LTS) *LTS {
	n := State(l.States())
	var b Builder
	b.AddLTS(l)
	for s := range n {
		var twin State = -1
		if r.IntN(4) == 0 {
			twin = b.AddState()
		}
		for _, step := range l.Steps(s) {
			switch {
			case r.IntN(4) == 0:
				x := b.AddState()
				b.Add(s, step.Label, x)
				b.Add(x, Tau, step.To)
			case twin >= 0:
				b.Add(twin, step.Label, step.To)
			}
		}
		if twin >= 0 {
			for _, step := range l.Steps(s) {
				b.Add(twin, step.Label, step.To)
			}
			b.Add(s, Tau, twin)
		}
	}
	return b.Build(l.Initial())
}

// Larger systems, beyond what the definitions can decide: what is put in keeps
// everything but strong equivalence, ladders are mirrored when the sides change
// places, each rung that holds has all weaker ones with it, and traces are traces.
func TestLadderOfLargerSystems(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	mirror := strings.NewReplacer("<", ">", ">", "<")
	lim := Limits{Sets: 1 << 12}
	for i := range 60 {
		n := State(20 + r.IntN(100))
		var b Builder
		b.AddStates(int(n))
		for range 3 * n / 2 {
			b.Add(r.Int32N(n), max(0, r.Int32N(7)-1), r.Int32N(n))
		}
		l := b.Build(0)
		for e, c := range Ladder(l, stuttered(r, l), lim) {
			if e := Equivalence(e); e != Strong && e != StrongTrace && c.Holds != Yes {
				t.Fatalf("pair %d: internal steps that change nothing: %v %v", i, e, c.Holds)
			}
		}
		b.Add(r.Int32N(n), r.Int32N(6), r.Int32N(n))
		other := stuttered(r, b.Build(0))
		rungs := Ladder(l, other, lim)
		if got, want := verdicts(Ladder(other, l, lim)), mirror.Replace(verdicts(rungs)); got != want && !strings.Contains(got+want, "?") {
			t.Fatalf("pair %d: %s the other way round, want %s", i, got, want)
		}
		var k knowledge
		for _, c := range rungs {
			left, right := c.Equivalence.halves()
			k[left], k[right] = c.Holds, c.Holds
			if left != right {
				k[left], k[right] = c.LeftInRight, c.RightInLeft
			}
			if c.Trace == nil {
				continue
			}
			has, lacks := l, other
			if c.Trace.In == Right {
				has, lacks = other, l
			}
			weak := c.Equivalence == WeakTrace
			if word := c.Trace.Labels; len(After(has, word, weak)) == 0 || len(After(lacks, word, weak)) != 0 {
				t.Fatalf("pair %d: %v is not a trace of the %v system alone", i, word, c.Trace.In)
			}
		}
		for _, i := range implications {
			if k[i[0]] == Yes && k[i[1]] != Yes || k[i[1]] == No && k[i[0]] != No {
				t.Fatalf("fact %d: %v, and fact %d, which it implies: %v", i[0], k[i[0]], i[1], k[i[1]])
			}
		}
	}
}

func TestStrongest(t *testing.T) {
	for _, tc := range []struct {
		a, b, want string
	}{
		{"0 a 1", "0 a 1, 0 a 2", "strong"},
		{"0 a 1", "0 tau 1, 1 a 2", "dpbranching"},
		{"0 a 1", "0 tau 0, 0 a 1", "branching"},
		{"0 c 4, 0 tau 2, 2 a 1, 0 a 1", "0 c 4, 0 tau 2, 2 a 1", "weak"},
		{"0 a 1, 0 b 2", "0 a 1, 0 b 2, 0 tau 3, 3 a 4", "weak-simulation"},
		{"0 a 1, 1 b 2, 1 c 3", "0 a 1, 0 a 2, 1 b 3, 2 c 4", "trace"},
		{"0 a 1, 1 tau 2, 1 tau 3, 2 b 4, 3 c 5", "0 a 1, 0 a 2, 1 b 3, 2 c 4", "weak-trace"},
		{"0 a 1", "0 b 1", "none"},
	} {
		var alphabet Alphabet
		got := "none"
		if e, ok := Strongest(Ladder(parse(t, &alphabet, tc.a), parse(t, &alphabet, tc.b), Limits{})); ok {
			got = fmt.Sprint(e)
		}
		if got != tc.want {
			t.Errorf("%s and %s: got %s, want %s", tc.a, tc.b, got, tc.want)
		}
	}
}
