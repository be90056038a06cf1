package inproc

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/drill"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/shard/store"
	"github.com/spexio/spex/transport"
)

// disks are the free shares, in percent, of the disks of nodes.
type disks [4]atomic.Uint64

func (d *disks) configure(node int, cfg *transport.ServerConfig) {
	d[node].Store(50)
	cfg.Space = cluster.DefaultSpaceLimits()
	cfg.Hooks.Space = func() (store.Usage, error) {
		return store.Usage{FreeBytes: d[node].Load() << 20, TotalBytes: 100 << 20}, nil
	}
}

func (d *disks) set(percent uint64, nodes ...int) {
	for _, n := range nodes {
		d[n].Store(percent)
	}
}

// TestANodeWithoutRoomLeadsNothing: the shards and the catalog go on with the
// others, and no write fails; below the second limit its replicas stop, and
// catch up when there is room again.
func TestANodeWithoutRoomLeadsNothing(t *testing.T) {
	t.Parallel()
	var d disks
	c := Start(t, Options{Configure: d.configure})
	cl := c.Client()
	apply(t, cl, pingPong("room"))
	full := c.Leader(0, 1)
	ask := (full + 1) % 3
	id := c.Server(full).NodeID()

	n := 0
	write := func(count int) {
		t.Helper()
		for range count {
			n++
			mustInit(t, cl, "room", fmt.Sprintf("room-%d", n))
		}
	}
	write(10)
	d.set(10, full)
	Eventually(t, "all leaderships with the others", func() bool {
		write(1)
		st := c.Status(ask)
		return leads(st, id) == 0 && st.GetCatalog().GetLeader() != id && st.GetCatalog().GetLeader() != ""
	})
	if level := spaceOf(c.Status(ask), id).GetLevel(); level != typesv1.SpaceLevel_SPACE_LEVEL_LOW {
		t.Fatalf("status says %v", level)
	}
	write(10)
	d.set(3, full)
	Eventually(t, "stopped shards", func() bool {
		write(1)
		return strings.Count(fmt.Sprint(replicasOf(c.Status(ask), id)), "refused: stopped until there is room") == 4
	})
	write(10)
	d.set(50, full)
	// Without writes: a follower hears of the last one a moment later.
	awaitAgreement(t, c, ask)
	for i := 1; i <= n; i++ {
		if _, err := cl.Get(testContext(t), fmt.Sprintf("room-%d", i)); err != nil {
			t.Fatalf("room-%d: %v", i, err)
		}
	}
}

// TestANodeWithoutRoomIsRelieved: a node that has stopped its shards leads the catalog
// neither, but follows it. So it hears that its replicas are placed elsewhere, and
// deletes them, although nobody sees to its disk.
func TestANodeWithoutRoomIsRelieved(t *testing.T) {
	t.Parallel()
	var d disks
	c := Start(t, Options{Nodes: 4, Configure: func(node int, cfg *transport.ServerConfig) {
		quickPlacement(node, cfg)
		d.configure(node, cfg)
	}})
	cl := c.Client()
	full := c.Leader(0, 0) // of the catalog
	ask := (full + 1) % 4
	id := c.Server(full).NodeID()
	held := len(groupsOnDisk(t, c, full)) - 1
	d.set(3, full)
	Eventually(t, "stopped shards, and another leader of the catalog", func() bool {
		st := c.Status(ask)
		return strings.Count(fmt.Sprint(replicasOf(st, id)), "refused: stopped until there is room") == held &&
			st.GetCatalog().GetLeader() != id && st.GetCatalog().GetLeader() != ""
	})
	apply(t, cl, pingPong("relieved"))
	Eventually(t, "the catalog on all nodes", func() bool {
		catalog := c.Status(ask).GetCatalog()
		return len(drill.Disagreement(&spexv1.GetStatusResponse{Shards: []*spexv1.ShardStatus{catalog}, Catalog: catalog})) == 0
	})
	if level := spaceOf(c.Status(ask), id).GetLevel(); level != typesv1.SpaceLevel_SPACE_LEVEL_STOP || held == 0 {
		t.Fatalf("status says %v; the node had %d replicas", level, held)
	}
	if err := become(testContext(t), c.Server(ask).Node(), id, spexv1.NodeState_NODE_STATE_DECOMMISSIONING); err != nil {
		t.Fatal(err)
	}
	settled(t, c, ask, "the others to hold everything", func(st *spexv1.GetStatusResponse) bool { return spread(st, 3, 3) })
	Eventually(t, "the node to keep the catalog alone", func() bool { return strings.Join(groupsOnDisk(t, c, full), " ") == "0000" })
}

