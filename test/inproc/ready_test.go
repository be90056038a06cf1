package inproc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/transport"
)

// TestReadyMeansCaughtUp: a node that comes back is not ready before each of its
// replicas, that of the catalog too, has applied what its leader had committed.
func TestReadyMeansCaughtUp(t *testing.T) {
	t.Parallel()
	const shards, away = 2, 2
	var held struct { // read at each start of the node
		group uint32
		after uint64
		gate  *sync.RWMutex
	}
	c := Start(t, Options{Shards: shards, Configure: func(node int, cfg *transport.ServerConfig) {
		cfg.Hooks.Group = func(g *shard.Config) {
			if node == away && held.gate != nil && g.ID == held.group {
				g.Machine = slow{g.Machine, held.gate, held.after}
			}
		}
	}})
	apply(t, c.Client(), pingPong("walk"))
	for _, tc := range []struct {
		group uint32
		want  string
	}{
		{0, "the catalog has not caught up"},
		{1, "shard 1 has not caught up"},
	} {
		held.group, held.after, held.gate = tc.group, applied(t, c, away, tc.group), new(sync.RWMutex)
		held.gate.Lock()
		open := sync.OnceFunc(held.gate.Unlock)
		defer open()
		c.MustStop(away)
		cl := c.Client()
		for g := range uint32(shards + 1) { // the others are behind too, and may catch up
			if g == 0 {
				apply(t, cl, pingPong(fmt.Sprintf("meanwhile-%d", tc.group)))
			} else {
				mustInit(t, cl, "walk", inShard(t, shards, g, fmt.Sprintf("meanwhile-%d", tc.group), 0))
			}
		}
		committed := applied(t, c, 0, tc.group)

		s := c.Launch(away)
		Eventually(t, tc.want, func() bool {
			if s.Node() == nil {
				return false
			}
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			err := s.Node().Ready(ctx)
			if err == nil {
				t.Fatalf("group %d: the node is ready and has applied nothing behind %d of %d", tc.group, held.after, committed)
			}
			return strings.Contains(err.Error(), tc.want)
		})
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		if err := s.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("group %d: the server is ready, or will never be: %v", tc.group, err)
		}
		cancel()
		open()
		c.AwaitReady(away)
		if has := applied(t, c, away, tc.group); has < committed {
			t.Errorf("group %d: the node is ready at %d, and %d was committed", tc.group, has, committed)
		}
	}
}

// applied is the index that a node's replica of a group has applied, as the node says.
func applied(t *testing.T, c *Cluster, node int, group uint32) uint64 {
	t.Helper()
	st := c.Status(node)
	all := append([]*spexv1.ShardStatus{st.GetCatalog()}, st.GetShards()...)
	for _, r := range all[group].GetReplicas() {
		if r.GetNodeId() == c.Server(node).NodeID() {
			return r.GetAppliedIndex()
		}
	}
	t.Fatalf("node %d tells nothing of its replica of group %d", node, group)
	return 0
}
