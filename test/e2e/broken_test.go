//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spexio/spex/drill"
	"github.com/spexio/spex/internal/broken"
)

// brokenBinary builds the spex that can break its promises, once and when it is
// needed.
var brokenBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "spex-broken")
	build := exec.Command("go", "build", "-tags", "spexbroken", "-o", path, "github.com/spexio/spex/cmd/spex")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build spex that can be broken: %w\n%s", err, out)
	}
	return path, nil
})

// breakCase is a broken build, what is done to it, and what has to see it.
type breakCase struct {
	what   broken.Break
	shards int
	faults func(*drillRun)
	// checks are the ones of package drill that see it, each of them.
	checks []string
	// short is set for the selection that runs with -short.
	short bool
}

// breakCases are what the table in docs/failure-modes.md tells.
var breakCases = []breakCase{
	{broken.AckBeforeCommit, 2, func(r *drillRun) { r.killLeaders(2) }, []string{drill.CheckLost, drill.CheckLinearizable}, true},
	{broken.DedupeOff, 2, func(r *drillRun) { r.writes(600) }, []string{drill.CheckTwice, drill.CheckRetry, drill.CheckLinearizable}, true},
	{broken.MinIndexIgnored, 2, func(r *drillRun) { r.writes(600) }, []string{drill.CheckBack, drill.CheckIndex}, false},
	{broken.ReadsUnconfirmed, 1, func(r *drillRun) { r.pauseLeaders(3) }, []string{drill.CheckStale, drill.CheckLinearizable}, false},
	{broken.TailLost, 2, func(r *drillRun) { r.killAll(1) }, []string{drill.CheckLost, drill.CheckLinearizable}, false},
	{broken.VerdictTwice, 2, func(r *drillRun) { r.writes(600) }, []string{drill.CheckVerdictChanged}, false},
}

