package eventlog

import (
	"fmt"
	"iter"

	"github.com/spexio/spex/spec"
)

// Discover derives a specification from cases: their directly-follows relation.
// A case begins in the initial state, and every event is a transition from the
// state before to the state after it. Transitions are in the order of their first
// appearance, so that the same log always gives the same specification.
//
// The initial state is called start, or start_1, start_2 and so on when the log
// has a state of that name. It is an error when the cases have no event at all, or more
// than spec.MaxTransitions distinct transitions.
func Discover(name string, cases iter.Seq2[Case, error]) (*spec.Specification, error) {
	if err := spec.CheckSpecName("name", name); err != nil {
		return nil, fmt.Errorf("discover: %w", err)
	}
	s := &spec.Specification{Name: name}
	seen := make(map[spec.Transition]bool)
	states := make(map[string]bool)
	for c, err := range cases {
		if err != nil {
			return nil, fmt.Errorf("discover: %w", err)
		}
		// No state is empty, so that "" stands for the initial one until it has a name.
		from := ""
		for _, e := range c.Events {
			states[e.State] = true
			t := spec.Transition{From: from, Action: e.Activity, To: e.State}
			from = e.State
			if seen[t] {
				continue
			}
			if len(s.Transitions) == spec.MaxTransitions {
				return nil, fmt.Errorf("discover: more than %d distinct transitions; the event of line %d has the next: choose an activity with fewer values, or fewer cases",
					spec.MaxTransitions, e.Line)
			}
			seen[t] = true
			s.Transitions = append(s.Transitions, t)
		}
	}
	if len(s.Transitions) == 0 {
		return nil, fmt.Errorf("discover: %w among the selected cases", ErrEmpty)
	}
	s.InitialState = freeState("start", states)
	for i := range s.Transitions {
		if s.Transitions[i].From == "" {
			s.Transitions[i].From = s.InitialState
		}
	}
	s.Normalize()
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("discover: %w", err)
	}
	return s, nil
}

// freeState returns a name that no state has.
func freeState(want string, states map[string]bool) string {
	name := want
	for i := 1; states[name]; i++ {
		name = fmt.Sprintf("%s_%d", want, i)
	}
	return name
}
