package shard

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// ErrHasState is returned by Bootstrap when the group has a log, a term or a
// snapshot already, or has heard of a leader.
var ErrHasState = errors.New("the group has state already and is not bootstrapped again")

// ErrNotVoter is returned by Bootstrap on a node that is not among the voters.
var ErrNotVoter = errors.New("only a voter of the first configuration can bootstrap a group")

// newError makes an error of this group; notApplied says that the command is
// certain not to take effect.
func (g *Group) newError(reason typesv1.Reason, notApplied bool, format string, args ...any) *fsm.Error {
	return &fsm.Error{
		Reason:     reason,
		Message:    fmt.Sprintf("group %d on node %s: ", g.cfg.ID, g.cfg.NodeID) + fmt.Sprintf(format, args...),
		Shard:      g.cfg.ID,
		NotApplied: notApplied,
	}
}

// notLeader is the answer of a node that does not lead, or not yet.
func (g *Group) notLeader() *fsm.Error {
	leader, known := g.Leader()
	if known && leader == g.cfg.NodeID {
		// It still leads for Raft, but not for us: nobody else is to be tried.
		leader, known = "", false
	}
	var e *fsm.Error
	if known {
		e = g.newError(typesv1.Reason_REASON_NOT_LEADER, true, "this node does not lead; %s does", leader)
	} else {
		e = g.newError(typesv1.Reason_REASON_NOT_LEADER, true, "this node does not lead, and knows of no leader")
	}
	e.LeaderID = leader
	return e
}

func (g *Group) haltedError(notApplied bool) *fsm.Error {
	return g.newError(typesv1.Reason_REASON_GROUP_HALTED, notApplied, "halted: %v", g.replica.haltCause())
}

func (g *Group) closedError() *fsm.Error {
	return g.newError(typesv1.Reason_REASON_UNAVAILABLE, true, "the group is closed")
}

func (g *Group) unknownOutcome(cause error) *fsm.Error {
	return g.newError(typesv1.Reason_REASON_OUTCOME_UNKNOWN, false, "the outcome of the command is unknown: %v", cause)
}

// raftError translates the error of a future of Raft. It is the one place that
// decides what an error of Raft says about a command: raft.ErrNotLeader, a
// transfer in progress and a timeout before the hand-over mean that Raft never
// wrote the entry. Everything else may come after the entry was written, and
// the next leader may still commit it. That holds for ErrRaftShutdown too, which
// Raft also uses for entries that were committed and not yet applied.
func (g *Group) raftError(err error) *fsm.Error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return g.notLeader()
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return g.newError(typesv1.Reason_REASON_UNAVAILABLE, true, "the group accepted nothing for %v", g.cfg.Timing.Enqueue)
	default:
		return g.unknownOutcome(err)
	}
}
