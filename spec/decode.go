package spec

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

var (
	specFields       = []string{"name", "initial_state", "transitions", "transition_timeout", "timeout_in_terminal_states", "prune_timeout", "prunable_states", "on_missing_model", "on_error", "history_limit"}
	transitionFields = []string{"from", "action", "to"}
	errorFields      = []string{"deviation_still_equivalent", "deviation_not_equivalent", "transition_timeout"}
)

// specification reads the root of a document.
func (p *parser) specification(root *yaml.Node) (*Specification, error) {
	s := &Specification{}
	named := false
	err := p.fields("a specification", root, specFields, func(name string, _, value *yaml.Node) (err error) {
		switch name {
		case "name":
			named = true
			s.Name, err = p.checked(name, value, CheckSpecName)
		case "initial_state":
			s.InitialState, err = p.checked(name, value, CheckState)
		case "transitions":
			s.Transitions, err = p.transitions(value)
		case "transition_timeout":
			s.TransitionTimeout, err = p.duration(name, value)
		case "timeout_in_terminal_states":
			s.TimeoutInTerminalStates, err = oneOf(p, name, value, yesChoices)
		case "prune_timeout":
			s.PruneTimeout, err = p.duration(name, value)
		case "prunable_states":
			s.Prunable, err = p.prunable(value)
		case "on_missing_model":
			s.OnMissingModel, err = oneOf(p, name, value, missingChoices)
		case "on_error":
			s.Policy, err = p.policy(value)
		case "history_limit":
			s.HistoryLimit, err = p.historyLimit(value)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if !named {
		return nil, p.fail(root, "the specification has no name", "add a line name: ...")
	}
	s.Normalize()
	if err := s.Validate(); err != nil {
		return nil, p.failField(root, err)
	}
	return s, nil
}

// checked reads a text and applies a check of limits.go to it.
func (p *parser) checked(field string, n *yaml.Node, check func(field, v string) error) (string, error) {
	v, err := p.text(field, n)
	if err != nil {
		return "", err
	}
	if err := check(field, v); err != nil {
		return "", p.failField(n, err)
	}
	return v, nil
}

// list returns the elements of a sequence, at most limit of them.
func (p *parser) list(field string, n *yaml.Node, limit int, hint string) ([]*yaml.Node, error) {
	v := target(n)
	if v.Kind != yaml.SequenceNode {
		return nil, p.fail(n, field+" must be a list", hint)
	}
	if len(v.Content) > limit {
		return nil, p.fail(target(v.Content[limit]), fmt.Sprintf("%s has %d elements, the limit is %d", field, len(v.Content), limit), "split the specification")
	}
	return v.Content, nil
}

func (p *parser) transitions(n *yaml.Node) ([]Transition, error) {
	const form = "write transitions as - {from: a, action: b, to: c} or - [a, b, c]"
	items, err := p.list("transitions", n, MaxTransitions, form)
	if err != nil {
		return nil, err
	}
	out := make([]Transition, 0, len(items))
	lines := make(map[Transition]int, len(items))
	for _, item := range items {
		t, err := p.transition(item, form)
		if err != nil {
			return nil, err
		}
		if line := lines[t]; line > 0 {
			return nil, p.fail(item, fmt.Sprintf("the transition %s is given twice, first in line %d", t, line), "remove one of them")
		}
		lines[t] = item.Line
		out = append(out, t)
	}
	return out, nil
}

func (p *parser) transition(n *yaml.Node, form string) (Transition, error) {
	var t Transition
	read := func(name string, value *yaml.Node) (err error) {
		switch name {
		case "from":
			t.From, err = p.checked(name, value, CheckState)
		case "action":
			t.Action, err = p.checked(name, value, CheckAction)
		case "to":
			t.To, err = p.checked(name, value, CheckState)
		}
		return err
	}
	v := target(n)
	if v.Kind == yaml.SequenceNode {
		if len(v.Content) != len(transitionFields) {
			return t, p.fail(n, fmt.Sprintf("a transition has 3 elements, this has %d", len(v.Content)), form)
		}
		for i, name := range transitionFields {
			if err := read(name, v.Content[i]); err != nil {
				return t, err
			}
		}
		return t, nil
	}
	given := map[string]bool{}
	err := p.fields("a transition", n, transitionFields, func(name string, _, value *yaml.Node) error {
		given[name] = true
		return read(name, value)
	})
	if err != nil {
		return t, err
	}
	for _, name := range transitionFields {
		if !given[name] {
			return t, p.fail(n, "the transition has no field "+name, form)
		}
	}
	return t, nil
}

func (p *parser) duration(field string, n *yaml.Node) (time.Duration, error) {
	text, err := p.text(field, n)
	if err != nil {
		return 0, err
	}
	d, err := ParseDuration(text)
	if f := (*FieldError)(nil); errors.As(err, &f) {
		f.Field = field
		return 0, p.failField(n, f)
	}
	return d, nil
}

func (p *parser) prunable(n *yaml.Node) (Prunable, error) {
	const field = "prunable_states"
	if target(n).Kind != yaml.SequenceNode {
		kind, err := oneOf(p, field, n, prunableChoices)
		return Prunable{Kind: kind}, err
	}
	items, err := p.list(field, n, MaxTransitions, "")
	if err != nil {
		return Prunable{}, err
	}
	if len(items) == 0 {
		return Prunable{}, p.fail(n, field+" is an empty list", "write none")
	}
	out := Prunable{Kind: PrunableList}
	seen := map[string]bool{}
	for _, item := range items {
		v, err := p.checked("state", item, CheckState)
		if err != nil {
			return Prunable{}, err
		}
		if seen[v] {
			return Prunable{}, p.fail(item, fmt.Sprintf("state %s is given twice", quote(v)), "remove one of them")
		}
		seen[v] = true
		out.States = append(out.States, v)
	}
	return out, nil
}

func (p *parser) policy(n *yaml.Node) (Policy, error) {
	policy := DefaultPolicy()
	err := p.fields("on_error", n, errorFields, func(name string, _, value *yaml.Node) error {
		action, err := oneOf(p, "on_error."+name, value, actionChoices)
		switch name {
		case "deviation_still_equivalent":
			policy.DeviationStillEquivalent = action
		case "deviation_not_equivalent":
			policy.DeviationNotEquivalent = action
		case "transition_timeout":
			policy.TransitionTimeout = action
		}
		return err
	})
	return policy, err
}

func (p *parser) historyLimit(n *yaml.Node) (uint32, error) {
	text, err := p.text("history_limit", n)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseUint(text, 10, 32)
	if err != nil || v == 0 || v > MaxHistoryLimit {
		return 0, p.fail(n, fmt.Sprintf("history_limit %s is not a number from 1 to %d", quote(text), MaxHistoryLimit),
			"it is how many steps of an instance are kept")
	}
	return uint32(v), nil
}

// choice is a word of a document and what it means.
type choice[T any] struct {
	word  string
	value T
}

var (
	missingChoices = []choice[typesv1.OnMissingModel]{
		{"learn", typesv1.OnMissingModel_ON_MISSING_MODEL_LEARN},
		{"reject", typesv1.OnMissingModel_ON_MISSING_MODEL_REJECT},
	}
	actionChoices = []choice[typesv1.ErrorAction]{
		{"accept", typesv1.ErrorAction_ERROR_ACTION_ACCEPT},
		{"reject", typesv1.ErrorAction_ERROR_ACTION_REJECT},
	}
	yesChoices      = []choice[bool]{{"true", true}, {"false", false}}
	prunableChoices = []choice[PrunableKind]{
		{"none", PrunableNone}, {"all", PrunableAll}, {"terminal", PrunableTerminal},
	}
)

// word is the word for a value, or "" when there is none.
func word[T comparable](value T, choices []choice[T]) string {
	for _, c := range choices {
		if c.value == value {
			return c.word
		}
	}
	return ""
}

// oneOf reads one of a few words.
func oneOf[T any](p *parser, field string, n *yaml.Node, choices []choice[T]) (T, error) {
	var none T
	text, err := p.text(field, n)
	if err != nil {
		return none, err
	}
	words := make([]string, len(choices))
	for i, c := range choices {
		if c.word == text {
			return c.value, nil
		}
		words[i] = c.word
	}
	hint := "use " + strings.Join(words, " or ")
	if near := suggest(text, words); near != "" {
		hint = "did you mean " + near + "?"
	}
	return none, p.fail(n, fmt.Sprintf("%s cannot be %s", field, quote(text)), hint)
}
