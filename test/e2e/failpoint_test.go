//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/internal/failpoint"
)

// window is one place where a node dies.
type window struct {
	// name is that of the failpoint; note tells windows with the same name apart.
	name, note string
	// action and hit say what happens when. hit may depend on the round, so that
	// repeated rounds reach the window from different sides.
	action string
	hit    func(round int) int
	// node is the index of the node that dies; nil means another one each round.
	node func(round int) int
	// short is set for the selection that runs with -short.
	short bool
	// padding makes the specification large; bulk writes enough log that the
	// only shard takes a snapshot.
	padding int
	bulk    bool
	// timed is set for a window that deadlines lead to, and not steps.
	timed bool
}

func at(n int) func(int) int { return func(int) int { return n } }

// spread gives hits that are far into the work, another one each round.
func spread(first, step int) func(int) int {
	return func(round int) int { return first + round*step }
}

// proposer is the node with the lowest id, which proposes the cluster.
var proposer, other = at(0), at(1)

// windows are in the order in which a cluster comes to them. The catalog and the
// shards share their failpoints: a low hit of those falls into the forming.
var windows = []window{
	{name: "cluster/pledge-written", action: "kill", hit: at(1), node: other},
	{name: "cluster/pledges-before-bootstrap", action: "kill", hit: at(1), node: proposer},
	{name: "store/logs-write", note: "first configuration", action: "kill", hit: at(1), node: proposer},
	{name: "store/logs-durable", note: "first configuration", action: "kill", hit: at(1), node: proposer},
	{name: "cluster/catalog-bootstrapped", action: "kill", hit: at(1), node: proposer, short: true},
	{name: "cluster/before-cluster-id", note: "proposer", action: "kill", hit: at(1), node: proposer},
	{name: "cluster/before-cluster-id", note: "member", action: "kill", hit: at(1), node: other},
	{name: "cluster/shard-led-before-marked", action: "kill", hit: at(1)},
	{name: "cluster/shard-marked-formed", action: "kill", hit: at(1)},
	{name: "store/snapshot-written", note: "catalog", action: "kill", hit: at(1)},
	{name: "store/snapshot-recorded", note: "catalog", action: "kill", hit: at(1)},
	{name: "cluster/payload-staged", action: "kill", hit: at(1), padding: 300},
	{name: "cluster/before-forward", action: "kill", hit: spread(60, 37)},
	{name: "cluster/forwarded-before-reply", action: "kill", hit: spread(60, 41)},
	{name: "shard/proposed", action: "kill", hit: spread(60, 37)},
	{name: "store/logs-write", action: "error", hit: spread(150, 83)},
	{name: "store/logs-durable", action: "kill", hit: spread(200, 71)},
	{name: "shard/applied-before-reply", action: "kill", hit: spread(60, 41), short: true},
	{name: "cluster/outbox-before-acknowledge", action: "kill", hit: spread(3, 1), short: true},
	{name: "cluster/mode-before-acknowledge", note: "sealing", action: "kill", hit: at(1)},
	{name: "cluster/mode-before-acknowledge", note: "later", action: "kill", hit: at(2)},
	{name: "cluster/verdict-before-propose", action: "kill", hit: spread(2, 5), short: true},
	{name: "cluster/joint-before-propose", action: "kill", hit: at(1), node: proposer},
	{name: "cluster/deadline-before-propose", note: "timeouts", action: "kill", hit: at(1), timed: true},
	{name: "cluster/deadline-before-propose", note: "later", action: "kill", hit: at(2), timed: true},
	{name: "store/snapshot-written", note: "shard", action: "kill", hit: at(2), bulk: true},
	{name: "store/snapshot-recorded", note: "shard", action: "kill", hit: at(2), bulk: true},
}

// failpointBinary builds the spex with failpoints, once and when it is needed.
var failpointBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("SPEX_E2E_FAILPOINTS"); path != "" {
		return path, nil
	}
	path := filepath.Join(filepath.Dir(binary), "spex-failpoints")
	build := exec.Command("go", "build", "-tags", "failpoints", "-o", path, "github.com/spexio/spex/cmd/spex")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build spex with failpoints: %w\n%s", err, out)
	}
	return path, nil
})

