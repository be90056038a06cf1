package lts

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// checkTrace reports what is wrong with a trace, or "".
func checkTrace(a, b *LTS, weak bool, trace *Trace) string {
	has, lacks := a, b
	if trace.In == Right {
		has, lacks = b, a
	}
	switch word := trace.Labels; {
	case weak && slices.Contains(word, Tau):
		return "a weak trace with an internal step"
	case !hasTrace(has, word, weak):
		return "not a trace of the system that should have it"
	case hasTrace(lacks, word, weak):
		return "a trace of the system that should not have it"
	case !hasTrace(lacks, word[:len(word)-1], weak):
		return "the other system lacks a shorter one"
	}
	return ""
}

// A shortest trace is found in each direction, by the definition.
func TestDistinguishingTraceIsShortest(t *testing.T) {
	rounds(t, 30, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		for _, weak := range []bool{false, true} {
			left, right := shortestDifference(a, b, weak, 3), shortestDifference(b, a, weak, 3)
			either := max(left, right)
			if left >= 0 && right >= 0 {
				either = min(left, right)
			}
			for in, want := range map[Side]int{Left: left, Right: right, Either: either} {
				trace, capped := DistinguishingTrace(a, b, weak, in, Limits{})
				if capped {
					t.Fatalf("%v: capped for\n%s\n%s", in, show(a), show(b))
				}
				if (trace != nil) != (want >= 0) || trace != nil && len(trace.Labels) != want {
					t.Fatalf("weak %v, %v: got %v, want length %d for\n%s\n%s", weak, in, trace, want, show(a), show(b))
				}
				if trace == nil {
					continue
				}
				if in != Either && trace.In != in {
					t.Fatalf("asked for a trace of the %v system, got one of the %v", in, trace.In)
				}
				if wrong := checkTrace(a, b, weak, trace); wrong != "" {
					t.Fatalf("weak %v: %v is %s for\n%s\n%s", weak, trace, wrong, show(a), show(b))
				}
			}
		}
	})
}

// Long searches ask whether a state is simulated. That must not hide a trace, or a
// shorter one, so it is asked here from the beginning.
func TestTraceSearchWithSimulation(t *testing.T) {
	rounds(t, 20, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		for e, weak := range map[Equivalence]bool{Strong: false, Branching: true} {
			q := quotientPair(a, b, e)
			search := newTraceSearch(q.l, q.a, q.b, weak, Limits{}.orDefaults())
			search.simulateAfter = 0
			for search.level() {
			}
			got := -1
			if trace := search.trace(Left); trace != nil {
				got = len(trace.Labels)
			}
			if want := shortestDifference(a, b, weak, 3); got != want || search.capped {
				t.Fatalf("weak %v: got %d, want %d, capped %v for\n%s\n%s", weak, got, want, search.capped, show(a), show(b))
			}
		}
	})
}

// The oracle itself against all words up to a length that is enough: two systems of
// two states have at most 16 pairs of sets, so a difference shows within 16 letters.
func TestShortestDifferenceByAllWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tiny := func(name string) *LTS {
			var b Builder
			b.AddStates(2)
			for range rapid.IntRange(0, 5).Draw(t, name) {
				b.Add(rapid.Int32Range(0, 1).Draw(t, "from"), rapid.Int32Range(0, 2).Draw(t, "label"), rapid.Int32Range(0, 1).Draw(t, "to"))
			}
			return b.Build(0)
		}
		a, b := tiny("a"), tiny("b")
		words := [][]Label{nil}
		want := -1
		for length := 1; length <= 10 && want < 0; length++ {
			var longer [][]Label
			for _, w := range words {
				for letter := Label(1); letter <= 2; letter++ {
					word := append(slices.Clone(w), letter)
					if !hasTrace(a, word, true) {
						continue
					}
					longer = append(longer, word)
					if !hasTrace(b, word, true) {
						want = length
					}
				}
			}
			words = longer
		}
		if got := shortestDifference(a, b, true, 2); got != want && got <= 10 {
			t.Fatalf("got %d, want %d for\n%s\n%s", got, want, show(a), show(b))
		}
	})
}

func TestAfter(t *testing.T) {
	var alphabet Alphabet
	l := parse(t, &alphabet, "0 a 1, 1 tau 2, 2 tau 1, 2 b 3, 0 tau 4, 4 a 5")
	a, b := alphabet.Intern("a"), alphabet.Intern("b")
	for _, tc := range []struct {
		word []Label
		weak bool
		want []State
	}{
		{nil, true, []State{0, 4}},
		{nil, false, []State{0}},
		{[]Label{a}, true, []State{1, 2, 5}},
		{[]Label{a}, false, []State{1}},
		{[]Label{a, b}, true, []State{3}},
		{[]Label{a, b}, false, nil},
		{[]Label{a, Tau, b}, false, []State{3}},
		{[]Label{b}, true, nil},
	} {
		if got := After(l, tc.word, tc.weak); !slices.Equal(got, tc.want) {
			t.Errorf("%v, weak %v: got %v, want %v", tc.word, tc.weak, got, tc.want)
		}
	}
}

// guess has the words over {1, 2} whose n-th letter before the end, which is 3, is a
// 1: the number of sets of states is exponential in n.
func guess(n int, extra bool) *LTS {
	var b Builder
	b.AddStates(n + 3)
	b.Add(0, 1, 0)
	b.Add(0, 2, 0)
	b.Add(0, 1, 1)
	for s := State(1); s < State(n); s++ {
		b.Add(s, 1, s+1)
		b.Add(s, 2, s+1)
	}
	b.Add(State(n), 3, State(n)+1)
	if extra {
		b.Add(State(n)+1, 3, State(n)+2)
	}
	return b.Build(0)
}

// Where subsets explode, the search gives up and says so; with room it decides.
func TestTraceSearchIsCapped(t *testing.T) {
	// A system whose states are unlike those of guess but whose traces include its own.
	var b Builder
	b.AddStates(1)
	for label := Label(1); label <= 2; label++ {
		b.Add(0, label, 0)
	}
	free := b.Build(0)
	large := guess(18, false)
	for _, lim := range []Limits{{Sets: 1}, {Sets: 10}, {Sets: 100}} {
		c := Compare(free, large, WeakTrace, lim)
		if c.LeftInRight == No || c.RightInLeft == Yes {
			t.Errorf("%+v: a cap made a wrong answer: %+v", lim, c)
		}
	}
	reset := guess(14, true)
	trace, capped := DistinguishingTrace(reset, guess(14, false), true, Left, Limits{Sets: 50})
	if trace != nil || !capped {
		t.Errorf("50 pairs: got %v, capped %v", trace, capped)
	}
	trace, capped = DistinguishingTrace(reset, guess(14, false), true, Left, Limits{})
	if capped || trace == nil || len(trace.Labels) != 16 {
		t.Errorf("want 14 letters and twice 3, got %v, capped %v", trace, capped)
	}
}

// Two deterministic systems of 100,000 states with nothing in common take pairs of
// states, not sets of them.
func TestTraceOfDeterministicSystemsIsLinear(t *testing.T) {
	const n = 100_000
	cycle := func(length State) *LTS {
		var b Builder
		b.AddStates(int(length))
		for s := range length {
			b.Add(s, 1, (s+1)%length)
		}
		b.Add(length-1, 2, 0)
		return b.Build(0)
	}
	trace, capped := DistinguishingTrace(cycle(n), cycle(n-1), false, Either, Limits{Sets: 2 * n})
	if capped || trace == nil || len(trace.Labels) != n-1 || trace.In != Right {
		t.Errorf("want %d letters of the right system", n-1)
	}
}
