package cluster

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	"github.com/spexio/spex/internal/signal"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/shard/store"
)

// bootstrapPatience is how long a replica that is not the owner waits for the
// owner to begin a new shard before it does so itself.
const bootstrapPatience = 2 * time.Second

// reopenPatience bounds the closing of a shard that is to be opened again.
const reopenPatience = 30 * time.Second

// replica is one shard on this node.
type replica struct {
	id      uint32
	node    *Node
	log     *slog.Logger
	machine *fsm.Shard
	group   group

	judgeWake, syncWake wake
	// reported wakes those who wait for reports; lastReport, which belongs to the
	// goroutine that applies entries, is the newest one that they were woken for.
	reported   signal.Broadcast
	lastReport uint64
	timers     *timers
	// inStep is the index of the catalog with which the shard is in step; 0 means
	// that it has to be compared.
	inStep atomic.Uint64
	// tasks counts installations; it grows only while ctx is not done.
	tasks sync.WaitGroup
	ctx   context.Context

	// verdicts are the callers that wait for one.
	verdicts api.Verdicts

	mu sync.Mutex // guards installs
	// installs holds what is being installed.
	installs map[fsm.SpecKey]*installation

	stop context.CancelFunc
	// unwatch waits for the end of leadership.
	unwatch func()
}

// openReplicas opens the shards among groups, several at a time: what takes the
// time is reading their snapshots.
func (n *Node) openReplicas(groups []uint32) {
	var work sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, id := range groups {
		if id == store.CatalogGroup {
			continue
		}
		slots <- struct{}{}
		work.Go(func() {
			n.openReplica(id)
			<-slots
		})
	}
	work.Wait()
}

// openReplica opens a shard on this node and keeps it, or keeps why it could not.
func (n *Node) openReplica(id uint32) {
	if r, err := n.replica(id); r != nil || err != nil {
		return
	}
	r := &replica{
		id: id, node: n, log: n.log.With("shard", id), machine: fsm.NewShard(),
		judgeWake: newWake(), syncWake: newWake(), installs: map[fsm.SpecKey]*installation{},
	}
	err := n.space.stopped()
	if err == nil {
		err = r.open()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		r.log.Error("the shard cannot be opened on this node; its other replicas go on", "error", err)
		n.refused[id] = err
		return
	}
	n.replicas[id] = r
}

func (r *replica) open() (err error) {
	cfg := r.node.groupConfig(r.id)
	cfg.Machine = r.machine
	cfg.OnApply = r.applied
	cfg.OnHalt = func(err error) { r.log.Error("the shard halted on this node", "error", err) }
	cfg.OnStuck = func(error) {
		select {
		case r.node.stuck <- r.id:
		case <-r.node.ctx.Done():
		}
	}
	r.ctx, r.stop = context.WithCancel(r.node.ctx)
	r.timers = r.newTimers()
	if r.group, err = r.node.host.Open(cfg); err != nil {
		r.stop()
		return err
	}
	r.unwatch = r.node.cfg.beside.watch(0, func() { r.leadership(r.ctx) })
	return nil
}

// close ends the leader work; the host closes the group.
func (r *replica) close() {
	r.mu.Lock()
	r.stop()
	r.mu.Unlock()
	r.unwatch()
	r.tasks.Wait()
}

// reopen closes a shard whose Raft is in a state that it does not leave by
// itself, and opens it again.
func (n *Node) reopen(ctx context.Context, id uint32) {
	if r, _ := n.replica(id); r == nil {
		return
	}
	n.log.Warn("the shard is closed on this node and opened again", "shard", id)
	if n.closeReplica(ctx, id, nil) == nil {
		n.openReplica(id)
	}
}

// unfinishedError is why a shard is not here that could not be closed, or deleted, yet.
type unfinishedError struct {
	// deleting is set when the shard was found to be out: what is left of it, which may
	// be half, is deleted whatever comes, and nothing is lost with it. term is the
	// shard's then.
	deleting bool
	term     uint64
	err      error
}

func (e *unfinishedError) Error() string {
	if e.deleting {
		return "it cannot be deleted yet, and is tried again: " + e.err.Error()
	}
	return "it is opened again once it is closed: " + e.err.Error()
}

func (e *unfinishedError) Unwrap() error { return e.err }

// closeReplica closes a shard on this node, if it is open, with its stores, so that
// it can be opened again or deleted; why is kept as the reason, if there is one, for
// which it is not here. One that does not close in time is left to finish.
func (n *Node) closeReplica(ctx context.Context, id uint32, why error) error {
	n.mu.Lock()
	r := n.replicas[id]
	delete(n.replicas, id)
	if r != nil && why != nil {
		n.refused[id] = why
	}
	n.mu.Unlock()
	if r != nil {
		r.close()
	}
	ctx, cancel := context.WithTimeout(ctx, reopenPatience)
	defer cancel()
	err := n.host.CloseGroup(ctx, id)
	if err == nil {
		err = n.closeStores(id)
	}
	if err != nil {
		if r != nil {
			n.log.Error("the shard is not closed yet on this node: it is looked at again", "shard", id, "error", err)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.refused[id] = &unfinishedError{err: err}
	}
	return err
}

// finish closes or deletes the shards for which that failed before, opens them again,
// and reports whether some are left. Those that are placed elsewhere are left to loseLoop.
func (n *Node) finish(ctx context.Context) (left bool) {
	n.mu.Lock()
	unfinished := map[uint32]*unfinishedError{}
	for id, err := range n.refused {
		if u := (*unfinishedError)(nil); errors.As(err, &u) {
			unfinished[id] = u
		}
	}
	n.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(unfinished)) {
		n.moving.Lock()
		if n.keeps(id) && !n.finishOne(ctx, id, unfinished[id]) {
			left = true
		}
		n.moving.Unlock()
	}
	return left
}

