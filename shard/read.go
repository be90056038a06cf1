package shard

import (
	"context"
	"errors"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/broken"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// readResult is what a confirm round tells the reads that waited for it.
type readResult struct {
	// commit is the commit index that the reads must wait for.
	commit uint64
	err    *fsm.Error
}

// ReadIndex makes a linearizable read possible: once it has returned, the state
// of the machine on this node contains every command that was acknowledged, and
// everything that was seen by a linearizable read on any node, before ReadIndex
// was called. Another replica serves the same read once it has applied the index
// that is returned (WaitApplied).
//
// An error is an *fsm.Error: NOT_LEADER when this node does not lead or was
// deposed, NO_LEADER when no majority confirmed in time, QUEUE_FULL,
// GROUP_HALTED or UNAVAILABLE.
//
// # Why this is linearizable
//
// Let the round begin when this node leads term T and has applied Lead{T}; the
// read arrived before. The round first notes Raft's commit index C. Take a command
// that was acknowledged, or seen by a read, before the read arrived.
//
//  1. It was committed in a term before T. Then it is in the log of every later
//     leader, below Lead{T}, and this node has applied Lead{T}.
//  2. It was committed in T: by this node, whose commit index had passed it
//     before anybody could apply it. So it is at C or below.
//  3. It was committed in a term after T: then, before that, some first leader
//     of a term U > T was elected, and a majority of its voters had a term of U
//     or more before the read arrived. Terms never fall. The round asks the
//     voters after the read arrived, and a voter says yes only when its term is
//     exactly T: so the voters that say yes are none of that majority. But two
//     majorities meet. That is plain when both are of one configuration. And
//     the configuration of U's leader is either this node's latest one or its
//     neighbour, differing in one voter, whose majorities meet too:
//     configurations change one voter at a time, and a leader begins a change
//     only when the one before and an entry of its own term are committed. So
//     U's leader has this node's last committed configuration, and beyond it at
//     most the change that this node has in progress.
//
// So after a majority of yes only cases 1 and 2 are left, and it is enough to
// wait until this node's machine has applied the commands up to C. Above
// Lead{T} there are only commands and changes of configuration, which all reach
// the replica; the no-op of T, which does not, is below. Hence the wait ends.
//
// C must be the commit index. The last command applied here would contain all
// that was acknowledged, but a follower may have applied, and shown to a
// linearizable read, a command that this node has committed and is yet to apply.
//
// Non-voters are not asked: their terms say nothing about elections. A voter's
// answer to an earlier question, a heartbeat say, does not count: it may be older
// than an election in which the voter took part since. A pause of this process
// is no danger, as it can only make the answers older than the end of the read,
// never older than its beginning.
func (g *Group) ReadIndex(ctx context.Context) (uint64, error) {
	if broken.Enabled && LedLately(g) {
		return g.replica.appliedIndex(), nil
	}
	if _, err := g.awaitLeading(ctx); err != nil {
		return 0, err
	}
	done := make(chan readResult, 1)
	g.mu.Lock()
	full := len(g.reads) >= g.cfg.QueueCommands
	if !full {
		g.reads = append(g.reads, done)
	}
	g.mu.Unlock()
	if full {
		return 0, g.newError(typesv1.Reason_REASON_QUEUE_FULL, true, "%d reads wait already", g.cfg.QueueCommands)
	}
	signal(g.readWake)
	select {
	case result := <-done:
		if result.err != nil {
			return 0, result.err
		}
		if err := g.replica.waitSeen(ctx, result.commit, g.ctx.Done()); err != nil {
			return 0, g.waitError(result.commit, err)
		}
		return g.replica.appliedIndex(), nil
	case <-g.ctx.Done():
		return 0, g.closedError()
	case <-ctx.Done():
		return 0, g.newError(typesv1.Reason_REASON_NO_LEADER, true, "no majority confirmed the leader in time: %v", context.Cause(ctx))
	}
}

// WaitApplied waits until the machine on this node has applied the entry of a
// command at the index. The index must come from ReadIndex or Applied: the
// index of something that is not a command may never be reached.
func (g *Group) WaitApplied(ctx context.Context, index uint64) error {
	if err := g.replica.waitApplied(ctx, index, g.ctx.Done()); err != nil {
		return g.waitError(index, err)
	}
	return nil
}

// waitError says why an index was not reached.
func (g *Group) waitError(index uint64, err error) *fsm.Error {
	switch {
	case errors.Is(err, errHalted):
		return g.haltedError(true)
	case g.ctx.Err() != nil:
		return g.closedError()
	default:
		return g.newError(typesv1.Reason_REASON_UNAVAILABLE, true, "index %d was not applied in time (%d is): %v", index, g.replica.appliedIndex(), err)
	}
}

// ConfirmTerm answers a leader that asks whether this node's current term is
// exactly term. A replica that is halted or stopped says no.
func (g *Group) ConfirmTerm(term uint64) (ok bool, current uint64) {
	current = g.raft.CurrentTerm()
	alive := g.replica.haltCause() == nil && g.ctx.Err() == nil
	return alive && current == term, current
}

// readLoop runs one confirm round after the other while reads wait. The reads of
// a round have all arrived before it begins.
func (g *Group) readLoop() {
	for {
		select {
		case <-g.readWake:
		case <-g.ctx.Done():
			return
		}
		g.mu.Lock()
		reads := g.reads
		g.reads = nil
		g.mu.Unlock()
		if len(reads) == 0 {
			continue
		}
		commit, err := g.confirmRound()
		for _, done := range reads {
			done <- readResult{commit: commit, err: err}
		}
	}
}

// confirmRound is one round for all reads that arrived before it. It returns the
// commit index at its beginning.
func (g *Group) confirmRound() (uint64, *fsm.Error) {
	term, ok := g.Leading()
	if !ok {
		if g.replica.haltCause() != nil {
			return 0, g.haltedError(true)
		}
		return 0, g.notLeader()
	}
	commit := g.raft.CommitIndex()
	voters, _ := g.members()
	need := len(voters)/2 + 1
	var peers []string
	self := 0
	for _, voter := range voters {
		if voter == g.cfg.NodeID {
			self = 1
		} else {
			peers = append(peers, voter)
		}
	}
	confirmed := g.askPeers(peers, term, need-self)
	// Our own answer, given after the read arrived like those of the others.
	if _, still := g.Leading(); !still || g.raft.CurrentTerm() != term {
		return 0, g.notLeader()
	}
	if !confirmed {
		return 0, g.newError(typesv1.Reason_REASON_NO_LEADER, true, "no majority of the %d voters confirmed term %d", len(voters), term)
	}
	return commit, nil
}

// askPeers tells whether at least need of the peers confirm the term. It returns
// as soon as that is certain, and at the latest after Timing.Confirm.
func (g *Group) askPeers(peers []string, term uint64, need int) bool {
	if need <= 0 {
		return true
	}
	if need > len(peers) || g.cfg.Confirmer == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(g.ctx, g.cfg.Timing.Confirm)
	defer cancel()
	answers := make(chan bool, len(peers))
	for _, peer := range peers {
		started := g.spawn(func() {
			yes, err := g.cfg.Confirmer.Confirm(ctx, peer, g.cfg.ID, term)
			if err != nil {
				g.cfg.Logger.Debug("a voter did not confirm the leader", "voter", peer, "term", term, "error", err)
			}
			answers <- yes && err == nil
		})
		if !started {
			return false
		}
	}
	for open := len(peers); need > 0; open-- {
		if need > open {
			return false
		}
		select {
		case yes := <-answers:
			if yes {
				need--
			}
		case <-ctx.Done():
			return false
		}
	}
	return true
}
