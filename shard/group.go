package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/internal/broken"
	"github.com/spexio/spex/internal/hclogslog"
)

// Group is one Raft group on this node. All methods are safe for concurrent use.
type Group struct {
	cfg     Config
	raft    *raft.Raft
	replica *replica
	queue   *queue
	// returning is nil for a replica that was never deleted here.
	returning *returning

	// leadTerm is the last term in which this node, as leader, applied Lead.
	// It only says something together with Raft's present term: see Leading.
	leadTerm     atomic.Uint64
	featureLevel atomic.Uint32
	// opened is a time from which others are counted, whatever the clock is set to.
	opened time.Time
	// led is how long after opened this node was last seen to lead.
	led atomic.Int64
	// noGrowth is why the group must not grow, nil if it may.
	noGrowth atomic.Pointer[string]

	// ctx ends when the group stops; the loops end with it.
	ctx  context.Context
	stop context.CancelFunc
	// turn is full while a batch is on its way or leadership is being transferred.
	turn chan struct{}
	// proposing is closed when the proposer has ended.
	proposing chan struct{}
	// snapshots takes requests for a snapshot at once.
	snapshots chan chan error
	// changing has a token while a change of membership is made.
	changing chan struct{}
	// begun counts the tokens that were taken.
	begun atomic.Uint64
	// readWake has a token when reads wait.
	readWake chan struct{}
	// suspectWake has a token when a voter asked about a leader that this node does
	// not hear either.
	suspectWake chan struct{}

	closeOnce sync.Once
	// closed is closed when nothing of the group runs any more.
	closed chan struct{}

	// shutdown is closed when Raft and all its goroutines have ended.
	shutdown     chan struct{}
	shutdownOnce sync.Once
	// idle is closed when the group is quiet and Raft has answered everything.
	idle chan struct{}

	mu sync.Mutex // guards the fields below
	// tasks counts the group's goroutines; it grows only while ending is false.
	tasks  sync.WaitGroup
	ending bool
	// futures counts what Raft has not answered; it does not grow when quiet.
	futures int
	quiet   bool
	// changed is closed, and replaced, at every change of leadership.
	changed chan struct{}
	// reads wait for the next confirm round.
	reads []chan readResult
}

// Open starts the group on this node: it restores the newest snapshot and joins
// in. It does not wait until the log is replayed or a leader is known. A group
// without any state waits for Bootstrap or for a leader that adds it.
func Open(cfg Config) (*Group, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.Logger = cfg.Logger.With("group", cfg.ID)
	if err := forgetHalfBootstrap(cfg.Stores, cfg.Logger); err != nil {
		return nil, fmt.Errorf("open group %d on node %s: %w", cfg.ID, cfg.NodeID, err)
	}
	if broken.Enabled && broken.Is(broken.TailLost) {
		loseTail(cfg)
	}
	back, err := newReturning(cfg)
	if err != nil {
		return nil, fmt.Errorf("open group %d on node %s: %w", cfg.ID, cfg.NodeID, err)
	}
	r := newReplica(cfg)
	stall := newStall()
	var trans raft.Transport = stallTransport{cfg.Transport, cfg.Transport.(raft.WithPreVote), stall}
	if back != nil {
		trans = returningTransport{trans, cfg.Transport.(raft.WithPreVote), back}
	}
	node, err := raft.NewRaft(raftConfig(cfg), r, stallLog{cfg.Stores.Logs, stall}, cfg.Stores.Stable, cfg.Stores.Snapshots, trans)
	if err != nil {
		if cause := r.haltCause(); cause != nil {
			err = errors.Join(err, cause)
		}
		return nil, fmt.Errorf("open group %d on node %s: %w", cfg.ID, cfg.NodeID, err)
	}
	stall.node.Store(node)
	g := &Group{
		cfg:       cfg,
		raft:      node,
		replica:   r,
		returning: back,
		queue:     newQueue(cfg.QueueCommands),
		opened:    time.Now(),
		turn:      make(chan struct{}, 1),
		proposing: make(chan struct{}),
		snapshots: make(chan chan error),
		changing:  make(chan struct{}, 1),
		readWake:  make(chan struct{}, 1),

		suspectWake: make(chan struct{}, 1),
		closed:      make(chan struct{}),
		shutdown:    make(chan struct{}),
		idle:        make(chan struct{}),
		changed:     make(chan struct{}),
	}
	g.featureLevel.Store(cfg.FeatureLevel)
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.spawn(g.leaderLoop)
	g.spawn(g.proposeLoop)
	g.spawn(g.readLoop)
	g.spawn(g.snapshotLoop)
	g.spawn(g.haltLoop)
	g.spawn(g.stuckLoop)
	g.spawn(g.suspectLoop)
	g.spawn(g.returningLoop)
	return g, nil
}

