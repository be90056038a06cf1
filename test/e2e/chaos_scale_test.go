//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// settling is how long replicas may take to move: each of them has to keep up
// for ten seconds before it gets its vote, and a few move at a time.
const settling = 4 * time.Minute

// TestChaosScale takes a cluster from three nodes to five and back to three, other
// ones, under a checked workload and while nodes are killed, those too that leave (H12).
func TestChaosScale(t *testing.T) {
	long(t)
	if !inNetwork(t) {
		return
	}
	seed := *chaosSeed
	r := &round{seed: seed, rng: rand.New(rand.NewPCG(seed, 2)), begin: time.Now(), copies: 3, leads: leads{map[uint32]string{}, map[uint32]bool{}}}
	r.a = newArena(t, 3, "--shards", "5")
	applyText(t, r.a.servers, chaosSpec)
	r.probe = startProbes(r.a, "probe", 5)
	r.load = startChaosLoad(r.a, seed)
	r.timers = startTimers(r.a)
	r.look()

	grown := time.Now()
	for range 2 {
		nd := r.a.addNode()
		r.a.address(nd)
		r.a.start(nd)
	}
	for _, nd := range r.a.nodes[3:] {
		r.a.awaitReady(nd, 60*time.Second)
	}
	r.note("two nodes have joined")
	r.disturb(3)
	r.settled()
	r.probe.over(t, fault{name: "three-to-five", what: "two nodes join three, and any is killed three times meanwhile, until all replicas are in their places"}, grown)
	for _, nd := range r.a.look().GetNodes() {
		if nd.GetReplicas() < 2 {
			t.Errorf("%s holds %d replicas of 15 on five nodes", nd.GetName(), nd.GetReplicas())
		}
	}
	leaving, shrunk := r.pick(2), time.Now()
	r.note("%s leave", names(leaving))
	var commands []*command
	for _, nd := range leaving {
		commands = append(commands, r.a.begin("cluster", "decommission", nd.name, "--wait", "--within", settling.String()))
	}
	// Those that leave end by themselves in the end; all of them die meanwhile.
	r.a.nodes = r.a.without(leaving...)
	for range 3 {
		r.disturb(1)
		wait(time.Duration(r.rng.IntN(3000)) * time.Millisecond)
		// What has left cannot die, and is no round of this fault.
		if slices.ContainsFunc(leaving, (*node).running) {
			r.strike(newStrike(r.rng, killLeaving(leaving)))
		}
	}
	for i, c := range commands {
		if end := c.wait(); end.code != 0 {
			t.Errorf("decommission %s: exit status %d: %s%s", leaving[i].name, end.code, end.stdout, end.stderr)
		}
	}
	for _, nd := range leaving {
		select {
		case <-nd.done:
			r.note("%s has ended: %v", nd.name, nd.err)
			r.a.checkRemoved(nd)
		case <-time.After(60 * time.Second):
			t.Errorf("%s was removed and has not ended", nd.name)
			_ = nd.cmd.Process.Kill()
			<-nd.done
		}
	}
	r.settled()
	r.probe.over(t, fault{name: "five-to-three", what: "two nodes leave five, with up to six kills meanwhile, until all replicas are in their places"}, shrunk)
	for _, nd := range r.a.look().GetNodes() {
		t.Logf("%s holds %d replicas and leads %d shards", nd.GetName(), nd.GetReplicas(), nd.GetLeaders())
	}
	r.load.end()
	r.probe.end()
	v := r.check()
	r.note("%+v", v.Counts)
}

// disturb kills nodes one after the other while replicas move.
func (r *round) disturb(times int) {
	r.a.t.Helper()
	one, _ := faultNamed("kill-one")
	one.name, one.what = "kill-in-moves", "SIGKILL of any node that does not leave, while replicas move"
	for range times {
		wait(time.Duration(r.rng.IntN(6000)) * time.Millisecond)
		r.strike(newStrike(r.rng, one))
	}
}

// killLeaving kills one of the nodes that are being decommissioned, and starts it
// again. It may be removed before it dies, or while it is away: then it is told, and ends.
func killLeaving(leaving []*node) fault {
	return fault{name: "kill-leaving", what: "SIGKILL of a node that is being decommissioned", min: second / 2, max: 2 * second, inject: func(r *round, _ time.Duration) func() {
		nd := leaving[r.rng.IntN(len(leaving))]
		if !nd.running() {
			nd = leaving[(slices.Index(leaving, nd)+1)%len(leaving)] // there are two
		}
		_ = nd.cmd.Process.Kill() // it may just have ended
		<-nd.done
		r.note("killed %s, which leaves", nd.name)
		return func() {
			r.a.address(nd)
			r.a.start(nd)
			select {
			case <-nd.ready:
				r.note("%s is back", nd.name)
			case <-nd.done:
				r.note("%s has ended again: %v", nd.name, nd.err)
			case <-time.After(90 * time.Second):
				r.a.t.Fatalf("%s is neither ready nor told that it was removed", nd.name)
			}
		}
	}}
}

// settled waits until the cluster has nothing left to move, every shard has three
// voters on nodes that it lists, and no node leads two shards more than another.
func (r *round) settled() {
	t := r.a.t
	t.Helper()
	begin := time.Now()
	for {
		left := r.unsettled()
		if left == "" {
			r.note("settled after %s", time.Since(begin).Round(time.Second))
			return
		}
		if time.Since(begin) > settling {
			t.Fatalf("seed %d: not settled after %s: %s", r.seed, settling, left)
		}
		wait(500 * time.Millisecond)
	}
}

func (r *round) unsettled() string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	nd := r.a.nodes[0]
	conn, err := grpc.NewClient("passthrough:///"+nd.client, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	plan, err := spexv1.NewClusterServiceClient(conn).GetPlan(ctx, &spexv1.GetPlanRequest{})
	if err != nil {
		return err.Error()
	}
	if n := len(plan.GetSteps()) + len(plan.GetRunning()); n > 0 {
		return fmt.Sprintf("%d changes are left: %v; waiting: %v", n, plan.GetSteps(), plan.GetWaiting())
	}
	var odd []string
	st := r.a.look()
	if len(st.GetNodes()) != len(r.a.nodes) {
		odd = append(odd, fmt.Sprintf("%d nodes are listed", len(st.GetNodes())))
	}
	least, most := len(st.GetShards()), 0
	for _, nd := range st.GetNodes() {
		least, most = min(least, int(nd.GetLeaders())), max(most, int(nd.GetLeaders()))
	}
	if most-least > 1 {
		odd = append(odd, fmt.Sprintf("a node leads %d shards, another one %d", most, least))
	}
	for _, sh := range st.GetShards() {
		if len(sh.GetReplicas()) != 3 || sh.GetLeader() == "" {
			odd = append(odd, fmt.Sprintf("shard %d: leader %q, replicas %v", sh.GetId(), sh.GetLeader(), sh.GetReplicas()))
		}
	}
	return strings.Join(odd, "; ")
}
