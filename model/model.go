// Package model holds implementation models: the transitions that a system has
// been seen to take. It reads and writes them as .spex text, and judges whether a
// further step keeps a model branching bisimilar to its specification.
package model

import (
	"cmp"
	"slices"

	"github.com/spexio/spex/spec"
)

// Transition is one element of a model's transition relation.
type Transition = spec.Transition

// Init is the initialisation that begins in the given state. A proper model has
// exactly one.
func Init(to string) Transition {
	return Transition{Action: spec.Initialisation, To: to}
}

// isInit reports whether a transition is an initialisation.
func isInit(t Transition) bool { return t.From == "" && t.Action == spec.Initialisation }

// Compare orders transitions by source, action and target, byte by byte.
// Initialisations come first.
func Compare(a, b Transition) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Action, b.Action), cmp.Compare(a.To, b.To))
}

// Union returns the transitions of all sets, sorted by Compare and without
// duplicates, in a new slice.
func Union(sets ...[]Transition) []Transition {
	all := slices.Concat(sets...)
	slices.SortFunc(all, Compare)
	return slices.Compact(all)
}

// Check checks the names of a transition that is to join a model: the limits of
// package spec, and no reserved name except in an initialisation. The error is a
// *spec.FieldError.
func Check(t Transition) error {
	if !isInit(t) {
		if err := spec.CheckState("from", t.From); err != nil {
			return err
		}
		if err := spec.CheckAction("action", t.Action); err != nil {
			return err
		}
	}
	return spec.CheckState("to", t.To)
}
