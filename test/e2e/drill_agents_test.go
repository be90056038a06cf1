//go:build e2e && linux

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/drill"
)

// TestDrillAgents: agents run the nodes of a cluster, and break them when a drill
// asks for that.
func TestDrillAgents(t *testing.T) {
	s := newServers(t, 3, "--shards", "4")
	jammed := filepath.Join(s.dir, "jammed")
	mark := func(nd *node) string { return filepath.Join(s.dir, nd.name+".cut") }
	args := s.startAgents(freePorts(t, len(s.nodes)), func(nd *node) (isolate, connect string) {
		return "test ! -e " + jammed + " && touch " + mark(nd), "rm -f " + mark(nd)
	})
	s.awaitLeading(4)
	args = append(args, "--groups", "4", "--settle", "500ms", "-o", "json")
	seen := watchNodes(s, func(nd *node) bool { _, err := os.Stat(mark(nd)); return err == nil })
	r := s.begin(append(args, "--hold", "1s", "--faults", "kill,pause,isolate", "--count", "3")...).wait()
	seen.end()
	if r.code != 0 {
		t.Fatalf("exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	report := decode[drillReport](t, r.stdout)
	report.checkHeld(t, drill.Kill, drill.Pause, drill.Isolate)
	seen.check(t, report.Faults)
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

// TestDrillIsolates: with the commands of docs/drill.md, as they stand there, a drill
// cuts a node off that has a network of its own, and measures what that costs.
func TestDrillIsolates(t *testing.T) {
	if !inNetwork(t) {
		return
	}
	if !separate() {
		t.Log("NOT TESTED: that a drill isolates a node, which needs networks of their own for the nodes")
		return
	}
	const shards, hold = 6, 10 * time.Second
	a := prepareArena(t, 3, "--shards", fmt.Sprint(shards))
	var listen []string
	for _, nd := range a.nodes {
		h := a.hosts[nd]
		h.gossip, h.peer = 7400, 7500 // which the page names
		listen = append(listen, h.at(7390))
	}
	for _, nd := range a.nodes {
		a.address(nd)
	}
	isolate, connect := pageCommand(t, "isolate"), pageCommand(t, "connect")
	args := a.startAgents(listen, func(*node) (string, string) { return isolate, connect })
	a.awaitLeading(shards)
	seen := watchNodes(a.servers, func(nd *node) bool { return a.hosts[nd].run("", "nft", "list", "table", "inet", "drill") == nil })
	history := filepath.Join(a.dir, "history.json")
	r := a.begin(append(args, "--faults", "isolate", "--count", "1", "--hold", hold.String(), "--settle", "1s", "--groups", "4", "--history", history, "-o", "json")...).wait()
	seen.end()
	if r.code != 0 {
		t.Fatalf("exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	report := decode[drillReport](t, r.stdout)
	t.Logf("%+v", report)
	report.checkHeld(t, drill.Isolate)
	seen.check(t, report.Faults)
	// An election takes that long, and the others have to be done with it while the node is away.
	if f := report.Faults[0]; f.Leaderships == 0 || f.Outage < 1000 || f.Outage >= float64(hold.Milliseconds()) || f.End-f.Begin < float64(hold.Milliseconds()) {
		t.Errorf("%+v: want an outage of more than 1 s and less than %s", f, hold)
	}
	text, err := os.ReadFile(history)
	if err != nil {
		t.Fatal(err)
	}
	report.checkHistory(t, decode[drill.History](t, string(text)))
}

// checkHistory wants the numbers of a report with one fault to be those of what the
// clients took down.
func (r *drillReport) checkHistory(t *testing.T, h drill.History) {
	t.Helper()
	inMillis := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	unknown, outage := 0, time.Duration(0)
	var took []time.Duration
	last := map[uint32]time.Duration{} // acknowledgement of each shard
	ops := append(h.Operations, h.Probes...)
	slices.SortFunc(ops, func(a, b drill.Operation) int { return cmp.Compare(a.Return, b.Return) })
	for _, o := range ops {
		if o.Outcome == drill.Unknown {
			unknown++
		}
		if o.Outcome != drill.OK || !slices.Contains([]drill.Kind{drill.Init, drill.Step, drill.Delete}, o.Kind) {
			continue
		}
		took = append(took, o.Return-o.Call)
		if shard := o.Answer.Shard; shard != 0 {
			if before, ok := last[shard]; ok && inMillis(o.Return) > r.Faults[0].Begin {
				outage = max(outage, o.Return-before)
			}
			last[shard] = o.Return
		}
	}
	slices.Sort(took)
	median, most := took[(len(took)-1)/2], took[(len(took)*99+99)/100-1]
	if r.Counts.Unknown != unknown || r.Counts.Acknowledged != len(took) {
		t.Errorf("%+v, and the clients saw %d acknowledged writes and %d of unknown outcome", r.Counts, len(took), unknown)
	}
	if r.P50 != inMillis(median) || r.P99 != inMillis(most) || r.Max != inMillis(took[len(took)-1]) || r.Faults[0].Outage != inMillis(outage) {
		t.Errorf("answers after %v, %v, %v ms and an outage of %v ms; the clients saw %s, %s, %s and %s",
			r.P50, r.P99, r.Max, r.Faults[0].Outage, median, most, took[len(took)-1], outage)
	}
}

// pageCommand is the command for an agent that docs/drill.md recommends.
func pageCommand(t *testing.T, verb string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/drill.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?m)^--" + verb + `-command "(.+)"$`).FindStringSubmatch(string(page))
	if m == nil {
		t.Fatalf("docs/drill.md has no line with --%s-command", verb)
	}
	return m[1]
}

// startAgents starts an agent for each node, at these addresses, and returns the
// arguments of a drill that uses them.
func (s *servers) startAgents(listen []string, commands func(*node) (isolate, connect string)) []string {
	s.t.Helper()
	token := filepath.Join(s.dir, "token")
	if err := os.WriteFile(token, []byte("a token of thirty-two characters\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	args := []string{"drill", "--token-file", token}
	for i, nd := range s.nodes {
		isolate, connect := commands(nd)
		nd.args = append([]string{
			"drill", "agent", "--listen", listen[i], "--token-file", token, "--isolate-command", isolate, "--connect-command", connect, "--", binary,
		}, nd.args...)
		s.start(nd)
		args = append(args, "--agent", fmt.Sprintf("%s=http://%s", nd.name, listen[i]))
	}
	return args
}

// awaitLeading waits until there are so many shards, and each node leads some.
func (s *servers) awaitLeading(shards int) {
	s.t.Helper()
	c := s.dial()
	for range 300 {
		if st, err := c.Status(s.t.Context(), false); err == nil && len(st.GetShards()) == shards {
			leaders := map[string]bool{}
			for _, shard := range st.GetShards() {
				leaders[shard.GetLeaderName()] = true
			}
			if len(leaders) == len(s.nodes) && !leaders[""] {
				return
			}
		}
		wait(200 * time.Millisecond)
	}
	s.t.Fatal("the nodes do not lead a shard each after a minute")
}

// witness sees what happens to the nodes of agents, without asking these.
type witness struct {
	s    *servers
	cut  func(*node) bool
	stop context.CancelFunc
	work sync.WaitGroup
	// The fields below belong to the goroutine until end.
	pids map[*node]int // of the nodes
	seen map[drill.FaultKind]map[string]bool
}

// watchNodes begins to look at nodes; cut tells whether one is cut off.
func watchNodes(s *servers, cut func(*node) bool) *witness {
	w := &witness{s: s, cut: cut, pids: map[*node]int{}, seen: map[drill.FaultKind]map[string]bool{drill.Kill: {}, drill.Pause: {}, drill.Isolate: {}}}
	ctx, stop := context.WithCancel(s.t.Context())
	w.stop = stop
	w.look()
	w.work.Go(func() {
		for ctx.Err() == nil {
			wait(50 * time.Millisecond)
			w.look()
		}
	})
	return w
}

// look takes down what is wrong now.
func (w *witness) look() (wrong []string) {
	for _, nd := range w.s.nodes {
		note := func(kind drill.FaultKind, is bool) {
			if is {
				w.seen[kind][nd.name] = true
				wrong = append(wrong, fmt.Sprintf("%s: %s", nd.name, kind))
			}
		}
		pid, state := agentChild(nd.cmd.Process.Pid)
		note(drill.Kill, pid != 0 && w.pids[nd] != 0 && w.pids[nd] != pid)
		note(drill.Pause, state == "T")
		note(drill.Isolate, w.cut(nd))
		if pid != 0 {
			w.pids[nd] = pid
		}
	}
	return wrong
}

// end stops looking.
func (w *witness) end() {
	w.stop()
	w.work.Wait()
}

// check wants these faults to have been there, no others, and all of them to be over.
func (w *witness) check(t *testing.T, faults []drillFault) {
	t.Helper()
	told := map[drill.FaultKind]map[string]bool{drill.Kill: {}, drill.Pause: {}, drill.Isolate: {}}
	for _, f := range faults {
		told[drill.FaultKind(f.Kind)][f.Node] = true
	}
	for kind := range told {
		if !maps.Equal(told[kind], w.seen[kind]) {
			t.Errorf("%s: the drill tells of %v, and it was %v", kind, told[kind], w.seen[kind])
		}
	}
	if wrong := w.look(); len(wrong) > 0 {
		t.Errorf("after the drill: %v", wrong)
	}
}

// agentChild is the process of the node that an agent runs, and its state in /proc;
// 0 if none is seen.
func agentChild(agent int) (pid int, state string) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", agent))
	for _, file := range threads {
		text, _ := os.ReadFile(file) // the thread may be gone
		for _, child := range strings.Fields(string(text)) {
			args, _ := os.ReadFile("/proc/" + child + "/cmdline")
			stat, _ := os.ReadFile("/proc/" + child + "/stat")
			// Others are the shells of the agent's commands, or have just been forked.
			if _, rest, ok := strings.Cut(string(stat), ") "); ok && strings.HasPrefix(string(args), binary+"\x00server\x00") {
				pid, _ = strconv.Atoi(child)
				return pid, rest[:1]
			}
		}
	}
	return 0, ""
}
