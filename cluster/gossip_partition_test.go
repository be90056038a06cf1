package cluster

import (
	"testing"
	"time"
)

// TestGossipHealsAfterALongPartition: memberlist forgets the dead after half a
// minute, and then never speaks to them again; two sides that were apart for ten
// minutes are one cluster again within three times the pause between rejoins.
// Neither has a seed on the other side.
func TestGossipHealsAfterALongPartition(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		endB := network.attach()
		// The first is everybody's seed, and has none itself.
		a := startGossip(t, "a", clusterX, onNet(network.attach()))
		b := startGossip(t, "b", clusterX, onNet(endB), a)
		for _, g := range []*Gossip{a, b} {
			awaitViewWithin(t, g, "a alive 1, b alive 1", time.Minute)
		}
		b.mu.Lock()
		b.cfg.Seeds = nil
		b.mu.Unlock()
		endB.setCut(true)
		awaitViewWithin(t, a, "a alive 1, b dead 1", time.Minute)
		awaitViewWithin(t, b, "a dead 1, b alive 1", time.Minute)
		time.Sleep(10 * time.Minute)
		endB.setCut(false)
		for _, g := range []*Gossip{a, b} {
			awaitViewWithin(t, g, "a alive 1, b alive 1", 3*LANTimings().Rejoin)
		}
	})
}
