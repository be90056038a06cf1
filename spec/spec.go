// Package spec holds specifications: a labelled transition system together with
// the rules for the instances that follow it (timeouts, pruning, what to do about
// deviations). It reads and writes them as YAML and as protobuf messages, checks
// names and limits, and looks for likely mistakes.
//
// Values are plain data. Nothing here is safe for concurrent mutation; reading a
// Specification from many goroutines is safe.
package spec

import (
	"fmt"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Transition is one element of a transition relation. It is comparable and is
// used for models too; a model's initialisation has an empty From and the action
// Initialisation.
type Transition struct {
	From, Action, To string
}

// String is the transition as users read it.
func (t Transition) String() string {
	from := t.From
	if from == "" && t.Action == Initialisation {
		from = "nil"
	}
	return from + " --[" + t.Action + "]-> " + t.To
}

// PrunableKind says in which implementation states an instance may be pruned.
type PrunableKind int

const (
	// PrunableNone forbids pruning; it is the default.
	PrunableNone PrunableKind = iota
	// PrunableAll allows pruning in every state.
	PrunableAll
	// PrunableTerminal allows pruning in terminal states.
	PrunableTerminal
	// PrunableList allows pruning in the states that are listed.
	PrunableList
)

// Prunable selects the implementation states in which an instance may be pruned.
type Prunable struct {
	Kind PrunableKind
	// States are the states of PrunableList, in the order of their declaration;
	// nil for every other kind. They are states of the implementation, which need
	// not be states of the specification.
	States []string
}

// Policy says what a caller is told about a step. Unspecified fields mean the
// defaults, which Normalize writes out.
type Policy struct {
	// DeviationStillEquivalent is accept by default.
	DeviationStillEquivalent typesv1.ErrorAction
	// DeviationNotEquivalent is reject by default.
	DeviationNotEquivalent typesv1.ErrorAction
	// TransitionTimeout is reject by default.
	TransitionTimeout typesv1.ErrorAction
}

// DefaultPolicy is the policy of a specification that gives none.
func DefaultPolicy() Policy {
	return Policy{
		DeviationStillEquivalent: typesv1.ErrorAction_ERROR_ACTION_ACCEPT,
		DeviationNotEquivalent:   typesv1.ErrorAction_ERROR_ACTION_REJECT,
		TransitionTimeout:        typesv1.ErrorAction_ERROR_ACTION_REJECT,
	}
}

// Specification is a labelled transition system with the rules for its
// instances. Parse and FromProto return it normalised and valid; who builds one by
// hand calls Normalize and Validate.
type Specification struct {
	// Name identifies the specification in its namespace.
	Name string
	// InitialState is the source of the first transition unless it was given; it
	// is empty only when there are no transitions.
	InitialState string
	// Transitions are in the order of their declaration, without duplicates.
	Transitions []Transition
	// TransitionTimeout is how long an instance may stay in a state; 0 means for ever.
	TransitionTimeout time.Duration
	// TimeoutInTerminalStates asks for timeouts also in states that the implementation
	// model does not lead away from; without it, instances may end there.
	TimeoutInTerminalStates bool
	// PruneTimeout is how old the last step of an instance must be before it may be pruned; 0 means never.
	PruneTimeout time.Duration
	// Prunable selects the states in which an instance may be pruned.
	Prunable Prunable
	// OnMissingModel says what happens when there is no model yet; unspecified means learn.
	OnMissingModel typesv1.OnMissingModel
	// Policy says what a caller is told about a step.
	Policy Policy
	// HistoryLimit is how many steps of an instance are kept; 0 means DefaultHistoryLimit.
	HistoryLimit uint32
}

// Normalize replaces everything that means "the default" by the default itself,
// so that two specifications that mean the same are equal.
func (s *Specification) Normalize() {
	if s.InitialState == "" && len(s.Transitions) > 0 {
		s.InitialState = s.Transitions[0].From
	}
	if len(s.Transitions) == 0 {
		s.Transitions = nil
	}
	if s.Prunable.Kind != PrunableList {
		s.Prunable.States = nil
	}
	if s.OnMissingModel == typesv1.OnMissingModel_ON_MISSING_MODEL_UNSPECIFIED {
		s.OnMissingModel = typesv1.OnMissingModel_ON_MISSING_MODEL_LEARN
	}
	def := DefaultPolicy()
	for _, f := range []struct{ field, def *typesv1.ErrorAction }{
		{&s.Policy.DeviationStillEquivalent, &def.DeviationStillEquivalent},
		{&s.Policy.DeviationNotEquivalent, &def.DeviationNotEquivalent},
		{&s.Policy.TransitionTimeout, &def.TransitionTimeout},
	} {
		if *f.field == typesv1.ErrorAction_ERROR_ACTION_UNSPECIFIED {
			*f.field = *f.def
		}
	}
	if s.HistoryLimit == 0 {
		s.HistoryLimit = DefaultHistoryLimit
	}
}

// Validate checks every field against its form and limit. The error is a
// *FieldError for the first field that is wrong.
func (s *Specification) Validate() error {
	if err := CheckSpecName("name", s.Name); err != nil {
		return err
	}
	if len(s.Transitions) > MaxTransitions {
		return &FieldError{Field: "transitions", Problem: fmt.Sprintf("are %d, the limit is %d", len(s.Transitions), MaxTransitions),
			Hint: "split the specification", Kind: Limit}
	}
	if s.InitialState != "" {
		if err := CheckState("initial_state", s.InitialState); err != nil {
			return err
		}
	} else if len(s.Transitions) > 0 {
		return &FieldError{Field: "initial_state", Problem: "is empty", Hint: "name the state in which instances begin", Kind: Malformed}
	}
	seen := make(map[Transition]int, len(s.Transitions))
	for i, t := range s.Transitions {
		if err := checkTransition(fmt.Sprintf("transitions[%d]", i), t); err != nil {
			return err
		}
		if first, dup := seen[t]; dup {
			return &FieldError{Field: fmt.Sprintf("transitions[%d]", i), Problem: fmt.Sprintf("repeats transitions[%d] (%s)", first, t),
				Hint: "remove one of them", Kind: Malformed}
		}
		seen[t] = i
	}
	return s.validateRules()
}

// checkTransition checks the three names of a transition of a specification.
func checkTransition(field string, t Transition) error {
	if err := CheckState(field+".from", t.From); err != nil {
		return err
	}
	if err := CheckAction(field+".action", t.Action); err != nil {
		return err
	}
	return CheckState(field+".to", t.To)
}

// validateRules checks everything beside the transition system.
func (s *Specification) validateRules() error {
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"transition_timeout", s.TransitionTimeout}, {"prune_timeout", s.PruneTimeout}} {
		if d.value < 0 {
			return &FieldError{Field: d.field, Problem: fmt.Sprintf("is %v", d.value), Hint: "give a positive duration, or infinity", Kind: Malformed}
		}
	}
	if err := s.Prunable.validate(); err != nil {
		return err
	}
	if _, ok := typesv1.OnMissingModel_name[int32(s.OnMissingModel)]; !ok {
		return &FieldError{Field: "on_missing_model", Problem: fmt.Sprintf("has the unknown value %d", s.OnMissingModel), Hint: "use learn or reject", Kind: Malformed}
	}
	for _, a := range []struct {
		field string
		value typesv1.ErrorAction
	}{
		{"on_error.deviation_still_equivalent", s.Policy.DeviationStillEquivalent},
		{"on_error.deviation_not_equivalent", s.Policy.DeviationNotEquivalent},
		{"on_error.transition_timeout", s.Policy.TransitionTimeout},
	} {
		if _, ok := typesv1.ErrorAction_name[int32(a.value)]; !ok {
			return &FieldError{Field: a.field, Problem: fmt.Sprintf("has the unknown value %d", a.value), Hint: "use accept or reject", Kind: Malformed}
		}
	}
	if s.HistoryLimit > MaxHistoryLimit {
		return &FieldError{Field: "history_limit", Problem: fmt.Sprintf("is %d, the limit is %d", s.HistoryLimit, MaxHistoryLimit),
			Hint: "keep fewer steps; count and sequence numbers go on in any case", Kind: Limit}
	}
	return nil
}

