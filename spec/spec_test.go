package spec

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/lts"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func valid() *Specification {
	return &Specification{Name: "S", InitialState: "idle", Transitions: []Transition{
		{"idle", "start", "running"}, {"running", "finish", "done"}, {"running", "fail", "failed"}, {"done", "restart", "running"},
	}}
}

func TestStatesAndTerminal(t *testing.T) {
	for _, tc := range []struct {
		name             string
		change           func(*Specification)
		states, terminal string
	}{
		{"order of declaration", func(*Specification) {}, "idle running done failed", "failed"},
		{"another initial state", func(s *Specification) { s.InitialState = "done" }, "idle running done failed", "failed"},
		{"an initial state of its own", func(s *Specification) { s.InitialState = "new" }, "new idle running done failed", "new failed"},
		{"no transitions", func(s *Specification) { s.InitialState, s.Transitions = "", nil }, "", ""},
		{"an initial state alone", func(s *Specification) { s.Transitions = nil }, "idle", "idle"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := valid()
			tc.change(s)
			if got := strings.Join(s.States(), " "); got != tc.states {
				t.Errorf("states: got %s, want %s", got, tc.states)
			}
			if got := strings.Join(s.Terminal(), " "); got != tc.terminal {
				t.Errorf("terminal: got %s, want %s", got, tc.terminal)
			}
			if sys := s.LTS(); sys.LTS.States() != max(1, len(s.States())) || s.InitialState != "" && sys.States[sys.LTS.Initial()] != s.InitialState {
				t.Errorf("the system has %d states and begins in %d", sys.LTS.States(), sys.LTS.Initial())
			}
		})
	}
}

// B5: only the reserved name is the internal action.
func TestLTSLabels(t *testing.T) {
	s := &Specification{Name: "S", Transitions: []Transition{{"a", Internal, "b"}, {"a", "i", "b"}, {"a", "tau", "b"}}}
	sys := s.LTS()
	var names []string
	for _, step := range sys.LTS.Steps(sys.LTS.Initial()) {
		names = append(names, sys.Alphabet.Name(step.Label))
	}
	if want := []string{"", "i", "tau"}; !slices.Equal(names, want) || sys.LTS.Steps(0)[0].Label != lts.Tau {
		t.Errorf("got %q, want %q", names, want)
	}
}

func TestValidate(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	long := make([]Transition, MaxTransitions+1)
	for i := range long {
		long[i] = Transition{"a", fmt.Sprint(i), "b"}
	}
	for _, tc := range []struct {
		name   string
		change func(*Specification)
		kind   FieldErrorKind
		want   string
	}{
		{"no name", func(s *Specification) { s.Name = "" }, Malformed, "name is empty"},
		{"no initial state", func(s *Specification) { s.InitialState = "" }, Malformed, "initial_state is empty"},
		{"reserved initial state", func(s *Specification) { s.InitialState = Internal }, Reserved, "initial_state is the reserved"},
		{"source", func(s *Specification) { s.Transitions[1].From = "" }, Malformed, "transitions[1].from is empty"},
		{"action", func(s *Specification) { s.Transitions[2].Action = Initialisation }, Reserved, "transitions[2].action is the reserved"},
		{"target", func(s *Specification) { s.Transitions[3].To = Initialisation }, Reserved, "transitions[3].to is the reserved"},
		{"repeated transition", func(s *Specification) { s.Transitions[3] = s.Transitions[0] }, Malformed, "transitions[3] repeats transitions[0]"},
		{"too many transitions", func(s *Specification) { s.Transitions = long }, Limit, "transitions are 10001, the limit is 10000"},
		{"negative timeout", func(s *Specification) { s.TransitionTimeout = -1 }, Malformed, "transition_timeout"},
		{"negative prune timeout", func(s *Specification) { s.PruneTimeout = -time.Hour }, Malformed, "prune_timeout"},
		{"unknown prunable", func(s *Specification) { s.Prunable.Kind = 9 }, Malformed, "prunable_states has the unknown kind 9"},
		{"states beside a keyword", func(s *Specification) { s.Prunable = Prunable{PrunableAll, []string{"x"}} }, Malformed, "beside a keyword"},
		{"empty prunable list", func(s *Specification) { s.Prunable.Kind = PrunableList }, Malformed, "prunable_states is an empty list"},
		{"repeated prunable", func(s *Specification) { s.Prunable = Prunable{PrunableList, []string{"x", "x"}} }, Malformed, "prunable_states[1] repeats"},
		{"reserved prunable", func(s *Specification) { s.Prunable = Prunable{PrunableList, []string{Internal}} }, Reserved, "prunable_states[0]"},
		{"too many prunable", func(s *Specification) { s.Prunable = Prunable{PrunableList, make([]string, MaxTransitions+1)} }, Limit, "lists 10001 states"},
		{"missing model", func(s *Specification) { s.OnMissingModel = 7 }, Malformed, "on_missing_model has the unknown value 7"},
		{"policy", func(s *Specification) { s.Policy.TransitionTimeout = 7 }, Malformed, "on_error.transition_timeout"},
		{"history", func(s *Specification) { s.HistoryLimit = MaxHistoryLimit + 1 }, Limit, "history_limit is 100001, the limit is 100000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := valid()
			tc.change(s)
			err := s.Validate()
			var f *FieldError
			if !errors.As(err, &f) || f.Kind != tc.kind || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %v: %s", err, tc.kind, tc.want)
			}
			if _, err := s.YAML(); tc.name != "no initial state" && tc.name != "states beside a keyword" && err == nil {
				t.Error("it can be written as YAML")
			}
		})
	}
}

