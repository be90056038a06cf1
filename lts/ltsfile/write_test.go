package ltsfile

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spexio/spex/lts"
)

var rewrite = flag.Bool("rewrite", false, "write the actual outputs into testdata/golden; review the difference")

// order is a small system as people write them.
func order() *lts.System {
	s := &lts.System{Alphabet: new(lts.Alphabet), States: []string{"new", "in the cart", "paid", "shipped", "cancelled"}}
	var b lts.Builder
	b.AddStates(5)
	add, pay, cancel, ship := s.Alphabet.Intern("add item"), s.Alphabet.Intern("pay"), s.Alphabet.Intern("cancel"), s.Alphabet.Intern("ship(parcel, \"24h\")")
	b.Add(0, add, 1)
	b.Add(1, add, 1)
	b.Add(1, pay, 2)
	b.Add(1, cancel, 4)
	b.Add(2, lts.Tau, 2)
	b.Add(2, cancel, 4)
	b.Add(2, ship, 3)
	s.LTS = b.Build(0)
	return s
}

// awkward has names with all that has to be escaped, and two states of one name.
func awkward() *lts.System {
	s := &lts.System{Alphabet: new(lts.Alphabet), States: []string{`say "hi"`, "default", "s3", "a --> b : c", `say "hi"`, "größe"}}
	var b lts.Builder
	b.AddStates(7)
	for i, n := range []string{`"`, `\`, "a,b", "a\nb\r", "#35; & &amp;", " two  spaces ", "direction TB", "--> [*]; <b>%%"} {
		b.Add(lts.State(i%7), s.Alphabet.Intern(n), lts.State((i+1)%7))
	}
	b.Add(6, lts.Tau, 6)
	s.LTS = b.Build(3)
	return s
}

func TestGoldenFiles(t *testing.T) {
	numbers := order()
	numbers.States = nil
	var lone lts.Builder
	lone.AddState()
	for name, s := range map[string]*lts.System{
		"order": order(), "numbers": numbers, "awkward": awkward(), "lone": {LTS: lone.Build(0), Alphabet: new(lts.Alphabet)},
	} {
		for f, ext := range map[Format]string{AUT: ".aut", DOT: ".dot", Mermaid: ".mmd", JSON: ".json"} {
			t.Run(name+ext, func(t *testing.T) {
				var text bytes.Buffer
				if err := Write(&text, s, f, WriteOptions{}); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join("testdata", "golden", name+ext)
				if *rewrite {
					if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(text.Bytes(), want) {
					t.Errorf("got\n%s\nwant\n%s", text.Bytes(), want)
				}
				if got, ok := FormatOf(file); got != f || !ok {
					t.Errorf("the format of %s is %q", file, got)
				}
				if err := roundTrip(s, f, WriteOptions{}, Options{}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	system := func(action string, states ...string) *lts.System {
		s := &lts.System{Alphabet: new(lts.Alphabet), States: states}
		s.Alphabet.Intern("\xff") // which no transition has
		var b lts.Builder
		b.AddStates(2)
		b.Add(0, s.Alphabet.Intern(action), 1)
		s.LTS = b.Build(0)
		return s
	}
	foreign := system("a")
	foreign.Alphabet = new(lts.Alphabet)
	for _, tt := range []struct {
		name    string
		s       *lts.System
		tau     string
		formats []Format
		want    string
	}{
		{"empty action", system(""), "", Formats(), `an action is called "": the name must be UTF-8 and not empty`},
		{"action that is not UTF-8", system("\xc0"), "", Formats(), `an action is called "\xc0": the name must be UTF-8 and not empty`},
		{"empty state", system("a", "x", ""), "", []Format{DOT, Mermaid, JSON}, `state 1 is called "": the name must be UTF-8 and not empty`},
		{"state that is not UTF-8", system("a", "\xc0"), "", []Format{DOT, Mermaid, JSON}, `state 0 is called "\xc0": the name must be UTF-8 and not empty`},
		{"internal action that is not UTF-8", system("a"), "\xc0", Formats(), `the internal action is called "\xc0": the name must be UTF-8`},
		{"action like the internal one", system("x"), "x", Formats(), `a visible action is called "x" like the internal one: choose another name for the internal action`},
		{"action called i", system("i"), "", []Format{AUT, DOT, Mermaid}, `a visible action is called "i", which readers take for the internal one: choose a name for the internal action, and tell it to readers`},
		{"action called tau", system("tau"), "", []Format{AUT, DOT, Mermaid}, `a visible action is called "tau", which readers take for the internal one: choose a name for the internal action, and tell it to readers`},
		{"label of another alphabet", foreign, "", Formats(), "transition from state 0: its label is not in the alphabet"},
	} {
		for _, f := range tt.formats {
			var text bytes.Buffer
			if err := Write(&text, tt.s, f, WriteOptions{Tau: tt.tau}); err == nil || err.Error() != tt.want || text.Len() > 0 {
				t.Errorf("%s, %s: got %v and %q, want %s", tt.name, f, err, text.String(), tt.want)
			}
		}
	}
	// What AUT does not write does not matter.
	if err := Write(new(bytes.Buffer), system("a", "\xc0", ""), AUT, WriteOptions{}); err != nil {
		t.Error(err)
	}
}

// TestVisibleActionsCalledLikeInternalOnes come through when a name is chosen, and in
// JSON without that.
func TestVisibleActionsCalledLikeInternalOnes(t *testing.T) {
	s := &lts.System{Alphabet: new(lts.Alphabet)}
	var b lts.Builder
	b.AddStates(2)
	for _, n := range []string{"i", "tau", "tau1"} {
		b.Add(0, s.Alphabet.Intern(n), 1)
	}
	b.Add(1, lts.Tau, 0)
	s.LTS = b.Build(0)
	for _, f := range Formats() {
		if err := roundTrip(s, f, WriteOptions{Tau: "hidden"}, Options{Tau: []string{"hidden"}}); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	if err := roundTrip(s, JSON, WriteOptions{}, Options{}); err != nil {
		t.Error(err)
	}
	var text bytes.Buffer
	if err := Write(&text, s, JSON, WriteOptions{}); err != nil || !strings.Contains(text.String(), `"tau": "tau2"`) {
		t.Errorf("got %v and %s", err, text.String())
	}
}

// full is a writer with room for a few bytes.
type full struct{ room int }

var errFull = errors.New("no room")

func (w *full) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestErrorsOfTheWriter(t *testing.T) {
	s := sparse(20_000)
	for _, f := range Formats() {
		for _, room := range []int{0, 100_000} {
			if err := Write(&full{room}, s, f, WriteOptions{}); !errors.Is(err, errFull) {
				t.Errorf("%s: got %v", f, err)
			}
		}
	}
}
