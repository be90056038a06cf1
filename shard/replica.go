package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/fsm"
)

// entryLogOverhead is what a stored entry costs beside its data, roughly.
const entryLogOverhead = 64

// response is what Apply hands back through Raft's future.
type response struct {
	// term is the term that the entry was written in.
	term    uint64
	results []fsm.Result
	// err is set when the machine could not apply the entry.
	err error
}

// replica puts a Machine under Raft. Raft calls Apply, Snapshot and Restore from
// one goroutine; the rest is safe for concurrent use.
type replica struct {
	machine   Machine
	logger    *slog.Logger
	onApply   func(uint64, []byte, []fsm.Result)
	onRestore func(uint64)
	// snapshotBytes of applied log make a snapshot due; see Config.SnapshotBytes.
	snapshotBytes int64
	// due gets a token when a snapshot is due.
	due chan struct{}
	// halted is closed when the machine failed.
	halted chan struct{}
	// ending is closed when the group ends: a snapshot is written without pauses then.
	ending chan struct{}
	turns  *turns
	stuck  *stuck

	mu sync.Mutex // guards the fields below
	// applied is the index of the last entry that the machine applied, and seen
	// that of the last entry that Raft handed over: commands and changes of
	// configuration, but no no-ops. Invariant: applied <= seen.
	applied uint64
	seen    uint64
	// advanced is closed, and replaced, when seen grows. It is nil when nobody waits.
	advanced chan struct{}
	// cause is why the replica halted.
	cause error
	// bytes and entries count the applied log since the last snapshot.
	bytes   int64
	entries uint64
	// restores counts the restores of a snapshot.
	restores int
	// snapshotSize is the size of the last snapshot in bytes, written or restored.
	snapshotSize int64
	// late says that the group is counted in turns.late, and ended that it closes.
	late, ended bool
	// pinnedBytes and pinnedEntries are the part of them that the snapshot
	// being taken replaces.
	pinnedBytes   int64
	pinnedEntries uint64
}

func newReplica(cfg Config) *replica {
	return &replica{
		machine:       cfg.Machine,
		logger:        cfg.Logger,
		onApply:       cfg.OnApply,
		onRestore:     cfg.OnRestore,
		snapshotBytes: cfg.SnapshotBytes,
		turns:         cfg.turns,
		due:           make(chan struct{}, 1),
		halted:        make(chan struct{}),
		ending:        make(chan struct{}),
		stuck:         newStuck(cfg),
		applied:       cfg.Machine.Applied(),
		seen:          cfg.Machine.Applied(),
	}
}

// Apply implements raft.FSM. Raft hands over commands only: configuration
// changes, barriers and no-ops never reach the machine.
func (r *replica) Apply(log *raft.Log) any {
	if log.Type != raft.LogCommand {
		return response{term: log.Term}
	}
	if err := r.haltCause(); err != nil {
		return response{term: log.Term, err: err}
	}
	results, err := r.applyGuarded(log)
	if err != nil {
		r.halt(fmt.Errorf("entry %d of term %d: %w", log.Index, log.Term, err))
		return response{term: log.Term, err: r.haltCause()}
	}
	if r.onApply != nil {
		r.onApply(log.Index, log.Data, results)
	}
	r.stuck.applied()
	r.advance(log.Index, int64(len(log.Data)+entryLogOverhead))
	return response{term: log.Term, results: results}
}

func (r *replica) applyGuarded(log *raft.Log) (results []fsm.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Apply: %v\n%s", p, debug.Stack())
		}
	}()
	// Invariant: entries come once and in order of their index.
	if applied := r.machine.Applied(); log.Index <= applied {
		return nil, fmt.Errorf("the machine has applied index %d already", applied)
	}
	return r.machine.Apply(log.Index, log.Data)
}

// advance notes an applied entry of the given size, and wakes who waits for it.
func (r *replica) advance(index uint64, size int64) {
	r.mu.Lock()
	r.applied, r.seen = index, index
	r.bytes += size
	r.entries++
	due := r.snapshotDueLocked()
	r.noteLateLocked()
	r.wakeLocked()
	r.mu.Unlock()
	if due {
		signal(r.due)
	}
}

// StoreConfiguration implements raft.ConfigurationStore. The machine has no use
// for configurations; but reads need to know how far the replica is, and Raft
// can take a snapshot at the index of a configuration only because of this.
func (r *replica) StoreConfiguration(index uint64, _ raft.Configuration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause == nil {
		r.seen = index
		r.wakeLocked()
	}
}

func (r *replica) wakeLocked() {
	if r.advanced != nil {
		close(r.advanced)
		r.advanced = nil
	}
}

// Snapshot implements raft.FSM: it pins, and Persist writes.
func (r *replica) Snapshot() (raft.FSMSnapshot, error) {
	if err := r.haltCause(); err != nil {
		return nil, fmt.Errorf("no snapshot of a halted group: %w", err)
	}
	view, err := r.pin()
	if err != nil {
		r.halt(err)
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pinnedBytes, r.pinnedEntries = r.bytes, r.entries
	return pinned{view: view, replica: r, restores: r.restores}, nil
}

// snapshotDone notes that the snapshot pinned last is on disk.
func (r *replica) snapshotDone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes -= r.pinnedBytes
	r.entries -= r.pinnedEntries
	r.pinnedBytes, r.pinnedEntries = 0, 0
	r.noteLateLocked()
}