func TestFromProtoRefuses(t *testing.T) {
	if _, err := FromProto(nil); err == nil {
		t.Error("a missing message is accepted")
	}
	for _, tc := range []struct {
		name   string
		change func(*typesv1.Specification)
		want   string
	}{
		{"zero timeout", func(m *typesv1.Specification) { m.TransitionTimeout = &durationpb.Duration{} }, "transition_timeout"},
		{"negative timeout", func(m *typesv1.Specification) { m.PruneTimeout = durationpb.New(-1) }, "prune_timeout"},
		{"mixed signs", func(m *typesv1.Specification) { m.PruneTimeout = &durationpb.Duration{Seconds: 2, Nanos: -1} }, "prune_timeout"},
		{"300 years", func(m *typesv1.Specification) {
			m.PruneTimeout = &durationpb.Duration{Seconds: 300 * 366 * 24 * 3600}
		}, "prune_timeout"},
		{"prunable kind", func(m *typesv1.Specification) { m.PrunableStates = &typesv1.PrunableStates{Kind: 9} }, "unknown kind 9"},
		{"prunable states without a list", func(m *typesv1.Specification) {
			m.PrunableStates = &typesv1.PrunableStates{Kind: typesv1.PrunableStates_KIND_ALL, States: []string{"x"}}
		}, "beside a keyword"},
		{"policy", func(m *typesv1.Specification) { m.ErrorPolicy.TransitionTimeout = -1 }, "on_error.transition_timeout"},
		{"repeated transition", func(m *typesv1.Specification) { m.Transitions = append(m.Transitions, m.Transitions[0]) }, "transitions[4] repeats"},
		{"null transition", func(m *typesv1.Specification) { m.Transitions = append(m.Transitions, nil) }, "transitions[4].from is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := valid().Proto()
			tc.change(m)
			s, err := FromProto(m)
			var f *FieldError
			if !errors.As(err, &f) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, %v, want %s", s, err, tc.want)
			}
		})
	}
}

func TestLint(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Specification)
		want   []string // code and a part of the rest
	}{
		{"nothing", func(*Specification) {}, nil},
		{"no transitions", func(s *Specification) { s.Transitions, s.InitialState = nil, "" }, []string{"NO_TRANSITIONS every step"}},
		{"initial state", func(s *Specification) { s.InitialState = "idel" }, []string{"INITIAL_STATE_WITHOUT_TRANSITIONS did you mean idle?",
			`UNREACHABLE_STATE "idle"`, `UNREACHABLE_STATE "running"`, `UNREACHABLE_STATE "done"`, `UNREACHABLE_STATE "failed"`}},
		{"unreachable", func(s *Specification) { s.Transitions = append(s.Transitions, Transition{"lost", "start", "idle"}) }, []string{`UNREACHABLE_STATE state "lost"`}},
		{"nondeterminism", func(s *Specification) { s.Transitions = append(s.Transitions, Transition{"idle", "start", "failed"}) }, []string{`NONDETERMINISTIC "running" and "failed"`}},
		{"internal loop", func(s *Specification) { s.Transitions = append(s.Transitions, Transition{"idle", Internal, "idle"}) }, []string{`INTERNAL_LOOP "idle"`}},
		{"tau", func(s *Specification) { s.Transitions = append(s.Transitions, Transition{"idle", "tau", "failed"}) }, []string{"LOOKS_INTERNAL written __internal__"}},
		{"case", func(s *Specification) { s.Transitions = append(s.Transitions, Transition{"done", "Re-Start", "idle"}) }, []string{`SIMILAR_NAMES "restart" and "Re-Start"`}},
		{"one letter", func(s *Specification) { s.Transitions = append(s.Transitions, Transition{"done", "again", "runing"}) }, []string{`SIMILAR_NAMES "running" and "runing"`}},
		{"numbers differ on purpose", func(s *Specification) {
			s.Transitions = append(s.Transitions, Transition{"done", "again", "state1"}, Transition{"done", "more", "state2"})
		}, nil},
		{"space", func(s *Specification) {
			s.Transitions = append(s.Transitions, Transition{"done", "archive ", "failed"})
		}, []string{`SURROUNDING_SPACE "archive "`}},
		{"prune timeout alone", func(s *Specification) { s.PruneTimeout = time.Hour }, []string{"PRUNES_NOTHING prunable_states is none"}},
		{"timeouts in terminal states alone", func(s *Specification) { s.TimeoutInTerminalStates = true }, []string{"NEVER_TIMES_OUT transition_timeout is infinity"}},
		{"prunable states alone", func(s *Specification) { s.Prunable.Kind = PrunableAll }, []string{"NEVER_PRUNES prune_timeout is infinity"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := valid()
			tc.change(s)
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			findings := s.Lint()
			if len(findings) != len(tc.want) {
				t.Fatalf("got %v, want %v", findings, tc.want)
			}
			for i, want := range tc.want {
				code, part, _ := strings.Cut(want, " ")
				if findings[i].Code != code || !strings.Contains(findings[i].String(), part) {
					t.Errorf("got %v, want %s", findings[i], want)
				}
			}
		})
	}
}

func TestSuggest(t *testing.T) {
	words := []string{"from", "action", "to", "prune_timeout", "transition_timeout"}
	for word, want := range map[string]string{"acton": "action", "atcion": "action", "prunetimeout": "prune_timeout", "form": "from", "colour": "", "": "", "transition_timeouts": "transition_timeout"} {
		if got := suggest(word, words); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}
