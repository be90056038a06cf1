package shard

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/fsm"
)

// Limits that hold for every group unless its Config says otherwise.
const (
	// MaxEntryBytes bounds the data of one log entry.
	MaxEntryBytes = 256 << 10
	// MaxEntryCommands bounds the commands of one log entry.
	MaxEntryCommands = 1024
	// MaxClientCommandBytes bounds a command that a client's request became:
	// InitInstance, Step and DeleteInstance. Commands that nodes compose may be
	// as large as an entry.
	MaxClientCommandBytes = 64 << 10
	// MaxAppendEntries bounds the entries of one AppendEntries message, so that
	// a message has at most MaxAppendEntries*MaxEntryBytes bytes of data.
	MaxAppendEntries = 64
	// DefaultQueueCommands is how many commands may wait to be proposed.
	DefaultQueueCommands = 8192
	// DefaultSnapshotBytes of applied log make a snapshot due, more when the last
	// snapshot was large: see Config.SnapshotBytes.
	DefaultSnapshotBytes = 8 << 20
	// DefaultTrailingBytes of log are kept behind a snapshot, for followers that
	// are a little behind.
	DefaultTrailingBytes = 16 << 20
)

// Timing holds the periods of a group. The zero value of a field means LAN's.
type Timing struct {
	// Heartbeat is how long a follower waits without a word from the leader
	// before it campaigns; the leader beats about ten times as often.
	Heartbeat time.Duration
	// Election is how long a candidate waits before it campaigns again. It is at
	// least Heartbeat.
	Election time.Duration
	// LeaderLease is how long a leader stays without contact to a majority
	// before it steps down. It is at most Heartbeat.
	LeaderLease time.Duration
	// Commit is how long a leader with nothing to send waits before it tells
	// the followers the commit index: the staleness of an idle follower, and
	// the idle traffic of a group.
	Commit time.Duration
	// Enqueue is how long Raft may take to accept an entry before its commands
	// are answered as not applied.
	Enqueue time.Duration
	// Confirm bounds one round of questions to the voters for linearizable reads.
	Confirm time.Duration
	// Drain bounds how long closing or halting waits for the batch in flight.
	Drain time.Duration
	// Refused is how long a follower hears nothing before it looks whether the
	// leader's process is gone, or, once it was opened, whether there is any. It should
	// exceed the longest pause between two beats, which is a fifth of Heartbeat.
	Refused time.Duration
	// Silent is how long a majority of the voters hears nothing before one of them
	// campaigns although the leader's process may still run. It should be well
	// above what a busy machine makes a healthy leader wait, and a little less than
	// Heartbeat: a voter whose own timer was first waits an election timeout for
	// those who still believe in the leader.
	Silent time.Duration
}

// LAN returns the timing for nodes of one site. A leader whose process ended is
// replaced in about half a second, one that hangs or was cut off in less than two;
// a node may be starved of its processors for a second without consequences.
func LAN() Timing {
	return Timing{
		Heartbeat:   1500 * time.Millisecond,
		Election:    1500 * time.Millisecond,
		LeaderLease: 1500 * time.Millisecond,
		Commit:      500 * time.Millisecond,
		Enqueue:     2 * time.Second,
		Confirm:     time.Second,
		Drain:       2 * time.Second,
		Refused:     350 * time.Millisecond,
		Silent:      1400 * time.Millisecond,
	}
}

// WAN returns the timing for nodes that are up to about 300 ms from each other
// and back, over links that lose packets. A leader whose process ended is replaced
// in three to four seconds, one that hangs or was cut off in six to eight.
func WAN() Timing {
	return Timing{
		Heartbeat:   6 * time.Second,
		Election:    6 * time.Second,
		LeaderLease: 5 * time.Second,
		Commit:      time.Second,
		Enqueue:     5 * time.Second,
		Confirm:     3 * time.Second,
		Drain:       5 * time.Second,
		Refused:     1500 * time.Millisecond,
		Silent:      5500 * time.Millisecond,
	}
}

// Test returns a timing for tests with all nodes in one process.
func Test() Timing {
	return Timing{
		Heartbeat:   600 * time.Millisecond,
		Election:    600 * time.Millisecond,
		LeaderLease: 500 * time.Millisecond,
		Commit:      20 * time.Millisecond,
		Enqueue:     time.Second,
		Confirm:     500 * time.Millisecond,
		Drain:       500 * time.Millisecond,
		Refused:     150 * time.Millisecond,
		Silent:      550 * time.Millisecond,
	}
}

