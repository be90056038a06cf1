//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// role is what a node is when it dies while a leadership is handed over.
type role int

const (
	// itDecides: it leads the catalog, and no group that is handed over.
	itDecides role = iota + 1
	// itLeads: it is to hand leaderships over.
	itLeads
	// itInherits: it is to take a leadership over.
	itInherits
)

// handOverWindows are the places where a node dies while leaderships are handed
// over, in the order in which a cluster comes to them.
var handOverWindows = []struct {
	name string
	role role
	// short is set for the selection that runs with -short.
	short bool
}{
	{name: "cluster/leadership-before-move", role: itDecides},
	{name: "cluster/transfer-received", role: itLeads},
	{name: "shard/transfer-asked", role: itLeads},
	{name: "transport/timeout-now-arriving", role: itInherits},
	{name: "cluster/transfer-done", role: itLeads},
	{name: "cluster/leadership-moved", role: itDecides, short: true},
}

// TestFailpointHandOver kills a node while leaderships are handed over, because a
// node drains or somebody asks for it, at each step that this has, while clients
// write. The others finish what the catalog says, a transfer can be asked for
// again, and no acknowledged step is lost (H7).
func TestFailpointHandOver(t *testing.T) {
	n := roundsOr(t, 1)
	for _, w := range handOverWindows {
		t.Run(w.name+" (drain)", func(t *testing.T) {
			if !w.short {
				long(t)
			}
			for round := range n {
				handOver(t, w.name, round, func(m *moving, v *node) { m.drain(t, v, w.role) })
			}
		})
		if w.role == itDecides {
			continue // who asks for a transfer asks the leader of the group
		}
		t.Run(w.name+" (transfer)", func(t *testing.T) {
			long(t)
			for round := range n {
				handOver(t, w.name, round, func(m *moving, v *node) { m.transfer(t, v, w.role) })
			}
		})
	}
}

// handOver is one round, in which how has the node come to the window and die.
func handOver(t *testing.T, window string, round int, how func(*moving, *node)) {
	m := &moving{servers: startServers(t, 3, "--shards", "6"), window: window, replicas: 18}
	applyText(t, m.servers, walkSpec(0))
	load := startWalkers(m.dial(), 6, uint64(time.Now().UnixNano()))
	defer load.stop()
	load.await(t, 200, 30*time.Second)
	m.spex("model", "seal", "walk")
	v := m.nodes[round%len(m.nodes)]
	m.armPaused(t, v)
	how(m, v)
	load.await(t, 400, 60*time.Second)
	load.end(t)
	load.check(t)
	m.checkOneCluster(t)
	m.awaitAgreement(30 * time.Second)
	if !t.Failed() {
		m.cleanup()
	}
}

// armPaused starts a node again with the failpoint. The placement is paused before:
// else leaders that are spread evenly again would come to the window first.
func (m *moving) armPaused(t *testing.T, v *node) {
	t.Helper()
	m.spex("cluster", "pause")
	m.terminate(v, 20*time.Second)
	m.arm(t, v)
	m.start(v)
	m.awaitReady(v, 60*time.Second)
}

// drain drains a node. That is in the catalog before anything moves, and nobody
// says it again. If the node that dies is another one, it is over while that is dead.
func (m *moving) drain(t *testing.T, v *node, as role) {
	nd := m.busiest() // another one: who has just been started leads nothing
	switch as {
	case itDecides:
		m.handTo(t, v, 0)
	case itLeads:
		led := m.led(t, nd)
		nd = v
		m.handTo(t, v, led[len(led)-2:]...)
	}
	before := m.led(t, nd)
	if len(before) < 2 {
		t.Fatalf("%s leads %v, too little to die in the middle of it", nd.name, before)
	}
	m.spex("cluster", "drain", nd.name)
	m.spex("cluster", "resume")
	m.awaitDeath(t, v)
	m.until(t, "the drain", func() string {
		if now := m.led(t, nd); len(now) > 0 {
			return fmt.Sprintf("%s leads %v, at first %v", nd.name, now, before)
		}
		return ""
	})
	m.back(t, v)
	m.until(t, "what is left of the drain", func() string { return m.left(t, 3) })
	if now := m.led(t, nd); len(now) > 0 {
		t.Errorf("%s drains and leads %v", nd.name, now)
	}
	m.spex("cluster", "activate", nd.name)
	m.until(t, "what follows the drain", func() string { return m.left(t, 3) })
	if now := m.led(t, nd); len(now) == 0 {
		t.Errorf("%s is active again and leads nothing", nd.name)
	}
}

// transfer moves the leadership of a shard. The first command may be told
// anything; it can be given again when the node is back, and as often as one likes.
func (m *moving) transfer(t *testing.T, v *node, as role) {
	from := m.busiest()
	led := m.led(t, from)
	shard, to := led[len(led)-1], v
	if as == itLeads {
		m.handTo(t, v, shard)
		to = from
	}
	first := m.begin("cluster", "transfer", fmt.Sprint(shard), to.name).wait()
	m.awaitDeath(t, v)
	t.Logf("transfer of %d to %s: exit status %d: %s", shard, to.name, first.code, strings.TrimSpace(first.stdout+first.stderr))
	m.until(t, "the shard has a leader", func() string {
		for _, nd := range m.nodes {
			if nd != v && slices.Contains(m.led(t, nd), shard) {
				return ""
			}
		}
		return "nobody leads it"
	})
	m.back(t, v)
	m.handTo(t, to, shard)
	m.spex("cluster", "resume")
	m.until(t, "what follows the transfer", func() string { return m.left(t, 3) })
}

// handTo gives a node the leadership of groups.
func (m *moving) handTo(t *testing.T, nd *node, groups ...int) {
	t.Helper()
	for _, id := range groups {
		name := fmt.Sprint(id)
		if id == 0 {
			name = "catalog"
		}
		m.until(t, fmt.Sprintf("%s is given %s", nd.name, name), func() string {
			if r := m.begin("cluster", "transfer", name, nd.name).wait(); r.code != 0 {
				return r.stderr
			}
			return ""
		})
	}
	m.until(t, nd.name+" is given leaderships", func() string {
		led := m.led(t, nd)
		for _, id := range groups {
			if !slices.Contains(led, id) {
				return fmt.Sprintf("it leads %v, and is to lead %v", led, groups)
			}
		}
		return ""
	})
}

// led lists the groups that a node leads, 0 for the catalog.
func (m *moving) led(t *testing.T, nd *node) (groups []int) {
	t.Helper()
	st := m.status()
	for _, g := range append([]shardStatus{st.Catalog}, st.Shards...) {
		if g.Leader != "" && m.byID(g.Leader) == nd {
			groups = append(groups, g.ID)
		}
	}
	return groups
}

// awaitDeath waits until the node has died in the window.
func (m *moving) awaitDeath(t *testing.T, v *node) {
	t.Helper()
	select {
	case <-v.done:
	case <-time.After(60 * time.Second):
		t.Fatalf("%s has not come to %s", v.name, m.window)
	}
	dead := &victim{node: v, window: window{name: m.window, action: "kill"}, markers: m.markers(v)}
	dead.checkDeath(t)
	t.Logf("%s died at %s", v.name, m.window)
}

// back starts the dead node without failpoints.
func (m *moving) back(t *testing.T, v *node) {
	t.Helper()
	v.binary, v.env = "", nil
	m.start(v)
	m.awaitReady(v, 60*time.Second)
}

// until waits until nothing is left to do.
func (m *moving) until(t *testing.T, what string, left func() string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; wait(100 * time.Millisecond) {
		why := left()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: it does not come to its end: %s", what, why)
		}
	}
}
