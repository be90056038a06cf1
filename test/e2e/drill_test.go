//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
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
		Acknowledged int `json:"acknowledged"`
	} `json:"counts"`
	Faults []struct {
		Kind  string   `json:"kind"`
		Node  string   `json:"node"`
		Whole *float64 `json:"whole_ms"`
		Error *string  `json:"error"`
	} `json:"faults"`
	Violations []struct {
		Check string `json:"check"`
	} `json:"violations"`
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
	if !report.OK || report.Counts.Acknowledged < 200 || len(report.Faults) != 2 || report.Faults[0].Kind != "kill" || report.Faults[1].Kind != "pause" {
		t.Errorf("%s", r.stdout)
	}
	for _, f := range report.Faults {
		if f.Error != nil || f.Whole == nil {
			t.Errorf("%+v", f)
		}
	}
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

// TestDrillAgents: agents run the nodes of a cluster, and break them when a drill
// asks for that.
func TestDrillAgents(t *testing.T) {
	s := newServers(t, 3, "--shards", "4")
	token := filepath.Join(s.dir, "token")
	if err := os.WriteFile(token, []byte("a token of thirty-two characters\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	jammed := filepath.Join(s.dir, "jammed")
	ports := freePorts(t, len(s.nodes))
	var args []string
	for i, nd := range s.nodes {
		mark := filepath.Join(s.dir, nd.name+".cut")
		nd.args = append([]string{
			"drill", "agent", "--listen", ports[i], "--token-file", token,
			"--isolate-command", "test ! -e " + jammed + " && touch " + mark, "--connect-command", "rm -f " + mark, "--", binary,
		}, nd.args...)
		s.start(nd)
		args = append(args, "--agent", fmt.Sprintf("%s=http://%s", nd.name, ports[i]))
	}
	c := s.dial()
	deadline := 300
	for ; deadline > 0; deadline-- {
		if st, err := c.Status(t.Context(), false); err == nil && len(st.GetNodes()) == 3 && len(st.GetShards()) == 4 {
			break
		}
		wait(200 * time.Millisecond)
	}
	args = append([]string{"drill", "--token-file", token, "--groups", "4", "--hold", "1s", "--settle", "500ms", "-o", "json"}, args...)
	r := s.begin(append(args, "--faults", "kill,pause,isolate", "--count", "3")...).wait()
	if r.code != 0 {
		t.Fatalf("exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	report := decode[drillReport](t, r.stdout)
	if !report.OK || report.Incomplete != nil || len(report.Faults) != 3 {
		t.Errorf("%s", r.stdout)
	}
	for _, f := range report.Faults {
		if f.Error != nil {
			t.Errorf("%s %s: %s", f.Kind, f.Node, *f.Error)
		}
	}
	// The instances are gone, as nothing was found.
	if out := s.spex("instance", "list", "--spec", drill.DefaultSpec, "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("the drill has left %s", out)
	}
	// One of the faults cannot be made: that is not the drill that was asked for.
	if err := os.WriteFile(jammed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r = s.begin(append(args, "--faults", "pause,isolate", "--count", "2", "--hold", "200ms")...).wait()
	report = decode[drillReport](t, r.stdout)
	if r.code != 3 || !report.OK || report.Incomplete == nil || !strings.Contains(*report.Incomplete, "1 of 2 faults could not be made") {
		t.Errorf("half a drill: exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	// Nobody is there to break anything.
	r = s.begin("drill", "--ask", "--groups", "2", "--settle", "100ms", "-o", "json").wait()
	if report := decode[drillReport](t, r.stdout); r.code != 3 || !report.OK || !strings.Contains(r.stderr, "standard input has ended") {
		t.Errorf("a drill without faults: exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	// An agent that is told to stop takes its node along.
	for _, nd := range s.nodes {
		if code := s.terminate(nd, 30*time.Second); code != 0 {
			t.Errorf("the agent of %s ended with status %d", nd.name, code)
		}
	}
}
