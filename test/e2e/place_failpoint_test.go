//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/internal/failpoint"
)

// moveWindows are the places where a node dies while replicas move, once because a
// node joins and once because one is decommissioned. Which node comes to them is
// not known before: all are armed, and each one dies that does.
var moveWindows = []struct {
	name string
	// short is set for the selection that runs with -short.
	short bool
}{
	{name: "cluster/replica-placed"},
	{name: "cluster/replica-added"},
	{name: "cluster/replica-promoted", short: true},
	{name: "cluster/replica-removed"},
	{name: "cluster/replica-before-unplace"},
	{name: "cluster/replica-before-delete"},
	{name: "cluster/replica-closed"},
	{name: "store/group-removing"},
}

// moving is a cluster whose nodes die in a window while replicas move.
type moving struct {
	*servers
	window string
	// replicas is how many the shards have in all when nothing is left to move.
	replicas int
	deaths   int
}

// TestFailpointMoving kills nodes in the middle of a join and of a decommissioning,
// at each step that the move of a replica has, while clients write: what was begun
// is finished by whoever leads then, and no acknowledged step is lost (H7, H12).
func TestFailpointMoving(t *testing.T) {
	for _, w := range moveWindows {
		t.Run(w.name, func(t *testing.T) {
			if !w.short {
				long(t)
			}
			m := &moving{servers: newServers(t, 3, "--shards", "3", "--stabilise", "500ms"), window: w.name, replicas: 9}
			m.arm(t, m.nodes...)
			for _, nd := range m.nodes {
				m.start(nd)
			}
			for _, nd := range m.nodes {
				m.awaitReady(nd, 60*time.Second)
			}
			applyText(t, m.servers, walkSpec(0))
			load := startWalkers(m.dial(), 6, uint64(time.Now().UnixNano()))
			defer load.stop()

			// Not later: a machine that is not busy would have learned all that there is.
			load.await(t, 200, 30*time.Second)
			m.spexUntil(t, "model", "seal", "walk")
			joins := m.grow(t)
			m.arm(t, joins)
			m.start(joins)
			m.settle(t, "the join", 4)
			load.await(t, 200, 30*time.Second)

			m.deaths = 0
			for _, nd := range m.nodes { // armed anew: the counts of hits begin with the process
				m.arm(t, nd)
				if nd.running() {
					m.terminate(nd, 20*time.Second)
				}
				m.start(nd)
				m.awaitReady(nd, 60*time.Second)
			}
			m.spexUntil(t, "cluster", "decommission", "n2")
			m.settle(t, "the decommissioning", 3)
			load.await(t, 400, 60*time.Second)
			load.end(t)
			load.check(t)
			m.awaitAgreement(30 * time.Second)
			if !t.Failed() {
				m.cleanup()
			}
		})
	}
}

// grow adds a node that joins.
func (s *servers) grow(t *testing.T) *node {
	t.Helper()
	ports := freePorts(t, 3)
	name := fmt.Sprintf("n%d", len(s.nodes)+1)
	nd := &node{name: name, dir: filepath.Join(s.dir, name), client: ports[0], peer: ports[1], gossip: ports[2]}
	var join []string
	for _, other := range s.nodes {
		join = append(join, other.gossip)
	}
	nd.args = append([]string{
		"server", "--name", name, "--data-dir", nd.dir, "--listen", nd.client, "--peer-listen", nd.peer, "--gossip", nd.gossip, "--join", strings.Join(join, ","),
	}, s.extra...)
	s.nodes = append(s.nodes, nd)
	return nd
}

func (m *moving) markers(nd *node) string { return filepath.Join(m.dir, "markers-"+nd.name) }

// arm makes the next start of the nodes one with the failpoint.
func (m *moving) arm(t *testing.T, nodes ...*node) {
	t.Helper()
	path, err := failpointBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, nd := range nodes {
		if err := os.RemoveAll(m.markers(nd)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(m.markers(nd), 0o755); err != nil {
			t.Fatal(err)
		}
		nd.binary, nd.env = path, []string{failpoint.EnvPoints + "=" + m.window + "=kill@1", failpoint.EnvDir + "=" + m.markers(nd)}
	}
}

// reviveDead starts the nodes that died in the window without failpoints, and wants none
// to have ended otherwise but the one that was removed, for that reason.
func (m *moving) reviveDead(t *testing.T) {
	t.Helper()
	for _, nd := range m.nodes {
		if nd.running() {
			continue
		}
		v := &victim{node: nd, window: window{name: m.window, action: "kill"}, markers: m.markers(nd)}
		text, _ := os.ReadFile(filepath.Join(v.markers, failpoint.MarkerFile(m.window)))
		if hit := nd.binary != "" && len(text) > 0; !hit && nd.name == "n2" {
			m.checkRemoved(nd)
			continue
		}
		t.Logf("%s died at %s", nd.name, m.window)
		m.deaths++
		v.checkDeath(t)
		nd.binary, nd.env = "", nil
		m.start(nd)
	}
}

// settle waits until so many nodes are listed, nothing is left to move, nobody is dead,
// and somebody was.
func (m *moving) settle(t *testing.T, what string, nodes int) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		m.reviveDead(t)
		left := m.left(t, nodes)
		if left == "" && m.deaths > 0 {
			return
		}
		if left == "" { // a node deletes what it lost a moment later
			left = "nobody came to " + m.window
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come to its end: %s", what, left)
		}
		wait(200 * time.Millisecond)
	}
}

// left says what is not as it should be.
func (m *moving) left(t *testing.T, nodes int) string {
	t.Helper()
	r := m.begin("cluster", "status", "-o", "json").wait()
	if r.code != 0 {
		return r.stderr
	}
	st := decode[status](t, r.stdout)
	if len(st.Nodes) != nodes {
		return fmt.Sprintf("%d nodes are listed", len(st.Nodes))
	}
	held := 0
	for _, sh := range st.Shards {
		for _, rep := range sh.Replicas {
			if rep.State != "leader" && rep.State != "follower" {
				return fmt.Sprintf("shard %d: %+v", sh.ID, sh)
			}
			held++
		}
	}
	if held != m.replicas {
		return fmt.Sprintf("there are %d replicas", held)
	}
	r = m.begin("cluster", "plan", "-o", "json").wait()
	if r.code != 0 {
		return r.stderr
	}
	p := decode[struct {
		Steps   []any `json:"steps"`
		Running []any `json:"running"`
	}](t, r.stdout)
	if len(p.Steps)+len(p.Running) > 0 {
		return r.stdout
	}
	return ""
}

// spexUntil runs a client command until it succeeds: nodes die meanwhile.
func (m *moving) spexUntil(t *testing.T, args ...string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; wait(200 * time.Millisecond) {
		r := m.begin(args...).wait()
		if r.code == 0 {
			return
		}
		m.reviveDead(t)
		if time.Now().After(deadline) {
			t.Fatalf("spex %s: exit status %d: %s", strings.Join(args, " "), r.code, r.stderr)
		}
	}
}
