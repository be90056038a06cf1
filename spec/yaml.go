package spec

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// plainText is what is written without quotes. It is narrow on purpose: whatever
// a YAML reader could take for something else is quoted.
var plainText = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*(?: [A-Za-z0-9_.-]+)*$`)

// ambiguous are the words that some YAML reader takes for null or a boolean.
var ambiguous = map[string]bool{
	"null": true, "true": true, "false": true, "yes": true, "no": true, "on": true, "off": true, "y": true, "n": true,
}

// scalar writes a text so that every YAML reader gets the same text back.
func scalar(v string) string {
	if plainText.MatchString(v) && !ambiguous[strings.ToLower(v)] {
		return v
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range v {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == ' ' || unicode.IsGraphic(r) && !unicode.IsSpace(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// YAML writes the specification in its canonical form: fields in a fixed order,
// fields that have their default value left out, one transition a line. Two
// specifications that mean the same give the same bytes, and Parse of them gives
// the normalised specification. The error is that of Validate.
func (s *Specification) YAML() ([]byte, error) {
	n := *s
	n.Normalize()
	if err := n.Validate(); err != nil {
		return nil, fmt.Errorf("write specification %s: %w", quote(s.Name), err)
	}
	var b bytes.Buffer
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\n", name, value) }
	field("name", scalar(n.Name))
	if n.InitialState != "" && (len(n.Transitions) == 0 || n.InitialState != n.Transitions[0].From) {
		field("initial_state", scalar(n.InitialState))
	}
	if len(n.Transitions) == 0 {
		field("transitions", "[]")
	} else {
		b.WriteString("transitions:\n")
	}
	for _, t := range n.Transitions {
		fmt.Fprintf(&b, "  - {from: %s, action: %s, to: %s}\n", scalar(t.From), scalar(t.Action), scalar(t.To))
	}
	n.writeRules(&b, field)
	return b.Bytes(), nil
}

// writeRules writes everything beside the transition system.
func (s *Specification) writeRules(b *bytes.Buffer, field func(name, value string)) {
	if s.TransitionTimeout > 0 {
		field("transition_timeout", formatDuration(s.TransitionTimeout))
	}
	if s.TimeoutInTerminalStates {
		field("timeout_in_terminal_states", "true")
	}
	if s.PruneTimeout > 0 {
		field("prune_timeout", formatDuration(s.PruneTimeout))
	}
	switch s.Prunable.Kind {
	case PrunableNone:
	case PrunableList:
		b.WriteString("prunable_states:\n")
		for _, v := range s.Prunable.States {
			fmt.Fprintf(b, "  - %s\n", scalar(v))
		}
	default:
		field("prunable_states", word(s.Prunable.Kind, prunableChoices))
	}
	if w := word(s.OnMissingModel, missingChoices); w != missingChoices[0].word {
		field("on_missing_model", w)
	}
	if def := DefaultPolicy(); s.Policy != def {
		b.WriteString("on_error:\n")
		if v := s.Policy.DeviationStillEquivalent; v != def.DeviationStillEquivalent {
			field("  deviation_still_equivalent", word(v, actionChoices))
		}
		if v := s.Policy.DeviationNotEquivalent; v != def.DeviationNotEquivalent {
			field("  deviation_not_equivalent", word(v, actionChoices))
		}
		if v := s.Policy.TransitionTimeout; v != def.TransitionTimeout {
			field("  transition_timeout", word(v, actionChoices))
		}
	}
	if s.HistoryLimit != DefaultHistoryLimit {
		field("history_limit", fmt.Sprint(s.HistoryLimit))
	}
}
