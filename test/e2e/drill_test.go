//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/drill"
	"github.com/spexio/spex/internal/broken"
)

// drillReport is the part of `spex drill -o json` that the tests look at.
type drillReport struct {
	OK     bool `json:"ok"`
	Counts struct {
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

// TestDrillFindsWhatIsBroken: the exit status is 1 when a promise is broken.
func TestDrillFindsWhatIsBroken(t *testing.T) {
	path, err := brokenBinary()
	if err != nil {
		t.Fatal(err)
	}
	ordinary := binary
	binary = path
	defer func() { binary = ordinary }()
	env := append(os.Environ(), broken.Env+"="+string(broken.DedupeOff))
	r := begin(t, env, "drill", "--dev", "--shards", "2", "--groups", "4", "--count", "1", "--faults", "pause", "--hold", "500ms", "--settle", "3s", "-o", "json").wait()
	report := decode[drillReport](t, r.stdout)
	var checks []string
	for _, v := range report.Violations {
		checks = append(checks, v.Check)
	}
	if r.code != 1 || report.OK || !slices.Contains(checks, drill.CheckTwice) || !strings.Contains(r.stderr, "the drill found") {
		t.Errorf("exit status %d\n%s\n%v", r.code, r.stderr, checks)
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
	ports := freePorts(t, len(s.nodes))
	var args []string
	for i, nd := range s.nodes {
		mark := filepath.Join(s.dir, nd.name+".cut")
		nd.args = append([]string{
			"drill", "agent", "--listen", ports[i], "--token-file", token,
			"--isolate-command", "touch " + mark, "--connect-command", "rm " + mark, "--", binary,
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
	args = append([]string{"drill", "--token-file", token, "--faults", "kill,pause,isolate", "--count", "3", "--groups", "4", "--hold", "1s", "--settle", "500ms", "-o", "json"}, args...)
	r := s.begin(args...).wait()
	if r.code != 0 {
		t.Fatalf("exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	report := decode[drillReport](t, r.stdout)
	if !report.OK || len(report.Faults) != 3 {
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
	// An agent that is told to stop takes its node along.
	for _, nd := range s.nodes {
		if code := s.terminate(nd, 30*time.Second); code != 0 {
			t.Errorf("the agent of %s ended with status %d", nd.name, code)
		}
	}
}
