package cluster

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

// cuttable is a transport whose node can be cut off from all others.
type cuttable struct {
	*memberlist.MockTransport
	cut *atomic.Bool
}

var errCutOff = errors.New("cut off")

func (c cuttable) WriteTo(b []byte, addr string) (time.Time, error) {
	return c.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (c cuttable) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if c.cut.Load() {
		return time.Now(), nil // a lost datagram is no error
	}
	return c.MockTransport.WriteToAddress(b, a)
}

func (c cuttable) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return c.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

func (c cuttable) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if c.cut.Load() {
		time.Sleep(timeout)
		return nil, errCutOff
	}
	return c.MockTransport.DialAddressTimeout(a, timeout)
}

// TestGossipHealsAfterALongPartition: memberlist forgets the dead after half a
// minute, and then never speaks to them again; two sides that were apart for ten
// minutes are one cluster again within three times the pause between rejoins.
// Neither has a seed on the other side.
func TestGossipHealsAfterALongPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Runs last, and takes no real time: what memberlist began before its end.
		t.Cleanup(func() { time.Sleep(time.Minute) })
		var network memberlist.MockNetwork
		var cut atomic.Bool
		start := func(id string, seeds ...*Gossip) *Gossip {
			return startGossip(t, id, clusterX, func(c *GossipConfig) {
				c.Transport, c.Timings = cuttable{network.NewTransport(id), &cut}, LANTimings()
			}, seeds...)
		}
		// The first is everybody's seed, and has none itself.
		a := start("a")
		b := start("b", a)
		view := func(g *Gossip, want string, within time.Duration) {
			t.Helper()
			begin := time.Now()
			for viewOf(g) != want {
				if time.Since(begin) > within {
					t.Fatalf("node %s sees %q after %v, want %q", g.cfg.Self.ID, viewOf(g), within, want)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		for _, g := range []*Gossip{a, b} {
			view(g, "a alive 1, b alive 1", time.Minute)
		}
		b.mu.Lock()
		b.cfg.Seeds = nil
		b.mu.Unlock()
		cut.Store(true)
		view(a, "a alive 1, b dead 1", time.Minute)
		view(b, "a dead 1, b alive 1", time.Minute)
		time.Sleep(10 * time.Minute)
		cut.Store(false)
		for _, g := range []*Gossip{a, b} {
			view(g, "a alive 1, b alive 1", 3*LANTimings().Rejoin)
		}
		cut.Store(true) // what is said to a node that has stopped would wait for ever
	})
}