// TestAClusterWithoutRoomRefusesWrites soon and says why, reads and deletes, and
// writes again when there is room.
func TestAClusterWithoutRoomRefusesWrites(t *testing.T) {
	t.Parallel()
	var d disks
	c := Start(t, Options{Configure: d.configure})
	cl := c.Client()
	apply(t, cl, pingPong("full"))
	mustInit(t, cl, "full", "full-1")
	mustInit(t, cl, "full", "full-2")
	d.set(10, 0, 2) // most voters of every group
	refused := func(err error) bool {
		if err == nil {
			return false
		}
		var e *client.Error
		if !errors.As(err, &e) || !errors.Is(err, client.ErrDiskSpace) || !e.NotApplied {
			t.Fatalf("refused for another reason: %v", err)
		}
		if !strings.Contains(e.Error(), "2 of the 3 nodes") || !strings.Contains(e.Error(), "make room") {
			t.Fatalf("the words do not help: %v", err)
		}
		return true
	}
	n := 2
	Eventually(t, "refusals by every group", func() bool {
		all := true
		for range 20 { // over all shards
			n++
			_, err := cl.Init(testContext(t), "full", fmt.Sprintf("full-%d", n))
			all = refused(err) && all
		}
		_, err := cl.ApplySpecification(testContext(t), pingPong(fmt.Sprintf("full-%d", n)))
		return refused(err) && all
	})
	within(t, 2*time.Second, "a refusal", func() {
		if _, err := cl.Transition(testContext(t), "full-1", "ping", "right"); !refused(err) {
			t.Fatal("a step was taken")
		}
	})
	if got, err := cl.Get(testContext(t), "full-1"); err != nil || got.GetInstance().GetSeq() != 1 {
		t.Fatalf("a read: %v, %v", got, err)
	}
	if _, err := cl.Delete(testContext(t), "full-2"); err != nil {
		t.Fatalf("a deletion: %v", err)
	}
	d.set(50, 0, 2)
	Eventually(t, "writes to go on", func() bool {
		_, err := cl.Transition(testContext(t), "full-1", "ping", "right", client.WithExpectedSeq(2))
		return err == nil || !refused(err)
	})
	awaitAgreement(t, c, 1)
}

// TestANodeWithoutRoomDoesNotStart, and does when there is room.
func TestANodeWithoutRoomDoesNotStart(t *testing.T) {
	t.Parallel()
	var d disks
	c := Start(t, Options{Configure: d.configure})
	cl := c.Client(0, 1)
	apply(t, cl, pingPong("start"))
	mustInit(t, cl, "start", "start-1")
	c.MustStop(2)
	var blocked atomic.Bool
	blocked.Store(true)
	c.opts.Configure = func(node int, cfg *transport.ServerConfig) {
		d.configure(node, cfg)
		cfg.Hooks.Space = func() (store.Usage, error) {
			if blocked.Load() {
				return store.Usage{FreeBytes: 1, TotalBytes: 100 << 20}, nil
			}
			return store.Usage{FreeBytes: 50 << 20, TotalBytes: 100 << 20}, nil
		}
	}
	s := c.Launch(2)
	mustInit(t, cl, "start", "start-2")
	select {
	case <-s.Failed():
		t.Fatalf("the node gave up: %v", s.Ready(testContext(t)))
	case <-time.After(2 * time.Second):
	}
	blocked.Store(false)
	c.AwaitReady(2)
	awaitAgreement(t, c, 0)
}

func leads(st *spexv1.GetStatusResponse, node string) (n int) {
	for _, s := range st.GetShards() {
		if s.GetLeader() == node {
			n++
		}
	}
	return n
}

func spaceOf(st *spexv1.GetStatusResponse, node string) *typesv1.Space {
	for _, n := range st.GetNodes() {
		if n.GetId() == node {
			return n.GetSpace()
		}
	}
	return nil
}

func replicasOf(st *spexv1.GetStatusResponse, node string) (list []string) {
	for _, s := range st.GetShards() {
		for _, r := range s.GetReplicas() {
			if r.GetNodeId() == node {
				list = append(list, r.GetState()+": "+r.GetError())
			}
		}
	}
	return list
}
