package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/query"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/shard/store"
)

// catalogCommit is how often an idle leader of the catalog tells its followers the commit index.
const catalogCommit = 50 * time.Millisecond

// NodeConfig says what a node is made of. Everything is needed unless it says
// otherwise.
type NodeConfig struct {
	// Self is this node as the catalog will list it: id, name and addresses.
	Self *statev1.Node
	// Version is the release of this build.
	Version string
	// Store holds the Raft groups. Its owner closes it after the node.
	Store *store.Store
	// Attach gives a group's configuration, which is complete but for that, its transport.
	Attach func(group uint32, cfg *shard.Config)
	Peers  Peers
	// Deliver hands a message to a group's Raft on this node, and Gone reports
	// whether a node's process is certain not to run; see shard.Failover. Without
	// Deliver lost leaders are found by Raft's timers alone.
	Deliver func(ctx context.Context, group uint32, message any) (any, error)
	Gone    func(ctx context.Context, nodeID string) bool
	// Members tells what gossip knows, and Hints is what it spreads; nil when the node is alone.
	Members func() []Member
	Hints   *LeaderHints
	Timing  shard.Timing
	// Placement is how fast replicas are moved while this node leads the catalog.
	Placement PlacementTiming
	// OnRemoved is called once, from a goroutine of the node, when the cluster has
	// removed the node: it is of no use any more. It must not wait for the node.
	OnRemoved func(error)
	// OnStuck is called once, from a goroutine of the node, when Raft of the catalog is
	// in a state that only a new start ends: see shard.Config. It must not wait for the node.
	OnStuck func(error)
	Logger  *slog.Logger
	// Now is the clock; the default is time.Now.
	Now func() time.Time
	// Space says how the node watches the room on its disk.
	Space SpaceConfig
	// RouteBudget bounds how long a request looks for a leader before it fails
	// with NO_LEADER, even if its deadline is later. Default 5s.
	RouteBudget time.Duration
	// JudgeBudget bounds how long an answer waits for a verdict before it says
	// PENDING. Default 2s.
	JudgeBudget time.Duration
	// BeforeJudge is called before a verdict is computed, on the goroutine that
	// computes it. For tests: it may block.
	BeforeJudge func(fsm.Case)
	// BeforeDeadlines is called by the leader of a shard before it proposes
	// timeouts and prunes. For tests: it may block.
	BeforeDeadlines func(shard uint32, due []fsm.Due)
	// BeforeDelete is called by the leader of a shard between finding the
	// instances that match and proposing their deletion. For tests: it may block.
	BeforeDelete func(matched []*fsm.InstanceView)

	// groups replaces the Raft groups, so that Store and Attach are not needed,
	// beside the goroutines, and jitter says how long the router pauses of at most d.
	groups groups
	beside beside
	jitter func(d time.Duration) time.Duration
}

