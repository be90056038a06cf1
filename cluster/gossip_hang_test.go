package cluster

import (
	"context"
	"testing"
	"time"
)

// A node that stops while it contacts addresses where nothing answers waits for one
// attempt at the most, not for all of them.
func TestGossipStopsDuringHangingContacts(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		var silent []string
		for range 6 {
			e := network.attach()
			e.setCut(true)
			silent = append(silent, e.address)
		}
		g := network.start(t, "a", clusterX, func(c *GossipConfig) { c.Seeds = silent })
		attempt := LANTimings().Stream
		time.Sleep(attempt / 2)
		ctx, cancel := context.WithTimeout(t.Context(), 3*attempt)
		defer cancel()
		begin := time.Now()
		if err := g.Leave(ctx); err != nil {
			t.Error(err)
		}
		if err := g.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > attempt {
			t.Errorf("stopped after %v, one attempt takes %v", took, attempt)
		}
	})
}
