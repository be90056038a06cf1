package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// askTimeout bounds one call to another node.
	askTimeout = 3 * time.Second
	// minRetry and maxRetry bound the pause after a round that did not succeed.
	minRetry = 200 * time.Millisecond
	maxRetry = 5 * time.Second
	// remindEvery is how often the reason of an unchanged wait is logged again.
	remindEvery = 30 * time.Second
)

// Membership is what bootstrap needs of gossip; *Gossip implements it.
type Membership interface {
	// Members returns all known nodes, this one included or not.
	Members() []Member
	// Subscribe returns a channel that gets a value after Members has changed.
	Subscribe() (changes <-chan struct{}, cancel func())
}

// BootstrapConfig configures a Bootstrap.
type BootstrapConfig struct {
	// Self is this node: its id and addresses.
	Self Member
	// Expect is the exact number of servers that form a new cluster; 0 means
	// that this server never forms one.
	Expect int
	// HasSeeds says that other servers to contact are configured.
	HasSeeds bool
	// Shards and Replicas are what a cluster formed by this node gets.
	Shards, Replicas uint32
	// Membership is nil for a server without gossip, which can only form a
	// cluster of its own.
	Membership Membership
	// Peers may be nil when Membership is.
	Peers  Peers
	Logger *slog.Logger
	// Rand is where cluster ids come from; nil means crypto/rand.
	Rand io.Reader
	// Jitter spreads a pause; nil means within a quarter either way.
	Jitter func(time.Duration) time.Duration
	// Files is the file system; the zero value means the real one. Test-only.
	Files Files
}

// OutcomeKind says how a node came to its cluster.
type OutcomeKind int

const (
	// Restarted: the data directory belonged to the cluster before.
	Restarted OutcomeKind = iota + 1
	// Formed: every member pledged. This node, and no other, bootstraps the
	// catalog with the members, unless an earlier run that was killed has done
	// so already (the catalog's log is not empty). Then it calls
	// Identity.SetClusterID, and the others see that the cluster exists.
	Formed
	// Pledged: this node is a first member, and the cluster exists. The node
	// opens its catalog group without bootstrapping it, waits for the catalog to
	// come, and calls Identity.SetClusterID.
	Pledged
	// Joined: a member of an existing cluster took this node in. The cluster id
	// is in the identity already; the catalog comes as with Pledged.
	Joined
)

// String gives the kind in lower case.
func (k OutcomeKind) String() string {
	switch k {
	case Restarted:
		return "restarted"
	case Formed:
		return "formed"
	case Pledged:
		return "pledged"
	case Joined:
		return "joined"
	default:
		return fmt.Sprintf("outcome %d", int(k))
	}
}

// Outcome is the cluster that a node belongs to from now on.
type Outcome struct {
	Kind      OutcomeKind
	ClusterID string
	// Members are the first members, the proposer first, in order of id, with the
	// addresses they had just now in gossip. Set for Formed and Pledged, as are
	// Shards and Replicas, the ones of the proposal.
	Members          []Member
	Shards, Replicas uint32
}

// Bootstrap brings a node to its cluster: it forms one together with exactly
// the expected others, or joins one. Nothing in it depends on a timeout; it
// waits, says for what, and mends itself when what it waits for comes.
type Bootstrap struct {
	cfg      BootstrapConfig
	identity *Identity
	pledges  *pledgeBook
	log      *slog.Logger
	wake     chan struct{} // size 1: the pledge changed

	// mu guards joining, and is held over a whole answer to a proposer, so that a
	// node never pledges while it joins and never joins once it pledged.
	mu      sync.Mutex
	joining string
}

