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
		// The first is everybody's seed, and has none itself.
		a := network.start(t, "a", clusterX, nil)
		b := network.start(t, "b", clusterX, nil, a)
		for _, g := range []*Gossip{a, b} {
			awaitView(t, g, "a alive 1, b alive 1")
		}
		b.mu.Lock()
		b.cfg.Seeds = nil
		b.mu.Unlock()
		network.end(b).setCut(true)
		awaitView(t, a, "a alive 1, b dead 1")
		awaitView(t, b, "a dead 1, b alive 1")
		time.Sleep(10 * time.Minute)
		network.end(b).setCut(false)
		for _, g := range []*Gossip{a, b} {
			awaitViewWithin(t, g, "a alive 1, b alive 1", 3*LANTimings().Rejoin)
		}
	})
}