// TestFailpoint kills a node in each window, starts it again without failpoints,
// and looks for what the cluster promises.
func TestFailpoint(t *testing.T) {
	n := roundsOr(t, 1)
	for _, w := range windows {
		title := w.name
		if w.note != "" {
			title += " (" + w.note + ")"
		}
		t.Run(title, func(t *testing.T) {
			if !w.short {
				long(t)
			}
			for round := range n {
				if w.timed {
					w.timedRound(t, round)
				} else {
					w.round(t, round)
				}
			}
		})
	}
}

// TestEveryFailpointHasAWindow: a failpoint that no test arms tests nothing.
func TestEveryFailpointHasAWindow(t *testing.T) {
	armed := map[string]bool{}
	for _, w := range windows {
		armed[w.name] = true
	}
	for _, w := range moveWindows {
		armed[w.name] = true
	}
	for _, w := range handOverWindows {
		armed[w.name] = true
	}
	for _, w := range joinWindows {
		armed[w.name] = true
	}
	for _, w := range installWindows {
		armed[w.name] = true
	}
	for _, p := range failpoint.Points() {
		if !armed[p.Name] {
			t.Errorf("no window of this test arms %s", p.Name)
		}
	}
}

// victim is a node that is to die in a window.
type victim struct {
	*node
	window  window
	markers string
}

// arm makes the next start of a node one with the failpoint.
func (w window) arm(t *testing.T, s *servers, round int) *victim {
	t.Helper()
	path, err := failpointBinary()
	if err != nil {
		t.Fatal(err)
	}
	index := round % len(s.nodes)
	if w.node != nil {
		index = w.node(round)
	}
	v := &victim{node: s.nodes[index], window: w, markers: filepath.Join(s.dir, "markers")}
	if err := os.Mkdir(v.markers, 0o755); err != nil {
		t.Fatal(err)
	}
	entry := fmt.Sprintf("%s=%s@%d", w.name, w.action, w.hit(round))
	v.binary, v.env = path, []string{failpoint.EnvPoints + "=" + entry, failpoint.EnvDir + "=" + v.markers}
	t.Logf("round %d: %s dies at %s", round, v.name, entry)
	return v
}

// checkDeath wants the node to have ended in the window and by nothing else.
func (v *victim) checkDeath(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(v.markers, failpoint.MarkerFile(v.window.name)))
	if want := fmt.Sprintf(" pid %d\n", v.cmd.Process.Pid); err != nil || !strings.HasSuffix(string(text), want) {
		t.Fatalf("%s ended (%v), but not in the window: marker %q, %v, want %q", v.name, v.err, text, err, want)
	}
	status := v.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case v.window.action == "kill" && (!status.Signaled() || status.Signal() != syscall.SIGKILL):
		t.Fatalf("%s ended with %v, want SIGKILL", v.name, v.err)
	case v.window.action == "error" && status.ExitStatus() != 3:
		t.Fatalf("%s ended with %v, want exit status 3", v.name, v.err)
	}
}

// revive checks how the node ended and starts it without failpoints.
func (v *victim) revive(t *testing.T, s *servers) {
	t.Helper()
	v.checkDeath(t)
	v.binary, v.env = "", nil
	s.start(v.node)
}

// round forms a cluster in which one node dies in the window, while it forms or
// under load, and checks everything when the node is back.
func (w window) round(t *testing.T, round int) {
	shards := "3"
	if w.bulk {
		shards = "1"
	}
	s := newServers(t, 3, "--shards", shards)
	v := w.arm(t, s, round)
	for _, nd := range s.nodes {
		s.start(nd)
	}
	died := v.awaitForming(t, s)
	applyText(t, s, walkSpec(w.padding))
	load := startWalkers(s.dial(), 6, uint64(time.Now().UnixNano()))
	defer load.stop()
	if w.bulk {
		v.fill(t, s)
	}
	inForming := died
	if !died {
		died = v.awaitDeath(t, s, load, 400)
	} else {
		load.await(t, 400, 30*time.Second)
	}
	seal := s.begin("model", "seal", "walk")
	if !died && !v.awaitDeath(t, s, load, 4000) {
		t.Fatalf("%s went through all the work without coming to the window", v.name)
	}
	if !inForming {
		s.awaitReady(v.node, 30*time.Second)
	}
	if r := seal.wait(); r.code != 0 {
		// The crash may have taken the answer; asking again is the documented way on.
		t.Logf("seal: exit status %d: %s", r.code, r.stderr)
		s.spex("model", "seal", "walk")
	}
	load.await(t, 400, 30*time.Second)
	load.end(t)
	load.check(t)
	s.checkOneCluster(t)
	s.awaitAgreement(30 * time.Second)
	if !t.Failed() {
		s.cleanup()
	}
}

