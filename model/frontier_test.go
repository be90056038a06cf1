package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/spec"
)

func TestFrontierTable(t *testing.T) {
	for _, tc := range []struct {
		spec string
		want FrontierTable
	}{
		{tree, FrontierTable{
			Spec: "S", Actions: []string{"a", "b", "c"}, States: [][]string{{"s0"}, {"s1"}, {"s2", "s3", "s4"}},
			Steps: [][]FrontierStep{{{1, 1}, {1, 2}}, {{2, 2}, {3, 2}}, {}},
		}},
		{point, FrontierTable{Spec: "S", Actions: []string{"a"}, States: [][]string{{"s0"}}, Steps: [][]FrontierStep{{{1, 0}}}}},
		{"", FrontierTable{Spec: "S", Actions: []string{}, States: [][]string{nil}, Steps: [][]FrontierStep{{}}}},
		{"s0 tau s1, s1 a s2, s0 b s2, s9 c s9, s8 a s2", FrontierTable{
			Spec: "S", Actions: []string{"a", "b", "c"}, States: [][]string{{"s0"}, {"s1", "s8"}, {"s2"}},
			Steps: [][]FrontierStep{{{0, 1}, {2, 2}}, {{1, 2}}, {}},
		}},
	} {
		fs := NewFrontiers(specification(t, "S", tc.spec))
		if got := fs.Table(); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v\nwant %+v", tc.spec, got, tc.want)
		}
		raw, err := json.Marshal(fs.Table())
		if err != nil {
			t.Fatal(err)
		}
		var stored FrontierTable
		if err := json.Unmarshal(raw, &stored); err != nil {
			t.Fatal(err)
		}
		back, err := FrontiersFrom(stored)
		if err != nil {
			t.Fatal(err)
		}
		if !back.Start().Equal(fs.Start()) || !back.Anywhere().Equal(fs.Anywhere()) {
			t.Errorf("%s: the stored table is another one", tc.spec)
		}
	}
}

func TestFollow(t *testing.T) {
	const hidden = "s0 tau s1, s1 a s2, s0 b s2"
	for _, tc := range []struct {
		name, spec, run string
		anywhere        bool
		want            Violation
		at              int
		explains        []string
	}{
		{name: "nothing", spec: cycle, run: ""},
		{name: "as it should be", spec: cycle, run: "a b c a b"},
		{name: "internal steps in place", spec: cycle, run: "tau a tau tau b c"},
		{name: "B1: a violation hides behind a harmless deviation", spec: arrow, run: "a evil", want: Forbidden, at: 1,
			explains: []string{`After "a" specification "S" does not allow "evil": it allows no further action there.`}},
		{name: "B1: a known action behind it", spec: cycle, run: "a b a c", want: Forbidden, at: 2,
			explains: []string{`After "a", then "b"`, `does not allow "a": it allows only "c" there`}},
		{name: "at the start", spec: cycle, run: "b", want: Forbidden, at: 0, explains: []string{`At its start specification "S" does not allow "b"`}},
		{name: "after a long run", spec: cycle, run: "a b c a b c a b c c", want: Forbidden, at: 9,
			explains: []string{`After 9 steps, the last of them "b", then "c", then "a", then "b", then "c",`, `it allows only "a"`}},
		{name: "either branch", spec: tree, run: "a c"},
		{name: "the internal choice was made", spec: hidden, run: "tau a"},
		{name: "the internal choice was not made", spec: hidden, run: "a", want: NotEquivalent, at: 0,
			explains: []string{`At its start specification "S" allows "a" only after an internal step that gives other options up`}},
		{name: "first the one, then the other", spec: hidden, run: "a a", want: Forbidden, at: 1},
		{name: "the internal choice may have been made", spec: hidden, run: "tau b"},
		{name: "in the middle of its life", spec: cycle, run: "b c a", anywhere: true},
		{name: "impossible in the middle of its life", spec: cycle, run: "b b", anywhere: true, want: Forbidden, at: 1,
			explains: []string{`After "b", wherever the instance began, specification "S" does not allow "b": it allows only "c"`}},
		{name: "B5: i and tau are visible", spec: "s0 i s1, s1 'tau s2", run: "i 'tau"},
		{name: "B5: i is not internal", spec: arrow, run: "i", want: Forbidden, at: 0},
		{name: "nothing is allowed by an empty specification", spec: "", run: "tau a", want: Forbidden, at: 1, explains: []string{`After an internal step`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := NewFrontiers(specification(t, "S", tc.spec))
			var run []string
			for _, word := range strings.Fields(tc.run) {
				if word == "tau" {
					word = spec.Internal
				}
				run = append(run, strings.TrimPrefix(word, "'"))
			}
			from := fs.Start()
			if tc.anywhere {
				from = fs.Anywhere()
			}
			if tc.want == NoViolation {
				tc.at = len(run)
			}
			got := fs.Follow(from, run)
			if got.Violation != tc.want || got.At != tc.at || (got.Sentence == "") != (tc.want == NoViolation) || got.Frontier.Violation() != tc.want {
				t.Errorf("got %v at %d (%s), want %v at %d", got.Violation, got.At, got.Sentence, tc.want, tc.at)
			}
			for _, part := range tc.explains {
				if !strings.Contains(got.Sentence, part) {
					t.Errorf("the sentence lacks %q: %s", part, got.Sentence)
				}
			}
		})
	}
}

