package spec

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func load(t testing.TB, name string) (*Specification, []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(path, data)
	if err != nil {
		t.Fatal(err)
	}
	return s, data
}

func TestGoldenFilesAreCanonical(t *testing.T) {
	for _, name := range []string{"order.yaml", "cycle.yaml", "empty.yaml"} {
		s, want := load(t, name)
		got, err := s.YAML()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\ngot\n%s\nwant\n%s", name, err, got, want)
		}
	}
}

func TestParseReadsEveryField(t *testing.T) {
	got, _ := load(t, "order.yaml")
	want := &Specification{
		Name: "order", InitialState: "cart",
		Transitions: []Transition{
			{"new", "add item", "cart"}, {"cart", "add item", "cart"}, {"cart", Internal, "cart"}, {"cart", "pay", "paid"},
			{"paid", "no", "3"}, {"paid", "größe", `C:\ "x" [1], {2}: #`},
		},
		TransitionTimeout: 36 * time.Hour, TimeoutInTerminalStates: true, PruneTimeout: 90 * 24 * time.Hour,
		Prunable:       Prunable{Kind: PrunableList, States: []string{"paid", "x --[y]-> z"}},
		OnMissingModel: typesv1.OnMissingModel_ON_MISSING_MODEL_REJECT,
		Policy: Policy{
			DeviationStillEquivalent: typesv1.ErrorAction_ERROR_ACTION_REJECT,
			DeviationNotEquivalent:   typesv1.ErrorAction_ERROR_ACTION_ACCEPT,
			TransitionTimeout:        typesv1.ErrorAction_ERROR_ACTION_ACCEPT,
		},
		HistoryLimit: 50,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseDefaultsAndForms(t *testing.T) {
	base := Specification{Name: "S", InitialState: "a", Transitions: []Transition{{"a", "go", "b"}},
		OnMissingModel: typesv1.OnMissingModel_ON_MISSING_MODEL_LEARN, Policy: DefaultPolicy(), HistoryLimit: DefaultHistoryLimit}
	for _, tc := range []struct {
		name, text string
		change     func(*Specification)
	}{
		{"defaults", "name: S\ntransitions: [{from: a, action: go, to: b}]", nil},
		{"short form", "name: S\ntransitions:\n- [a, go, b]", nil},
		{"JSON", `{"name": "S", "transitions": [["a", "go", "b"]]}`, nil},
		{"CRLF, comments, a document mark", "# x\r\n---\r\nname: S # y\r\ntransitions:\r\n  - [a, go, b]\r\n", nil},
		{"defaults written out", "name: S\ntransitions: [[a, go, b]]\ninitial_state: a\ntransition_timeout: infinity\nprune_timeout: infinity\nprunable_states: none\non_missing_model: learn\non_error: {deviation_not_equivalent: reject}\nhistory_limit: 1000", nil},
		{"an alias", "name: S\ninitial_state: &x a\ntransitions: [[*x, go, b]]", nil},
		{"words and numbers are names", "name: S\ntransitions: [[yes, 1.50, 0x10], [2024-01-01, true, off]]", func(s *Specification) {
			s.InitialState, s.Transitions = "yes", []Transition{{"yes", "1.50", "0x10"}, {"2024-01-01", "true", "off"}}
		}},
		{"terminal", "name: S\ntransitions: [[a, go, b]]\nprunable_states: terminal", func(s *Specification) { s.Prunable.Kind = PrunableTerminal }},
		{"no transitions", "name: S", func(s *Specification) { s.InitialState, s.Transitions = "", nil }},
		{"initial state alone", "name: S\ninitial_state: a", func(s *Specification) { s.Transitions = nil }},
		{"one policy", "name: S\ntransitions: [[a, go, b]]\non_error: {transition_timeout: accept}", func(s *Specification) {
			s.Policy.TransitionTimeout = typesv1.ErrorAction_ERROR_ACTION_ACCEPT
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := base
			if tc.change != nil {
				tc.change(&want)
			}
			got, err := Parse("s.yaml", []byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("got  %+v\nwant %+v", *got, want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	const head = "name: S\ntransitions: [[a, go, b]]\n"
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "s.yaml: the document is empty"},
		{"comment only", "# nothing\n", "s.yaml: the document is empty"},
		{"null", "---\n", "s.yaml:2:1: a specification must be a map"},
		{"not YAML", "name: [S\ntransitions: x", "s.yaml:1: did not find expected ',' or ']' (this is not well-formed YAML"},
		{"tab", "name: S\n\ttransitions: x", "s.yaml:2"},
		{"a list", "- a", "s.yaml:1:1: a specification must be a map"},
		{"unknown field", head + "prune_timout: 1h", `s.yaml:3:1: a specification has no field "prune_timout" (did you mean prune_timeout?)`},
		{"foreign field", head + "colour: red", `s.yaml:3:1: a specification has no field "colour" (known fields: name, initial_state`},
		{"repeated field", "name: S\nname: T\n", "s.yaml:2:1: field name is given twice, first in line 1"},
		{"merge key", "name: S\n<<: {initial_state: a}", `s.yaml:2:1: the name of a field has the tag "!!merge"`},
		{"second document", head + "---\nname: T\n", "s.yaml:3:1: a second document begins here"},
		{"no name", "transitions: []", "s.yaml:1:1: the specification has no name"},
		{"null name", "name:\n", "s.yaml:1:6: name has no value"},
		{"bad name", "name: a/b", `s.yaml:1:7: name "a/b" contains '/'`},
		{"list as a name", "name: [S]", "s.yaml:1:7: name must be one value, not a list"},
		{"tagged", "name: !!binary UyA=", `s.yaml:1:7: name has the tag "!!binary"`},
		{"transitions as a map", "name: S\ntransitions: {a: b}", "s.yaml:2:14: transitions must be a list"},
		{"two elements", "name: S\ntransitions:\n  - [a, b]", "s.yaml:3:5: a transition has 3 elements, this has 2"},
		{"transition as text", "name: S\ntransitions:\n  - a b c", "s.yaml:3:5: a transition must be a map"},
		{"missing target", "name: S\ntransitions:\n  - {from: a, action: b}", "s.yaml:3:5: the transition has no field to"},
		{"unknown field of a transition", "name: S\ntransitions:\n  - {from: a, acton: b, to: c}", `s.yaml:3:15: a transition has no field "acton" (did you mean action?)`},
		{"repeated field of a transition", "name: S\ntransitions:\n  - {from: a, from: b, to: c}", "s.yaml:3:15: field from is given twice"},
		{"repeated transition", "name: S\ntransitions:\n  - [a, b, c]\n  - [a, x, c]\n  - {from: a, action: b, to: c}", "s.yaml:5:5: the transition a --[b]-> c is given twice, first in line 3"},
		{"reserved state", "name: S\ntransitions:\n  - [a, b, __internal__]", "s.yaml:3:12: to is the reserved name __internal__"},
		{"reserved action", "name: S\ntransitions:\n  - [a, __initialisation__, b]", "s.yaml:3:9: action is the reserved name __initialisation__"},
		{"reserved initial state", "name: S\ninitial_state: __initialisation__", "s.yaml:2:16: initial_state is the reserved name"},
		{"line feed in a state", "name: S\ntransitions:\n  - [a, b, \"c\\nd\"]", "s.yaml:3:12: to \"c\\nd\" has the control character U+000A"},
		{"long state", "name: S\ntransitions:\n  - [a, b, " + strings.Repeat("c", 257) + "]", "s.yaml:3:12: to is 257 bytes long"},
		{"timeout without a unit", head + "transition_timeout: 100", `s.yaml:3:21: transition_timeout "100" has no unit (write for example 100ms`},
		{"zero timeout", head + "transition_timeout: 0s", `s.yaml:3:21: transition_timeout "0s" is not a positive duration (write infinity for never)`},
		{"negative timeout", head + "prune_timeout: -1h", `s.yaml:3:16: prune_timeout "-1h" is not a positive duration`},
		{"prunable word", head + "prunable_states: termnal", `s.yaml:3:18: prunable_states cannot be "termnal" (did you mean terminal?)`},
		{"prunable empty list", head + "prunable_states: []", "s.yaml:3:18: prunable_states is an empty list (write none)"},
		{"prunable repeated", head + "prunable_states: [x, y, x]", `s.yaml:3:25: state "x" is given twice`},
		{"prunable reserved", head + "prunable_states: [__internal__]", "s.yaml:3:19: state is the reserved name"},
		{"missing model", head + "on_missing_model: ignore", `s.yaml:3:19: on_missing_model cannot be "ignore" (use learn or reject)`},
		{"timeout in terminal states", head + "timeout_in_terminal_states: yes", `s.yaml:3:29: timeout_in_terminal_states cannot be "yes" (use true or false)`},
		{"policy", head + "on_error: {transition_timeout: rejct}", `s.yaml:3:32: on_error.transition_timeout cannot be "rejct" (did you mean reject?)`},
		{"policy field", head + "on_error: {deviation_notequivalent: accept}", `s.yaml:3:12: on_error has no field "deviation_notequivalent" (did you mean deviation_not_equivalent?)`},
		{"policy as a word", head + "on_error: accept", "s.yaml:3:11: on_error must be a map"},
		{"history too long", head + "history_limit: 100001", `s.yaml:3:16: history_limit "100001" is not a number from 1 to 100000`},
		{"history zero", head + "history_limit: 0", "s.yaml:3:16: history_limit"},
		{"history negative", head + "history_limit: -5", "s.yaml:3:16: history_limit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Parse("s.yaml", []byte(tc.text))
			if err == nil {
				t.Fatalf("accepted as %+v", *s)
			}
			var p *ParseError
			if !errors.As(err, &p) || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s...", err, tc.want)
			}
		})
	}
}

func TestParseBounds(t *testing.T) {
	lines := func(n int) []byte {
		var b bytes.Buffer
		b.WriteString("name: S\ntransitions:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - [s%d, a, s%d]\n", i, i+1)
		}
		return b.Bytes()
	}
	if s, err := Parse("s.yaml", lines(MaxTransitions)); err != nil || len(s.Transitions) != MaxTransitions {
		t.Errorf("a specification at the limit: %v", err)
	}
	if _, err := Parse("s.yaml", lines(MaxTransitions+1)); err == nil || !strings.HasPrefix(err.Error(), "s.yaml:10003:5: transitions has 10001 elements, the limit is 10000") {
		t.Errorf("a specification beyond the limit: %v", err)
	}
	if _, err := Parse("s.yaml", bytes.Repeat([]byte("#"), MaxDocumentBytes+1)); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a document beyond the limit: %v", err)
	}
	// Each level of aliases is ten times the one below; expanded they would be 10^9 transitions.
	bomb := "name: S\ntransitions: &a [x, y, z]\n"
	for c := 'a'; c < 'j'; c++ {
		bomb = fmt.Sprintf("%s%c: &%c [%s]\n", bomb, c+1, c+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c), 10), ", "))
	}
	begin := time.Now()
	if _, err := Parse("s.yaml", []byte(bomb)); err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("aliases of aliases: %v after %v", err, time.Since(begin))
	}
	if _, err := Parse("s.yaml", []byte("name: S\ntransitions: &a [*a, *a]")); err == nil {
		t.Error("a list within itself was accepted")
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"infinity": 0, "100ms": 100 * time.Millisecond, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour,
		"0d1s": time.Second, "1.5h": 90 * time.Minute, "1ns": 1, "106751d": 106751 * day,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "1", "1.5", "1.5d", "-1d", "1d-1h", "1d+1h", "+-1h", "1dd", "0d", "0s", "106752d", "106751d24h", "1w", "Infinity", "never", "1h2d", "99999999999d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is accepted as %v", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Min(1).Draw(t, "d"))
		if got, err := ParseDuration(formatDuration(d)); err != nil || got != d {
			t.Fatalf("%v is written as %s and read as %v, %v", d, formatDuration(d), got, err)
		}
	})
}

