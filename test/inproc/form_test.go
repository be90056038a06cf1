package inproc

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/spexio/spex/transport"
)

// TestFormAndRestart: three servers form one cluster, its shards are formed
// once, and it is the same cluster after every node came back on other ports.
func TestFormAndRestart(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{})
	ctx := testContext(t)
	cl := c.Client()
	if _, err := cl.ApplySpecification(ctx, pingPong("s")); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := cl.Init(ctx, "s", fmt.Sprint("i", i)); err != nil {
			t.Fatal(err)
		}
	}
	before := c.Status(0)
	if before.GetClusterId() == "" || len(before.GetNodes()) != 3 || len(before.GetShards()) != 4 {
		t.Fatalf("status: %v", before)
	}
	for i := 1; i < 3; i++ {
		if id := c.Status(i).GetClusterId(); id != before.GetClusterId() {
			t.Fatalf("node %d is in cluster %q, node 0 in %q", i, id, before.GetClusterId())
		}
	}
	t.Run("one node", func(t *testing.T) {
		id, addr := c.Server(1).NodeID(), c.Server(1).Addr()
		c.MustStop(1)
		if _, err := c.Client().Transition(ctx, "i0", "ping", "right"); err != nil {
			t.Fatal(err)
		}
		s := c.Launch(1)
		c.AwaitReady(1)
		if s.NodeID() != id || s.Addr() == addr {
			t.Fatalf("node %s at %s came back as %s at %s", id, addr, s.NodeID(), s.Addr())
		}
	})
	t.Run("all nodes", func(t *testing.T) {
		for i := range 3 {
			c.MustStop(i)
		}
		for i := range 3 {
			c.Launch(i)
		}
		for i := range 3 {
			c.AwaitReady(i)
		}
		cl := c.Client()
		for i := range 20 {
			in, err := cl.Get(ctx, fmt.Sprint("i", i))
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]uint64{true: 2, false: 1}[i == 0]; in.GetInstance().GetSeq() != want {
				t.Fatalf("instance %d has seq %d, want %d", i, in.GetInstance().GetSeq(), want)
			}
		}
	})
	after := c.Status(0)
	if after.GetClusterId() != before.GetClusterId() || len(after.GetNodes()) != 3 {
		t.Fatalf("before %v, after %v", before, after)
	}
	for i, s := range after.GetShards() {
		if !s.GetFormed() || len(s.GetReplicas()) != 3 {
			t.Fatalf("shard %v", s)
		}
		var a, b []string
		for k := range s.GetReplicas() {
			a, b = append(a, s.GetReplicas()[k].GetNodeId()), append(b, before.GetShards()[i].GetReplicas()[k].GetNodeId())
		}
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("shard %d moved from %v to %v", s.GetId(), b, a)
		}
	}
}

// TestWaitsForAll: two servers that expect three wait for ever, and say so.
func TestWaitsForAll(t *testing.T) {
	t.Parallel()
	c := New(t, Options{Nodes: 2, Expect: 3})
	log := newRecorder()
	c.opts.Configure = log.configure
	c.Launch(0)
	c.Launch(1)
	Eventually(t, "a word about what is missing", func() bool { return log.has("2 of 3 expected servers are in sight") })
	ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
	defer cancel()
	for i := range 2 {
		if err := c.Server(i).Ready(ctx); err == nil {
			t.Fatalf("node %d is ready without the third", i)
		}
	}
	if _, err := c.Client(0).Status(ctx, false); err == nil {
		t.Fatal("a node without a cluster answered")
	}
	c.Grow()
	c.Launch(2)
	for i := range 3 {
		c.AwaitReady(i)
	}
}

// TestFormingWaitsForNoElectionTimeout: the nodes of a new cluster find out together that
// its groups have no leader, instead of waiting for Raft's timers: those would begin the
// catalog's election after one timeout at least, and the shards' after another one.
func TestFormingWaitsForNoElectionTimeout(t *testing.T) {
	t.Parallel()
	const timeout = Patience * 2 / 5
	begin := time.Now()
	Start(t, Options{Configure: func(_ int, cfg *transport.ServerConfig) {
		cfg.Timing.Heartbeat, cfg.Timing.Election = timeout, timeout
	}})
	if took := time.Since(begin); took >= 2*timeout {
		t.Errorf("it took %v with an election timeout of %v", took, timeout)
	}
}
