//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// handOverWindows are the places where a node dies while leaderships are handed
// over, in the order in which a cluster comes to them. The first and the last are
// the catalog's leader's, which nobody passes who asks for a transfer by hand.
var handOverWindows = []struct {
	name string
	// drain and transfer say in which of the two ways a cluster comes there.
	drain, transfer bool
	// short is set for the selection that runs with -short: once, by a drain.
	short bool
}{
	{name: "cluster/leadership-before-move", drain: true},
	{name: "cluster/transfer-received", drain: true, transfer: true},
	{name: "shard/transfer-asked", drain: true, transfer: true},
	{name: "transport/timeout-now-arriving", drain: true, transfer: true},
	{name: "cluster/transfer-done", drain: true, transfer: true},
	{name: "cluster/leadership-moved", drain: true, short: true},
}

// TestFailpointHandOver kills nodes while leaderships are handed over, because a
// node drains or somebody asks for it, at each step that this has, while clients
// write. What the catalog says is finished by whoever leads it then, a transfer
// can be asked for again, and no acknowledged step is lost (H7).
func TestFailpointHandOver(t *testing.T) {
	n := roundsOr(t, 1)
	for _, w := range handOverWindows {
		if w.drain {
			t.Run(w.name+" (drain)", func(t *testing.T) {
				if !w.short {
					long(t)
				}
				for range n {
					handOver(t, w.name, (*moving).drain)
				}
			})
		}
		if w.transfer {
			t.Run(w.name+" (transfer)", func(t *testing.T) {
				long(t)
				for range n {
					handOver(t, w.name, (*moving).transfer)
				}
			})
		}
	}
}

// handOver is one round. By its end the cluster has to be as it was.
func handOver(t *testing.T, window string, how func(*moving, *testing.T)) {
	m := &moving{servers: startServers(t, 3, "--shards", "6"), window: window, replicas: 18}
	applyText(t, m.servers, walkSpec(0))
	load := startWalkers(m.dial(), 6, uint64(time.Now().UnixNano()))
	defer load.stop()
	load.await(t, 200, 30*time.Second)
	m.spexUntil(t, "model", "seal", "walk")
	// Paused, so that leaders which are spread evenly again, which they are not after
	// the restarts, do not come to the window first.
	m.spexUntil(t, "cluster", "pause")
	for _, nd := range m.nodes {
		m.terminate(nd, 20*time.Second)
		m.arm(t, nd)
		m.start(nd)
		m.awaitReady(nd, 60*time.Second)
	}
	how(m, t)
	load.await(t, 400, 60*time.Second)
	load.end(t)
	load.check(t)
	m.checkOneCluster(t)
	m.awaitAgreement(30 * time.Second)
	if !t.Failed() {
		m.cleanup()
	}
}

// drain drains the node that leads most shards. The mark is in the catalog before
// anything moves, and nobody says it again.
func (m *moving) drain(t *testing.T) {
	nd := m.busiest()
	m.spex("cluster", "drain", nd.name)
	before, err := m.led(t, nd)
	if err != nil || len(before) < 2 {
		t.Fatalf("%s leads %v, too little to die in the middle of it; error: %v", nd.name, before, err)
	}
	m.spex("cluster", "resume")
	m.until(t, "the drain", func() string {
		if now, err := m.led(t, nd); err != nil || len(now) > 0 {
			return fmt.Sprintf("%s leads %v, at first %v; error: %v", nd.name, now, before, err)
		}
		return m.left(t, 3)
	})
	m.spexUntil(t, "cluster", "activate", nd.name)
	m.until(t, "what follows the drain", func() string { return m.left(t, 3) })
	if now, err := m.led(t, nd); err != nil || len(now) == 0 {
		t.Errorf("%s is active again and leads %v; error: %v", nd.name, now, err)
	}
}

// transfer moves the leadership of a shard. What the first command is told does not
// matter; one that follows has to succeed.
func (m *moving) transfer(t *testing.T) {
	from := m.busiest()
	led, err := m.led(t, from)
	if err != nil {
		t.Fatal(err)
	}
	shard, to := led[len(led)-1], m.nodes[0] // the catalog, if it leads that too, is the first
	if to == from {
		to = m.nodes[1]
	}
	first := m.begin("cluster", "transfer", fmt.Sprint(shard), to.name).wait()
	t.Logf("transfer of %d from %s to %s: exit status %d: %s", shard, from.name, to.name, first.code, strings.TrimSpace(first.stdout+first.stderr))
	m.spexUntil(t, "cluster", "transfer", fmt.Sprint(shard), to.name)
	m.until(t, "the transfer", func() string {
		if now, err := m.led(t, to); err != nil || !slices.Contains(now, shard) {
			return fmt.Sprintf("%s leads %v, and not %d; error: %v", to.name, now, shard, err)
		}
		return ""
	})
	m.spexUntil(t, "cluster", "resume")
	m.until(t, "what follows the transfer", func() string { return m.left(t, 3) })
}

// led lists the groups that a node leads, 0 for the catalog.
func (m *moving) led(t *testing.T, nd *node) (groups []int, err error) {
	t.Helper()
	r := m.begin("cluster", "status", "-o", "json").wait()
	if r.code != 0 {
		return nil, errors.New(r.stderr)
	}
	st := decode[status](t, r.stdout)
	for _, g := range append([]shardStatus{st.Catalog}, st.Shards...) {
		if g.Leader != "" && m.byID(g.Leader) == nd {
			groups = append(groups, g.ID)
		}
	}
	return groups, nil
}

// until waits until nothing is left to do, a node died in the window, and those that
// did are back.
func (m *moving) until(t *testing.T, what string, left func() string) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		m.reviveDead(t)
		why := left()
		if why == "" && m.deaths > 0 {
			return
		}
		if why == "" {
			why = "nobody came to " + m.window
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come to its end: %s", what, why)
		}
		wait(100 * time.Millisecond)
	}
}
