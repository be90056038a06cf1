package cluster

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const (
	clusterX = "6f1f3c1e-8d0c-4a43-9d55-0d3a8a1c2b01"
	clusterY = "6f1f3c1e-8d0c-4a43-9d55-0d3a8a1c2b02"
)

func gossipMember(id string) Member {
	return Member{ID: id, ClientAddress: "127.0.0.1:7301", PeerAddress: "127.0.0.1:7501", Version: "0.1.0", FeatureLevel: 1}
}

// startGossip starts a node on loopback that contacts the given others.
func startGossip(t *testing.T, id, clusterID string, change func(*GossipConfig), seeds ...*Gossip) *Gossip {
	t.Helper()
	self := gossipMember(id)
	self.ClusterID = clusterID
	cfg := GossipConfig{ClusterName: "spex", Self: self, Bind: "127.0.0.1:0", Timings: TestTimings(), Logger: slog.New(slog.DiscardHandler)}
	for _, s := range seeds {
		cfg.Seeds = append(cfg.Seeds, s.Address())
	}
	if change != nil {
		change(&cfg)
	}
	g, err := StartGossip(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopGossip(t, g) })
	return g
}

func stopGossip(t *testing.T, g *Gossip) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := g.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// leaveGossip stops a node in order.
func leaveGossip(t *testing.T, g *Gossip) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := g.Leave(ctx); err != nil {
		t.Error(err)
	}
	stopGossip(t, g)
}

// awaitView waits until the view of g is the wanted "id status cluster" list.
func awaitView(t *testing.T, g *Gossip, want string) {
	t.Helper()
	awaitViewWithin(t, g, want, time.Minute)
}

func awaitViewWithin(t *testing.T, g *Gossip, want string, within time.Duration) {
	t.Helper()
	changes, cancel := g.Subscribe()
	defer cancel()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		if got := viewOf(g); got == want {
			return
		}
		select {
		case <-changes:
		case <-deadline.C:
			t.Fatalf("node %s sees %q after %v, want %q", g.cfg.Self.ID, viewOf(g), within, want)
		}
	}
}

func viewOf(g *Gossip) string {
	var parts []string
	for _, m := range g.Members() {
		part := m.ID + " " + m.Status.String()
		if m.ClusterID != "" {
			part += " " + m.ClusterID[len(m.ClusterID)-1:]
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

func TestGossipFindsLosesAndRegains(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		a := network.start(t, "a", "", nil)
		b := network.start(t, "b", "", nil, a)
		c := network.start(t, "c", "", nil, b)
		for _, g := range []*Gossip{a, b, c} {
			awaitView(t, g, "a alive, b alive, c alive")
		}
		if addr, ok := a.PeerAddress("c"); !ok || addr != "127.0.0.1:7501" {
			t.Errorf("peer address of c: %q %t", addr, ok)
		}
		if _, ok := a.PeerAddress("x"); ok {
			t.Error("an unknown node has an address")
		}
		a.SetClusterID(clusterX)
		awaitView(t, c, "a alive 1, b alive, c alive")

		// Killed without a word: dead. Stopped in order: left.
		stopGossip(t, b)
		awaitView(t, a, "a alive 1, b dead, c alive")
		leaveGossip(t, c)
		awaitView(t, a, "a alive 1, b dead, c left")

		// Back at other addresses, under the same ids.
		network.start(t, "b", clusterX, nil, a)
		awaitView(t, a, "a alive 1, b alive 1, c left")
		network.start(t, "c", clusterX, nil, a)
		awaitView(t, a, "a alive 1, b alive 1, c alive 1")
	})
}

// TestGossipOverSockets: the same over the transport that servers have.
func TestGossipOverSockets(t *testing.T) {
	a := startGossip(t, "a", "", nil)
	b := startGossip(t, "b", "", nil, a)
	for _, g := range []*Gossip{a, b} {
		awaitView(t, g, "a alive, b alive")
	}
	stopGossip(t, b)
	awaitView(t, a, "a alive, b dead")
	startGossip(t, "b", "", nil, a)
	awaitView(t, a, "a alive, b alive")
}

// TestGossipLeavesEvenWhenNewsIsLost: no datagram between a and the others arrives while c
// leaves. Memberlist tells a later that c is gone, but not why.
func TestGossipLeavesEvenWhenNewsIsLost(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		a := network.start(t, "a", "", nil)
		b := network.start(t, "b", "", nil, a)
		c := network.start(t, "c", "", nil, a)
		for _, g := range []*Gossip{a, b, c} {
			awaitView(t, g, "a alive, b alive, c alive")
		}
		network.end(a).setLossy(true)
		leaveGossip(t, c)
		network.end(a).setLossy(false)
		awaitView(t, a, "a alive, b alive, c left")
		awaitView(t, b, "a alive, b alive, c left")
	})
}

