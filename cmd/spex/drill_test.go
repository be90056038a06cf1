package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/drill"
)

const testToken = "0123456789abcdef"

// testAgent is an agent with a server in front of it.
func testAgent(t *testing.T, f *agentFlags, command ...string) (*agent, *agents) {
	t.Helper()
	commands := map[string]*string{}
	for _, v := range agentVerbs {
		text := ""
		if p := f.commands[v.name]; p != nil {
			text = *p
		}
		commands[v.name] = &text
	}
	f.commands = commands
	if f.limit == 0 {
		f.limit = time.Minute
	}
	g, err := newAgent(f, testToken, command)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(g.handler())
	t.Cleanup(func() {
		srv.Close()
		if err := g.close(); err != nil {
			t.Error(err)
		}
	})
	return g, &agents{urls: map[string]string{"n1": srv.URL}, names: []string{"n1"}, token: testToken, http: srv.Client()}
}

// processState is the letter of a process in /proc, "" where there is none.
func processState(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest[:1]
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestDrillAgentChild(t *testing.T) {
	ctx := context.Background()
	g, b := testAgent(t, &agentFlags{}, "sleep", "1000")
	first := g.child
	pid := first.cmd.Process.Pid
	if err := b.Break(ctx, "n1", drill.Pause); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the process to be stopped", func() bool { return processState(pid) == "T" })
	if err := b.Break(ctx, "n1", drill.Kill); err == nil || !strings.Contains(err.Error(), "pause is under way") {
		t.Errorf("two faults at once: %v", err)
	}
	if err := b.Mend(ctx, "n1", drill.Pause); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the process to go on", func() bool { return processState(pid) != "T" })
	if err := b.Break(ctx, "n1", drill.Kill); err != nil {
		t.Fatal(err)
	}
	if first.running() {
		t.Error("the process lives")
	}
	for range 2 { // the second time there is nothing to do
		if err := b.Mend(ctx, "n1", drill.Kill); err != nil {
			t.Fatal(err)
		}
	}
	if !g.child.running() || g.child == first {
		t.Error("the process was not started again")
	}
	if err := b.Break(ctx, "n1", drill.Isolate); err == nil || !strings.Contains(err.Error(), "it can: kill, pause") {
		t.Errorf("an agent without a command isolates: %v", err)
	}
}

func TestDrillAgentCommands(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	text := func(s string) *string { return &s }
	mark := filepath.Join(dir, "cut")
	g, b := testAgent(t, &agentFlags{commands: map[string]*string{
		"isolate": text("touch " + mark), "connect": text("rm " + mark), "kill": text("echo no power >&2; exit 3"), "start": text("true"),
	}})
	if got := g.kinds(); !slices.Equal(got, []drill.FaultKind{drill.Kill, drill.Isolate}) {
		t.Errorf("it can %v", got)
	}
	if err := b.Break(ctx, "n1", drill.Isolate); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error(err)
	}
	if err := b.Mend(ctx, "n1", drill.Isolate); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("it is isolated still")
	}
	if err := b.Break(ctx, "n1", drill.Kill); err == nil || !strings.Contains(err.Error(), "no power") {
		t.Errorf("a command that fails: %v", err)
	}
	if err := b.Mend(ctx, "n1", drill.Kill); err != nil {
		t.Errorf("what failed cannot be undone: %v", err)
	}
}

func TestDrillAgentPidFile(t *testing.T) {
	child, err := startProcess("sleep", []string{"1000"}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer child.kill()
	file := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(file, []byte(strconv.Itoa(child.cmd.Process.Pid)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	start := "true"
	_, b := testAgent(t, &agentFlags{pidFile: file, commands: map[string]*string{"start": &start}})
	if err := b.Break(context.Background(), "n1", drill.Kill); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the process to end", func() bool { return !child.running() })
	if err := b.Mend(context.Background(), "n1", drill.Kill); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"one": "does not hold a process id", "1": "not the process id of a node"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := b.Break(context.Background(), "n1", drill.Kill); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
		if err := b.Mend(context.Background(), "n1", drill.Kill); err != nil {
			t.Error(err)
		}
	}
}

// An agent that hears nothing more undoes what it did, and says so once to whoever
// asks for it too late.
func TestDrillAgentLimit(t *testing.T) {
	g, b := testAgent(t, &agentFlags{limit: 30 * time.Millisecond}, "sleep", "1000")
	pid := g.child.cmd.Process.Pid
	if err := b.Break(context.Background(), "n1", drill.Pause); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the agent to undo it", func() bool {
		a, err := b.call(context.Background(), "n1", http.MethodGet, "/v1/agent", nil)
		return err == nil && a.Now == "" && a.Limit == 30*time.Millisecond && processState(pid) != "T"
	})
	if err := b.Mend(context.Background(), "n1", drill.Pause); err == nil || !strings.Contains(err.Error(), "undone already, after the --limit of 30ms") {
		t.Errorf("undone too late: %v", err)
	}
	if err := b.Mend(context.Background(), "n1", drill.Pause); err != nil {
		t.Errorf("undone once more: %v", err)
	}
}

