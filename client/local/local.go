// Package local runs Spex inside the caller's process: Open makes a
// client.Manager that needs no cluster. It has the state machines and the judge
// of the cluster, so that answers, errors and verdicts are the same; it has no
// network, no replicas and one shard.
//
// Without a directory everything is in memory, which suits tests. With one, every
// change is on the disk (fsync) before it is acknowledged, and the next Open goes
// on where the last one ended, whether it was closed or killed. A directory
// belongs to one process at a time.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spexio/spex/client"
)

// Defaults of Options.
const (
	// DefaultJudgeBudget is how long a call waits for its verdict before it answers PENDING.
	DefaultJudgeBudget = 2 * time.Second
	// DefaultSnapshotBytes is how long the log grows before a snapshot takes its place.
	DefaultSnapshotBytes = 16 << 20
)

// Options configures Open. The zero value is a manager in memory.
type Options struct {
	client.ManagerOptions
	// Dir is where the state is kept: a directory that is empty, or of a manager in
	// process before. It is created. Empty means in memory.
	Dir string
	// JudgeBudget is how long a call waits for its verdict before it answers
	// VERDICT_PENDING; 0 means DefaultJudgeBudget. The step is stored either way.
	JudgeBudget time.Duration
	// SnapshotBytes is how long the log on disk grows before a snapshot takes its
	// place; 0 means DefaultSnapshotBytes.
	SnapshotBytes int64
	// Retention is how much is kept of what has been. It holds from Open on, also
	// for a directory that was opened with another one before.
	Retention Retention
	// Now is the clock; nil means time.Now. The clock that instances see never runs
	// backwards. It is called by several goroutines at once.
	Now func() time.Time
}

// Open makes a manager in this process. ctx bounds the reading of the directory.
func Open(ctx context.Context, opts Options) (client.Manager, error) {
	if opts.JudgeBudget < 0 || opts.SnapshotBytes < 0 {
		return nil, errors.New("local: Options.JudgeBudget or Options.SnapshotBytes is negative")
	}
	if err := opts.Retention.check(); err != nil {
		return nil, err
	}
	if opts.JudgeBudget == 0 {
		opts.JudgeBudget = DefaultJudgeBudget
	}
	if opts.SnapshotBytes == 0 {
		opts.SnapshotBytes = DefaultSnapshotBytes
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	var st storage = memory{}
	if opts.Dir != "" {
		disk, err := openDisk(opts.Dir, opts.Logger)
		if err != nil {
			return nil, fmt.Errorf("local: open %s: %w", opts.Dir, err)
		}
		st = disk
	}
	e, err := newEngine(ctx, opts, st)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("local: open: %w", err), st.close())
	}
	m, err := client.NewManager(e, opts.ManagerOptions)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return m, nil
}