// awaitForming waits until all nodes serve. A node that dies before that is
// started again.
func (v *victim) awaitForming(t *testing.T, s *servers) (died bool) {
	t.Helper()
	select {
	case <-v.done:
		v.revive(t, s)
		died = true
	case line := <-v.ready:
		v.ready <- line // for awaitReady
	case <-time.After(60 * time.Second):
		t.Fatalf("%s is neither ready nor dead", v.name)
	}
	for _, nd := range s.nodes {
		if nd == v.node && !died {
			select {
			case <-v.done: // it had become ready before it died
				v.revive(t, s)
				died = true
			case <-v.ready:
				continue
			}
		}
		s.awaitReady(nd, 60*time.Second)
	}
	return died
}

// awaitDeath waits until the node has died, which it does under the load, and
// starts it again; or until so many more steps have been acknowledged.
func (v *victim) awaitDeath(t *testing.T, s *servers, load *walkers, steps int64) bool {
	t.Helper()
	goal, deadline := load.steps.Load()+steps, time.Now().Add(60*time.Second)
	for load.steps.Load() < goal && time.Now().Before(deadline) {
		select {
		case <-v.done:
			// The others have to go on without it.
			load.await(t, 200, 30*time.Second)
			v.revive(t, s)
			return true
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false
}

// fill writes instances with as much data as they may carry, until the log of the
// only shard is long enough for a snapshot.
func (v *victim) fill(t *testing.T, s *servers) {
	t.Helper()
	applyText(t, s, strings.Replace(walkSpec(0), "name: walk", "name: bulk", 1))
	c := s.dial()
	const writers, limit = 16, 12_000 // 12,000 * 8 KiB is half as much again as is needed
	meta := map[string]string{"data": strings.Repeat("x", 8000)}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var work sync.WaitGroup
	failed := make(chan error, writers)
	for i := range writers {
		work.Go(func() {
			for k := range limit / writers {
				select {
				case <-v.done:
					return
				default:
				}
				if _, err := c.Init(ctx, "bulk", fmt.Sprintf("bulk-%d-%d", i, k), client.WithMeta(meta)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	work.Wait()
	select {
	case err := <-failed:
		t.Fatalf("fill the log: %v", err)
	default:
	}
}

// clusterIDs finds every cluster id that a node logs or stores.
var clusterIDs = regexp.MustCompile(`cluster_id"?\s*[:=]\s*"?([0-9a-f]{8}-[0-9a-f-]{27})`)

// checkOneCluster: no node ever heard of a second cluster, and all its shards
// are formed.
func (s *servers) checkOneCluster(t *testing.T) {
	t.Helper()
	seen := map[string]string{}
	for _, nd := range s.nodes {
		for _, file := range []string{filepath.Join(s.dir, nd.name+".log"), filepath.Join(nd.dir, "node.json"), filepath.Join(nd.dir, "pledge.json")} {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found := clusterIDs.FindAllStringSubmatch(string(text), -1)
			if len(found) == 0 {
				t.Errorf("%s names no cluster id", file)
			}
			for _, m := range found {
				seen[m[1]] = file
			}
		}
	}
	if len(seen) != 1 {
		t.Errorf("there is more than one cluster id: %v", seen)
	}
	for _, sh := range s.status().Shards {
		if len(sh.Replicas) != len(s.nodes) {
			t.Errorf("shard %d has %d replicas, want %d", sh.ID, len(sh.Replicas), len(s.nodes))
		}
	}
}
