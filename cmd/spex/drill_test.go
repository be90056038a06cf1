package main

import (
	"context"
	"fmt"
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

// An agent that hears nothing more undoes what it did.
func TestDrillAgentLimit(t *testing.T) {
	g, b := testAgent(t, &agentFlags{limit: 30 * time.Millisecond}, "sleep", "1000")
	pid := g.child.cmd.Process.Pid
	if err := b.Break(context.Background(), "n1", drill.Pause); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the agent to undo it", func() bool {
		a, err := b.call(context.Background(), "n1", http.MethodGet, "/v1/agent", nil)
		return err == nil && a.Now == "" && processState(pid) != "T"
	})
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

func TestDrillAsksTheOperator(t *testing.T) {
	var said strings.Builder
	a := &app{stdin: strings.NewReader("\n\n"), stderr: &said}
	o := newOperator(a, []string{"n1", "n2"})
	if err := o.Break(context.Background(), "n2", drill.Isolate); err != nil {
		t.Fatal(err)
	}
	if err := o.Mend(context.Background(), "n2", drill.Isolate); err != nil {
		t.Fatal(err)
	}
	if err := o.Break(context.Background(), "n1", drill.Kill); err == nil || !strings.Contains(err.Error(), "standard input has ended") {
		t.Errorf("nobody answers: %v", err)
	}
	if !strings.Contains(said.String(), "please cut n2 off") || !strings.Contains(said.String(), "please connect n2") {
		t.Errorf("it said %q", said.String())
	}
}