// anyName draws names that are likely to confuse a YAML reader.
func anyName() *rapid.Generator[string] {
	pieces := rapid.SampledFrom([]string{"a", "s1", "no", "null", "~", "1e3", "0x1f", " ", ": ", "#", "'", `"`, `\`, "- ", "[", "]", "{", "}", ",", "&x", "*x", "!", "|", ">", "%",
		"@", "`", "\u00a0", "\u2028", "\ufeff", "é", "\U0001f600", "\U000e0001", "..", "?", "=", "<<", ".inf", "2024-01-01", "\u200b"})
	return rapid.OneOf(
		rapid.Map(rapid.SliceOfN(pieces, 1, 4), func(v []string) string { return strings.Join(v, "") }),
		rapid.StringN(1, 20, 256),
	).Filter(func(v string) bool { return CheckState("", v) == nil })
}

func anySpecification(t *rapid.T) *Specification {
	name := anyName()
	s := &Specification{Name: name.Filter(func(v string) bool { return CheckSpecName("", v) == nil }).Draw(t, "name")}
	action := rapid.OneOf(name, rapid.Just(Internal))
	s.Transitions = rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Transition {
		return Transition{name.Draw(t, "from"), action.Draw(t, "action"), name.Draw(t, "to")}
	}), 0, 6, rapid.ID[Transition]).Draw(t, "transitions")
	if rapid.Bool().Draw(t, "with initial state") {
		s.InitialState = name.Draw(t, "initial state")
	}
	timeout := rapid.OneOf(rapid.Just(time.Duration(0)), rapid.Map(rapid.Int64Range(1, 1<<62), func(v int64) time.Duration { return time.Duration(v) }))
	s.TransitionTimeout, s.PruneTimeout = timeout.Draw(t, "transition timeout"), timeout.Draw(t, "prune timeout")
	s.TimeoutInTerminalStates = rapid.Bool().Draw(t, "timeout in terminal states")
	s.Prunable.Kind = PrunableKind(rapid.IntRange(0, 3).Draw(t, "prunable"))
	if s.Prunable.Kind == PrunableList {
		s.Prunable.States = rapid.SliceOfNDistinct(name, 1, 3, rapid.ID[string]).Draw(t, "prunable states")
	}
	s.OnMissingModel = typesv1.OnMissingModel(rapid.IntRange(0, 2).Draw(t, "missing"))
	policy := rapid.Map(rapid.IntRange(0, 2), func(v int) typesv1.ErrorAction { return typesv1.ErrorAction(v) })
	s.Policy = Policy{policy.Draw(t, "still"), policy.Draw(t, "not"), policy.Draw(t, "timeout")}
	s.HistoryLimit = uint32(rapid.IntRange(0, MaxHistoryLimit).Draw(t, "history"))
	return s
}

func TestYAMLAndProtoRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySpecification(t)
		text, err := s.YAML()
		if err != nil {
			t.Fatal(err)
		}
		want := *s
		want.Normalize()
		got, err := Parse("s.yaml", text)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Fatalf("%v\ngot  %+v\nwant %+v\n%s", err, got, want, text)
		}
		again, err := got.YAML()
		if err != nil || !bytes.Equal(text, again) {
			t.Fatalf("not canonical: %v\n%s\n%s", err, text, again)
		}
		for _, m := range []*typesv1.Specification{s.Proto(), got.Proto()} {
			back, err := FromProto(m)
			if err != nil || !reflect.DeepEqual(*back, want) {
				t.Fatalf("%v\ngot  %+v\nwant %+v", err, back, want)
			}
		}
		// Another reader of YAML agrees about the names.
		var generic struct {
			Name        string
			Transitions []struct{ From, Action, To string }
		}
		if err := yaml.Unmarshal(text, &generic); err != nil || generic.Name != s.Name || len(generic.Transitions) != len(s.Transitions) {
			t.Fatalf("%v\n%s", err, text)
		}
		for i, tr := range generic.Transitions {
			if Transition(tr) != s.Transitions[i] {
				t.Fatalf("got %+v, want %+v\n%s", tr, s.Transitions[i], text)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"order.yaml", "cycle.yaml", "empty.yaml"} {
		_, data := load(f, name)
		f.Add(data)
	}
	f.Add([]byte("name: S\ninitial_state: &x a\ntransitions: [[*x, 1, *x], {from: yes, action: null, to: '~'}]\n--- \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("s.yaml", data)
		if err != nil {
			if p := (*ParseError)(nil); !errors.As(err, &p) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		text, err := s.YAML()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if back, err := Parse("s.yaml", text); err != nil || !reflect.DeepEqual(back, s) {
			t.Fatalf("%v\ngot  %+v\nwant %+v\n%s", err, back, s, text)
		}
	})
}