// An instance of an equivalent model never violates anything, so that a violation proves
// that its model is not equivalent; and Forbidden is exactly "no such trace".
func TestFrontiersAreSound(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	tally := map[string]int{}
	for range 3000 {
		y := drawTiny(r)
		fs := NewFrontiers(y.specification())
		rel := newSystem(y.specStates, y.spec, y.modelStates, y.model).bisimilar()
		equivalent := rel[0]>>y.specStates&1 != 0
		var b lts.Builder
		b.AddStates(y.specStates)
		for _, e := range y.spec {
			b.Add(lts.State(e.from), lts.Label(e.label), lts.State(e.to))
		}
		specification := b.Build(0)
		state, f := 0, fs.Start()
		var word []lts.Label
		for range 8 {
			var steps []edge
			for _, e := range y.model {
				if e.from == state {
					steps = append(steps, e)
				}
			}
			if len(steps) == 0 {
				break
			}
			e := steps[r.IntN(len(steps))]
			state, f = e.to, fs.Step(f, tinyActions[e.label])
			if e.label != 0 {
				word = append(word, lts.Label(e.label))
			}
			possible := len(lts.After(specification, word, true)) > 0
			tally[fmt.Sprint(equivalent, " ", f.Violation())]++
			if equivalent && f.Violation() != NoViolation || possible == (f.Violation() == Forbidden) {
				t.Fatalf("run %v: %v, equivalent %v, possible %v: %+v", word, f.Violation(), equivalent, possible, y)
			}
			for _, place := range f.Strict {
				if !slices.Contains(f.Weak, place) {
					t.Fatalf("%v is not within %v", f.Strict, f.Weak)
				}
			}
			if !equivalent {
				continue
			}
			// The state's own class is among the places.
			if !slices.ContainsFunc(f.Strict, func(place uint32) bool {
				var s int
				if names := fs.Table().States[place]; len(names) > 0 {
					if _, err := fmt.Sscanf(names[0], "s%d", &s); err != nil {
						t.Fatal(err)
					}
				}
				return rel[s]>>(y.specStates+state)&1 != 0
			}) {
				t.Fatalf("state %d is at none of %v after %v: %+v", state, f.Strict, word, y)
			}
		}
	}
	for _, kind := range []string{"true NONE", "false NONE", "false NOT_EQUIVALENT", "false FORBIDDEN"} {
		if tally[kind] < 20 {
			t.Errorf("few examples of %s: %v", kind, tally)
		}
	}
}

func drawPlaces(t *rapid.T, name string) []uint32 {
	set := rapid.SliceOfN(rapid.Uint32Range(0, 40), 0, 30).Draw(t, name)
	if rapid.IntRange(0, 9).Draw(t, "far") == 0 {
		set = append(set, maxPlaces-1)
	}
	slices.Sort(set)
	return slices.Compact(set)
}

func TestFrontierEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Frontier{Strict: drawPlaces(t, "strict"), Weak: drawPlaces(t, "weak")}
		raw, err := f.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back Frontier
		if err := back.UnmarshalBinary(raw); err != nil || !back.Equal(f) {
			t.Fatalf("%v became %v: %v", f, back, err)
		}
	})
	fs := NewFrontiers(specification(t, "S", cycle))
	for _, f := range []Frontier{fs.Start(), fs.Anywhere(), {}} {
		if raw, _ := f.MarshalBinary(); len(raw) > 4 {
			t.Errorf("%v takes %d bytes", f, len(raw))
		}
	}
}

func FuzzFrontierDecode(f *testing.F) {
	for _, seed := range [][]byte{{1, 0}, {1, 1, 0, 0}, {1, 1, 0, 200, 1}, {2, 1, 0, 0, 1, 0, 1}, {1, 255, 255, 255, 255, 15}, {1, 1, 128, 0, 0}, nil} {
		f.Add(seed)
	}
	fs := NewFrontiers(&spec.Specification{Name: "S", Transitions: []Transition{{From: "a", Action: "x", To: "b"}, {From: "b", Action: spec.Internal, To: "a"}}})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var fr Frontier
		if err := fr.UnmarshalBinary(raw); err != nil {
			if !errors.Is(err, ErrFrontier) {
				t.Fatal(err)
			}
			return
		}
		if back, _ := fr.MarshalBinary(); !slices.Equal(back, raw) {
			t.Fatalf("%v is read as %v and written as %v", raw, fr, back)
		}
		// A frontier of another specification is no reason to fail.
		for _, action := range []string{"x", spec.Internal, "other"} {
			if next := fs.Step(fr, action); len(next.Strict) > 2 {
				t.Fatalf("%v leads to %v", fr, next)
			}
		}
	})
}

func TestFrontiersFromRefuses(t *testing.T) {
	good := func() FrontierTable { return NewFrontiers(specification(t, "S", cycle)).Table() }
	for name, spoil := range map[string]func(*FrontierTable){
		"no places":            func(f *FrontierTable) { f.Steps = nil },
		"names of 2 places":    func(f *FrontierTable) { f.States = f.States[:2] },
		"start is 3":           func(f *FrontierTable) { f.Start = 3 },
		"by action 9 to 0":     func(f *FrontierTable) { f.Steps[0] = []FrontierStep{{9, 0}} },
		"by action 1 to 9":     func(f *FrontierTable) { f.Steps[0] = []FrontierStep{{1, 9}} },
		"are not sorted":       func(f *FrontierTable) { f.Steps[0] = []FrontierStep{{1, 1}, {1, 0}} },
		"":                     func(f *FrontierTable) {},
		"0 places, want 1":     func(f *FrontierTable) { *f = FrontierTable{} },
		"names of 4 places, w": func(f *FrontierTable) { f.States = append(f.States, nil) },
	} {
		table := good()
		spoil(&table)
		_, err := FrontiersFrom(table)
		if name == "no places" {
			name = "0 places"
		}
		if (err == nil) != (name == "") || err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
