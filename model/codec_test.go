package model

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/spexio/spex/spec"
)

// read decodes a golden file, which is in canonical form unless it is named otherwise.
func read(t testing.TB, name string) *File {
	t.Helper()
	path := filepath.Join("testdata", name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Decode(path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestGoldenFilesAreCanonical(t *testing.T) {
	names, err := filepath.Glob("testdata/*.spex")
	if err != nil || len(names) < 5 {
		t.Fatalf("golden files: %v, %v", names, err)
	}
	for _, name := range names {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := Encode(&got, read(t, filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
		if got.String() != string(want) {
			t.Errorf("%s:\ngot\n%s\nwant\n%s", name, got.String(), want)
		}
	}
}

// U18.
func TestDecodeForms(t *testing.T) {
	one := []Transition{Init("s0"), {From: "s0", Action: "a", To: "s1"}}
	for _, tc := range []struct {
		name, text string
		want       File
	}{
		{"with prefixes", "Specification: Elixir.Tree\nLearning mode: true\n\nnil --[__initialisation__]-> s0\ns0 --[a]-> s1\n", File{"Elixir.Tree", true, one}},
		{"prefixes are optional", "Tree\ntrue\n\ns0 --[a]-> s1\nnil --[__initialisation__]-> s0\n", File{"Tree", true, one}},
		{"CRLF", "Specification: Tree\r\nLearning mode: true\r\n\r\nnil --[__initialisation__]-> s0\r\ns0 --[a]-> s1\r\n", File{"Tree", true, one}},
		{"line 3 is ignored", "Tree\ntrue\ns9 --[x]-> s9\nnil --[__initialisation__]-> s0\ns0 --[a]-> s1", File{"Tree", true, one}},
		{"blank lines and repetitions", "Tree\nfalse\n\n\ns0 --[a]-> s1\n\ns0 --[a]-> s1\nnil --[__initialisation__]-> s0\n\n", File{"Tree", false, one}},
		{"only true is true", "Tree\nLearning mode: True\n\n", File{"Tree", false, nil}},
		{"true with a space is not true", "Tree\nLearning mode: true \n\n", File{"Tree", false, nil}},
		{"no transitions", "Specification: Tree\nLearning mode: false\n\n\n", File{"Tree", false, nil}},
		{"three lines are enough", "Tree\ntrue\n", File{"Tree", true, nil}},
		{"spaces belong to names", "Tree\ntrue\n\n s 0  --[a b]->  s 1 \n", File{"Tree", true, []Transition{{From: " s 0 ", Action: "a b", To: " s 1 "}}}},
		{"the longest source wins", "Tree\ntrue\n\ns --[x]-> t --[a]-> s1\n", File{"Tree", true, []Transition{{From: "s --[x]-> t", Action: "a", To: "s1"}}}},
		{"brackets in an action", "Tree\ntrue\n\ns --[a[0]]-> t\n", File{"Tree", true, []Transition{{From: "s", Action: "a[0]", To: "t"}}}},
		{"a state that is called nil", "Tree\ntrue\n\nnil --[a]-> nil\nnil --[__initialisation__]-> nil\n", File{"Tree", true, []Transition{Init("nil"), {From: "nil", Action: "a", To: "nil"}}}},
		{"internal action", "Tree\ntrue\n\ns --[__internal__]-> t\n", File{"Tree", true, []Transition{{From: "s", Action: spec.Internal, To: "t"}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Decode("x.spex", strings.NewReader(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if got.Spec != tc.want.Spec || got.Learning != tc.want.Learning || !slices.Equal(got.Transitions, tc.want.Transitions) {
				t.Errorf("got %+v, want %+v", *got, tc.want)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	const head = "Specification: Tree\nLearning mode: false\n\n"
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "x.spex:1: "},
		{"one line", "Tree", "x.spex:1: the file ends in line 1"},
		{"two lines", "Tree\ntrue", "x.spex:2: the file ends in line 2"},
		{"no name", "Specification: \nfalse\n\n", "x.spex:1: the specification's name is empty"},
		{"not a transition", head + "s0 --[a]-> s1\ns0 -a-> s1\n", `x.spex:5: this is not a transition: "s0 -a-> s1" (write STATE --[ACTION]-> STATE`},
		{"no action", head + "s0 --[]-> s1\n", "x.spex:4: this is not a transition"},
		{"no target", head + "s0 --[a]-> \n", "x.spex:4: this is not a transition"},
		{"a line of spaces", head + " \n", "x.spex:4: this is not a transition"},
		{"initialisation from a state", head + "s0 --[__initialisation__]-> s1\n", "x.spex:4: action is the reserved name __initialisation__"},
		{"reserved state", head + "s0 --[a]-> __internal__\n", "x.spex:4: to is the reserved name __internal__"},
		{"reserved initial state", head + "nil --[__initialisation__]-> __internal__\n", "x.spex:4: to is the reserved name"},
		{"long name", head + strings.Repeat("s", 257) + " --[a]-> t\n", "x.spex:4: from is 257 bytes long, the limit is 256"},
		{"long line", head + strings.Repeat("s", 5000) + " --[a]-> t\n", "x.spex:4: the line is longer than 4096 bytes"},
		{"not UTF-8", head + "s\xff --[a]-> t\n", "x.spex:4: from \"s\\xff\" is not valid UTF-8"},
		{"control character", head + "s\tx --[a]-> t\n", "x.spex:4: from \"s\\tx\" has the control character U+0009 at byte 1"},
		{"carriage return inside", head + "s0 --[a]-> s1\r\r\n", "x.spex:4: to \"s1\\r\" has the control character"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Decode("x.spex", strings.NewReader(tc.text))
			if err == nil {
				t.Fatalf("accepted as %+v", *f)
			}
			if !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s...", err, tc.want)
			}
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("%v is not ErrSyntax", err)
			}
		})
	}
}

func TestDecodeReportsReadErrors(t *testing.T) {
	failed := errors.New("disk on fire")
	_, err := Decode("x.spex", io.MultiReader(strings.NewReader("Tree\ntrue\n\ns --[a]-> t\ns"), iotest.ErrReader(failed)))
	if !errors.Is(err, failed) || errors.Is(err, ErrSyntax) {
		t.Errorf("got %v", err)
	}
}

func TestDecodeBoundsTheModel(t *testing.T) {
	var text strings.Builder
	text.WriteString("Tree\ntrue\n\n")
	for i := range spec.MaxModelTransitions {
		text.WriteString(Transition{From: strings.Repeat("s", i%200+1), Action: strings.Repeat("a", i/200+1), To: "t"}.String() + "\n")
	}
	f, err := Decode("x.spex", strings.NewReader(text.String()))
	if err != nil || len(f.Transitions) != spec.MaxModelTransitions {
		t.Fatalf("a model at the limit: %v", err)
	}
	text.WriteString("one --[more]-> step\n")
	if _, err = Decode("x.spex", strings.NewReader(text.String())); err == nil || !strings.Contains(err.Error(), "x.spex:20004: the model has more than 20000 transitions") {
		t.Errorf("a model beyond the limit: %v", err)
	}
}

func TestEncodeRefusesWhatItCannotCarry(t *testing.T) {
	for _, tc := range []struct {
		name string
		file File
		want string
	}{
		{"arrow in the target", File{Spec: "S", Transitions: []Transition{{From: "s", Action: "a", To: "t --[x]-> u"}}}, `would be read back as "s --[a]-> t" to "u" by "x"`},
		{"arrow in the action", File{Spec: "S", Transitions: []Transition{{From: "s", Action: "x]-> t --[a", To: "u"}}}, "would be read back"},
		{"line feed", File{Spec: "S", Transitions: []Transition{{From: "s\nt", Action: "a", To: "u"}}}, "control character"},
		{"initialisation from a state", File{Spec: "S", Transitions: []Transition{{From: "nil", Action: spec.Initialisation, To: "u"}}}, "reserved"},
		{"no source", File{Spec: "S", Transitions: []Transition{{Action: "a", To: "u"}}}, "from is empty"},
		{"prefix in the name", File{Spec: "Specification: S"}, "rename the specification"},
		{"no name", File{}, "is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			err := Encode(&out, &tc.file)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if field := (*spec.FieldError)(nil); !errors.As(err, &field) {
				t.Errorf("%T is not a field error", err)
			}
			if out.Len() > 0 {
				t.Errorf("%q was written all the same", out.String())
			}
		})
	}
}

func TestEncodeReportsWriteErrors(t *testing.T) {
	r, w := io.Pipe()
	failed := errors.New("disk full")
	r.CloseWithError(failed)
	if err := Encode(w, &File{Spec: "S"}); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}

// name draws names that are likely to confuse the text form.
func name(t *rapid.T, label string) string {
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{"s", "nil", " --[", "]-> ", " ", "[", "]", "->", "--", "é", "\u2028", ": ", "__internal__"}), 1, 4)
	return strings.Join(parts.Draw(t, label), "")
}

// What Encode accepts, Decode gives back; what it refuses is either a bad name or an arrow.
func TestEncodeDecodeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &File{Spec: name(t, "spec"), Learning: rapid.Bool().Draw(t, "learning")}
		arrow := false
		for range rapid.IntRange(0, 4).Draw(t, "transitions") {
			tr := Transition{From: name(t, "from"), Action: name(t, "action"), To: name(t, "to")}
			if rapid.Bool().Draw(t, "initialisation") {
				tr = Init(tr.To)
			}
			arrow = arrow || strings.Contains(tr.Action+"\n"+tr.To, " --[") || strings.Contains(tr.To, "]-> ") || Check(tr) != nil
			f.Transitions = append(f.Transitions, tr)
		}
		var out bytes.Buffer
		if err := Encode(&out, f); err != nil {
			if !arrow && spec.CheckSpecName("", f.Spec) == nil {
				t.Fatalf("refused %+v: %v", f, err)
			}
			return
		}
		back, err := Decode("x.spex", iotest.OneByteReader(&out))
		if err != nil {
			t.Fatalf("%+v cannot be read back: %v", f, err)
		}
		if back.Spec != f.Spec || back.Learning != f.Learning || !slices.Equal(back.Transitions, Union(f.Transitions)) {
			t.Fatalf("got %+v, want %+v", back, f)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"tree.spex", "cycle.spex", "point.spex", "arrow.spex"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("Tree\r\ntrue\r\n\r\ns --[x]-> t --[a]-> u\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Decode("x.spex", bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("an error about content that is not ErrSyntax: %v", err)
			}
			return
		}
		var out bytes.Buffer
		if err := Encode(&out, file); err != nil {
			if strings.Contains(file.Spec, specPrefix) {
				return // removing a prefix can leave another behind
			}
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := Decode("x.spex", &out)
		if err != nil || back.Spec != file.Spec || back.Learning != file.Learning || !slices.Equal(back.Transitions, file.Transitions) {
			t.Fatalf("got %+v (%v), want %+v", back, err, file)
		}
	})
}
