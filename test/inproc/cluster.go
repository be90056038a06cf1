package inproc

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/cluster"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/transport"
)

// Patience is how long the helpers wait for what a healthy cluster does within
// a second or two: a loaded machine takes longer.
const Patience = 60 * time.Second

// Options say what a cluster is made of. The zero value is three nodes with four
// shards on all of them.
type Options struct {
	Nodes, Shards, Replicas int
	// Expect is what the servers wait for before they form a cluster; 0 means Nodes.
	Expect int
	// Configure changes the configuration of a node before each of its starts.
	Configure func(node int, cfg *transport.ServerConfig)
}

// Cluster is a number of nodes in this process. Its methods fail the test when
// something does not work, and are for the test's goroutine unless they say otherwise.
type Cluster struct {
	t    testing.TB
	opts Options
	net  *network
	dirs []string

	mu      sync.Mutex // guards the fields below
	servers []*transport.Server
	// addrs are where clients found the nodes at their last start.
	addrs   []string
	clients []*client.Client
}

// Start starts the nodes of a new cluster and waits until all of them serve.
// The cluster ends with the test.
func Start(t testing.TB, opts Options) *Cluster {
	t.Helper()
	c := New(t, opts)
	for i := range c.dirs {
		c.Launch(i)
	}
	for i := range c.dirs {
		c.AwaitReady(i)
	}
	return c
}

// New prepares the nodes of a cluster and starts none.
func New(t testing.TB, opts Options) *Cluster {
	t.Helper()
	defaults := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	defaults(&opts.Nodes, 3)
	defaults(&opts.Shards, 4)
	defaults(&opts.Replicas, 3)
	defaults(&opts.Expect, opts.Nodes)
	c := &Cluster{t: t, opts: opts, net: newNetwork()}
	for range opts.Nodes {
		c.Grow()
	}
	t.Cleanup(c.end)
	return c
}

// Grow adds a node with an empty data directory, and does not start it.
func (c *Cluster) Grow() (node int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	node = len(c.dirs)
	c.dirs = append(c.dirs, filepath.Join(c.t.TempDir(), fmt.Sprintf("n%d", node)))
	c.servers, c.addrs = append(c.servers, nil), append(c.addrs, "127.0.0.1:0")
	return node
}

// Relaunch starts a node again where clients found it before.
func (c *Cluster) Relaunch(node int) *transport.Server {
	c.t.Helper()
	s, err := c.tryLaunch(node, c.addrs[node])
	if err != nil {
		c.t.Fatalf("start node %d again: %v", node, err)
	}
	return s
}

// Launch starts a node on its data directory, on ports that the system chooses,
// and does not wait for it.
func (c *Cluster) Launch(node int) *transport.Server {
	c.t.Helper()
	s, err := c.TryLaunch(node)
	if err != nil {
		c.t.Fatalf("start node %d: %v", node, err)
	}
	return s
}

// TryLaunch is Launch for a start that may be refused.
func (c *Cluster) TryLaunch(node int) (*transport.Server, error) {
	return c.tryLaunch(node, "127.0.0.1:0")
}

func (c *Cluster) tryLaunch(node int, listen string) (*transport.Server, error) {
	cfg := transport.ServerConfig{
		Name: fmt.Sprintf("n%d", node), ClusterName: "inproc", DataDir: c.dirs[node],
		Listen: listen, PeerListen: "127.0.0.1:0", Gossip: "127.0.0.1:0", Join: c.seeds(node),
		Expect: c.opts.Expect, Shards: c.opts.Shards, Replicas: c.opts.Replicas,
		Timing: Timing(), GossipTimings: cluster.TestTimings(), Version: "test",
		RouteBudget: 3 * time.Second, JudgeBudget: 2 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
		Hooks:  transport.ServerHooks{Dial: c.net.dialer(node)},
		OnFatal: func(err error) {
			c.t.Errorf("the storage of node %d failed: %v", node, err)
		},
	}
	if c.opts.Configure != nil {
		c.opts.Configure(node, &cfg)
	}
	s, err := transport.StartServer(cfg)
	if err != nil {
		return nil, err
	}
	c.net.listens(node, s.PeerAddr())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[node], c.addrs[node] = s, s.Addr()
	return s, nil
}

// Timing is that of the Raft groups of these clusters: quick, and patient enough
// for the race detector on a machine that does other things too.
func Timing() shard.Timing {
	t := shard.Test()
	t.Heartbeat, t.Election, t.LeaderLease = 500*time.Millisecond, 500*time.Millisecond, 400*time.Millisecond
	return t
}