// raftConfig is how every group of ours runs Raft; see the package comment for
// the reasons.
func raftConfig(cfg Config) *raft.Config {
	rc := raft.DefaultConfig()
	rc.ProtocolVersion = raft.ProtocolVersionMax
	rc.LocalID = raft.ServerID(cfg.NodeID)
	rc.HeartbeatTimeout = cfg.Timing.Heartbeat
	rc.ElectionTimeout = cfg.Timing.Election
	rc.LeaderLeaseTimeout = cfg.Timing.LeaderLease
	rc.CommitTimeout = cfg.Timing.Commit
	rc.MaxAppendEntries = MaxAppendEntries
	rc.ShutdownOnRemove = false
	// BatchApplyCh would let Raft accept an entry and forget it on shutdown.
	rc.BatchApplyCh = false
	rc.SnapshotInterval = 365 * 24 * time.Hour
	rc.SnapshotThreshold = ^uint64(0)
	rc.PreVoteDisabled = false
	rc.NoLegacyTelemetry = true
	rc.Logger = hclogslog.New(cfg.Logger)
	return rc
}

// ID is the group's number.
func (g *Group) ID() uint32 { return g.cfg.ID }

// Now is the clock that stamps the entries which this node proposes; see Config.Now.
func (g *Group) Now() time.Time { return g.cfg.Now() }

// SetFeatureLevel sets what the entries proposed from now on ask of a replica.
func (g *Group) SetFeatureLevel(level uint32) { g.featureLevel.Store(level) }

// spawn runs a task that Close waits for. It reports false, and runs nothing,
// when the group is ending.
func (g *Group) spawn(task func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending {
		return false
	}
	g.tasks.Go(task)
	return true
}

// Close stops the group on this node: it refuses new commands, hands leadership
// on, lets the batch in flight finish, and then ends Raft, the transport and
// every goroutine. The steps before the end are bounded by Timing; the end
// itself by ctx, after which Close returns an error and leaves behind what hangs.
// A second call waits for what is left.
func (g *Group) Close(ctx context.Context) error {
	g.closeOnce.Do(func() {
		g.beginClose(ctx)
		go func() {
			defer close(g.closed)
			<-g.shutdown
			g.tasks.Wait()
		}()
	})
	select {
	case <-g.closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close group %d: goroutines still run: %w", g.cfg.ID, ctx.Err())
	}
}

// beginClose lets the group finish what it does and hand its leadership on, for as
// long as ctx allows, and ends it.
func (g *Group) beginClose(ctx context.Context) {
	g.queue.close(g.closedError())
	g.drain(ctx)
	g.lastHandOver(ctx)
	g.quiesce(ctx)
	g.mu.Lock()
	g.ending = true
	g.mu.Unlock()
	g.stop()
	g.beginShutdown()
}

// settled begins something with Raft and waits for its future, until Raft has ended
// or giveUp is closed. Raft knows no deadline; and a future whose entry is on its
// way to the machine when Raft ends is never answered. So nothing is begun once
// the group is quiet, and Raft is ended only when nothing is under way, if it can
// be helped. If not, the goroutine that waits for the future is lost.
func (g *Group) settled(begin func() raft.Future, giveUp <-chan struct{}) (gaveUp bool, err error) {
	g.mu.Lock()
	if g.quiet {
		g.mu.Unlock()
		return false, raft.ErrNotLeader
	}
	g.futures++
	g.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		done <- begin().Error()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.futures--
		if g.futures == 0 && g.quiet {
			close(g.idle)
		}
	}()
	select {
	case err := <-done:
		return false, err
	case <-g.shutdown:
		select {
		case err := <-done: // answered before the end
			return false, err
		default:
			return false, raft.ErrRaftShutdown
		}
	case <-giveUp:
		return true, nil
	}
}

// drain waits until the batch in flight is answered, for Timing.Drain at most.
// The queue must have been closed.
func (g *Group) drain(ctx context.Context) {
	g.waitBriefly(ctx, g.proposing, "a batch")
}

// quiesce lets nothing more begin with Raft, and waits until all that was begun is
// answered, for Timing.Drain at most.
func (g *Group) quiesce(ctx context.Context) {
	g.mu.Lock()
	if !g.quiet {
		g.quiet = true
		if g.futures == 0 {
			close(g.idle)
		}
	}
	g.mu.Unlock()
	g.waitBriefly(ctx, g.idle, "a request")
}

func (g *Group) waitBriefly(ctx context.Context, done <-chan struct{}, what string) {
	timer := time.NewTimer(g.cfg.Timing.Drain)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	g.cfg.Logger.Warn("the group ends with something in flight", "what", what)
}

// lastHandOver hands leadership on, within two election timeouts.
func (g *Group) lastHandOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*g.cfg.Timing.Election)
	defer cancel()
	if err := g.HandOver(ctx); err != nil {
		g.cfg.Logger.Warn("leadership was not handed over", "error", err)
	}
}

// beginShutdown starts the end of Raft, and closes the transport at once: a
// goroutine of Raft may be waiting for an answer from a peer.
func (g *Group) beginShutdown() {
	g.shutdownOnce.Do(func() {
		future := g.raft.Shutdown()
		if t, ok := g.cfg.Transport.(io.Closer); ok {
			if err := t.Close(); err != nil {
				g.cfg.Logger.Warn("closing the transport of a group", "error", err)
			}
		}
		go func() {
			defer close(g.shutdown)
			if err := future.Error(); err != nil {
				g.cfg.Logger.Warn("raft shutdown", "error", err)
			}
		}()
	})
}
