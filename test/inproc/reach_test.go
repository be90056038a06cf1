package inproc

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
)

// TestCutOffNodeRefusesSoon: a node that was cut off from the others refuses a call
// once the time of an ordinary failover is over, and those after it sooner, however
// long a request may look for a leader; it serves again when it is back. Nodes that
// can elect a leader are not cut off, and wait for it.
func TestCutOffNodeRefusesSoon(t *testing.T) {
	t.Parallel()
	const budget = 10 * time.Second
	c := Start(t, Options{Shards: 2, Configure: func(_ int, cfg *transport.ServerConfig) { cfg.RouteBudget = budget }})
	cl := c.Client()
	apply(t, cl, pingPong("cut"))
	mustInit(t, cl, "cut", "cut-a")
	alone := c.Leader(0, 1) // it leads at least one shard, and the other one or not
	c.Partition([]int{(alone + 1) % 3, (alone + 2) % 3})

	api := spexv1.NewInstanceServiceClient(raw(t, c, alone))
	call := func(id string) (time.Duration, *typesv1.ErrorDetail) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		start := time.Now()
		_, err := api.GetInstance(ctx, &spexv1.GetInstanceRequest{Id: id})
		return time.Since(start), detail(err)
	}
	refused := map[uint64]bool{}
	for i, id := range []string{"cut-a", "cut-a", "cut-b", "cut-c", "cut-d", "cut-a"} {
		took, d := call(id)
		t.Logf("call %d: %v: %s", i, took, d.GetMessage())
		if !d.GetNotApplied() || d.GetReason() != typesv1.Reason_REASON_NO_LEADER || !strings.Contains(d.GetMessage(), "is cut off: of the 3 replicas of shard") {
			t.Errorf("call %d: %v", i, d)
		}
		// Promised with a budget of 5 s: two seconds, and half a second from then on.
		promised := budget * 4 / 10
		if refused[d.GetShard()] {
			promised = budget / 10
		}
		limit := promised * 3 / 2
		refused[d.GetShard()] = true
		if took > limit {
			t.Errorf("call %d took %v, want at most %v", i, took, limit)
		}
	}
	// The majority elects new leaders while calls wait for them.
	within(t, budget, "a write at the majority", func() {
		step(t, c.Client((alone+1)%3), "cut-a", "ping", "right")
	})
	c.Heal()
	Eventually(t, "the node to serve again", func() bool {
		_, d := call("cut-a")
		return d == nil
	})
}

// TestALeaderHintComesInTime: a request that a node without a replica has sent to a
// leader that is not heard any more goes to its successor as soon as gossip names it. With this
// route budget the replicas would be asked who leads after a minute.
func TestALeaderHintComesInTime(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 4, Shards: 4, Configure: func(_ int, cfg *transport.ServerConfig) { cfg.RouteBudget = 10 * time.Minute }})
	const ask = 3
	cl := c.Client(ask)
	apply(t, cl, pingPong("hint"))
	self := c.Server(ask).NodeID()
	var elsewhere *spexv1.ShardStatus
	for _, sh := range c.Status(ask).GetShards() {
		if !slices.ContainsFunc(sh.GetReplicas(), func(r *spexv1.ReplicaStatus) bool { return r.GetNodeId() == self }) {
			elsewhere = sh
		}
	}
	if elsewhere == nil {
		t.Fatalf("node %d has a replica of every shard", ask)
	}
	id := inShard(t, 4, elsewhere.GetId(), "hint", 0)
	mustInit(t, cl, "hint", id)
	leader := c.Leader(ask, elsewhere.GetId())
	c.Silence(leader)
	// The client repeats nothing: there is one request, and it waits for its answer.
	answered := make(chan error, 1)
	go func() {
		_, err := spexv1.NewInstanceServiceClient(raw(t, c, ask)).GetInstance(testContext(t), &spexv1.GetInstanceRequest{Id: id})
		answered <- err
	}()
	Eventually(t, "another leader", func() bool { return c.Leader((leader+1)%3, elsewhere.GetId()) != leader })
	elected := time.Now()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	// The connection to the old leader is given up after ten seconds and more.
	if took := time.Since(elected); took > 5*time.Second {
		t.Errorf("the answer came %v after there was another leader", took)
	}
}
