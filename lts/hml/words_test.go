package hml

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

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
