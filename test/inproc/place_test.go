package inproc

import (
	"testing"
	"time"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/transport"
)

// quickPlacement moves replicas as fast as a loaded machine lets it.
func quickPlacement(_ int, cfg *transport.ServerConfig) {
	cfg.Placement = cluster.PlacementTiming{Every: 100 * time.Millisecond, Stabilise: 200 * time.Millisecond}
}

// TestJoinedNodeGetsShards: a fourth server joins, and gets its share of the replicas
// and of the leaderships; every step is kept.
func TestJoinedNodeGetsShards(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 8, Configure: quickPlacement})
	cl := c.Client()
	apply(t, cl, pingPong("grow"))
	for shard := uint32(1); shard <= 8; shard++ {
		mustInit(t, cl, "grow", inShard(t, 8, shard, "grow", 0))
	}
	node := c.Grow()
	c.Launch(node)
	c.AwaitReady(node)
	Eventually(t, "the new node to hold 6 of the 24 replicas and to lead 2 of the 8 shards", func() bool {
		for _, n := range c.Status(0).GetNodes() {
			if n.GetReplicas() != 6 || n.GetLeaders() != 2 {
				return false
			}
		}
		return true
	})
	for shard := uint32(1); shard <= 8; shard++ {
		step(t, c.Client(node), inShard(t, 8, shard, "grow", 0), "ping", "right")
	}
}
