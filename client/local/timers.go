package local

import (
	"context"
	"math"
	"time"

	"github.com/spexio/spex/fsm"
)

const (
	timerBatch = 256
	// timerCheck bounds how long the timers sleep: the clock may be set meanwhile.
	timerCheck = time.Second
)

// runTimers records the timeouts and prunes that are due, until the engine is
// closed, and does what has no deadline of its own from time to time. What passed
// while the directory was not open is due at once.
func (e *engine) runTimers() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	chores := time.NewTicker(timerCheck)
	defer chores.Stop()
	for {
		select {
		case <-timer.C:
		case <-e.timers:
		case <-chores.C:
			e.withdraw()
			e.retire()
			e.judgeTogether()
			continue
		case <-e.stop:
			return
		case <-e.broken:
			return // nothing can be recorded any more
		}
		timer.Reset(e.fireDue())
	}
}

// fireDue records what is due and returns how long to sleep then.
func (e *engine) fireDue() time.Duration {
	for {
		// Whatever is applied from here on wakes, until it is known what for.
		e.nextDue.Store(math.MaxInt64)
		now := e.clock()
		due, next := e.shard.Due(now, timerBatch)
		if len(due) == 0 {
			if next.IsZero() {
				return timerCheck
			}
			e.nextDue.Store(next.UnixNano())
			return min(next.Sub(now)+1, timerCheck)
		}
		effect := false
		for _, d := range due {
			value, err := e.write(context.Background(), d.Command())
			if asError(err) == errClosed {
				return timerCheck
			}
			if err != nil {
				e.opts.Logger.Error("a timeout or prune could not be recorded; it will be tried again", "instance", d.Ref.ID, "error", err)
				return timerCheck
			}
			switch v := value.(type) {
			case *fsm.TimeoutResult:
				effect = effect || v.Fired
			case *fsm.PruneResult:
				effect = effect || v.Pruned
			}
		}
		if !effect {
			return timerCheck
		}
	}
}

// clock is what the next entry would be stamped with.
func (e *engine) clock() time.Time {
	now := e.opts.Now()
	if log := e.shard.Time(); log.After(now) {
		return log
	}
	return now
}
