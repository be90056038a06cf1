package model

import (
	"fmt"
	"strings"

	"github.com/spexio/spex/spec"
)

// ParseTransition reads a transition as String writes it: STATE --[ACTION]-> STATE,
// or nil --[__initialisation__]-> STATE. Unlike the reader of .spex files, which has a
// line for each and a rule of its own, it refuses what could be read in more
// than one way.
func ParseTransition(text string) (Transition, error) {
	t, ok := parseLine(strings.TrimSpace(text))
	if !ok {
		return t, &spec.FieldError{Field: "transition", Problem: fmt.Sprintf("%q is not of the form FROM --[ACTION]-> TO", text),
			Hint: "write it as it is shown, in one argument with quotes around it", Kind: spec.Malformed}
	}
	if strings.Count(text, " --[") > 1 || strings.Count(text, "]-> ") > 1 {
		return t, &spec.FieldError{Field: "transition", Problem: fmt.Sprintf("%q can be read in more than one way", text),
			Hint: `names with " --[" or "]-> " in them cannot be given so: use the API`, Kind: spec.Malformed}
	}
	if err := Check(t); err != nil {
		return t, fmt.Errorf("transition %q: %w", text, err)
	}
	return t, nil
}
