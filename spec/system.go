package spec

import "github.com/spexio/spex/lts"

// System is the labelled transition system of a specification with the names of
// its states and actions; Internal is the label lts.Tau. It has no state names if the
// specification has no states: then its LTS has one state without a name.
type System = lts.System

// Label returns the label of an action in the alphabet, which it extends if needed.
func Label(alphabet *lts.Alphabet, action string) lts.Label {
	if action == Internal {
		return lts.Tau
	}
	return alphabet.Intern(action)
}

// LTS builds the transition system of the specification. A specification without
// states behaves like one state without transitions.
func (s *Specification) LTS() *System {
	sys := &System{Alphabet: &lts.Alphabet{}, States: s.States()}
	index := make(map[string]lts.State, len(sys.States))
	var b lts.Builder
	for _, name := range sys.States {
		index[name] = b.AddState()
	}
	if len(sys.States) == 0 {
		sys.LTS = b.Build(b.AddState())
		return sys
	}
	for _, t := range s.Transitions {
		b.Add(index[t.From], Label(sys.Alphabet, t.Action), index[t.To])
	}
	initial := s.InitialState
	if initial == "" {
		initial = s.Transitions[0].From
	}
	sys.LTS = b.Build(index[initial])
	return sys
}
