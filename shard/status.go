package shard

import (
	"strings"
	"time"
)

const (
	// StateHalted is the Status.State of a group that halted on this node.
	StateHalted = "halted"
	// StateShutdown is the Status.State of a group that was closed.
	StateShutdown = "shutdown"
)

// Status is what this node knows of the group. Its fields are read one after the
// other and may not fit together when things change.
type Status struct {
	Group uint32
	// State is leader, follower, candidate, shutdown or halted.
	State string
	Term  uint64
	// Leader is a node id, empty when unknown.
	Leader string
	// Leading is set when this node leads and has applied its Lead.
	Leading bool
	// Applied is the log index of the last command that the machine applied. It
	// is comparable between replicas.
	Applied uint64
	// Commit and Last are indexes of Raft's log, which counts entries that are
	// not commands.
	Commit uint64
	Last   uint64
	// Halted is why the group halted, nil while it works.
	Halted error
	// LastContact is when a follower last heard from the leader; zero if never.
	LastContact time.Time
	// Voters and Nonvoters are node ids of the latest configuration.
	Voters    []string
	Nonvoters []string
	// Settled is set on a leader when that configuration is committed for certain
	// and no change of it is under way.
	Settled bool
	// Queued is how many commands wait to be proposed.
	Queued int
	// LogBytes and LogEntries are what the log holds, 0 when the store does not tell.
	LogBytes   int64
	LogEntries uint64
}

// Status tells how the group does on this node. It never blocks for long, and
// works on a halted or closed group as long as its stores are open.
func (g *Group) Status() Status {
	leader, _ := g.Leader()
	_, leading := g.Leading()
	voters, nonvoters, settled := g.settledMembers()
	s := Status{
		Group:       g.cfg.ID,
		State:       strings.ToLower(g.raft.State().String()),
		Term:        g.raft.CurrentTerm(),
		Leader:      leader,
		Leading:     leading,
		Applied:     g.replica.appliedIndex(),
		Commit:      g.raft.CommitIndex(),
		Last:        g.raft.LastIndex(),
		Halted:      g.replica.haltCause(),
		LastContact: g.raft.LastContact(),
		Voters:      voters,
		Nonvoters:   nonvoters,
		Settled:     settled,
		Queued:      g.queue.length(),
	}
	switch {
	case s.Halted != nil:
		s.State = StateHalted
	case g.ctx.Err() != nil:
		// Raft's last state may be another: its main loop ends in its own time.
		s.State = StateShutdown
	}
	if g.cfg.Stores.LogSize != nil && g.ctx.Err() == nil {
		s.LogBytes, s.LogEntries = g.cfg.Stores.LogSize()
	}
	return s
}