// seeds are the gossip addresses of the other nodes that run.
func (c *Cluster) seeds(node int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for i, s := range c.servers {
		if s != nil && i != node {
			list = append(list, s.GossipAddr())
		}
	}
	return list
}

// Server returns a node that runs, nil for one that does not.
func (c *Cluster) Server(node int) *transport.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[node]
}

// Node finds a node by its id, -1 if no running node has it.
func (c *Cluster) Node(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.IndexFunc(c.servers, func(s *transport.Server) bool { return s != nil && s.NodeID() == id })
}

// AwaitReady waits until a node serves.
func (c *Cluster) AwaitReady(node int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := c.Server(node).Ready(ctx); err != nil {
		c.t.Fatalf("node %d: %v", node, err)
	}
}

// Stop ends a node as SIGTERM does. It may be called from any goroutine.
func (c *Cluster) Stop(node int) error {
	c.mu.Lock()
	s := c.servers[node]
	c.servers[node] = nil
	c.mu.Unlock()
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.Close(ctx)
}

// MustStop is Stop on the test's goroutine.
func (c *Cluster) MustStop(node int) {
	c.t.Helper()
	if err := c.Stop(node); err != nil {
		c.t.Fatalf("stop node %d: %v", node, err)
	}
}

// Kill makes a node vanish for the others: nothing of what it does while it
// ends reaches them, so that they have to find out by themselves.
func (c *Cluster) Kill(node int) {
	c.t.Helper()
	var rest []int
	for i := range c.dirs {
		if i != node {
			rest = append(rest, i)
		}
	}
	c.Partition(rest)
	c.MustStop(node)
	c.Heal()
}

// Partition lets nodes talk only within their group; nodes in no group are alone.
func (c *Cluster) Partition(groups ...[]int) { c.net.divide(len(c.dirs), groups) }

// Silence pulls a node's cable for good: its connections to other nodes carry nothing
// any more, and do not break.
func (c *Cluster) Silence(node int) { c.net.silence(node) }

// Heal ends a partition.
func (c *Cluster) Heal() {
	all := make([]int, len(c.dirs))
	for i := range all {
		all[i] = i
	}
	c.Partition(all)
}

// Client returns a client of the given nodes, of all that run without any.
func (c *Cluster) Client(nodes ...int) *client.Client {
	c.t.Helper()
	return c.ClientWith(client.Options{}, nodes...)
}

// ClientWith is Client with options, whose addresses it fills in.
func (c *Cluster) ClientWith(opts client.Options, nodes ...int) *client.Client {
	c.t.Helper()
	opts.Addresses = nil
	for i := range c.dirs {
		if s := c.Server(i); s != nil && (len(nodes) == 0 || slices.Contains(nodes, i)) {
			opts.Addresses = append(opts.Addresses, s.Addr())
		}
	}
	cl, err := client.Dial(context.Background(), opts)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients = append(c.clients, cl)
	return cl
}

// Status asks a node about the cluster.
func (c *Cluster) Status(node int) *spexv1.GetStatusResponse {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cl := c.Client(node)
	defer cl.Close()
	st, err := cl.Status(ctx, true)
	if err != nil {
		c.t.Fatalf("status of node %d: %v", node, err)
	}
	return st
}

// Leader waits until a running node leads the shard, 0 being the catalog, as
// far as the node that is asked can see, and returns that node.
func (c *Cluster) Leader(ask int, shard uint32) (leader int) {
	c.t.Helper()
	Eventually(c.t, fmt.Sprintf("a leader of group %d", shard), func() bool {
		st := c.Status(ask)
		group := st.GetCatalog()
		if shard > 0 {
			group = st.GetShards()[shard-1]
		}
		leader = c.Node(group.GetLeader())
		return group.GetLeader() != "" && leader >= 0
	})
	return leader
}

// Eventually waits until cond holds.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for: %s", Patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// end closes everything, all nodes at the same time.
func (c *Cluster) end() {
	c.Heal()
	for _, cl := range c.clients {
		_ = cl.Close()
	}
	errs := make([]error, len(c.dirs))
	var all sync.WaitGroup
	for i := range c.dirs {
		all.Go(func() { errs[i] = c.Stop(i) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			c.t.Errorf("stop node %d: %v", i, err)
		}
	}
}