// An agent that cannot undo what it did goes on trying.
func TestDrillAgentTriesAgain(t *testing.T) {
	dir := t.TempDir()
	ready, tried, mended := filepath.Join(dir, "ready"), filepath.Join(dir, "tried"), filepath.Join(dir, "mended")
	isolate, connect := "true", fmt.Sprintf("touch %s; test -e %s && touch %s", tried, ready, mended)
	g, b := testAgent(t, &agentFlags{limit: time.Millisecond, commands: map[string]*string{"isolate": &isolate, "connect": &connect}})
	g.again = time.Millisecond
	if err := b.Break(context.Background(), "n1", drill.Isolate); err != nil {
		t.Fatal(err)
	}
	exists := func(name string) func() bool {
		return func() bool { _, err := os.Stat(name); return err == nil }
	}
	waitUntil(t, "a first try", exists(tried))
	if exists(mended)() {
		t.Error("it was mended before it could be")
	}
	if err := os.WriteFile(ready, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the try that works", exists(mended))
	waitUntil(t, "the end of the fault", func() bool {
		a, err := b.call(context.Background(), "n1", http.MethodGet, "/v1/agent", nil)
		return err == nil && a.Now == ""
	})
}

// TestDrillAgentKinds: a process id is good for pauses, and no more once somebody
// else can kill the process.
func TestDrillAgentKinds(t *testing.T) {
	kill, pause := drill.Kill, drill.Pause
	for _, c := range []struct {
		name     string
		flags    agentFlags
		commands []string
		want     []drill.FaultKind
	}{
		{"pid", agentFlags{pid: 4711}, nil, []drill.FaultKind{pause}},
		{"pid with start", agentFlags{pid: 4711}, []string{"start"}, []drill.FaultKind{pause}},
		{"pid with kill and start", agentFlags{pid: 4711}, []string{"kill", "start"}, []drill.FaultKind{kill}},
		{"pid with all", agentFlags{pid: 4711}, []string{"kill", "start", "pause", "resume"}, []drill.FaultKind{kill, pause}},
		{"pid file", agentFlags{pidFile: "pid"}, nil, []drill.FaultKind{pause}},
		{"pid file with start", agentFlags{pidFile: "pid"}, []string{"start"}, []drill.FaultKind{kill, pause}},
	} {
		c.flags.limit, c.flags.commands = time.Minute, map[string]*string{}
		for _, v := range agentVerbs {
			text := ""
			if slices.Contains(c.commands, v.name) {
				text = "true"
			}
			c.flags.commands[v.name] = &text
		}
		g, err := newAgent(&c.flags, testToken, nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := g.kinds(); !slices.Equal(got, c.want) {
			t.Errorf("%s: it can %v, want %v", c.name, got, c.want)
		}
	}
}

// TestDrillHoldAndLimit: a fault that the agent would undo first is refused before
// anything is broken.
func TestDrillHoldAndLimit(t *testing.T) {
	sh := newShell(startFake(t))
	sh.env[drillTokenEnv] = testToken
	_, b := testAgent(t, &agentFlags{limit: 4 * time.Second}, "sleep", "1000")
	if status := sh.run(t, "drill", "--agent", "n1="+b.urls["n1"], "--hold", "4s"); status != exitUsage || !strings.Contains(sh.stderr.String(), "undoes a fault by itself after 4s") {
		t.Errorf("status %d, %q", status, sh.stderr.String())
	}
}

func TestDrillAgentToken(t *testing.T) {
	g, b := testAgent(t, &agentFlags{}, "sleep", "1000")
	for _, token := range []string{"", "0123456789abcdeF", testToken + "0"} {
		b.token = token
		if err := b.Break(context.Background(), "n1", drill.Kill); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("token %q: %v", token, err)
		}
	}
	if !g.child.running() {
		t.Error("the node was killed by somebody without the token")
	}
}

func TestDrillUsage(t *testing.T) {
	fake := startFake(t)
	sh := newShell(fake)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"drill --ask --dev":                "use one",
		"drill --faults trip":              "there is no fault",
		"drill --count 3":                  "--count is about faults, and nobody is there to make them",
		"drill --dev=2":                    "use 3 to 9",
		"drill --dev --faults isolate":     "--dev cannot isolate",
		"drill --groups 0":                 "--groups 0",
		"drill --hold -1s":                 "must not be negative",
		"drill agent":                      "the token has 0 characters",
		"drill agent --token-file " + file: "the token has 5 characters",
		"drill agent sleep":                "after --",
	} {
		if status := sh.run(t, strings.Fields(args)...); status != exitUsage || !strings.Contains(sh.stderr.String(), want) {
			t.Errorf("%s: status %d, %q; want %q", args, status, sh.stderr.String(), want)
		}
	}
}

