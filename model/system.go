package model

import (
	"slices"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/spec"
)

// System is a model as a transition system whose labels are of the given alphabet,
// which is extended by the actions that it does not have. A model without exactly
// one initialisation has no system: the names of the states where instances begin,
// sorted, tell which case it is.
func System(transitions []Transition, alphabet *lts.Alphabet) (sys *lts.System, initials []string) {
	sys = &lts.System{Alphabet: alphabet}
	index := map[string]lts.State{}
	var b lts.Builder
	state := func(name string) lts.State {
		s, known := index[name]
		if !known {
			s = b.AddState()
			index[name] = s
			sys.States = append(sys.States, name)
		}
		return s
	}
	for _, t := range Union(transitions) {
		if isInit(t) {
			initials = append(initials, t.To)
			state(t.To)
			continue
		}
		b.Add(state(t.From), spec.Label(alphabet, t.Action), state(t.To))
	}
	slices.Sort(initials)
	if len(initials) != 1 {
		return nil, initials
	}
	sys.LTS = b.Build(index[initials[0]])
	return sys, initials
}
