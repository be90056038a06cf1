package spec

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// FromProto converts the message, fills in the defaults and validates the result.
// The message is not kept. The error is a *FieldError.
func FromProto(m *typesv1.Specification) (*Specification, error) {
	if m == nil {
		return nil, &FieldError{Field: "specification", Problem: "is missing", Hint: "send a specification", Kind: Malformed}
	}
	s := &Specification{
		Name:           m.GetName(),
		InitialState:   m.GetInitialState(),
		OnMissingModel: m.GetOnMissingModel(),
		Policy: Policy{
			DeviationStillEquivalent: m.GetErrorPolicy().GetDeviationStillEquivalent(),
			DeviationNotEquivalent:   m.GetErrorPolicy().GetDeviationNotEquivalent(),
			TransitionTimeout:        m.GetErrorPolicy().GetTransitionTimeout(),
		},
		HistoryLimit:            m.GetHistoryLimit(),
		TimeoutInTerminalStates: m.GetTimeoutInTerminalStates(),
	}
	if n := len(m.GetTransitions()); n > 0 {
		s.Transitions = make([]Transition, n)
		for i, t := range m.GetTransitions() {
			s.Transitions[i] = Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()}
		}
	}
	var err error
	if s.TransitionTimeout, err = fromDuration("transition_timeout", m.GetTransitionTimeout()); err != nil {
		return nil, err
	}
	if s.PruneTimeout, err = fromDuration("prune_timeout", m.GetPruneTimeout()); err != nil {
		return nil, err
	}
	if s.Prunable, err = prunableFromProto(m.GetPrunableStates()); err != nil {
		return nil, err
	}
	s.Normalize()
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, nil
}

// fromDuration reads a positive duration; absent means never, which is 0.
func fromDuration(field string, d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	v := d.AsDuration()
	if err := d.CheckValid(); err != nil || v <= 0 || v.Truncate(time.Second) != time.Duration(d.GetSeconds())*time.Second {
		return 0, &FieldError{Field: field, Problem: fmt.Sprintf("is %ds and %dns, which is not a positive duration below 292 years", d.GetSeconds(), d.GetNanos()),
			Hint: "leave it out for never", Kind: Malformed}
	}
	return v, nil
}

func prunableFromProto(p *typesv1.PrunableStates) (Prunable, error) {
	kinds := map[typesv1.PrunableStates_Kind]PrunableKind{
		typesv1.PrunableStates_KIND_UNSPECIFIED: PrunableNone,
		typesv1.PrunableStates_KIND_NONE:        PrunableNone,
		typesv1.PrunableStates_KIND_ALL:         PrunableAll,
		typesv1.PrunableStates_KIND_TERMINAL:    PrunableTerminal,
		typesv1.PrunableStates_KIND_LIST:        PrunableList,
	}
	kind, ok := kinds[p.GetKind()]
	if !ok {
		return Prunable{}, &FieldError{Field: "prunable_states", Problem: fmt.Sprintf("has the unknown kind %d", p.GetKind()),
			Hint: "use none, all, terminal or a list", Kind: Malformed}
	}
	out := Prunable{Kind: kind, States: append([]string(nil), p.GetStates()...)}
	return out, out.validate()
}

// Proto converts the specification to its message, which shares nothing with it.
func (s *Specification) Proto() *typesv1.Specification {
	m := &typesv1.Specification{
		Name:           s.Name,
		InitialState:   s.InitialState,
		OnMissingModel: s.OnMissingModel,
		ErrorPolicy: &typesv1.ErrorPolicy{
			DeviationStillEquivalent: s.Policy.DeviationStillEquivalent,
			DeviationNotEquivalent:   s.Policy.DeviationNotEquivalent,
			TransitionTimeout:        s.Policy.TransitionTimeout,
		},
		HistoryLimit:            s.HistoryLimit,
		TimeoutInTerminalStates: s.TimeoutInTerminalStates,
		PrunableStates:          &typesv1.PrunableStates{States: append([]string(nil), s.Prunable.States...)},
	}
	for _, t := range s.Transitions {
		m.Transitions = append(m.Transitions, &typesv1.Transition{From: t.From, Action: t.Action, To: t.To})
	}
	if s.TransitionTimeout > 0 {
		m.TransitionTimeout = durationpb.New(s.TransitionTimeout)
	}
	if s.PruneTimeout > 0 {
		m.PruneTimeout = durationpb.New(s.PruneTimeout)
	}
	switch s.Prunable.Kind {
	case PrunableAll:
		m.PrunableStates.Kind = typesv1.PrunableStates_KIND_ALL
	case PrunableTerminal:
		m.PrunableStates.Kind = typesv1.PrunableStates_KIND_TERMINAL
	case PrunableList:
		m.PrunableStates.Kind = typesv1.PrunableStates_KIND_LIST
	default:
		m.PrunableStates.Kind = typesv1.PrunableStates_KIND_NONE
	}
	return m
}
