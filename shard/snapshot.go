package shard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// snapshotRetry is the first pause after a snapshot that failed; the pause
	// doubles up to snapshotRetryMax.
	snapshotRetry    = time.Second
	snapshotRetryMax = time.Minute
	// minTrailingLogs are kept behind a snapshot however large entries are.
	minTrailingLogs = 128
)

// Snapshot takes a snapshot now and truncates the log behind it. With nothing to
// snapshot it does nothing.
func (g *Group) Snapshot(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case g.snapshots <- done:
	case <-g.ctx.Done():
		return g.closedError()
	case <-ctx.Done():
		return g.newError(typesv1.Reason_REASON_UNAVAILABLE, true, "another snapshot is being taken: %v", context.Cause(ctx))
	}
	select {
	case err := <-done:
		return err
	case <-g.ctx.Done():
		return g.closedError()
	case <-ctx.Done():
		return g.newError(typesv1.Reason_REASON_UNAVAILABLE, true, "the snapshot was not done in time, and goes on: %v", context.Cause(ctx))
	}
}

// snapshotLoop takes a snapshot when enough log was applied since the last one,
// or when asked to. Nothing runs while the group is idle.
func (g *Group) snapshotLoop() {
	context.AfterFunc(g.ctx, g.replica.end)
	pause := snapshotRetry
	var retry <-chan time.Time
	for {
		var asked chan error
		select {
		case <-g.replica.due:
			if retry != nil {
				// A failed snapshot waits for its pause, not for the next entry.
				continue
			}
			if !g.replica.snapshotDue() {
				// It became due while the last one was being written.
				continue
			}
		case <-retry:
		case asked = <-g.snapshots:
		case <-g.ctx.Done():
			return
		}
		retry = nil
		err := g.takeSnapshot()
		if asked != nil {
			asked <- err
		}
		if err == nil {
			pause = snapshotRetry
			continue
		}
		g.cfg.Logger.Warn("no snapshot was taken", "error", err)
		if g.replica.snapshotDue() && g.replica.haltCause() == nil {
			retry = time.After(pause)
			pause = min(2*pause, snapshotRetryMax)
		}
	}
}

func (g *Group) takeSnapshot() error {
	if g.replica.haltCause() != nil {
		return g.haltedError(true)
	}
	select {
	case g.cfg.turns.token <- struct{}{}:
		defer func() { <-g.cfg.turns.token }()
	case <-g.ctx.Done():
		return g.closedError()
	}
	if err := g.setTrailingLogs(); err != nil {
		return err
	}
	start := g.cfg.Now()
	err := g.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	if err != nil {
		return g.newError(typesv1.Reason_REASON_UNAVAILABLE, true, "snapshot: %v", err)
	}
	g.replica.snapshotDone()
	g.cfg.Logger.Info("snapshot taken", "took", g.cfg.Now().Sub(start))
	return nil
}

// setTrailingLogs tells Raft how many entries to keep behind the snapshot, so
// that they are about TrailingBytes.
func (g *Group) setTrailingLogs() error {
	bytes, entries := g.replica.sinceSnapshot()
	if g.cfg.Stores.LogSize != nil {
		bytes, entries = g.cfg.Stores.LogSize()
	}
	rc := g.raft.ReloadableConfig()
	rc.TrailingLogs = trailingLogs(g.cfg.TrailingBytes, bytes, entries)
	if err := g.raft.ReloadConfig(rc); err != nil {
		return fmt.Errorf("set the trailing logs of group %d: %w", g.cfg.ID, err)
	}
	return nil
}

// trailingLogs is how many entries of the mean size fit into the budget.
func trailingLogs(budget, bytes int64, entries uint64) uint64 {
	if entries == 0 || bytes <= 0 {
		return minTrailingLogs
	}
	mean := max(bytes/int64(entries), 1)
	return max(uint64(budget/mean), minTrailingLogs)
}
