//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// joinWindows are the places where a node dies while another one joins, between the
// first contact and its being a member, in the order in which a cluster comes to them.
var joinWindows = []struct {
	name string
	// joiner is set for a place that the joining node comes to; to the others comes
	// the leader of the catalog.
	joiner bool
	// short is set for the selection that runs with -short.
	short bool
}{
	{name: "cluster/join-before-asked", joiner: true},
	{name: "cluster/join-admitted"},
	{name: "cluster/join-listed", short: true},
	{name: "cluster/before-cluster-id", joiner: true},
	{name: "cluster/join-bound", joiner: true},
	{name: "cluster/before-registered", joiner: true},
}

// TestFailpointJoining kills a node that joins, or the member that takes it in,
// before it is a member, while clients write. Started again, or asking the next
// leader, it becomes a member under the id that it had, once, and no acknowledged
// step is lost (H7). Where the leader dies the joining node dies too in a round of
// its own, so that it finds itself half taken in when it comes again.
func TestFailpointJoining(t *testing.T) {
	n := roundsOr(t, 1)
	for _, w := range joinWindows {
		t.Run(w.name, func(t *testing.T) {
			if !w.short {
				long(t)
			}
			for round := range n {
				joining(t, w.name, round, w.joiner, w.joiner)
			}
		})
		if !w.joiner {
			t.Run(w.name+" (both)", func(t *testing.T) {
				long(t)
				for round := range n {
					joining(t, w.name, round, false, true)
				}
			})
		}
	}
}

// joining is one round. armed tells that the joining node comes to the window, and
// dies that it dies. Nobody is back before it is a member if it does not.
func joining(t *testing.T, window string, round int, armed, dies bool) {
	m := &moving{servers: startServers(t, 3, "--shards", "3", "--stabilise", "500ms"), window: window, replicas: 9}
	applyText(t, m.servers, walkSpec(0))
	load := startWalkers(m.dial(), 6, uint64(time.Now().UnixNano()))
	defer load.stop()
	load.await(t, 200, 30*time.Second)
	m.spex("model", "seal", "walk")
	v := m.nodes[round%len(m.nodes)]
	joins := m.grow(t)
	if armed {
		v = joins
		m.arm(t, v)
	} else {
		m.armPaused(t, v)
		m.handTo(t, v, 0)
		m.spex("cluster", "resume")
	}
	m.start(joins)
	m.awaitDeath(t, v)
	id := identity(t, joins).NodeID
	if dies && !armed {
		m.kill(joins)
	}
	t.Logf("%s joins", id)
	load.await(t, 200, 60*time.Second) // the others go on
	switch {
	case armed:
		m.back(t, v)
	case dies:
		m.start(joins)
		fallthrough
	default:
		m.awaitReady(joins, 60*time.Second)
		m.checkJoined(t, joins, id)
		m.back(t, v)
	}
	m.until(t, "the join", func() string { return m.left(t, 4) })
	m.checkJoined(t, joins, id)
	load.await(t, 200, 60*time.Second)
	load.end(t)
	load.check(t)
	m.awaitAgreement(30 * time.Second)
	if !t.Failed() {
		m.cleanup()
	}
}

// checkJoined wants the node to be listed once, under its id, to have the catalog
// once, and to know the cluster that the others are in.
func (m *moving) checkJoined(t *testing.T, joins *node, id string) {
	t.Helper()
	st := m.status()
	seen := map[string]int{}
	for _, nd := range st.Nodes {
		seen[nd.ID]++
		seen[nd.Name]++
	}
	if seen[id] != 1 || seen[joins.name] != 1 || len(st.Nodes) != len(m.nodes) {
		t.Errorf("%s is not listed once: %+v", id, st.Nodes)
	}
	for _, r := range st.Catalog.Replicas {
		seen[r.NodeID]++
	}
	if seen[id] != 2 || len(st.Catalog.Replicas) != len(m.nodes) {
		t.Errorf("%s does not have the catalog once: %+v", id, st.Catalog)
	}
	want := identity(t, m.nodes[0]).ClusterID
	if now := identity(t, joins); now.NodeID != id || now.ClusterID != want {
		t.Errorf("%s joined the cluster %s and is now %+v", id, want, now)
	}
}

// nodeRecord is what a data directory says of its node.
type nodeRecord struct {
	NodeID    string `json:"node_id"`
	ClusterID string `json:"cluster_id"`
}

func identity(t *testing.T, nd *node) nodeRecord {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(nd.dir, "node.json"))
	if err != nil {
		t.Fatal(err)
	}
	return decode[nodeRecord](t, string(text))
}
