package eventlog

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spexio/spex/spec"
)

// cases makes cases of texts like "A B C"; "A>s" is activity A with state s.
func cases(texts ...string) iter.Seq2[Case, error] {
	return func(yield func(Case, error) bool) {
		for i, text := range texts {
			c := Case{ID: fmt.Sprint(i)}
			for _, f := range strings.Fields(text) {
				activity, state, found := strings.Cut(f, ">")
				if !found {
					state = activity
				}
				c.Events = append(c.Events, Event{Activity: activity, State: state})
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

func TestDiscover(t *testing.T) {
	for _, tc := range []struct {
		name    string
		cases   []string
		initial string
		want    string
	}{
		{"one case", []string{"A B"}, "start", "start -A-> A, A -B-> B"},
		{"order of first appearance", []string{"B A", "A B", "B A B"}, "start", "start -B-> B, B -A-> A, start -A-> A, A -B-> B"},
		{"loops", []string{"A A A"}, "start", "start -A-> A, A -A-> A"},
		{"a state has the name", []string{"A start A"}, "start_1", "start_1 -A-> A, A -start-> start, start -A-> A"},
		{"and the next one", []string{"start start_1"}, "start_2", "start_2 -start-> start, start -start_1-> start_1"},
		{"an action of that name is none", []string{"start>on"}, "start", "start -start-> on"},
		{"states of their own", []string{"a>s a>t", "a>s b>s"}, "start", "start -a-> s, s -a-> t, s -b-> s"},
		{"an empty case adds nothing", []string{"", "A"}, "start", "start -A-> A"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Discover("orders", cases(tc.cases...))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, tr := range s.Transitions {
				got = append(got, fmt.Sprintf("%s -%s-> %s", tr.From, tr.Action, tr.To))
			}
			if s.Name != "orders" || s.InitialState != tc.initial || strings.Join(got, ", ") != tc.want {
				t.Errorf("got %s: %s", s.InitialState, strings.Join(got, ", "))
			}
		})
	}
}

func TestDiscoverErrors(t *testing.T) {
	if _, err := Discover("a/b", cases("A")); err == nil {
		t.Error("bad name accepted")
	}
	if _, err := Discover("x", cases("", "")); !errors.Is(err, ErrEmpty) {
		t.Errorf("no events: %v", err)
	}
	broken := errors.New("broken")
	if _, err := Discover("x", func(yield func(Case, error) bool) { yield(Case{}, broken) }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	var many []string
	for i := range spec.MaxTransitions {
		many = append(many, fmt.Sprint("a", i))
	}
	if s, err := Discover("x", cases(many...)); err != nil || len(s.Transitions) != spec.MaxTransitions {
		t.Errorf("the most transitions: %v", err)
	}
	if _, err := Discover("x", cases(append(many, "b")...)); err == nil || !strings.Contains(err.Error(), "10000") {
		t.Errorf("one too many: %v", err)
	}
}

// What was discovered is valid, survives YAML, and every case is a path of it.
func TestDiscoverProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"A", "B", "A>x", "start", "start_1", "__internal__>y"}), 1, 6).Draw(t, "events"), " ")
		}), 1, 6).Draw(t, "cases")
		s, err := Discover("orders", cases(texts...))
		if err != nil {
			t.Fatal(err)
		}
		again, err := Discover("orders", cases(texts...))
		if err != nil || fmt.Sprint(s) != fmt.Sprint(again) {
			t.Fatalf("not deterministic: %v, %v", s, again)
		}
		text, err := s.YAML()
		if err != nil {
			t.Fatal(err)
		}
		back, err := spec.Parse("orders.yaml", text)
		if err != nil || fmt.Sprint(back) != fmt.Sprint(s) {
			t.Fatalf("YAML gives %v, %v", back, err)
		}
		has := make(map[spec.Transition]bool)
		for _, tr := range s.Transitions {
			has[tr] = true
		}
		for c := range cases(texts...) {
			from := s.InitialState
			for _, e := range c.Events {
				if e.State == s.InitialState || !has[spec.Transition{From: from, Action: e.Activity, To: e.State}] {
					t.Fatalf("case %v is no path of %v", c, s.Transitions)
				}
				from = e.State
			}
		}
	})
}
