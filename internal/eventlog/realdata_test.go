package eventlog

import (
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/spexio/spex/spec"
)

// realLog opens a log of the folder that SPEX_DATA names.
func realLog(t *testing.T, file string, opts Options) iter.Seq2[Case, error] {
	t.Helper()
	dir := os.Getenv("SPEX_DATA")
	if dir == "" {
		t.Skip("SPEX_DATA is not set: it names a folder with receipt.csv, running_example.csv and other public logs")
	}
	l, err := Open(filepath.Join(dir, file), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Cases()
}

// TestRealLogs learns the first cases of public logs and counts what the others
// do that is new, as a sealed model would report it.
func TestRealLogs(t *testing.T) {
	for _, tc := range []struct {
		file                                                string
		columns                                             Columns
		learn                                               int // cases
		learned, others, novel, distinct, deviating, events int
	}{
		{"receipt.csv", Columns{DefaultCase, DefaultActivity, DefaultTimestamp, ""}, 1000, 87, 434, 14, 13, 7, 8577},
		{"running_example.csv", Columns{"case_id", "activity", "timestamp", ""}, 4, 13, 2, 4, 4, 2, 42},
		{"running_example.xes", Columns{}, 4, 13, 2, 4, 4, 2, 42},
		{"roadtraffic100traces.csv", Columns{}, 50, 12, 50, 7, 7, 2, 0},
	} {
		t.Run(tc.file, func(t *testing.T) {
			events := 0
			count := func(in iter.Seq2[Case, error]) iter.Seq2[Case, error] {
				return func(yield func(Case, error) bool) {
					for c, err := range in {
						events += len(c.Events)
						if !yield(c, err) {
							return
						}
					}
				}
			}
			s, err := Discover("log", count(realLog(t, tc.file, Options{Columns: tc.columns, MaxCases: tc.learn})))
			if err != nil {
				t.Fatal(err)
			}
			known := make(map[spec.Transition]bool)
			for _, tr := range s.Transitions {
				known[tr] = true
			}
			var others, novel, deviating int
			distinct := make(map[spec.Transition]bool)
			for c, err := range count(realLog(t, tc.file, Options{Columns: tc.columns, SkipCases: tc.learn})) {
				if err != nil {
					t.Fatal(err)
				}
				others++
				from, before := s.InitialState, novel
				for _, e := range c.Events {
					tr := spec.Transition{From: from, Action: e.Activity, To: e.State}
					if from = e.State; !known[tr] {
						novel++
						distinct[tr] = true
					}
				}
				if novel > before {
					deviating++
				}
			}
			if len(known) != tc.learned || others != tc.others || novel != tc.novel || len(distinct) != tc.distinct || deviating != tc.deviating {
				t.Errorf("learned %d; then %d cases with %d novel steps, %d distinct, in %d cases", len(known), others, novel, len(distinct), deviating)
			}
			if tc.events != 0 && events != tc.events {
				t.Errorf("%d events, want %d", events, tc.events)
			}
		})
	}
}

// TestRealXES reads a packed log that another tool wrote.
func TestRealXES(t *testing.T) {
	n := 0
	for c, err := range realLog(t, "reviewing.xes.gz", Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Events) == 0 {
			t.Errorf("case %s is empty", c.ID)
		}
		n++
	}
	if n != 100 {
		t.Errorf("%d cases", n)
	}
}
