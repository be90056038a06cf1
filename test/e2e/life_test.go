//go:build e2e

package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func applyText(t *testing.T, s *servers, text string) {
	t.Helper()
	file := filepath.Join(s.dir, "applied.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.spex("spec", "apply", file)
}

// TestGracefulStop stops nodes one after the other and starts them again; each
// ends in time and with status 0.
func TestGracefulStop(t *testing.T) {
	s := startServers(t, 3, "--shards", "4")
	applyText(t, s, pingPong)
	s.spex("instance", "init", "pingpong", "a")
	for _, nd := range s.nodes {
		begin := time.Now()
		if code := s.terminate(nd, 10*time.Second); code != 0 {
			t.Fatalf("%s: exit status %d after SIGTERM", nd.name, code)
		}
		t.Logf("%s stopped in %s", nd.name, time.Since(begin).Round(time.Millisecond))
		s.spex("instance", "transition", "a", "ping", "right")
		s.spex("instance", "transition", "a", "pong", "left")
		s.start(nd)
		s.awaitReady(nd, 30*time.Second)
	}
	s.awaitAgreement(30 * time.Second)
}

// TestRefusals: what an operator can get wrong at the start has a readable
// answer and changes nothing.
func TestRefusals(t *testing.T) {
	s := startServers(t, 1, "--shards", "2", "--replicas", "1")
	nd := s.nodes[0]
	free := freePorts(t, 3)
	with := func(changes ...string) []string {
		args := []string{"server", "--name", "n1", "--data-dir", t.TempDir(), "--listen", free[0], "--peer-listen", free[1], "--gossip", free[2], "--expect", "1"}
		return append(args, changes...)
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"data directory in use", with("--data-dir", nd.dir), 3, "in use"},
		{"client port in use", with("--listen", nd.client), 3, nd.client},
		{"peer port in use", with("--peer-listen", nd.peer), 3, nd.peer},
		{"gossip port in use", with("--gossip", nd.gossip), 3, nd.gossip},
		{"no name", with("--name", ""), 2, "--name"},
		{"unknown flag", with("--sharts", "3"), 2, "--sharts"},
		{"shards out of range", with("--shards", "0"), 2, "--shards"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := begin(t, os.Environ(), tc.args...).wait()
			if r.code != tc.code || !strings.Contains(r.stderr, tc.want) {
				t.Fatalf("exit status %d, want %d with %q:\n%s", r.code, tc.code, tc.want, r.stderr)
			}
		})
	}
	s.kill(nd)
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"directory of another node", with("--name", "n2", "--data-dir", nd.dir), `"n1"`},
		{"directory of another cluster", with("--cluster", "other", "--data-dir", nd.dir), `"other"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := begin(t, os.Environ(), tc.args...).wait()
			if r.code != 3 || !strings.Contains(r.stderr, tc.want) {
				t.Fatalf("exit status %d, want 3 with %q:\n%s", r.code, tc.want, r.stderr)
			}
		})
	}
	s.start(nd)
	s.awaitReady(nd, 30*time.Second)
}

// TestSettings starts a server from a file and the environment.
func TestSettings(t *testing.T) {
	ports := freePorts(t, 3)
	dir := t.TempDir()
	file := filepath.Join(dir, "spex.yaml")
	text := "name: n1\nlisten: 127.0.0.1:1\npeer_listen: " + ports[1] + "\ngossip: " + ports[2] + "\nexpect: 1\nshards: 2\njoin: []\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "server", "--config", file, "--replicas", "1")
	cmd.Env = append(os.Environ(), "SPEX_LISTEN="+ports[0], "SPEX_DATA_DIR="+filepath.Join(dir, "data"), "SPEX_REPLICAS=5")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if !strings.Contains(line, ports[0]) {
		t.Errorf("the server printed %q, want its address %s from the environment", line, ports[0])
	}
	st := decode[struct {
		ReplicasAsked int `json:"replicas_asked"`
		Shards        []any
	}](t, begin(t, os.Environ(), "cluster", "status", "-o", "json", "--addr", ports[0]).wait().stdout)
	if st.ReplicasAsked != 1 || len(st.Shards) != 2 {
		t.Errorf("replicas %d and %d shards, want 1 from the flag and 2 from the file", st.ReplicasAsked, len(st.Shards))
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestDemo: the demo shows a deviation within 10 seconds of its start.
func TestDemo(t *testing.T) {
	ports := freePorts(t, 1)
	cmd := exec.Command(binary, "dev", "--demo", "--demo-for", "20s", "--nodes", "1", "--listen", ports[0])
	nodes3 := exec.Command(binary, "dev", "--demo", "--demo-for", "20s", "--listen", "127.0.0.1:0")
	for _, cmd := range []*exec.Cmd{cmd, nodes3} {
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		shown := time.Duration(0)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "deviation not equivalent") && shown == 0 {
				shown = time.Since(begin)
				_ = cmd.Process.Signal(syscall.SIGINT)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v ended with %v", cmd.Args[1:], err)
		}
		t.Logf("%v: a deviation after %s", cmd.Args[1:], shown.Round(time.Millisecond))
		if shown == 0 || shown > 10*time.Second {
			t.Errorf("a deviation was shown after %s", shown)
		}
	}
}