func (r *replica) pin() (view fsm.Snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Snapshot: %v\n%s", p, debug.Stack())
		}
	}()
	view = r.machine.Snapshot()
	if view == nil {
		return nil, errors.New("the machine gave no snapshot")
	}
	return view, nil
}

// Restore implements raft.FSM. A machine that cannot be restored keeps its
// state, but Raft would go on after the snapshot's index: so the group halts.
// While Open runs, that also keeps Raft from falling back to an older
// snapshot, behind which the log may have been cut off.
func (r *replica) Restore(rc io.ReadCloser) error {
	if err := r.haltCause(); err != nil {
		return err
	}
	counted := &countingReader{r: rc}
	if err := r.restoreGuarded(counted); err != nil {
		r.halt(fmt.Errorf("restore of a snapshot: %w", err))
		return r.haltCause()
	}
	applied := r.machine.Applied()
	if r.onRestore != nil {
		r.onRestore(applied)
	}
	r.mu.Lock()
	r.applied, r.seen = applied, applied
	r.bytes, r.entries = 0, 0
	r.pinnedBytes, r.pinnedEntries = 0, 0
	r.restores++
	r.snapshotSize = counted.n
	r.noteLateLocked()
	r.wakeLocked()
	r.mu.Unlock()
	r.stuck.restored(applied)
	return nil
}

func (r *replica) restoreGuarded(rd io.Reader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Restore: %v\n%s", p, debug.Stack())
		}
	}()
	return r.machine.Restore(rd)
}

// halt stops the replica for good; only the first cause is kept.
func (r *replica) halt(cause error) {
	r.mu.Lock()
	first := r.cause == nil
	if first {
		r.cause = cause
		r.noteLateLocked()
	}
	r.mu.Unlock()
	if first {
		r.logger.Error("group halts on this node", "error", cause)
		close(r.halted)
	}
}

// haltCause is nil while the replica works.
func (r *replica) haltCause() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause
}

// appliedIndex is the index of the last entry that the machine applied.
func (r *replica) appliedIndex() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied
}

// sinceSnapshot tells how much log was applied since the last snapshot.
func (r *replica) sinceSnapshot() (bytes int64, entries uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes, r.entries
}

// snapshotDue reports whether enough log was applied since the last snapshot.
func (r *replica) snapshotDue() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshotDueLocked()
}

func (r *replica) snapshotDueLocked() bool { return r.bytes >= r.dueBytesLocked() }

// dueBytesLocked is how much applied log makes a snapshot due.
func (r *replica) dueBytesLocked() int64 {
	return min(max(r.snapshotBytes, r.snapshotSize/4), 8*r.snapshotBytes)
}

// noteLateLocked keeps the host's count of late snapshots. A group that will write
// none is not late.
func (r *replica) noteLateLocked() {
	late := r.cause == nil && !r.ended && r.bytes >= lateFactor*r.dueBytesLocked()
	switch {
	case late && !r.late:
		r.turns.late.Add(1)
	case !late && r.late:
		r.turns.late.Add(-1)
	}
	r.late = late
}

// end says that the group closes. It is called once.
func (r *replica) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.noteLateLocked()
	close(r.ending)
}

// errHalted ends a wait for an index that will not be reached.
var errHalted = errors.New("halted")

// waitApplied returns nil as soon as the machine has applied the index.
func (r *replica) waitApplied(ctx context.Context, index uint64, stop <-chan struct{}) error {
	return r.wait(ctx, stop, func() bool { return r.applied >= index })
}

// waitSeen returns nil as soon as the replica has seen the index.
func (r *replica) waitSeen(ctx context.Context, index uint64, stop <-chan struct{}) error {
	return r.wait(ctx, stop, func() bool { return r.seen >= index })
}

// wait waits until reached, which is called with the mutex held, says so.
func (r *replica) wait(ctx context.Context, stop <-chan struct{}, reached func() bool) error {
	for {
		r.mu.Lock()
		if reached() {
			r.mu.Unlock()
			return nil
		}
		if r.advanced == nil {
			r.advanced = make(chan struct{})
		}
		advanced := r.advanced
		r.mu.Unlock()
		select {
		case <-advanced:
		case <-r.halted:
			return errHalted
		case <-stop:
			return raft.ErrRaftShutdown
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pinned is a view on its way to the disk.
type pinned struct {
	view    fsm.Snapshot
	replica *replica
	// restores is how many there had been when the view was pinned.
	restores int
}

// Persist implements raft.FSMSnapshot. Raft itself closes or cancels the sink.
// A view that a restore has overtaken is given up: Raft would take it for the
// newest snapshot, although the log behind it is gone.
func (p pinned) Persist(sink raft.SnapshotSink) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic while writing a snapshot: %v\n%s", v, debug.Stack())
		}
	}()
	size, err := p.view.WriteTo(newPacedWriter(sink, p.replica.turns, p.replica.ending))
	if err != nil {
		return fmt.Errorf("snapshot at index %d: %w", p.view.Index(), err)
	}
	p.replica.mu.Lock()
	defer p.replica.mu.Unlock()
	if p.replica.restores != p.restores {
		return fmt.Errorf("snapshot at index %d: a newer one was installed meanwhile", p.view.Index())
	}
	p.replica.snapshotSize = size
	return nil
}

// Release implements raft.FSMSnapshot.
func (p pinned) Release() { p.view.Release() }

// signal leaves a token in a channel of capacity one.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