// Config says what a group is made of. ID, NodeID, Machine, Stores, Transport
// and, for more than one voter, Confirmer are needed; the rest has defaults.
type Config struct {
	// ID is the group's number: 0 for the catalog, 1 and up for the shards.
	ID uint32
	// NodeID is this node's id, which is also its Raft address: the transport's
	// LocalAddr must be equal to it.
	NodeID  string
	Machine Machine
	Stores  Stores
	// Transport carries this group's messages. If it can be closed it is closed
	// with the group, possibly twice. It must support pre-vote.
	Transport raft.Transport
	Confirmer Confirmer
	// Failover finds out that a leader is lost before Raft's own timers do; nil
	// leaves it to them.
	Failover Failover
	Timing   Timing
	// Logger gets a group attribute added. The default discards.
	Logger *slog.Logger
	// Now is the clock that stamps entries. The default is time.Now.
	Now func() time.Time
	// FeatureLevel stamps entries; see Group.SetFeatureLevel.
	FeatureLevel uint32

	// OnApply is called after each applied entry, on the goroutine that applies:
	// it must not block, and must not keep entry or results after it returns.
	OnApply func(index uint64, entry []byte, results []fsm.Result)
	// OnRestore is called after the machine's state was replaced by a snapshot,
	// under the same rules. The restore while Open runs is reported too.
	OnRestore func(index uint64)
	// OnHalt is called once, from a goroutine of the group, when the group
	// halted. It must not wait for the group.
	OnHalt func(error)
	// OnStuck is called at most once, from a goroutine of the group, when Raft is in
	// a state that it does not leave by itself: the owner should close the group
	// and open it again, with a new Machine. It must not wait for the group.
	OnStuck func(error)
	// OnLeader is called from a goroutine of the group with the latest state
	// whenever it changed; changes that came together are reported as one. It
	// must not wait for the group and should return soon.
	OnLeader func(LeaderState)

	// MaxEntryBytes, MaxEntryCommands and QueueCommands bound what is coalesced
	// and what may wait; the defaults are the constants of these names.
	MaxEntryBytes    int
	MaxEntryCommands int
	QueueCommands    int
	// SnapshotBytes of applied log make a snapshot due, or a quarter of the size of
	// the last snapshot if that is more, up to eight times SnapshotBytes. A restart
	// reads a snapshot about four times as fast as it applies log of the same size,
	// so that half of it at most goes into the log; and what is written for
	// snapshots stays in proportion to the log. TrailingBytes of log are kept behind
	// a snapshot. Both default to the constants.
	SnapshotBytes int64
	TrailingBytes int64

	// turns are those of the host's groups at writing snapshots.
	turns *turns
}

// withDefaults fills what was left out and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.NodeID == "":
		return c, errors.New("shard: Config.NodeID is empty")
	case c.Machine == nil:
		return c, errors.New("shard: Config.Machine is nil")
	case c.Stores.Logs == nil || c.Stores.Stable == nil || c.Stores.Snapshots == nil:
		return c, errors.New("shard: Config.Stores is incomplete")
	case c.Transport == nil:
		return c, errors.New("shard: Config.Transport is nil")
	}
	if _, ok := c.Transport.(raft.WithPreVote); !ok {
		return c, errors.New("shard: the transport does not support pre-vote")
	}
	if addr := string(c.Transport.LocalAddr()); addr != c.NodeID {
		return c, fmt.Errorf("shard: the transport's address is %q, but must be the node id %q", addr, c.NodeID)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.turns == nil {
		c.turns = newTurns()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	setDefault(&c.MaxEntryBytes, MaxEntryBytes)
	setDefault(&c.MaxEntryCommands, MaxEntryCommands)
	setDefault(&c.QueueCommands, DefaultQueueCommands)
	setDefault(&c.SnapshotBytes, DefaultSnapshotBytes)
	setDefault(&c.TrailingBytes, DefaultTrailingBytes)
	if c.MaxEntryBytes <= entryOverhead || c.MaxEntryCommands < 0 || c.QueueCommands < 0 || c.SnapshotBytes < 0 || c.TrailingBytes < 0 {
		return c, errors.New("shard: a limit of Config is too small")
	}
	lan := LAN()
	setDefault(&c.Timing.Heartbeat, lan.Heartbeat)
	setDefault(&c.Timing.Election, lan.Election)
	setDefault(&c.Timing.LeaderLease, lan.LeaderLease)
	setDefault(&c.Timing.Commit, lan.Commit)
	setDefault(&c.Timing.Enqueue, lan.Enqueue)
	setDefault(&c.Timing.Confirm, lan.Confirm)
	setDefault(&c.Timing.Drain, lan.Drain)
	setDefault(&c.Timing.Refused, lan.Refused)
	setDefault(&c.Timing.Silent, lan.Silent)
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
