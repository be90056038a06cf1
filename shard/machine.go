package shard

import (
	"context"
	"io"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/fsm"
)

// Machine is a replicated state machine. The group calls Apply, Snapshot and
// Restore from one goroutine at a time; Applied and reads of the machine by
// others may run beside them and are the machine's own matter.
type Machine interface {
	// Apply applies the entry with the given Raft log index, and returns one
	// result for each of its commands, in order. An error, or a panic, means
	// that this replica cannot apply the entry, and halts the group on this
	// node; the refusal of a command is not an error but a Result.
	Apply(index uint64, data []byte) ([]fsm.Result, error)
	// Snapshot pins an immutable view of the state. It must be quick: no entry
	// is applied meanwhile.
	Snapshot() fsm.Snapshot
	// Restore replaces the whole state with that of a snapshot. On an error the
	// state must be what it was before.
	Restore(r io.Reader) error
	// Applied is the log index of the last entry applied, 0 at the beginning.
	Applied() uint64
}

// Stores is where a group keeps what must survive. Whoever opened the stores
// closes them, after the group.
type Stores struct {
	// Logs must report IsMonotonic (see shard/store) and return
	// raft.ErrLogNotFound unwrapped.
	Logs      raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	// LogSize tells the size of the log, or of its part behind the newest
	// snapshot. It serves Status and tells the mean size of an entry. It may be
	// nil; then the mean is taken from the entries applied since the snapshot.
	LogSize func() (bytes int64, entries uint64)
	// Returned is set when this node had a replica of the group before, and deleted
	// it: such a replica has no vote until it has caught up with a leader. Its stable
	// store must hold the term of the deleted one.
	Returned bool
}

// Confirmer asks other nodes about their term.
type Confirmer interface {
	// Confirm asks the node whether its current term in the group is exactly
	// term; the answer must have been given after the call began. It must return
	// soon after ctx ends. It is called concurrently.
	Confirm(ctx context.Context, nodeID string, group uint32, term uint64) (bool, error)
}

// Applied is the outcome of a command that was committed and applied.
type Applied struct {
	// Index is the log index of the entry that carried the command.
	Index uint64
	// Result is what the machine answered; a refusal is in Result.Err.
	Result fsm.Result
}

// LeaderState is what a node knows about the leadership of a group. It is a
// level: only the latest value counts.
type LeaderState struct {
	// Leader is the id of the node that leads, empty when it is not known.
	Leader string
	// Term is the latest term that this node has seen.
	Term uint64
	// Leading is set when this node leads in Term and has applied Lead{Term}.
	Leading bool
}
