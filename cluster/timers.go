package cluster

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

const (
	// timerBatch bounds the timeouts and prunes that are proposed together.
	timerBatch = 256
	// timerCheck bounds how long the timers sleep: the clock may be set meanwhile.
	timerCheck = time.Second
)

// timers proposes what the deadlines of a shard's instances ask for, while this
// node leads the shard. The deadlines are state of the shard, and Apply decides
// by the time of the entry, once: a leader that comes late, twice, or with a
// clock of its own does no harm. What passed while nobody led, or while the
// whole cluster was down, is due when the next leader begins.
type timers struct {
	// due is fsm.Shard.Due.
	due func(now time.Time, limit int) ([]fsm.Due, time.Time)
	// now is the clock, as far as entries may be stamped with it.
	now func() time.Time
	// propose has commands applied, and says whether any of them found something to
	// do; an error says that some may not have been applied.
	propose func(ctx context.Context, cmds []*statev1.Command) (effect bool, err error)
	// failed is told about proposals that will be made again.
	failed func(error)
	// reliable says whether the clock is to be trusted; while it is not, nothing is proposed.
	reliable func() bool
	// before is called before each proposal; test-only, may be nil.
	before func([]fsm.Due)

	wake wake
	// next is the Unix time in nanoseconds at which the timers look again; what is
	// due before has to wake them.
	next atomic.Int64
}

// changed is called after each applied entry with the earliest deadline that it
// may have brought. It does not block.
func (t *timers) changed(at time.Time) {
	if at.UnixNano() < t.next.Load() {
		t.wake.set()
	}
}

// run works until ctx ends.
func (t *timers) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-t.wake:
		case <-ctx.Done():
			return
		}
		timer.Reset(t.pass(ctx))
	}
}

// pass proposes all that is due and returns how long to sleep then.
func (t *timers) pass(ctx context.Context) time.Duration {
	for ctx.Err() == nil {
		if !t.reliable() {
			return timerCheck
		}
		// Whatever is applied from here on wakes, until it is known what for.
		t.next.Store(math.MaxInt64)
		now := t.now()
		due, next := t.due(now, timerBatch)
		if len(due) == 0 {
			if next.IsZero() {
				return timerCheck
			}
			t.next.Store(next.UnixNano())
			// In time is up to the deadline itself; late is strictly after it.
			return min(next.Sub(now)+1, timerCheck)
		}
		if t.before != nil {
			t.before(due)
		}
		cmds := make([]*statev1.Command, len(due))
		for i, d := range due {
			cmds[i] = d.Command()
			cmds[i].Principal = "spex/timers"
		}
		failpoint.Hit("cluster/deadline-before-propose")
		effect, err := t.propose(ctx, cmds)
		if err != nil && ctx.Err() == nil {
			t.failed(err)
		}
		if err != nil || !effect {
			// Without an effect others were faster, or the clock was set back.
			return timerCheck
		}
	}
	return timerCheck
}

// newTimers makes the timers of a shard on this node; its group need not be open
// before they run.
func (r *replica) newTimers() *timers {
	clock := func() time.Time { return r.group.Now() }
	t := &timers{
		due: r.machine.Due, wake: newWake(), now: entryClock(r.machine, clock),
		propose: r.proposeDeadlines, reliable: r.node.clock.reliable,
		failed: func(err error) {
			r.log.Warn("timeouts and prunes could not be recorded; they will be tried again", "error", err)
		},
	}
	if hook := r.node.cfg.BeforeDeadlines; hook != nil {
		t.before = func(due []fsm.Due) { hook(r.id, due) }
	}
	return t
}

// entryClock tells the time that an entry would have which is stamped with the
// clock: never before that of the entry before it.
func entryClock(machine *fsm.Shard, clock func() time.Time) func() time.Time {
	return func() time.Time {
		now := clock()
		if log := machine.Time(); log.After(now) {
			return log
		}
		return now
	}
}

// proposeDeadlines has timeouts and prunes applied.
func (r *replica) proposeDeadlines(ctx context.Context, cmds []*statev1.Command) (effect bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.node.cfg.RouteBudget)
	defer cancel()
	applied, err := r.group.ProposeAll(ctx, cmds)
	for _, a := range applied {
		switch v := a.Result.Value.(type) {
		case *fsm.TimeoutResult:
			effect = effect || v.Fired
		case *fsm.PruneResult:
			effect = effect || v.Pruned
		}
	}
	return effect, err
}