// TestGossipLeavesManyAtOnce: what is told from node to node keeps no order, and so the death
// of a node that leaves may come to the last of many before the flag that it was wanted.
func TestGossipLeavesManyAtOnce(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		var nodes []*Gossip
		var alive, left []string
		for _, id := range strings.Split("abcdefghi", "") {
			nodes = append(nodes, network.start(t, id, "", nil, nodes[:min(len(nodes), 1)]...))
			alive, left = append(alive, id+" alive"), append(left, id+" alive")
		}
		left[8] = "i left"
		for range 5 {
			for _, g := range nodes {
				awaitView(t, g, strings.Join(alive, ", "))
			}
			leaveGossip(t, nodes[8])
			for _, g := range nodes[:8] {
				awaitView(t, g, strings.Join(left, ", "))
			}
			nodes[8] = network.start(t, "i", "", nil, nodes[0])
		}
	})
}

// TestGossipKeepsTrying: the seed starts after the node that wants it.
func TestGossipKeepsTrying(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		a := network.start(t, "a", "", func(c *GossipConfig) { c.Seeds = []string{"10.0.0.2:7946", "10.0.0.3:port", "10.0.0.4:1"} })
		time.Sleep(time.Minute)
		b := network.start(t, "b", "", nil)
		if b.Address() != "10.0.0.2:7946" {
			t.Fatalf("b is at %s", b.Address())
		}
		awaitView(t, a, "a alive, b alive")
	})
}

// logLines keeps what is logged.
type logLines struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *logLines) count(parts ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
line:
	for _, line := range l.lines {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue line
			}
		}
		n++
	}
	return n
}

// TestGossipRefusesAnotherCluster (O8): same name, other id. Both ids are logged, once.
func TestGossipRefusesAnotherCluster(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		var logged logLines
		a := network.start(t, "a", clusterX, func(c *GossipConfig) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
		b := network.start(t, "b", clusterY, nil, a)
		c := network.start(t, "c", "", nil, a)
		awaitView(t, a, "a alive 1, c alive")
		for range 3 {
			if _, err := b.list.Join([]string{a.Address()}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := logged.count("ignoring alive message"); got < 3 {
			t.Errorf("refused %d times, want at least 3 times", got)
		}
		if got := logged.count("refused a node", "cluster_id="+clusterX, "its_cluster_id="+clusterY); got != 1 {
			t.Errorf("logged %d times, want once", got)
		}
		if got := viewOf(a); got != "a alive 1, c alive" {
			t.Errorf("a sees %q", got)
		}
		// c saw both while it had no cluster; once it has one, the other is gone.
		c.SetClusterID(clusterX)
		awaitView(t, c, "a alive 1, c alive 1")
	})
}

func TestGossipOfAnotherNameIsNotHeard(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		a := network.start(t, "a", "", nil)
		b := network.start(t, "b", "", func(c *GossipConfig) { c.ClusterName = "prod" }, a)
		c := network.start(t, "c", "", nil, a)
		time.Sleep(time.Minute)
		for g, want := range map[*Gossip]string{a: "a alive, c alive", b: "b alive", c: "a alive, c alive"} {
			if got := viewOf(g); got != want {
				t.Errorf("%s sees %q, want %q", g.cfg.Self.ID, got, want)
			}
		}
	})
}

func TestGossipRefusesBadSettings(t *testing.T) {
	a := startGossip(t, "a", "", nil)
	long := strings.Repeat("h", 240)
	for name, c := range map[string]struct {
		change func(*GossipConfig)
		is     error
		says   string
	}{
		"port in use":    {func(c *GossipConfig) { c.Bind = a.Address() }, syscall.EADDRINUSE, "choose another address"},
		"no port":        {func(c *GossipConfig) { c.Bind = "127.0.0.1" }, nil, "host:port"},
		"bad port":       {func(c *GossipConfig) { c.Bind = "127.0.0.1:99999" }, nil, "0 to 65535"},
		"bad name":       {func(c *GossipConfig) { c.ClusterName = "a b" }, nil, "cluster name"},
		"no id":          {func(c *GossipConfig) { c.Self.ID = "" }, nil, "no id"},
		"bad advertised": {func(c *GossipConfig) { c.Advertise = "x" }, nil, "advertised"},
		"long addresses": {func(c *GossipConfig) {
			c.Self.ClientAddress, c.Self.PeerAddress = long+".a:7301", long+".b:7501"
		}, errMetaTooLong, "shorter"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := GossipConfig{ClusterName: "spex", Self: gossipMember("b"), Bind: "127.0.0.1:0", Timings: TestTimings()}
			c.change(&cfg)
			g, err := StartGossip(cfg)
			if err == nil {
				stopGossip(t, g)
				t.Fatal("started")
			}
			if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestViewIsNotSharedWithLaterOnes(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		a := network.start(t, "a", "", nil)
		before := a.Members()
		network.start(t, "b", "", nil, a)
		awaitView(t, a, "a alive, b alive")
		if len(before) != 1 || before[0].ID != "a" {
			t.Errorf("an old view changed: %v", before)
		}
	})
}
