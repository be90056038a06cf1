//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// arena is a cluster on a network of its own, whose nodes can be reached by every
// fault that there is.
type arena struct {
	*servers
	net   *network
	hosts map[*node]*host
	// expect is how many servers form the cluster.
	expect int
	admin  *client.Client
}

// newArena starts n nodes that form a cluster, and waits until all serve.
func newArena(t *testing.T, n int, extra ...string) *arena {
	t.Helper()
	a := prepareArena(t, n, extra...)
	for _, nd := range a.nodes {
		a.address(nd)
		a.start(nd)
	}
	for _, nd := range a.nodes {
		a.awaitReady(nd, 60*time.Second)
	}
	a.admin = a.connect(a.nodes...)
	return a
}

// prepareArena prepares n nodes that will form a cluster.
func prepareArena(t *testing.T, n int, extra ...string) *arena {
	t.Helper()
	dir, err := os.MkdirTemp("", "spex-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	net, err := newNetwork()
	if err != nil {
		t.Fatal(err)
	}
	a := &arena{servers: &servers{t: t, dir: dir, extra: extra}, net: net, hosts: map[*node]*host{}, expect: n}
	t.Cleanup(func() {
		a.nodes = slices.Collect(maps.Keys(a.hosts)) // those too that leave
		a.cleanup()
		if err := net.close(); err != nil {
			t.Error(err)
		}
	})
	for range n {
		a.addNode()
	}
	return a
}

// addNode prepares one more node on a host of its own.
func (a *arena) addNode() *node {
	a.t.Helper()
	h, err := a.net.add()
	if err != nil {
		a.t.Fatal(err)
	}
	name := fmt.Sprintf("n%d", len(a.net.hosts))
	nd := &node{name: name, dir: filepath.Join(a.dir, name)}
	a.hosts[nd] = h
	a.nodes = append(a.nodes, nd)
	a.address(nd)
	return nd
}

// join is where a node that starts now looks for the others. It names what is
// there now, as a name in the DNS does.
func (a *arena) join() string {
	var addrs []string
	for _, nd := range a.nodes {
		addrs = append(addrs, a.hosts[nd].at(a.hosts[nd].gossip))
	}
	return strings.Join(addrs, ",")
}

// address gives a node the arguments that fit its host's address.
func (a *arena) address(nd *node) {
	nd.args = append(append([]string{"server", "--name", nd.name, "--data-dir", nd.dir}, a.hosts[nd].settle(nd)...),
		"--expect", fmt.Sprint(a.expect), "--join", a.join(),
		// How full the disk of this machine is must not matter.
		"--space-low", "0", "--space-stop", "0")
	nd.args = append(nd.args, a.extra...)
}

// connect makes a client that gives up on a node quickly.
func (s *servers) connect(nodes ...*node) *client.Client {
	s.t.Helper()
	var addrs []string
	for _, nd := range nodes {
		addrs = append(addrs, nd.client)
	}
	c, err := client.Dial(context.Background(), client.Options{
		Addresses: addrs, AttemptTimeout: 500 * time.Millisecond, BackoffBase: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// look asks the cluster for its status until it answers.
func (a *arena) look() *spexv1.GetStatusResponse {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	st, err := a.admin.Status(ctx, false)
	if err != nil {
		a.t.Fatalf("no node tells its status: %v", err)
	}
	return st
}

// leading are the nodes in the order of how many shards they lead, most first.
func (a *arena) leading() []*node {
	count := map[*node]int{}
	for _, sh := range a.look().GetShards() {
		if id := sh.GetLeader(); id != "" {
			count[a.byID(id)]++
		}
	}
	order := make([]*node, 0, len(a.nodes))
	for len(order) < len(a.nodes) {
		var best *node
		for _, nd := range a.nodes {
			if !contains(order, nd) && (best == nil || count[nd] > count[best]) {
				best = nd
			}
		}
		order = append(order, best)
	}
	return order
}

func contains(list []*node, nd *node) bool {
	for _, other := range list {
		if other == nd {
			return true
		}
	}
	return false
}

// without are the nodes that are not in the list.
func (a *arena) without(list ...*node) []*node {
	var rest []*node
	for _, nd := range a.nodes {
		if !contains(list, nd) {
			rest = append(rest, nd)
		}
	}
	return rest
}

// at are the hosts of nodes.
func (a *arena) at(nodes ...*node) []*host {
	var hosts []*host
	for _, nd := range nodes {
		hosts = append(hosts, a.hosts[nd])
	}
	return hosts
}

// cut replaces the cuts of the network.
func (a *arena) cut(cuts ...cut) {
	a.t.Helper()
	if err := a.net.rules(cuts...); err != nil {
		a.t.Fatal(err)
	}
}

func (a *arena) signal(nd *node, sig syscall.Signal) {
	a.t.Helper()
	if err := nd.cmd.Process.Signal(sig); err != nil {
		a.t.Fatalf("%s to %s: %v", sig, nd.name, err)
	}
}

// revive starts every node that does not run, and waits until all serve.
func (a *arena) revive() {
	a.t.Helper()
	var started []*node
	for _, nd := range a.nodes {
		if !nd.running() {
			a.address(nd)
			a.start(nd)
			started = append(started, nd)
		}
	}
	for _, nd := range started {
		a.awaitReady(nd, 90*time.Second)
	}
}

// checkAlive: no process ended that nobody ended.
func (a *arena) checkAlive() {
	a.t.Helper()
	for _, nd := range a.nodes {
		if !nd.running() {
			a.t.Fatalf("%s has ended by itself: %v", nd.name, nd.err)
		}
	}
}
