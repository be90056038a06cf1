package inproc

import (
	"testing"

	"github.com/spexio/spex/transport"
)

// TestStaleJoinAddresses: nodes come back on other ports, and nobody listens any
// more at the addresses that they are told to join. They find the others where they
// were last, be it one node or all but one, and the others learn where they are now (O4).
func TestStaleJoinAddresses(t *testing.T) {
	t.Parallel()
	stale := false
	c := Start(t, Options{Configure: func(node int, cfg *transport.ServerConfig) {
		if stale {
			cfg.Join = []string{"127.0.0.1:1"}
		}
	}})
	stale = true
	for _, back := range [][]int{{1}, {0, 2}} {
		for _, node := range back {
			c.MustStop(node)
		}
		for _, node := range back {
			c.Launch(node)
		}
		for _, node := range back {
			c.AwaitReady(node)
		}
		Eventually(t, "every node to see every other", func() bool {
			for i := range 3 {
				for _, n := range c.Status(i).GetNodes() {
					if n.GetGossip() != "alive" {
						return false
					}
				}
			}
			return true
		})
	}
}
