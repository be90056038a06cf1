package inproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/cluster"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
)

// quickPlacement moves replicas as fast as a loaded machine lets it.
func quickPlacement(_ int, cfg *transport.ServerConfig) {
	cfg.Placement = cluster.PlacementTiming{Every: 100 * time.Millisecond, Stabilise: 200 * time.Millisecond}
}

// steppers write while replicas move: each steps an instance of its own, and
// notes what was acknowledged.
type steppers struct {
	c    *Cluster
	cl   *client.Client
	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex // guards acked
	acked map[string]uint64
}

// newSteppers begins an instance on each shard and steps them all until end. The
// client knows the given nodes, all that run without any.
func newSteppers(t *testing.T, c *Cluster, nodes ...int) *steppers {
	t.Helper()
	s := &steppers{c: c, cl: c.Client(nodes...), acked: map[string]uint64{}}
	apply(t, s.cl, pingPong("steady"))
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	t.Cleanup(func() { cancel(); s.done.Wait() })
	for shard := uint32(1); shard <= uint32(c.opts.Shards); shard++ {
		id := inShard(t, c.opts.Shards, shard, "steady", 0)
		mustInit(t, s.cl, "steady", id)
		s.done.Go(func() { s.run(ctx, id) })
	}
	return s
}

// run takes one step after the other. A step whose answer is lost is sent again
// with the same request id until there is one.
func (s *steppers) run(ctx context.Context, id string) {
	for n := uint64(2); ctx.Err() == nil; n++ {
		action, state := "ping", "right"
		if n%2 == 1 {
			action, state = "pong", "left"
		}
		request := client.WithRequestID(requestID())
		for {
			call, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			resp, err := s.cl.Transition(call, id, action, state, request)
			cancel()
			if err == nil {
				s.mu.Lock()
				s.acked[id] = resp.GetSeq()
				s.mu.Unlock()
				if resp.GetSeq() != n {
					s.c.t.Errorf("step %d of %s got seq %d", n, id, resp.GetSeq())
					return
				}
				break
			}
			var e *client.Error
			if errors.As(err, &e) && isDeviation(err) {
				s.c.t.Errorf("step %d of %s: %v", n, id, err)
				return
			}
			if ctx.Err() != nil {
				return // it may have been applied: seq n is not checked
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// end stops the steps and checks that every one that was acknowledged is in its
// history once, in order, with at most the one whose answer did not come after it.
func (s *steppers) end(t *testing.T, ask int) {
	t.Helper()
	s.stop()
	s.done.Wait()
	cl := s.c.Client(ask)
	for id, acked := range s.acked {
		list := history(t, cl, id)
		last := list[len(list)-1].GetSeq()
		if last != acked && last != acked+1 {
			t.Errorf("%s: %d steps were acknowledged, the history ends at %d", id, acked, last)
		}
		for _, st := range list {
			if want := map[bool]string{true: "right", false: "left"}[st.GetSeq()%2 == 0]; st.GetState() != want {
				t.Errorf("%s: step %d leads to %q", id, st.GetSeq(), st.GetState())
			}
		}
		if acked < 3 {
			t.Errorf("%s took only %d steps", id, acked)
		}
	}
}

// settled waits until the leader of the catalog has nothing left to move and cond
// holds for the status. Moves take many elections and looks at the cluster: on a
// loaded machine longer than anything else that is waited for.
func settled(t *testing.T, c *Cluster, ask int, what string, cond func(*spexv1.GetStatusResponse) bool) {
	t.Helper()
	deadline := time.Now().Add(3 * Patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		p, err := c.Server(ask).Node().GetPlan(ctx, nil)
		cancel()
		if err == nil && len(p.GetSteps()) == 0 && len(p.GetRunning()) == 0 && cond(c.Status(ask)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for: %s: %v, plan %v, status %v", 3*Patience, what, err, p, c.Status(ask))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// become says what may be done with a node.
func become(ctx context.Context, n *cluster.Node, node string, state spexv1.NodeState) error {
	_, err := n.SetNodeState(ctx, &spexv1.SetNodeStateRequest{Node: node, State: state})
	return err
}

// spread tells whether all nodes of a status hold equally much, those that may lead lead
// equally much, and nobody else holds or leads anything.
func spread(st *spexv1.GetStatusResponse, nodes, replicas int) bool {
	if len(st.GetNodes()) != nodes {
		return false
	}
	listed := map[string]bool{}
	leading := &spexv1.GetStatusResponse{Shards: st.GetShards()}
	for _, n := range st.GetNodes() {
		listed[n.GetId()] = true
		want := len(st.GetShards()) * replicas / nodes
		if held := int(n.GetReplicas()); held < want || held > want+1 {
			return false
		}
		if n.GetState() == spexv1.NodeState_NODE_STATE_ACTIVE {
			leading.Nodes = append(leading.Nodes, n)
		} else if n.GetLeaders() > 0 {
			return false
		}
	}
	for _, s := range st.GetShards() {
		if len(s.GetReplicas()) != replicas || s.GetLeader() == "" {
			return false
		}
		for _, r := range s.GetReplicas() {
			if !listed[r.GetNodeId()] || r.GetState() != "leader" && r.GetState() != "follower" {
				return false
			}
		}
	}
	return leadersEven(leading)
}

// groupsOnDisk lists the directories of groups in a node's data directory.
func groupsOnDisk(t *testing.T, c *Cluster, node int) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.dirs[node], "raft", "groups"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// TestReplicasFollowTheNodes: three nodes become five, and then three again, two of the
// first ones being sent away, while clients write: no acknowledged step is lost, none is
// there twice, and who was sent away keeps nothing and is not let in again (H12).
func TestReplicasFollowTheNodes(t *testing.T) {
	c := Start(t, Options{Shards: 5, Configure: quickPlacement})
	s := newSteppers(t, c)
	for range 2 {
		c.Launch(c.Grow())
	}
	c.AwaitReady(3)
	c.AwaitReady(4)
	settled(t, c, 0, "five nodes to hold 3 replicas each", func(st *spexv1.GetStatusResponse) bool { return spread(st, 5, 3) })
	for _, n := range c.Status(0).GetNodes() {
		if !n.GetCatalogVoter() {
			t.Errorf("%s has no vote in the catalog of five", n.GetId())
		}
	}
	ctx := testContext(t)
	for _, leaving := range []string{"n1", "n2"} {
		if err := become(ctx, c.Server(0).Node(), leaving, spexv1.NodeState_NODE_STATE_DECOMMISSIONING); err != nil {
			t.Fatal(err)
		}
	}
	settled(t, c, 0, "three nodes to hold everything", func(st *spexv1.GetStatusResponse) bool { return spread(st, 3, 3) })
	for _, node := range []int{1, 2} {
		Eventually(t, "a node that was sent away to keep the catalog alone", func() bool {
			return strings.Join(groupsOnDisk(t, c, node), " ") == "0000"
		})
		c.MustStop(node)
		srv := c.Launch(node)
		select {
		case <-srv.Failed():
		case <-ctx.Done():
			t.Fatalf("node %d is gone, and its server waits", node)
		}
		if err := srv.Ready(ctx); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
			t.Errorf("node %d is gone: %v", node, err)
		}
		c.MustStop(node)
	}
	s.end(t, 0)
	awaitAgreement(t, c, 0)
}

// TestDeadNodeIsReplaced: a node is silent for long enough; its replicas are made
// anew elsewhere while clients write. It comes back, deletes what it lost, and gets its
// share again.
func TestDeadNodeIsReplaced(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 4, Shards: 4, Configure: func(node int, cfg *transport.ServerConfig) {
		quickPlacement(node, cfg)
		cfg.DeadAfter = 6 * time.Second
	}})
	settled(t, c, 0, "four nodes to hold 3 replicas each", func(st *spexv1.GetStatusResponse) bool { return spread(st, 4, 3) })
	s := newSteppers(t, c, 0, 1, 2)
	dead := c.Server(3).NodeID()
	c.Kill(3)
	settled(t, c, 0, "three nodes to hold what the dead one held", func(st *spexv1.GetStatusResponse) bool {
		for _, sh := range st.GetShards() {
			for _, r := range sh.GetReplicas() {
				if r.GetNodeId() == dead || len(sh.GetReplicas()) != 3 {
					return false
				}
			}
		}
		return true
	})
	c.Launch(3)
	c.AwaitReady(3)
	settled(t, c, 0, "the node that came back to hold its share", func(st *spexv1.GetStatusResponse) bool { return spread(st, 4, 3) })
	s.end(t, 3)
	awaitAgreement(t, c, 0)
}

// TestLostInGossipStaysAVoter: what gossip says of a node that does not answer
// moves nothing, though another node could take its replicas: only silence for
// longer than DeadAfter does.
func TestLostInGossipStaysAVoter(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 4, Shards: 2, Configure: func(node int, cfg *transport.ServerConfig) {
		quickPlacement(node, cfg)
		cfg.DeadAfter = 10 * time.Minute
	}})
	settled(t, c, 0, "nothing to be left to move", func(*spexv1.GetStatusResponse) bool { return true })
	dead := c.Leader(0, 1)
	id, ask := c.Server(dead).NodeID(), (dead+1)%4
	before := members(c.Status(ask))
	c.Kill(dead)
	Eventually(t, "gossip to have lost the node", func() bool {
		for _, n := range c.Status(ask).GetNodes() {
			if n.GetId() == id {
				return n.GetGossip() == "dead" || n.GetGossip() == "left"
			}
		}
		return false
	})
	Eventually(t, "each group to have a leader again", func() bool { return members(c.Status(ask)) != "" })
	for look := range 50 { // as many as the planner takes
		if now := members(c.Status(ask)); now != before && now != "" {
			t.Fatalf("look %d: the members of the groups are\n%swant\n%s", look, now, before)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// members tells which node is a member of which group, and whether it has a vote.
// It is empty while a group has no leader, who alone knows.
func members(st *spexv1.GetStatusResponse) string {
	var list []string
	for _, g := range append([]*spexv1.ShardStatus{st.GetCatalog()}, st.GetShards()...) {
		if g.GetLeader() == "" {
			return ""
		}
		for _, r := range g.GetReplicas() {
			list = append(list, fmt.Sprintf("group %d on %s: voter %t\n", g.GetId(), r.GetNodeId(), r.GetVoter()))
		}
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

// TestRemovedNodeIsTold: a node is cut off, and somebody says that it does not come
// back: its replicas are made anew at once. When it can be heard again it learns
// that it was removed, and gives up.
func TestRemovedNodeIsTold(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 4, Shards: 4, Configure: quickPlacement})
	settled(t, c, 0, "four nodes to hold 3 replicas each", func(st *spexv1.GetStatusResponse) bool { return spread(st, 4, 3) })
	s := newSteppers(t, c, 0, 1, 2)
	ctx := testContext(t)
	if err := become(ctx, c.Server(0).Node(), "n3", spexv1.NodeState_NODE_STATE_REMOVED); err == nil || !strings.Contains(err.Error(), "answers") {
		t.Fatalf("a node that answers: %v", err)
	}
	c.Partition([]int{0, 1, 2})
	if err := become(ctx, c.Server(0).Node(), "n3", spexv1.NodeState_NODE_STATE_REMOVED); err != nil {
		t.Fatal(err)
	}
	settled(t, c, 0, "three nodes to hold everything, and no other to be listed", func(st *spexv1.GetStatusResponse) bool { return spread(st, 3, 3) })
	c.Heal()
	select {
	case <-c.Server(3).Failed():
	case <-ctx.Done():
		t.Fatal("the node does not find out that it was removed")
	}
	if err := c.Server(3).Err(); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("it failed with: %v", err)
	}
	s.end(t, 0)
	awaitAgreement(t, c, 0)
}

// TestDrainedNodeLeadsNothing: a node that drains keeps its replicas and leads
// nothing, not the catalog either, until it is used again.
func TestDrainedNodeLeadsNothing(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 6, Configure: quickPlacement})
	s := newSteppers(t, c)
	leads := func(st *spexv1.GetStatusResponse, name string) (leaders, replicas uint32) {
		for _, n := range st.GetNodes() {
			if n.GetName() == name {
				leaders, replicas = n.GetLeaders(), n.GetReplicas()
			}
		}
		return leaders, replicas
	}
	ctx := testContext(t)
	node := fmt.Sprintf("n%d", c.Leader(0, 0))
	ask := c.Server(0).Node()
	if err := become(ctx, ask, node, spexv1.NodeState_NODE_STATE_DRAINING); err != nil {
		t.Fatal(err)
	}
	settled(t, c, 0, "the node to lead nothing", func(st *spexv1.GetStatusResponse) bool {
		leaders, replicas := leads(st, node)
		return leaders == 0 && replicas == 6 && st.GetCatalog().GetLeaderName() != node && spread(st, 3, 3)
	})
	if err := become(ctx, ask, node, spexv1.NodeState_NODE_STATE_REMOVED); err == nil {
		t.Error("a node that answers was removed")
	}
	if err := become(ctx, ask, "n7", spexv1.NodeState_NODE_STATE_DRAINING); err == nil || !strings.Contains(err.Error(), "n7") {
		t.Errorf("a node that there is not: %v", err)
	}
	if err := become(ctx, ask, node, spexv1.NodeState_NODE_STATE_ACTIVE); err != nil {
		t.Fatal(err)
	}
	settled(t, c, 0, "the node to lead its share", func(st *spexv1.GetStatusResponse) bool {
		leaders, _ := leads(st, node)
		return leaders == 2
	})
	pause := func(yes bool) {
		t.Helper()
		if _, err := ask.SetPlacement(ctx, &spexv1.SetPlacementRequest{Paused: &yes}); err != nil {
			t.Fatal(err)
		}
	}
	pause(true)
	if err := ask.TransferLeadership(ctx, 1, node); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the leadership to be where it was asked for", func() bool { return c.Status(0).GetShards()[0].GetLeaderName() == node })
	pause(false)
	s.end(t, 0)
}

// TestNodesRestartWhileReplicasMove: the joining node, the leader of the catalog and
// another node go down while replicas move, one after the other, and come back.
func TestNodesRestartWhileReplicasMove(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 6, Configure: func(node int, cfg *transport.ServerConfig) {
		quickPlacement(node, cfg)
		cfg.Placement.Stabilise = time.Second
		cfg.Placement.Concurrent = 2
	}})
	s := newSteppers(t, c)
	joins := c.Grow()
	c.Launch(joins)
	c.AwaitReady(joins)
	holds := func() (n uint32) {
		for _, nd := range c.Status(0).GetNodes() {
			if nd.GetName() == fmt.Sprintf("n%d", joins) {
				n = nd.GetReplicas()
			}
		}
		return n
	}
	Eventually(t, "a first replica to move", func() bool { return holds() > 0 })
	restart := func(node int) {
		c.Kill(node)
		c.Relaunch(node)
		c.AwaitReady(node)
	}
	restart(joins)
	if lead := c.Leader(0, 0); lead != 0 {
		restart(lead)
	} else {
		restart(1)
	}
	restart(2)
	settled(t, c, 0, "four nodes to hold their share", func(st *spexv1.GetStatusResponse) bool { return spread(st, 4, 3) })
	s.end(t, joins)
	awaitAgreement(t, c, 0)
}