func (c *NodeConfig) defaults() {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.RouteBudget == 0 {
		c.RouteBudget = 5 * time.Second
	}
	if c.JudgeBudget == 0 {
		c.JudgeBudget = 2 * time.Second
	}
	if c.Members == nil {
		c.Members = func() []Member { return nil }
	}
	if c.Hints == nil {
		c.Hints = NewLeaderHints()
	}
	if c.OnRemoved == nil {
		c.OnRemoved = func(error) {}
	}
	if c.OnStuck == nil {
		c.OnStuck = func(error) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.beside == nil {
		c.beside = goroutines{}
	}
	if c.jitter == nil {
		c.jitter = rand.N[time.Duration]
	}
}

// Node is one member of a cluster: it holds a replica of the catalog and of the
// shards that are placed on it, and answers for the whole cluster. It is safe
// for concurrent use.
type Node struct {
	cfg     NodeConfig
	log     *slog.Logger
	catalog *catalog
	clock   *clock
	host    groups
	router  *router
	placer  *placer
	// judge computes verdicts for all shards that this node leads.
	judge *judge
	// queries keeps the expressions of lists and deletions.
	queries query.Cache

	// ctx ends when the node closes; tasks waits for what runs under it.
	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup

	space *space

	// stuck has the shards whose Raft does not get on without being opened again.
	stuck chan uint32

	// retiring is set when the node takes no leadership any more.
	retiring atomic.Bool

	// moving is held while a replica is opened, closed or deleted because of what
	// the catalog says, so that nobody opens one that is being deleted.
	moving sync.Mutex

	// mu guards replicas, stores and refused.
	mu       sync.Mutex
	replicas map[uint32]*replica
	stores   map[uint32]*store.Group
	// refused holds why a group that is placed here could not be opened.
	refused map[uint32]error
}

// OpenNode starts the replica of the catalog, and of every shard that has state
// here already: they work also while the catalog has no quorum. The node
// serves once the catalog says which cluster it belongs to; see Ready.
func OpenNode(cfg NodeConfig) (*Node, error) {
	n := newNode(cfg)
	if err := n.catalog.open(); err != nil {
		n.stop()
		return nil, fmt.Errorf("open the catalog: %w", err)
	}
	groups, err := cfg.Store.Groups()
	if err != nil {
		_ = n.Close(context.Background())
		return nil, fmt.Errorf("list the groups of the data directory: %w", err)
	}
	n.openReplicas(groups)
	n.task(n.placeLoop)
	n.task(n.placer.run)
	n.task(n.loseLoop)
	n.task(n.belongLoop)
	n.task(n.catalog.leadLoop)
	n.task(n.catalog.jointLoop)
	n.task(n.catalog.retireLoop)
	n.task(n.clock.run)
	n.task(n.space.run)
	return n, nil
}

// newNode makes a node that has nothing open and does nothing by itself.
func newNode(cfg NodeConfig) *Node {
	cfg.defaults()
	n := &Node{
		cfg: cfg, log: cfg.Logger, host: cfg.groups, judge: newJudge(cfg.BeforeJudge, cfg.Logger),
		replicas: map[uint32]*replica{}, stores: map[uint32]*store.Group{}, refused: map[uint32]error{},
		stuck: make(chan uint32, 16),
	}
	if n.host == nil {
		n.host = &raftGroups{node: n}
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.space = newSpace(n)
	n.catalog = newCatalog(n)
	n.clock = n.newClock()
	n.router = newRouter(n)
	n.placer = newPlacer(n, cfg.Placement, time.Now)
	return n
}

// task runs f until the node closes.
func (n *Node) task(f func(context.Context)) {
	n.tasks.Add(1)
	go func() {
		defer n.tasks.Done()
		f(n.ctx)
	}()
}

// BootstrapCatalog writes the catalog's first configuration. Only the node whose
// proposal every member pledged to may call it, and it may call it again after
// a crash. The other members must be told of the cluster after it, not before.
func (n *Node) BootstrapCatalog(voters, nonvoters []string) error {
	failpoint.Hit("cluster/pledges-before-bootstrap")
	if err := n.catalog.group.Bootstrap(voters, nonvoters); err != nil && !errors.Is(err, shard.ErrHasState) {
		return fmt.Errorf("bootstrap the catalog: %w", err)
	}
	failpoint.Hit("cluster/catalog-bootstrapped")
	return nil
}

// Form puts a new cluster into its catalog, and tries until ctx ends. A cluster
// that is there already stays as it is.
func (n *Node) Form(ctx context.Context, form *statev1.FormCluster) error {
	for {
		call, cancel := context.WithTimeout(ctx, n.cfg.RouteBudget)
		_, err := n.catalog.propose(call, &statev1.Command{Kind: &statev1.Command_FormCluster{FormCluster: form}})
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		n.log.Info("the cluster cannot be formed yet", "error", err)
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AwaitCatalog waits until this node has the catalog of a formed cluster.
func (n *Node) AwaitCatalog(ctx context.Context) error {
	return n.catalog.await(ctx, func() (bool, error) { return n.catalog.machine.Cluster().ID != "", nil })
}

// Register tells the catalog this node's present addresses, and tries until ctx
// ends. It fails with NODE_REMOVED if the node was taken out of the cluster.
func (n *Node) Register(ctx context.Context) error {
	failpoint.Hit("cluster/before-registered")
	for {
		call, cancel := context.WithTimeout(ctx, n.cfg.RouteBudget)
		_, err := n.catalog.propose(call, n.registration())
		cancel()
		if err == nil || ctx.Err() != nil || fsm.ReasonOf(err) == typesv1.Reason_REASON_NODE_REMOVED {
			return err
		}
		n.log.Info("this node's addresses cannot be told to the catalog yet", "error", err)
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// ClusterID returns the id of the cluster as the catalog has it, "" before it is known.
func (n *Node) ClusterID() string { return n.catalog.machine.Cluster().ID }

// Ready waits until the node can serve: the catalog is known, every shard has
// been formed, and every replica that is placed here has been opened, or was
// refused, knows its leader, and has applied that leader's commit index once.
func (n *Node) Ready(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	caught := newCaughtUp(n)
	defer caught.tasks.Wait()
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		missing := n.missing(ctx, caught)
		if missing == "" {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("the node is not ready: %s: %w", missing, ctx.Err())
		}
	}
}

// missing says what the node waits for before it is ready, "" if for nothing.
func (n *Node) missing(ctx context.Context, caught *caughtUp) string {
	if n.ClusterID() == "" {
		return "it does not have the catalog yet"
	}
	if _, ok := n.catalog.group.Leader(); !ok {
		return "the catalog has no leader"
	}
	behind := ""
	if !caught.up(ctx, n.catalog.group) {
		behind = "the catalog has not caught up with its leader yet"
	}
	for _, p := range n.catalog.machine.Placements() {
		if !p.GetFormed() {
			return fmt.Sprintf("shard %d is not formed yet", p.GetShard())
		}
		r, err := n.replica(p.GetShard())
		if r == nil {
			if err == nil && slices.Contains(p.GetReplicas(), n.cfg.Self.GetId()) {
				return fmt.Sprintf("shard %d is not open yet", p.GetShard())
			}
			continue
		}
		if !slices.Contains(p.GetReplicas(), n.cfg.Self.GetId()) {
			continue // on its way out
		}
		if voters, _ := r.group.Members(); len(voters) == 0 {
			continue // on its way in: nobody counts on it yet
		}
		if _, ok := r.group.Leader(); !ok {
			return fmt.Sprintf("shard %d has no leader", p.GetShard())
		}
		if !caught.up(ctx, r.group) {
			behind = fmt.Sprintf("shard %d has not caught up with its leader yet", p.GetShard())
		}
	}
	return behind
}

// replica returns the replica of a shard on this node, or why it could not be opened.
func (n *Node) replica(id uint32) (*replica, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replicas[id], n.refused[id]
}

// Close stops the node: the leader work first, then the groups, which hand
// their leadership on. It returns when everything has ended, or with an error
// when ctx ends before. The store stays open.
func (n *Node) Close(ctx context.Context) error {
	n.stop()
	n.tasks.Wait()
	n.mu.Lock()
	replicas := make([]*replica, 0, len(n.replicas))
	for _, r := range n.replicas {
		replicas = append(replicas, r)
	}
	stores := n.stores
	n.mu.Unlock()
	for _, r := range replicas {
		r.close()
	}
	err := n.host.Close(ctx)
	if err != nil {
		// What hangs may still use its stores.
		return errors.Join(fmt.Errorf("close the groups: %w", err), n.judge.close(ctx))
	}
	err = n.judge.close(ctx)
	for _, s := range stores {
		err = errors.Join(err, s.Close())
	}
	return err
}

// openStores opens the durable stores of a group, once.
func (n *Node) openStores(id uint32) (*store.Group, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if g := n.stores[id]; g != nil {
		return g, nil
	}
	g, err := n.cfg.Store.Group(id)
	if err != nil {
		return nil, err
	}
	n.stores[id] = g
	return g, nil
}

// groupConfig fills what the catalog's group and the shards' groups share.
func (n *Node) groupConfig(id uint32) shard.Config {
	cfg := shard.Config{
		ID: id, NodeID: n.cfg.Self.GetId(), Confirmer: confirmer{n.cfg.Peers}, Timing: n.cfg.Timing,
		Logger: slog.New(raftLog{n.log.Handler()}), Now: n.clock.Now, FeatureLevel: fsm.FeatureLevel,
	}
	if n.cfg.Deliver != nil {
		cfg.Failover = failover{n}
	}
	if id == store.CatalogGroup {
		// Every node waits for its own replica of the catalog to follow, after a
		// change of a specification or a model; one group may be chatty for that.
		if t := &cfg.Timing.Commit; *t == 0 || *t > catalogCommit {
			*t = catalogCommit
		}
	}
	return cfg
}

func (n *Node) unavailable(format string, args ...any) *fsm.Error {
	return fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, format, args...)
}

// CatalogAddress is the peer address of a node as the catalog has it.
func (n *Node) CatalogAddress(id string) (string, bool) {
	node, ok := n.catalog.machine.Node(id)
	return node.GetPeerAddress(), ok && node.GetPeerAddress() != ""
}
