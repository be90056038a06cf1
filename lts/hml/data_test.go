package hml

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/spexio/spex/lts"
)

// record is a pair of systems with verdicts that other programs agreed on.
type record struct {
	ID, Tau                              string
	A, B                                 system
	Strong, DPBranching, Branching, Weak *bool
}

type system struct {
	Initial     lts.State
	States      int
	Transitions [][3]any // source, action, target
}

// TestVerdictsOfOtherPrograms makes a formula for each pair of systems in
// $SPEX_DATA/lts/*.jsonl that other programs found different, and none for those
// that they found equivalent. The files are not part of this repository.
func TestVerdictsOfOtherPrograms(t *testing.T) {
	dir := os.Getenv("SPEX_DATA")
	if dir == "" {
		t.Skip("SPEX_DATA is not set: it names a directory with lts/*.jsonl, pairs of systems with verdicts, for an extra check")
	}
	files, err := filepath.Glob(filepath.Join(dir, "lts", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no lts/*.jsonl in SPEX_DATA=%s (%v)", dir, err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) { checkFile(t, name) })
	}
}

func checkFile(t *testing.T, name string) {
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	formulas, deepest, largest := 0, 0, 0
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		var alphabet lts.Alphabet
		var b lts.Builder
		starts := [2]lts.State{}
		for i, s := range []system{r.A, r.B} {
			shift := b.AddStates(s.States)
			starts[i] = shift + s.Initial
			for _, tr := range s.Transitions {
				label := lts.Tau
				if action := tr[1].(string); action != r.Tau {
					label = alphabet.Intern(action)
				}
				b.Add(shift+lts.State(tr[0].(float64)), label, shift+lts.State(tr[2].(float64)))
			}
		}
		l := b.Build(0)
		for i, verdict := range []*bool{r.Strong, r.DPBranching, r.Branching, r.Weak} {
			if verdict == nil {
				continue
			}
			f, err := Distinguish(l, starts[0], starts[1], equivalences[i])
			if *verdict != (f == nil) {
				t.Errorf("%s: %v: %v", r.ID, equivalences[i], err)
			}
			if f != nil {
				formulas, deepest, largest = formulas+1, max(deepest, f.Depth()), max(largest, f.Size())
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d formulas, the deepest of depth %d, the largest of %d parts", formulas, deepest, largest)
}
