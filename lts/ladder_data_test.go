package lts

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// verdictRecord is a pair of systems with all verdicts that other programs agreed
// on; null where they did not decide.
type verdictRecord struct {
	ID                  string
	Tau                 string
	A, B                system
	Strong, DPBranching *bool
	Branching, Weak     *bool
	Trace               *bool
	WeakTrace           *bool `json:"weak_trace"`
}

func (r verdictRecord) verdicts() map[Equivalence]*bool {
	return map[Equivalence]*bool{
		Strong: r.Strong, DivergencePreservingBranching: r.DPBranching, Branching: r.Branching, Weak: r.Weak,
		StrongTrace: r.Trace, WeakTrace: r.WeakTrace,
	}
}

// TestLadderOfOtherPrograms compares every verdict of $SPEX_DATA/lts/*.jsonl.
func TestLadderOfOtherPrograms(t *testing.T) {
	dir := os.Getenv("SPEX_DATA")
	if dir == "" {
		t.Skip("SPEX_DATA is not set: it names a directory with lts/*.jsonl, pairs of systems with verdicts, for an extra check")
	}
	files, err := filepath.Glob(filepath.Join(dir, "lts", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no lts/*.jsonl in SPEX_DATA=%s (%v)", dir, err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) { checkVerdicts(t, name) })
	}
}

func checkVerdicts(t *testing.T, name string) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	decided, holds, unknown := map[Equivalence]int{}, map[Equivalence]int{}, 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r verdictRecord
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		var alphabet Alphabet
		a, b := r.A.build(&alphabet, r.Tau), r.B.build(&alphabet, r.Tau)
		rungs, small := Ladder(a, b, Limits{}), Limits{Sets: 1 << 14}
		for e, want := range r.verdicts() {
			for how, c := range map[string]Comparison{"Ladder": rungs[e].Comparison, "Compare": Compare(a, b, e, small), "Compare the other way round": Compare(b, a, e, small)} {
				switch {
				case c.Holds == Unknown:
					unknown++
					t.Logf("%s: %s: %v: unknown", r.ID, how, e)
				case want != nil && c.Holds != answer(*want):
					t.Errorf("%s: %s: %v: got %v, want %v", r.ID, how, e, c.Holds, *want)
				}
			}
			if want != nil {
				decided[e]++
				if *want {
					holds[e]++
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("decided %v, of which hold %v; %d answers unknown", decided, holds, unknown)
}
