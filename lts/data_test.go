package lts

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// record is a pair of systems with a verdict that other programs agreed on.
type record struct {
	ID        string
	Tau       string
	A, B      system
	Branching *bool
}

type system struct {
	Initial     State
	States      int
	Transitions [][3]any // source, action, target
}

func (s system) build(alphabet *Alphabet, tau string) *LTS {
	var b Builder
	b.AddStates(s.States)
	for _, t := range s.Transitions {
		label := Tau
		if action := t[1].(string); action != tau {
			label = alphabet.Intern(action)
		}
		b.Add(State(t[0].(float64)), label, State(t[2].(float64)))
	}
	return b.Build(s.Initial)
}

// TestVerdictsOfOtherPrograms runs over pairs of systems in $SPEX_DATA/lts/*.jsonl,
// which are not part of this repository. Nothing else depends on them: the
// definition in oracle_test.go is the reference.
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
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	decided, equivalent := 0, 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Branching == nil {
			continue
		}
		var alphabet Alphabet
		got := BranchingBisimilar(r.A.build(&alphabet, r.Tau), r.B.build(&alphabet, r.Tau))
		if got != *r.Branching {
			t.Errorf("%s: got %v, want %v", r.ID, got, *r.Branching)
		}
		decided++
		if got {
			equivalent++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pairs, %d of them equivalent", decided, equivalent)
}
