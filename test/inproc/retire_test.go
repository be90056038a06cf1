package inproc

import (
	"context"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestNoLeadershipForANodeThatStops: a node that has given up its leaderships
// because it is about to stop is given none back, and a shard whose leader is asked
// to does not pause. While it ends, the leader would wait for it in vain for an
// election timeout.
func TestNoLeadershipForANodeThatStops(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 2})
	yes := true
	if _, err := c.Client().SetPlacement(testContext(t), client.PlacementChange{Paused: &yes}); err != nil {
		t.Fatal(err)
	}
	apply(t, c.Client(), pingPong("before"))
	mustInit(t, c.Client(), "before", "the-instance")
	stops := c.Leader(0, 1)
	ctx, cancel := context.WithTimeout(testContext(t), 10*time.Second)
	defer cancel()
	if err := c.Server(stops).Node().Retire(ctx); err != nil {
		t.Fatal(err)
	}
	asks := (stops + 1) % 3
	for group := range uint32(3) {
		heir := c.Leader(asks, group)
		if heir == stops {
			t.Fatalf("group %d: it has not given up its leadership", group)
		}
		begin := time.Now()
		_, err := c.Client().TransferLeadership(ctx, group, c.Server(stops).NodeID())
		wantReason(t, err, typesv1.Reason_REASON_PLACEMENT_CHANGED)
		if now := c.Leader(asks, group); now != heir {
			t.Errorf("group %d: node %d leads, not %d any more", group, now, heir)
		}
		t.Logf("group %d: refused after %v", group, time.Since(begin))
	}
	within(t, 10*time.Second, "a write", func() { step(t, c.Client(), "the-instance", "ping", "right") })
}
