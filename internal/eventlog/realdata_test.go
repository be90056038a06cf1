package eventlog

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRealLogs reads public event logs when SPEX_DATA names a folder that has them.
func TestRealLogs(t *testing.T) {
	dir := os.Getenv("SPEX_DATA")
	if dir == "" {
		t.Skip("SPEX_DATA is not set: it names a folder with receipt.csv, running_example.csv and other public logs")
	}
	for _, tc := range []struct {
		file                      string
		opts                      Options
		cases, events, transition int
	}{
		{"receipt.csv", Options{MaxCases: 1000}, 1000, 6038, 87},
		{"receipt.csv", Options{SkipCases: 1000}, 434, 2539, 0},
		{"running_example.csv", Options{MaxCases: 4, Columns: Columns{Case: "case_id", Activity: "activity", Timestamp: "timestamp"}}, 4, 0, 13},
		{"running_example.xes", Options{MaxCases: 4}, 4, 0, 13},
		{"roadtraffic100traces.csv", Options{MaxCases: 50}, 50, 0, 12},
		{"reviewing.xes.gz", Options{}, 100, 0, 0},
	} {
		t.Run(tc.file, func(t *testing.T) {
			l, err := Open(filepath.Join(dir, tc.file), tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var cases, events int
			s, err := Discover("log", func(yield func(Case, error) bool) {
				for c, err := range l.Cases() {
					cases++
					events += len(c.Events)
					if !yield(c, err) {
						return
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d cases, %d events, %d transitions", cases, events, len(s.Transitions))
			if cases != tc.cases || tc.events != 0 && events != tc.events || tc.transition != 0 && len(s.Transitions) != tc.transition {
				t.Errorf("got %d cases, %d events, %d transitions; want %d, %d, %d", cases, events, len(s.Transitions), tc.cases, tc.events, tc.transition)
			}
		})
	}
}
