package ltsfile

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spexio/spex/lts"
	"pgregory.net/rapid"
)

// hostile are names that some format could trip over.
var hostile = []string{
	"a", "A", "0", "1", "00", "-1", "1.5", "a b", " a", "a ", "a  b", "\t", "a\tb", "a\nb", "a\r\nb", "\n", "\r", "\x00", "\x1b[0m", "\u0085", "\u2028",
	`"`, `""`, `a"b`, `","`, `a","b`, `\`, `\\`, `a\`, `\"`, `\n`, `\N`, `\G`, `\l`, `'`, "`", ",", "a,b", "(", ")", "f(x, y)", "(0,a,1)", "des (0,1,1)",
	"-->", "a --> b", "->", "a -> b", "--", ":", "::", ":::", "a : b", ";", "a;", "#", "#35;", "#amp;", "#quot;", "&", "&amp;", "&#38;", "&nGt;", "&semi;", "#semi;", "#nGt;",
	"%", "%%", "%%{init}%%", "{", "}", "[", "]", "[*]", "[[fork]]", "<", ">", "<<choice>>", "<br/>", "<b>x</b>", "/*", "*/", "//", "+", "=", "|", "~", "$x$", "_x_", "*x*",
	"state", "State", "note", "end note", "default", "defaults", "class", "direction TB", "direction", "Direction  LR", "accDescr {", "hide", "style a:#fff;", "start", "init",
	"graph", "node", "Edge", "digraph", "subgraph", "strict", "null", "true", "tau1", "s0", "s1", "s1_", "größe", "日本", "ﬂ°°35¶ß", "\uFEFF", "\uFEFFa", "e\u0301", "👍🏽", "\U0010FFFF", "\uFFFD", "\u00a0a\u00a0",
	strings.Repeat("long", 100), "__internal__", "τ",
}

func name(t *rapid.T, what string) string {
	s := rapid.OneOf(rapid.SampledFrom(hostile), rapid.StringMatching(`.{1,5}`),
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom(hostile), 2, 3), func(p []string) string { return strings.Join(p, "") })).Draw(t, what)
	return strings.ToValidUTF8(s, "?")
}

// anySystem has few states, names of all kinds, and no visible action that is called
// like the internal one.
func anySystem(t *rapid.T) *lts.System {
	s := &lts.System{Alphabet: new(lts.Alphabet)}
	states := rapid.IntRange(1, 6).Draw(t, "states")
	labels := []lts.Label{lts.Tau}
	for range rapid.IntRange(0, 4).Draw(t, "labels") {
		if n := name(t, "label"); !slices.Contains(defaultTau, n) {
			labels = append(labels, s.Alphabet.Intern(n))
		}
	}
	for range rapid.IntRange(0, 1).Draw(t, "named") * rapid.IntRange(0, states).Draw(t, "names") {
		s.States = append(s.States, name(t, "state"))
	}
	var b lts.Builder
	b.AddStates(states)
	state := rapid.Int32Range(0, int32(states)-1)
	for range rapid.IntRange(0, 10).Draw(t, "transitions") {
		b.Add(state.Draw(t, "from"), rapid.SampledFrom(labels).Draw(t, "label"), state.Draw(t, "to"))
	}
	s.LTS = b.Build(state.Draw(t, "initial"))
	return s
}

// content is what equality of systems means here: everything but the numbers of labels.
func content(s *lts.System, names bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d states, initial %d\n", s.LTS.States(), s.LTS.Initial())
	lines := make(map[string]bool)
	for from := range lts.State(s.LTS.States()) {
		if names {
			fmt.Fprintf(&b, "%d is %q\n", from, s.StateName(from))
		}
		for _, step := range s.LTS.Steps(from) {
			label := "internal"
			if step.Label != lts.Tau {
				label = fmt.Sprintf("%q", s.Alphabet.Name(step.Label))
			}
			lines[fmt.Sprintf("%d %s %d\n", from, label, step.To)] = true
		}
	}
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		b.WriteString(line)
	}
	return b.String()
}

// roundTrip writes and reads a system and says what is different then.
func roundTrip(s *lts.System, f Format, w WriteOptions, r Options) error {
	var text, again bytes.Buffer
	if err := Write(&text, s, f, w); err != nil {
		return err
	}
	back, err := Read("x", bytes.NewReader(text.Bytes()), f, r)
	if err != nil {
		return fmt.Errorf("%w in\n%s", err, text.Bytes())
	}
	want, got := content(s, f != AUT), content(back, f != AUT)
	if want != got {
		return fmt.Errorf("%s\nis read as\n%s\nfrom\n%s", want, got, text.Bytes())
	}
	// What was read has its labels in the order of names, and gives the same bytes from now on.
	var first bytes.Buffer
	if err := Write(&first, back, f, w); err != nil {
		return err
	}
	back, err = Read("x", bytes.NewReader(first.Bytes()), f, r)
	if err != nil {
		return err
	}
	if err := Write(&again, back, f, w); err != nil {
		return err
	}
	if !bytes.Equal(first.Bytes(), again.Bytes()) {
		return fmt.Errorf("%s\nis written as\n%s", first.Bytes(), again.Bytes())
	}
	return nil
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	for _, f := range Formats() {
		t.Run(string(f), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				if err := roundTrip(anySystem(t), f, WriteOptions{}, Options{}); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestNamesAreWrittenAndReadBack goes through all hostile names, one at a time, as
// the name of a state, of an action and of the internal action.
func TestNamesAreWrittenAndReadBack(t *testing.T) {
	for _, f := range Formats() {
		for _, n := range hostile {
			s := &lts.System{Alphabet: new(lts.Alphabet), States: []string{n, "x" + n, n + "y"}}
			var b lts.Builder
			b.AddStates(3)
			b.Add(0, s.Alphabet.Intern(n), 1)
			b.Add(1, s.Alphabet.Intern("x"+n), 2)
			b.Add(2, s.Alphabet.Intern(n+"y"), 0)
			b.Add(2, lts.Tau, 2)
			s.LTS = b.Build(2)
			if err := roundTrip(s, f, WriteOptions{}, Options{}); err != nil {
				t.Errorf("%s, %q: %v", f, n, err)
			}
			internal := "<" + n + ">"
			if err := roundTrip(s, f, WriteOptions{Tau: internal}, Options{Tau: []string{"no", internal}}); err != nil {
				t.Errorf("%s, internal %q: %v", f, internal, err)
			}
		}
	}
}