// validate checks the kind and the listed states.
func (p Prunable) validate() error {
	const field = "prunable_states"
	if p.Kind < PrunableNone || p.Kind > PrunableList {
		return &FieldError{Field: field, Problem: fmt.Sprintf("has the unknown kind %d", p.Kind), Hint: "use none, all, terminal or a list", Kind: Malformed}
	}
	if p.Kind != PrunableList {
		if len(p.States) > 0 {
			return &FieldError{Field: field, Problem: "lists states beside a keyword", Hint: "use none, all, terminal or a list", Kind: Malformed}
		}
		return nil
	}
	if len(p.States) == 0 {
		return &FieldError{Field: field, Problem: "is an empty list", Hint: "write none", Kind: Malformed}
	}
	if len(p.States) > MaxTransitions {
		return &FieldError{Field: field, Problem: fmt.Sprintf("lists %d states, the limit is %d", len(p.States), MaxTransitions), Hint: "use all or terminal", Kind: Limit}
	}
	seen := make(map[string]bool, len(p.States))
	for i, v := range p.States {
		if err := CheckState(fmt.Sprintf("%s[%d]", field, i), v); err != nil {
			return err
		}
		if seen[v] {
			return &FieldError{Field: fmt.Sprintf("%s[%d]", field, i), Problem: fmt.Sprintf("repeats %s", quote(v)), Hint: "remove one of them", Kind: Malformed}
		}
		seen[v] = true
	}
	return nil
}

// States returns all states in the order of their first mention: the initial
// state first when no transition names it, then transition by transition.
func (s *Specification) States() []string {
	var states []string
	seen := make(map[string]bool, len(s.Transitions)+1)
	add := func(v string) {
		if v != "" && !seen[v] {
			seen[v] = true
			states = append(states, v)
		}
	}
	if !s.mentions(s.InitialState) {
		add(s.InitialState)
	}
	for _, t := range s.Transitions {
		add(t.From)
		add(t.To)
	}
	return states
}

// mentions reports whether a transition starts or ends in the state.
func (s *Specification) mentions(state string) bool {
	for _, t := range s.Transitions {
		if t.From == state || t.To == state {
			return true
		}
	}
	return false
}

// Terminal returns the states without an outgoing transition, in the order of States.
func (s *Specification) Terminal() []string {
	busy := make(map[string]bool, len(s.Transitions))
	for _, t := range s.Transitions {
		busy[t.From] = true
	}
	var terminal []string
	for _, v := range s.States() {
		if !busy[v] {
			terminal = append(terminal, v)
		}
	}
	return terminal
}