// TestBrokenBuildsAreCaught: each promise that a build breaks on purpose is seen
// by the checks that are for it. -rounds repeats each, in a new cluster.
func TestBrokenBuildsAreCaught(t *testing.T) {
	for _, c := range breakCases {
		t.Run(string(c.what), func(t *testing.T) {
			if !c.short {
				long(t)
			}
			for range roundsOr(t, 1) {
				v := runDrill(t, string(c.what), c.shards, c.faults)
				t.Logf("%s is seen by %v (%d violations in %d operations)", c.what, v.Broken(), len(v.Violations), v.Counts.Operations)
				for _, want := range c.checks {
					if !slices.Contains(v.Broken(), want) {
						t.Errorf("%s saw nothing", want)
					}
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestUnbrokenBuildIsNotAccused: the same build does all of that without a finding
// when it breaks nothing, so that it is the break that the checks see.
func TestUnbrokenBuildIsNotAccused(t *testing.T) {
	v := runDrill(t, "", 2, func(r *drillRun) {
		r.killLeaders(1)
		r.pauseLeaders(1)
		r.killAll(1)
		r.writes(300)
	})
	t.Logf("%+v", v.Counts)
	if err := v.Err(); err != nil {
		t.Error(err)
	}
}

// TestOrdinaryBuildCannotBeBroken: what breaks the promises is not in a build
// without the tag.
func TestOrdinaryBuildCannotBeBroken(t *testing.T) {
	path, err := brokenBinary()
	if err != nil {
		t.Fatal(err)
	}
	wantOnlyIn(t, path, broken.Env, string(broken.AckBeforeCommit), "loseTail", "ledAt", "judgeTwice", "appendEarly", "overwriteVerdict")
}

// wantOnlyIn looks for words in a program that was built with a tag, where all have to
// be, and in the ordinary one, where none may be.
func wantOnlyIn(t *testing.T, tagged string, words ...string) {
	t.Helper()
	for file, want := range map[string]bool{binary: false, tagged: true} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range words {
			if got := bytes.Contains(text, []byte(word)); got != want {
				t.Errorf("%s has %q: %v, want %v", filepath.Base(file), word, got, want)
			}
		}
	}
}

// drillRun is a workload on a cluster that is being broken.
type drillRun struct {
	t *testing.T
	s *servers
	w *drill.Workload
}

// runDrill forms a cluster of a build with a break, runs the workload while the
// faults happen, and checks it when the cluster is whole again.
func runDrill(t *testing.T, breaks string, shards int, faults func(*drillRun)) *drill.Verdict {
	t.Helper()
	path, err := brokenBinary()
	if err != nil {
		t.Fatal(err)
	}
	s := newServers(t, 3, "--shards", fmt.Sprint(shards))
	for _, nd := range s.nodes {
		nd.binary, nd.env = path, []string{broken.Env + "=" + breaks}
		s.start(nd)
	}
	for _, nd := range s.nodes {
		s.awaitReady(nd, time.Minute)
	}
	w, err := drill.NewWorkload(drill.Config{Addresses: s.addresses(), Seed: uint64(time.Now().UnixNano()), Groups: 6, Clients: 4, Pinned: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Setup(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var h *drill.History
	done := make(chan error, 1)
	go func() (err error) {
		defer func() { done <- err }()
		h, err = w.Run(ctx)
		return err
	}()
	defer func() {
		stop()
		<-done
	}()
	r := &drillRun{t, s, w}
	r.writes(200)
	faults(r)
	r.writes(200)
	stop()
	err = <-done
	done <- nil
	if err != nil {
		t.Fatal(err)
	}
	// A build that loses a part of a log may never agree again: that is a finding, not a reason to wait.
	patience := 15 * time.Second
	if breaks == "" {
		patience = time.Minute
	}
	end, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	final, err := w.Final(end)
	if err != nil {
		t.Fatal(err)
	}
	v := drill.Check(h, final)
	if breaks == "" && !v.OK() {
		picture(t, s, v)
	}
	return v
}

// picture leaves Porcupine's page beside the logs.
func picture(t *testing.T, s *servers, v *drill.Verdict) {
	path := filepath.Join(s.dir, "drill.html")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := v.WriteHTML(f); err != nil {
		t.Error(err)
	}
	t.Logf("the picture is %s", path)
}

// writes waits until so many more writes are acknowledged.
func (r *drillRun) writes(more int64) {
	r.t.Helper()
	goal, deadline := r.w.Acknowledged()+more, time.Now().Add(90*time.Second)
	for r.w.Acknowledged() < goal {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d writes were acknowledged, waiting for %d", r.w.Acknowledged(), goal)
		}
		wait(20 * time.Millisecond)
	}
}

// killLeaders kills the node that leads most shards and starts it again.
func (r *drillRun) killLeaders(n int) {
	r.t.Helper()
	for range n {
		nd := r.s.busiest()
		r.s.kill(nd)
		r.writes(100)
		r.s.start(nd)
		r.s.awaitReady(nd, time.Minute)
		r.writes(100)
	}
}

// killAll kills all nodes at once and starts them again.
func (r *drillRun) killAll(n int) {
	r.t.Helper()
	for range n {
		for _, nd := range r.s.nodes {
			r.s.kill(nd)
		}
		for _, nd := range r.s.nodes {
			r.s.start(nd)
		}
		for _, nd := range r.s.nodes {
			r.s.awaitReady(nd, time.Minute)
		}
		r.writes(100)
	}
}

// pauseLeaders stops the node that leads most shards until the others have
// written, and lets it go on.
func (r *drillRun) pauseLeaders(n int) {
	r.t.Helper()
	for range n {
		nd := r.s.busiest()
		if err := nd.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			r.t.Fatal(err)
		}
		// Reads that were sent to it wait in its sockets while the others go on.
		r.writes(150)
		if err := nd.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			r.t.Fatal(err)
		}
		r.writes(100)
	}
}

// TestBrokenTable: the table in the documentation names each break with the checks
// that see it.
func TestBrokenTable(t *testing.T) {
	page, err := os.ReadFile("../../docs/failure-modes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range breakCases {
		row := fmt.Sprintf("| `%s` |", c.what)
		_, rest, found := strings.Cut(string(page), row)
		line, _, _ := strings.Cut(rest, "\n")
		for _, check := range c.checks {
			if !found || !strings.Contains(line, "`"+check+"`") {
				t.Errorf("docs/failure-modes.md has no row %s that names %s", row, check)
			}
		}
	}
	for _, b := range broken.Breaks() {
		if !slices.ContainsFunc(breakCases, func(c breakCase) bool { return c.what == b }) {
			t.Errorf("nothing catches %s", b)
		}
	}
}