// NewBootstrap reads the pledge of the identity's data directory. The error is
// a *DirectoryError when the directory is pledged to a cluster of another name
// or the pledge is damaged.
func NewBootstrap(identity *Identity, cfg BootstrapConfig) (*Bootstrap, error) {
	if cfg.Files.Read == nil {
		cfg.Files = OSFiles()
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Jitter == nil {
		cfg.Jitter = quarterJitter
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Self.ID != identity.NodeID() {
		return nil, fmt.Errorf("bootstrap: node %q with the identity of %q", cfg.Self.ID, identity.NodeID())
	}
	if cfg.Expect < 0 || cfg.Shards == 0 || cfg.Replicas == 0 {
		return nil, errors.New("bootstrap: want --expect 0 or more, and at least one shard and one replica")
	}
	if cfg.Membership != nil && cfg.Peers == nil {
		return nil, errors.New("bootstrap: gossip without a way to call peers")
	}
	if cfg.Membership == nil && cfg.Expect != 1 && identity.ClusterID() == "" {
		return nil, fmt.Errorf("bootstrap: --expect %d needs gossip: give --gossip and --join, or --expect 1", cfg.Expect)
	}
	pledges, err := openPledges(identity.Dir(), cfg.Files)
	if err != nil {
		return nil, err
	}
	if p, ok, _ := pledges.current(); ok && p.ClusterName != identity.ClusterName() {
		return nil, dirError(identity.Dir(), ErrOtherCluster, "start with --cluster "+p.ClusterName+", or with an empty data directory",
			"it is pledged to cluster %q, not to %q", p.ClusterName, identity.ClusterName())
	}
	return &Bootstrap{
		cfg: cfg, identity: identity, pledges: pledges, log: cfg.Logger,
		wake: make(chan struct{}, 1),
	}, nil
}

// Run waits until the node has a cluster. It ends early only with the error of
// ctx. It must not run twice at once. HandlePledge must be served while it
// runs, and after it for as long as the process lives: the proposer may ask
// again after a crash.
func (b *Bootstrap) Run(ctx context.Context) (Outcome, error) {
	var changes <-chan struct{}
	if b.cfg.Membership != nil {
		ch, cancel := b.cfg.Membership.Subscribe()
		defer cancel()
		changes = ch
	}
	var said reasonLog
	failures := 0
	for round := 0; ; round++ {
		if err := ctx.Err(); err != nil {
			return Outcome{}, fmt.Errorf("bootstrap: %w", err)
		}
		d := decide(b.gather())
		said.log(b.log, d.action.String(), d.reason)
		out, problem := b.act(ctx, d, round)
		if out.Kind != 0 {
			b.log.Info("node has its cluster", "outcome", out.Kind.String(), "cluster_id", out.ClusterID)
			return out, nil
		}
		pause := remindEvery
		if problem != "" {
			said.log(b.log, d.action.String(), problem)
			pause = min(maxRetry, minRetry<<min(failures, 10))
			failures++
		} else {
			failures = 0
		}
		b.pause(ctx, changes, b.cfg.Jitter(pause))
	}
}

// pause waits until the time is over or something changed.
func (b *Bootstrap) pause(ctx context.Context, changes <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changes:
	case <-b.wake:
	case <-timer.C:
	}
}

// wakeUp makes Run look again.
func (b *Bootstrap) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// gather collects what decide needs. It does no I/O.
func (b *Bootstrap) gather() situation {
	s := situation{
		self:        b.cfg.Self.ID,
		clusterName: b.identity.ClusterName(),
		expect:      b.cfg.Expect,
		seeds:       b.cfg.HasSeeds,
		shards:      b.cfg.Shards,
		replicas:    b.cfg.Replicas,
		clusterID:   b.identity.ClusterID(),
	}
	if p, ok, _ := b.pledges.current(); ok {
		s.pledge = &p
	}
	if b.cfg.Membership == nil {
		return s
	}
	for _, m := range b.cfg.Membership.Members() {
		if m.Status == StatusAlive && m.ID != s.self {
			s.peers = append(s.peers, m)
		}
	}
	slices.SortFunc(s.peers, func(a, b Member) int { return compareIDs(a.ID, b.ID) })
	return s
}

// reasonLog logs what Run does and why when that changes, and now and then
// when it does not.
type reasonLog struct {
	last map[string]time.Time
}

func (r *reasonLog) log(l *slog.Logger, action, reason string) {
	if r.last == nil {
		r.last = make(map[string]time.Time)
	}
	now := time.Now()
	if at, ok := r.last[reason]; ok && now.Sub(at) < remindEvery {
		return
	}
	if len(r.last) > 64 {
		clear(r.last)
	}
	r.last[reason] = now
	l.Info("bootstrap: "+action, "reason", reason)
}
