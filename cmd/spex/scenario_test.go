package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"google.golang.org/protobuf/types/known/durationpb"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell runs commands in process against a fake cluster.
type shell struct {
	fake   *fakeCluster
	env    map[string]string
	stdin  string
	tty    bool
	ticks  atomic.Int64
	stdout bytes.Buffer
	stderr bytes.Buffer
}

func newShell(fake *fakeCluster) *shell {
	s := &shell{fake: fake, env: map[string]string{}}
	if fake != nil {
		s.env["SPEX_ADDR"] = fake.addr
	}
	return s
}

// run runs one command line and returns its exit status; the streams are in stdout and stderr.
func (s *shell) run(t *testing.T, args ...string) int {
	t.Helper()
	s.stdout.Reset()
	s.stderr.Reset()
	a := &app{
		stdin:     strings.NewReader(s.stdin),
		stdout:    &s.stdout,
		stderr:    &s.stderr,
		env:       func(key string) string { return s.env[key] },
		stdoutTTY: s.tty,
		// Each look at the clock is half a second later than the last one.
		now: func() time.Time { return time.Unix(0, s.ticks.Add(1)*int64(500*time.Millisecond)) },
	}
	return a.run(t.Context(), args)
}

// fields splits a command line at spaces, with single quotes as in a shell.
func fields(line string) []string {
	var out []string
	var word strings.Builder
	quoted, open := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, open = !quoted, true
		case r == ' ' && !quoted:
			if open {
				out = append(out, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(r)
			open = true
		}
	}
	if open {
		out = append(out, word.String())
	}
	return out
}

// TestScenarios runs the command lines of testdata/scenarios and compares what
// they print with what the files say. Lines beginning with $ are commands, with #
// remarks; everything else is output. -update rewrites the files.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	inputs, err := filepath.Abs("testdata/files")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		file, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(inputs)); err != nil {
				t.Fatal(err)
			}
			t.Chdir(dir)
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("output differs (run with -update and look at the difference):\n%s", firstDifference(string(want), got))
			}
		})
	}
}

// play runs a scenario and returns its transcript.
func play(t *testing.T, script string) string {
	t.Helper()
	fake := startFake(t)
	sh := newShell(fake)
	var out strings.Builder
	for _, line := range strings.Split(script, "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			if out.Len() > 0 && !strings.HasSuffix(out.String(), "\n\n") {
				out.WriteString("\n")
			}
			fmt.Fprintln(&out, line)
		case strings.HasPrefix(line, "$ "):
			fmt.Fprintln(&out, line)
			out.WriteString(maskSentences(runLine(t, sh, line[2:])))
		}
	}
	return out.String()
}

var (
	scenarioMark = regexp.MustCompile(`(?m)^[#$]`)
	noteSentence = regexp.MustCompile(`(?m)^(    [A-Z_]+): .*$`)
	jsonSentence = regexp.MustCompile(`("explanation"): ".+"`)
)

// maskSentences hides the sentences about why something deviates, whose wording
// is the business of package model.
func maskSentences(out string) string {
	out = noteSentence.ReplaceAllString(out, "$1: SENTENCE")
	return jsonSentence.ReplaceAllString(out, `$1: "SENTENCE"`)
}

// runLine runs one command of a scenario.
func runLine(t *testing.T, sh *shell, line string) string {
	t.Helper()
	args := fields(line)
	switch args[0] {
	case "cat":
		data, err := os.ReadFile(args[1])
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	case "spex":
		code := sh.run(t, args[1:]...)
		var out strings.Builder
		// What a line of a scenario may not begin with is shown behind a backslash.
		out.WriteString(scenarioMark.ReplaceAllString(sh.stdout.String(), `\$0`))
		for _, l := range strings.SplitAfter(sh.stderr.String(), "\n") {
			if l != "" {
				out.WriteString("2> " + l)
			}
		}
		if code != 0 {
			fmt.Fprintf(&out, "exit %d\n", code)
		}
		return out.String()
	case "fake":
		return sh.fake.command(t, args[1])
	}
	t.Fatalf("unknown command %q", line)
	return ""
}

// command brings the fake into a situation that a scenario is about.
func (f *fakeCluster) command(t *testing.T, name string) string {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch name {
	case "lose-n3":
		s := healthyStatus()
		s.Nodes[2].Gossip, s.Nodes[2].Reachable = "dead", false
		s.Shards[1].Leader, s.Shards[1].LeaderName = "", ""
		for _, g := range []*spexv1.ShardStatus{s.Catalog, s.Shards[0], s.Shards[1]} {
			g.Replicas[2].State, g.Replicas[2].Error, g.Replicas[2].Lag = "unreachable", "connection refused", 4
		}
		f.statusAnswer = s
	case "wrong-clock":
		f.statusAnswer = healthyStatus()
		n3 := f.statusAnswer.Nodes[2]
		n3.ClockOffset, n3.Alarms = durationpb.New(time.Hour), []string{"its clock is 1h0m0s ahead of the median of the cluster"}
	case "diverge":
		f.statusAnswer = healthyStatus()
		f.statusAnswer.Shards[0].Replicas[2].StateHash = "dead"
	case "move":
		f.placingLocked().moves = true
	case "spread":
		// Four nodes, so that one may go.
		f.statusAnswer = healthyStatus()
		f.statusAnswer.Nodes = append(f.statusAnswer.Nodes, &spexv1.NodeStatus{
			Id: "n4-0001", Name: "n4", ClientAddress: "127.0.0.1:7304", PeerAddress: "127.0.0.1:7504", Gossip: "alive", Reachable: true, Version: "v1.0.0",
		})
	case "fragile":
		f.statusAnswer = healthyStatus()
		f.statusAnswer.PlacementPaused = true
		f.statusAnswer.Nodes[1].State = spexv1.NodeState_NODE_STATE_DRAINING
		f.statusAnswer.Shards[1].FailureTolerance = proto.Int32(0)
		f.statusAnswer.Shards[1].Replicas[2].Voter = false
	case "fail-shard":
		f.listFailures = []*spexv1.ShardFailure{{Shard: 2, Error: &typesv1.ErrorDetail{Reason: typesv1.Reason_REASON_NO_LEADER, Message: "no leader"}}}
	case "pending-twice":
		f.pending = 2
	default:
		t.Fatalf("unknown situation %q", name)
	}
	return ""
}

// firstDifference shows the first lines that differ.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, a, b)
		}
	}
	return "no line differs"
}
