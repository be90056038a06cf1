package spec

import (
	"fmt"
	"strings"
	"unicode"
)

// Severity says how seriously a finding is meant.
type Severity string

const (
	// Warning is for what is very likely a mistake.
	Warning Severity = "warning"
	// Note is for what may well be meant but is worth knowing.
	Note Severity = "note"
)

// Finding is something in a valid specification that is probably not meant.
type Finding struct {
	Severity Severity
	// Code is stable, for example "UNREACHABLE_STATE".
	Code string
	// Message says what was found.
	Message string
	// Hint says what to do about it.
	Hint string
}

// String is severity, code, message and hint in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s %s: %s (%s)", f.Severity, f.Code, f.Message, f.Hint)
}

// maxCompared bounds the names that are compared with each other for typing errors.
const maxCompared = 400

// Lint looks for likely mistakes in a valid specification. The findings are in a
// fixed order; there are none for most specifications.
func (s *Specification) Lint() []Finding {
	l := &linter{s: s}
	if len(s.Transitions) == 0 {
		l.add(Warning, "NO_TRANSITIONS", "the specification has no transitions, so every step of an instance deviates", "add transitions")
	} else {
		l.initial()
		l.unreachable()
	}
	l.pruning()
	l.nondeterminism()
	l.internal()
	l.similar("states", s.States(), func(t Transition) []string { return []string{t.From, t.To} })
	l.similar("actions", s.actions(), func(t Transition) []string { return []string{t.Action} })
	l.spaces()
	return l.findings
}

type linter struct {
	s        *Specification
	findings []Finding
}

func (l *linter) add(severity Severity, code, message, hint string) {
	l.findings = append(l.findings, Finding{severity, code, message, hint})
}

// actions returns the visible actions in the order of their first mention.
func (s *Specification) actions() []string {
	var actions []string
	seen := map[string]bool{Internal: true}
	for _, t := range s.Transitions {
		if !seen[t.Action] {
			seen[t.Action] = true
			actions = append(actions, t.Action)
		}
	}
	return actions
}

func (l *linter) initial() {
	if l.s.InitialState == "" || l.s.mentions(l.s.InitialState) {
		return
	}
	hint := "name a state that a transition begins in"
	if near := suggest(l.s.InitialState, l.s.States()[1:]); near != "" {
		hint = "did you mean " + near + "?"
	}
	l.add(Warning, "INITIAL_STATE_WITHOUT_TRANSITIONS", fmt.Sprintf("no transition mentions the initial state %s", quote(l.s.InitialState)), hint)
}

func (l *linter) unreachable() {
	sys := l.s.LTS()
	for state, reachable := range sys.LTS.Reachable(sys.LTS.Initial()) {
		if !reachable {
			l.add(Warning, "UNREACHABLE_STATE", fmt.Sprintf("no path leads from the initial state %s to state %s", quote(l.s.InitialState), quote(sys.States[state])),
				"add the missing transition, or remove the state; steps there make no difference")
		}
	}
}

func (l *linter) pruning() {
	if l.s.TimeoutInTerminalStates && l.s.TransitionTimeout == 0 {
		l.add(Warning, "NEVER_TIMES_OUT", "there is timeout_in_terminal_states but transition_timeout is infinity", "set transition_timeout, or remove timeout_in_terminal_states")
	}
	if l.s.PruneTimeout > 0 && l.s.Prunable.Kind == PrunableNone {
		l.add(Warning, "PRUNES_NOTHING", "there is a prune_timeout but prunable_states is none", "set prunable_states, or remove prune_timeout")
	}
	if l.s.PruneTimeout == 0 && l.s.Prunable.Kind != PrunableNone {
		l.add(Warning, "NEVER_PRUNES", "there are prunable_states but prune_timeout is infinity", "set prune_timeout, or remove prunable_states")
	}
}

func (l *linter) nondeterminism() {
	type choice struct{ from, action string }
	targets := map[choice][]string{}
	var order []choice
	for _, t := range l.s.Transitions {
		c := choice{t.From, t.Action}
		if len(targets[c]) == 0 {
			order = append(order, c)
		}
		targets[c] = append(targets[c], t.To)
	}
	for _, c := range order {
		if to := targets[c]; len(to) > 1 && c.action != Internal {
			l.add(Note, "NONDETERMINISTIC", fmt.Sprintf("in state %s action %s can lead to %d states, %s and %s among them", quote(c.from), quote(c.action), len(to), quote(to[0]), quote(to[1])),
				"an implementation must keep the choice in the same place; use different actions if it is not meant")
		}
	}
}

func (l *linter) internal() {
	for _, t := range l.s.Transitions {
		if t.Action == Internal && t.From == t.To {
			l.add(Note, "INTERNAL_LOOP", fmt.Sprintf("state %s has an internal step to itself, which makes no difference", quote(t.From)), "remove it")
		}
	}
	for _, action := range l.s.actions() {
		switch strings.ToLower(strings.Trim(action, "_")) {
		case "i", "tau", "τ", "internal":
			l.add(Note, "LOOKS_INTERNAL", fmt.Sprintf("action %s is an ordinary visible action", quote(action)), "the internal action is written "+Internal)
		}
	}
}

// similar looks for names that are probably meant to be the same: those that differ
// in case and separators only, and long words that differ by one letter of
// which one is mentioned only once.
func (l *linter) similar(what string, names []string, mentioned func(Transition) []string) {
	fold := func(v string) string {
		return strings.Map(func(r rune) rune {
			if r == '_' || r == '-' || unicode.IsSpace(r) {
				return -1
			}
			return unicode.ToLower(r)
		}, v)
	}
	count := map[string]int{}
	for _, t := range l.s.Transitions {
		for _, v := range mentioned(t) {
			count[v]++
		}
	}
	report := func(a, b string) {
		l.add(Warning, "SIMILAR_NAMES", fmt.Sprintf("%s %s and %s have nearly the same name", what, quote(a), quote(b)), "use one name if one thing is meant")
	}
	first := map[string]string{}
	for i, v := range names {
		folded := fold(v)
		if other, ok := first[folded]; ok {
			report(other, v)
			continue
		}
		first[folded] = v
		if i >= maxCompared {
			continue
		}
		for _, other := range names[:i] {
			if (count[v] == 1 || count[other] == 1) && oneLetterOff(fold(other), folded) {
				report(other, v)
			}
		}
	}
}

// oneLetterOff reports whether two words of at least five bytes differ by one
// edit that does not touch a digit: numbered names differ on purpose.
func oneLetterOff(a, b string) bool {
	if min(len(a), len(b)) < 5 || distance(a, b) != 1 {
		return false
	}
	digits := func(v string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsDigit(r) {
				return r
			}
			return -1
		}, v)
	}
	return digits(a) == digits(b)
}

func (l *linter) spaces() {
	for _, v := range append(l.s.States(), l.s.actions()...) {
		if strings.TrimSpace(v) != v {
			l.add(Warning, "SURROUNDING_SPACE", fmt.Sprintf("the name %s begins or ends with a space", quote(v)), "remove the space, since names are compared byte by byte")
		}
	}
}
