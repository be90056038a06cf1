package hml

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spexio/spex/lts"
)

var update = flag.Bool("update", false, "rewrite testdata/words.txt")

// TestWords compares the text and the words of differences with those on file.
func TestWords(t *testing.T) {
	const file = "testdata/words.txt"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(data), "\n== ")
	var out strings.Builder
	out.WriteString(sections[0])
	for _, section := range sections[1:] {
		lines := strings.Split(section, "\n")
		e, err := lts.ParseEquivalence(lines[1])
		left, okLeft := strings.CutPrefix(lines[2], "left: ")
		right, okRight := strings.CutPrefix(lines[3], "right: ")
		if err != nil || !okLeft || !okRight {
			t.Fatalf("%s: want a title, an equivalence, left and right, got %q (%v)", file, lines[:4], err)
		}
		l, alphabet, s, u := pair(t, left, right)
		f, err := Distinguish(l, s, u, e)
		if err != nil {
			t.Fatalf("%s: %v", lines[0], err)
		}
		fmt.Fprintf(&out, "\n== %s\n%s\n", strings.Join(lines[:4], "\n"), f.Text(alphabet))
		for _, line := range f.Words(alphabet, "the specification", "the implementation") {
			fmt.Fprintf(&out, "| %s\n", line)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, want := strings.Split(out.String(), "\n"), strings.Split(string(data), "\n")
	for i := range got {
		if i >= len(want) || got[i] != want[i] {
			t.Fatalf("line %d of %s: got %q", i+1, file, got[i])
		}
	}
}

// Whatever the formula: there are words, not too many, no empty phrase, and the text
// defines the names that it uses.
func TestTextAndWordsOfRandomFormulas(t *testing.T) {
	var alphabet lts.Alphabet
	for _, name := range []string{"order", "pay", "ship"} {
		alphabet.Intern(name)
	}
	lists := 0
	for _, e := range equivalences {
		for range 40 {
			rapid.Check(t, func(t *rapid.T) {
				f := anyFormula(t, e)
				words := f.Words(&alphabet, "the specification", "the implementation")
				if len(words) > 1 {
					lists++
				}
				checkWords(t, words)
				checkText(t, f.Text(&alphabet))
			})
		}
	}
	t.Logf("%d lists", lists)
	if lists < 400 {
		t.Errorf("only %d formulas took a list", lists)
	}
}

func checkWords(t *rapid.T, words []string) {
	all := strings.Join(words, "\n")
	if len(words) == 0 || len(words) > maxLines+2 || !strings.HasPrefix(words[0], "The ") && !strings.HasPrefix(words[0], "After ") {
		t.Fatalf("words:\n%s", all)
	}
	if !strings.Contains(all, "the specification") || !strings.Contains(all, "the implementation") {
		if !strings.Contains(all, "The specification") && !strings.Contains(all, "The implementation") {
			t.Fatalf("who is it about?\n%s", all)
		}
	}
	for i, line := range words {
		text := strings.TrimLeft(line, " -")
		for _, wrong := range []string{"  ", "%!", "where ;", "where .", "where,", "so that .", " , ", "()", "and and", "true", "\""} {
			if strings.Contains(text, wrong) {
				t.Fatalf("%q in\n%s", wrong, all)
			}
		}
		if strings.HasSuffix(text, ":") && (i+1 == len(words) || indent(words[i+1]) <= indent(line)) {
			t.Fatalf("nothing follows %q in\n%s", text, all)
		}
		if indent(line) == 0 && !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, ":") {
			t.Fatalf("no end of the sentence %q", text)
		}
	}
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func checkText(t *rapid.T, text string) {
	defined := map[string]bool{}
	for line := range strings.Lines(text) {
		rest := line
		name, body, isLet := strings.Cut(strings.TrimPrefix(line, "let "), " = ")
		if isLet {
			rest = body
		}
		for _, used := range regexp.MustCompile(`F\d+`).FindAllString(rest, -1) {
			if !defined[used] {
				t.Fatalf("%s is used before it is defined:\n%s", used, text)
			}
		}
		if strings.Count(rest, "(") != strings.Count(rest, ")") {
			t.Fatalf("brackets:\n%s", text)
		}
		defined[name] = isLet
	}
}
