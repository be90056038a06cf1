package inproc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestTransferToADeadVoter: the leadership of the catalog and of a shard stays
// where it is when a node that is down is to have it, however often that is
// asked, and writes go on as if nobody had asked (#696 of hashicorp/raft).
func TestTransferToADeadVoter(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 1})
	yes := true
	if _, err := c.Client().SetPlacement(testContext(t), client.PlacementChange{Paused: &yes}); err != nil {
		t.Fatal(err)
	}
	apply(t, c.Client(), pingPong("before"))
	mustInit(t, c.Client(), "before", "the-instance")
	catalog, shard := c.Leader(0, 0), c.Leader(0, 1)
	dead := 3 - catalog - shard // the third node
	if catalog == shard {
		dead = (catalog + 1) % 3
	}
	voter := c.Server(dead).NodeID()
	c.Kill(dead)
	cl := c.Client()
	for i, group := range []uint32{0, 0, 0, 1, 1, 1} {
		// Something that the dead node does not have.
		within(t, 10*time.Second, "the writes", func() {
			apply(t, cl, pingPong(fmt.Sprintf("after-%d", i)))
			step(t, cl, "the-instance", "ping", "right")
		})
		ctx, cancel := context.WithTimeout(testContext(t), 10*time.Second)
		_, err := cl.TransferLeadership(ctx, group, voter)
		cancel()
		wantReason(t, err, typesv1.Reason_REASON_PLACEMENT_CHANGED)
		if e := (*client.Error)(nil); !errors.As(err, &e) || !e.NotApplied || e.Attempts != 1 {
			t.Errorf("group %d: %v, applied: %t", group, err, e == nil || !e.NotApplied)
		}
		if asked, now := []int{catalog, shard}[group], c.Leader(catalog, group); now != asked {
			t.Errorf("group %d: node %d leads, not %d any more", group, now, asked)
		}
	}
	within(t, 10*time.Second, "the writes after the last transfer", func() {
		apply(t, cl, pingPong("last"))
		step(t, cl, "the-instance", "pong", "left")
	})
}