// promptly is an operator who answers each question as it is asked, and takes it down.
type promptly struct {
	answers  *io.PipeWriter
	asked    []string
	patience int // how many questions are answered
}

func (p *promptly) Write(b []byte) (int, error) {
	if p.asked = append(p.asked, string(b)); len(p.asked) > p.patience {
		return len(b), p.answers.Close()
	}
	_, err := p.answers.Write([]byte("\n"))
	return len(b), err
}

func TestDrillAsksTheOperator(t *testing.T) {
	in, answers := io.Pipe()
	p := &promptly{answers: answers, patience: 2}
	o := newOperator(&app{stdin: in, stderr: p}, []string{"n1", "n2"})
	if err := o.Break(context.Background(), "n2", drill.Isolate); err != nil {
		t.Fatal(err)
	}
	if err := o.Mend(context.Background(), "n2", drill.Isolate); err != nil {
		t.Fatal(err)
	}
	if err := o.Break(context.Background(), "n1", drill.Kill); err == nil || !strings.Contains(err.Error(), "standard input has ended") {
		t.Errorf("nobody answers: %v", err)
	}
	if said := strings.Join(p.asked, ""); !strings.Contains(said, "please cut n2 off") || !strings.Contains(said, "please connect n2") {
		t.Errorf("it said %q", said)
	}
}

// TestDrillLateAnswer: Enter after a question was given up is no answer to the next.
func TestDrillLateAnswer(t *testing.T) {
	in, answers := io.Pipe()
	defer answers.Close()
	o := newOperator(&app{stdin: in, stderr: io.Discard}, []string{"n1"})
	if _, err := answers.Write([]byte("\n\n\n")); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the answer to be read", func() bool { return len(o.lines) == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := o.Break(ctx, "n1", drill.Kill); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody has answered: %v", err)
	}
}

// TestDrillFilesFirst: a file that cannot be written is found out before anything is broken.
func TestDrillFilesFirst(t *testing.T) {
	sh := newShell(startFake(t))
	for _, flag := range []string{"--html", "--history"} {
		file := filepath.Join(t.TempDir(), "missing", "file")
		if status := sh.run(t, "drill", "--duration", "1s", flag, file); status != exitFailed || !strings.Contains(sh.stderr.String(), file) {
			t.Errorf("%s: status %d, %q", flag, status, sh.stderr.String())
		}
	}
}

// TestDrillClusterLeavesEvidence: its directory goes away only when nothing was found.
func TestDrillClusterLeavesEvidence(t *testing.T) {
	for _, failed := range []bool{false, true} {
		var said strings.Builder
		d := &drillCluster{a: &app{stderr: &said}, dir: t.TempDir()}
		if err := d.close(failed); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(d.dir)
		if (err == nil) != failed || strings.Contains(said.String(), d.dir) != failed {
			t.Errorf("failed %v: %v, it said %q", failed, err, said.String())
		}
	}
}
