package inproc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/transport"
)

// TestJoin: a fourth server joins a cluster that exists. It gets the catalog,
// without a vote, answers for all shards, and is listed. Nothing that nodes log
// while they form a cluster or join one looks like trouble.
func TestJoin(t *testing.T) {
	log := newRecorder()
	c := Start(t, Options{Configure: log.configure})
	cl := c.Client()
	apply(t, cl, pingPong("join"))
	mustInit(t, cl, "join", "join-a")
	node := c.Grow()
	c.Launch(node)
	c.AwaitReady(node)
	for _, line := range append(log.level("WARN"), log.level("ERROR")...) {
		if strings.Contains(line, "memberlist:") {
			continue // its timeouts in these clusters are too short for a loaded machine
		}
		t.Errorf("an operator would worry about: %s", strings.TrimSpace(line))
	}
	joined := c.Client(node)
	for shard := uint32(1); shard <= 4; shard++ {
		id := inShard(t, 4, shard, "join", 0)
		mustInit(t, joined, "join", id)
		if resp := step(t, joined, id, "ping", "right"); resp.GetShard() != shard {
			t.Fatalf("step: %v", resp)
		}
	}
	if list, err := joined.ListSpecifications(testContext(t)); err != nil || len(list.GetSpecifications()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	for ask := range 4 {
		st := c.Status(ask)
		if len(st.GetNodes()) != 4 {
			t.Fatalf("node %d lists %d nodes", ask, len(st.GetNodes()))
		}
		for _, n := range st.GetNodes() {
			isNew := n.GetId() == c.Server(node).NodeID()
			if !n.GetReachable() || isNew == n.GetCatalogVoter() || n.GetClientAddress() == "" {
				t.Fatalf("node %v", n)
			}
		}
	}
	// It keeps its place over a restart.
	id := c.Server(node).NodeID()
	c.MustStop(node)
	if s := c.Launch(node); s.NodeID() != id {
		t.Fatalf("node %s came back as %s", id, s.NodeID())
	}
	c.AwaitReady(node)
	step(t, c.Client(node), "join-a", "ping", "right")
}

// TestForeignDirectories: a server does not start on the directory of another
// cluster, of another name or in use, and says why.
func TestForeignDirectories(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 1, Replicas: 1, Shards: 1})
	if _, err := c.TryLaunch(0); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("a second server on the same directory: %v", err)
	}
	c.MustStop(0)
	for name, change := range map[string]func(*transport.ServerConfig){
		"another cluster": func(cfg *transport.ServerConfig) { cfg.ClusterName = "other" },
		"another name":    func(cfg *transport.ServerConfig) { cfg.Name = "other" },
	} {
		c.opts.Configure = func(_ int, cfg *transport.ServerConfig) { change(cfg) }
		if s, err := c.TryLaunch(0); err == nil {
			c.MustStop(0)
			t.Errorf("%s: node %s started", name, s.NodeID())
		} else if !strings.Contains(err.Error(), c.dirs[0]) {
			t.Errorf("%s: the error does not name the directory: %v", name, err)
		}
	}
	c.opts.Configure = nil
	c.Launch(0)
	c.AwaitReady(0)
}

// TestTwoClusters: clusters of one name that meet refuse each other, by their id,
// and go on.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	var logs [2]*recorder
	var pair [2]*Cluster
	for i := range pair {
		logs[i] = newRecorder()
		pair[i] = Start(t, Options{Nodes: 1, Replicas: 1, Shards: 1, Configure: logs[i].configure})
		apply(t, pair[i].Client(), pingPong(fmt.Sprint("two", i)))
	}
	a, b := pair[0], pair[1]
	b.MustStop(0)
	b.opts.Configure = func(node int, cfg *transport.ServerConfig) {
		logs[1].configure(node, cfg)
		cfg.Join = []string{a.Server(0).GossipAddr()}
	}
	b.Launch(0)
	b.AwaitReady(0)
	Eventually(t, "the nodes to refuse each other", func() bool { return logs[1].has("belongs to cluster id") || logs[0].has("belongs to cluster id") })
	for i, c := range pair {
		st := c.Status(0)
		if len(st.GetNodes()) != 1 {
			t.Fatalf("cluster %d has nodes %v", i, st.GetNodes())
		}
		mustInit(t, c.Client(), fmt.Sprint("two", i), "x")
	}
	if a.Status(0).GetClusterId() == b.Status(0).GetClusterId() {
		t.Fatal("two clusters have one id")
	}
}

// TestCloseWhileStarting: a server ends in time whatever it is doing.
func TestCloseWhileStarting(t *testing.T) {
	t.Parallel()
	c := New(t, Options{})
	c.Launch(0)
	within(t, 5*time.Second, "the stop of a node that waits for others", func() { c.MustStop(0) })
	for i := range 3 {
		c.Launch(i)
	}
	for i := range 3 {
		within(t, 10*time.Second, "the stop of a node that forms a cluster", func() { c.MustStop(i) })
	}
	for i := range 3 {
		c.Launch(i)
	}
	for i := range 3 {
		c.AwaitReady(i)
	}
}