// finishOne is finish for one shard, and reports whether it is done. The caller holds moving.
func (n *Node) finishOne(ctx context.Context, id uint32, u *unfinishedError) bool {
	// It ends by itself or not at all: there is nothing to wait for.
	ctx, cancel := context.WithTimeout(ctx, formEvery)
	defer cancel()
	var err error
	if u.deleting {
		err = n.deleteReplica(ctx, id, u.term)
	} else {
		err = n.closeReplica(ctx, id, nil)
	}
	if err != nil {
		return false
	}
	n.mu.Lock()
	delete(n.refused, id)
	n.mu.Unlock()
	n.openReplica(id)
	return true
}

// applied runs on the goroutine that applies entries: it only wakes others.
func (r *replica) applied(_ uint64, _ []byte, results []fsm.Result) {
	for _, res := range results {
		switch v := res.Value.(type) {
		case *fsm.StepResult:
			if v.Verdict == typesv1.Verdict_VERDICT_PENDING {
				r.judgeWake.set()
			}
		case *fsm.VerdictResult:
			if v.First {
				r.verdicts.Judged(v.Ref)
			}
		case *fsm.ModeResult:
			for _, ref := range v.Settled {
				r.verdicts.Judged(ref)
			}
			r.judgeWake.set()
		}
	}
	if at, ok := r.machine.Soonest(); ok {
		r.timers.changed(at)
	}
	if last := r.machine.LastReport(); last != r.lastReport {
		r.lastReport = last
		r.reported.Fire()
	}
	if r.machine.Stats().Outbox > 0 {
		r.syncWake.set()
	}
}

// leadership runs the leader's work while this node leads, one term at a time.
// It looks at the level: what it missed in between does not matter.
func (r *replica) leadership(ctx context.Context) {
	var term uint64
	end := func() {}
	defer func() { end() }()
	for {
		changed := r.group.Changes()
		now, leading := r.group.Leading()
		if !leading {
			now = 0
		}
		if now != term {
			end()
			end = func() {}
			if term = now; term != 0 {
				end = r.lead(ctx, term)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// lead starts the work of one term and returns what ends it and waits for it.
func (r *replica) lead(ctx context.Context, term uint64) (end func()) {
	r.log.Info("this node leads the shard", "term", term)
	r.node.cfg.Hints.Tell(LeaderHint{Shard: r.id, Term: term, Leader: r.node.cfg.Self.GetId()})
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	for _, f := range []func(context.Context){r.judgeLoop, r.syncLoop, r.timers.run, r.markFormed} {
		work.Add(1)
		go func() {
			defer work.Done()
			f(ctx)
		}()
	}
	r.inStep.Store(0)
	r.judgeWake.set()
	r.syncWake.set()
	return func() {
		cancel()
		work.Wait()
	}
}

// markFormed tells the catalog that the shard has a leader, so that nobody
// bootstraps it ever again.
func (r *replica) markFormed(ctx context.Context) {
	for !r.node.catalog.machine.Placement(r.id).GetFormed() {
		failpoint.Hit("cluster/shard-led-before-marked")
		call, cancel := context.WithTimeout(ctx, r.node.cfg.RouteBudget)
		_, err := r.node.catalog.propose(call, &statev1.Command{Kind: &statev1.Command_MarkShardFormed{MarkShardFormed: &statev1.MarkShardFormed{Shard: r.id}}})
		cancel()
		if err == nil {
			failpoint.Hit("cluster/shard-marked-formed")
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		r.log.Info("the catalog could not be told yet that the shard is formed", "error", err)
		if sleep(ctx, time.Second) != nil {
			return
		}
	}
}

// begin bootstraps a shard with the first configuration that is frozen in the
// catalog. The owner does it at once, which makes it the first leader; the
// other replicas, which would write the same entry, only if it does not.
func (n *Node) begin(p *statev1.ShardPlacement, waited time.Duration) {
	r, _ := n.replica(p.GetShard())
	if r == nil || p.GetReplicas()[0] != n.cfg.Self.GetId() && waited < bootstrapPatience {
		return
	}
	if _, led := r.group.Leader(); led {
		return
	}
	if err := r.group.Bootstrap(p.GetReplicas(), nil); err != nil && !errors.Is(err, shard.ErrHasState) {
		r.log.Warn("the shard could not be bootstrapped", "error", err)
	}
}
