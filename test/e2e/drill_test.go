//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spexio/spex/drill"
	"github.com/spexio/spex/internal/broken"
)

// drillReport is the part of `spex drill -o json` that the tests look at.
type drillReport struct {
	OK         bool    `json:"ok"`
	Incomplete *string `json:"incomplete"`
	Counts     struct {
		Operations   int `json:"operations"`
		Acknowledged int `json:"acknowledged"`
		Refused      int `json:"refused"`
		Unknown      int `json:"unknown"`
		Unresolved   int `json:"unresolved"`
	} `json:"counts"`
	P50        float64       `json:"p50_ms"`
	P99        float64       `json:"p99_ms"`
	Max        float64       `json:"max_ms"`
	Faults     []drillFault  `json:"faults"`
	Outages    []drillOutage `json:"outages"`
	Violations []struct {
		Check string `json:"check"`
	} `json:"violations"`
}

type drillFault struct {
	Kind        string   `json:"kind"`
	Node        string   `json:"node"`
	Leaderships int      `json:"leaderships"`
	Begin       float64  `json:"begin_ms"`
	End         float64  `json:"end_ms"`
	Whole       *float64 `json:"whole_ms"`
	Outage      float64  `json:"outage_ms"`
	Median      float64  `json:"median_ms"`
	Open        bool     `json:"open"`
	Error       *string  `json:"error"`
}

type drillOutage struct {
	Kind   string  `json:"kind"`
	Rounds int     `json:"rounds"`
	Median float64 `json:"median_ms"`
	P90    float64 `json:"p90_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

// checkHeld wants these kinds of faults, all made and undone, nothing broken, and
// numbers that fit each other.
func (r *drillReport) checkHeld(t *testing.T, kinds ...drill.FaultKind) {
	t.Helper()
	if !r.OK || r.Incomplete != nil || len(r.Violations) != 0 {
		t.Errorf("not held as asked, or broken: %+v", r)
	}
	if c := r.Counts; c.Acknowledged < 100 || c.Acknowledged+c.Refused+c.Unknown > c.Operations || c.Unresolved > c.Unknown {
		t.Errorf("counts that do not fit: %+v", c)
	}
	if r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 {
		t.Errorf("answers after %v ms (median), %v ms (99 %%), %v ms (worst)", r.P50, r.P99, r.Max)
	}
	var got []drill.FaultKind
	outages := map[string][]float64{}
	for _, f := range r.Faults {
		got = append(got, drill.FaultKind(f.Kind))
		outages[f.Kind] = append(outages[f.Kind], f.Outage)
		if f.Error != nil || f.Whole == nil || f.End <= f.Begin || *f.Whole < f.End || f.Open || f.Median > f.Outage {
			t.Errorf("%+v", f)
		}
	}
	if !slices.Equal(got, kinds) || len(r.Outages) != len(outages) {
		t.Errorf("%v with %d kinds of outages, want %v", got, len(r.Outages), kinds)
	}
	for _, o := range r.Outages {
		if all := outages[o.Kind]; o.Rounds != len(all) || o.Max != slices.Max(all) || o.Median > o.P90 || o.P90 > o.P99 || o.P99 > o.Max || !slices.Contains(all, o.Median) {
			t.Errorf("%+v of %v", o, all)
		}
	}
}

// TestDrillDev: the command starts a cluster, breaks it, finds nothing, and takes
// everything away again.
func TestDrillDev(t *testing.T) {
	html := filepath.Join(t.TempDir(), "drill.html")
	r := begin(t, os.Environ(), "drill", "--dev", "--shards", "4", "--groups", "4", "--count", "2", "--hold", "1s", "--settle", "500ms", "--html", html, "-o", "json").wait()
	if r.code != 0 {
		t.Fatalf("exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	report := decode[drillReport](t, r.stdout)
	report.checkHeld(t, drill.Kill, drill.Pause)
	if page, err := os.ReadFile(html); err != nil || !strings.Contains(string(page), "kill "+report.Faults[0].Node) {
		t.Errorf("the picture: %v", err)
	}
	_, rest, _ := strings.Cut(r.stderr, "logs are in ")
	dir, _, _ := strings.Cut(rest, "\n")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory %q of the cluster: %v", dir, err)
	}
}

// TestDrillIsInterrupted: Ctrl-C, which a terminal sends to all processes of its
// foreground group, ends the drill and not the nodes under it.
func TestDrillIsInterrupted(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var stdout bytes.Buffer
	cmd := exec.Command(binary, "drill", "--dev", "--shards", "2", "--groups", "2", "--count", "0", "--faults", "pause", "--hold", "500ms", "--settle", "500ms", "-o", "json")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &stdout, log, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := func() string {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for n := 0; strings.Count(said(), ": pause n") < 2 && n < 600; n++ {
		wait(100 * time.Millisecond)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), said())
	}
	if report := decode[drillReport](t, stdout.String()); !report.OK || len(report.Faults) < 2 || report.Counts.Acknowledged == 0 {
		t.Errorf("%s", stdout.String())
	}
}

// TestDrillFindsWhatIsBroken: the exit status is 1 when a promise is broken, and
// the data that show it are left.
func TestDrillFindsWhatIsBroken(t *testing.T) {
	path, err := brokenBinary()
	if err != nil {
		t.Fatal(err)
	}
	ordinary := binary
	binary = path
	defer func() { binary = ordinary }()
	dir := t.TempDir()
	env := append(os.Environ(), broken.Env+"="+string(broken.DedupeOff), "TMPDIR="+dir)
	r := begin(t, env, "drill", "--dev", "--shards", "2", "--groups", "4", "--count", "1", "--faults", "pause", "--hold", "500ms", "--settle", "3s", "-o", "json").wait()
	report := decode[drillReport](t, r.stdout)
	var checks []string
	for _, v := range report.Violations {
		checks = append(checks, v.Check)
	}
	if r.code != 1 || report.OK || !slices.Contains(checks, drill.CheckTwice) || !strings.Contains(r.stderr, "the drill found") {
		t.Errorf("exit status %d\n%s\n%v", r.code, r.stderr, checks)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "spex-drill-*", "n1.log"))
	if err != nil || len(logs) != 1 || !strings.Contains(r.stderr, "data and logs are left in "+filepath.Dir(logs[0])) {
		t.Errorf("%v, %v\n%s", logs, err, r.stderr)
	}
}
