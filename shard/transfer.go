package shard

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/internal/failpoint"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// heirLag is how many entries a voter may be behind to be given the leadership:
// it gets them before it takes over, and nothing is written meanwhile.
const heirLag = 256

// TransferLeadership hands leadership to the given voter, or to one that is up to
// date when to is empty. Meanwhile commands wait; if it succeeds, they are
// answered with NOT_LEADER. Raft gives up after an election timeout; the group
// goes on with its leader then.
//
// With Failover it is refused with PLACEMENT_CHANGED, and nothing happens, when
// nobody answers who could take over: commands would wait in vain, and a second
// transfer to a node that takes nothing in may never end (hashicorp/raft#696).
func (g *Group) TransferLeadership(ctx context.Context, to string) error {
	if !g.raftLeads() {
		return g.notLeader()
	}
	heirs, err := g.heirs(ctx, to)
	if err != nil {
		return err
	}
	return g.transfer(ctx, heirs[0])
}

// transfer has Raft hand leadership to a voter, to one of its choice when to is empty.
func (g *Group) transfer(ctx context.Context, to string) error {
	// Raft refuses entries while it transfers, and may lose those that are not
	// committed then. So the batch in flight comes first, and the next one waits.
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-g.ctx.Done():
		return g.closedError()
	case <-ctx.Done():
		return g.newError(typesv1.Reason_REASON_UNAVAILABLE, true, "leadership was not transferred: a batch is in flight: %v", context.Cause(ctx))
	}
	err := g.await(ctx, func() (asked raft.Future) {
		if to == "" {
			asked = g.raft.LeadershipTransfer()
		} else {
			asked = g.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to))
		}
		failpoint.Hit("shard/transfer-asked")
		return asked
	})
	if err != nil {
		return g.newError(typesv1.Reason_REASON_UNAVAILABLE, false, "leadership was not transferred: %v", err)
	}
	return nil
}

// HandOver gives leadership to another voter, one that answers and has nearly the
// whole log, so that the group need not wait for its followers to miss the leader.
// It does nothing on a node that does not lead or is the only voter, and fails when
// no other voter could take over before ctx ends; with Failover at once, and without
// an attempt, when none answers that could.
func (g *Group) HandOver(ctx context.Context) error {
	voters, _ := g.members()
	if !g.raftLeads() || g.replica.haltCause() != nil || len(voters) < 2 {
		return nil
	}
	heirs, err := g.heirs(ctx, "")
	if err != nil && !g.raftLeads() {
		return nil // it was deposed meanwhile
	}
	for _, heir := range heirs {
		if err = g.transfer(ctx, heir); err == nil || !g.raftLeads() {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("hand over group %d: %w", g.cfg.ID, err)
}

// heirs lists who may be given the leadership, a given voter or, if to is empty, all
// that may, the best first: in an order that differs between groups, so that they do
// not all go to one node. There is one at least, or an error. Without Failover
// nobody can be asked, and "" stands for the voter that Raft chooses. Left to
// itself, Raft chooses by the log alone: also one that hangs, has halted or has no vote.
func (g *Group) heirs(ctx context.Context, to string) ([]string, error) {
	if g.cfg.Failover == nil {
		return []string{to}, nil
	}
	candidates := []string{to}
	if to == "" {
		candidates, _ = g.members()
	}
	ask, cancel := context.WithTimeout(ctx, g.cfg.Timing.Heartbeat/2)
	defer cancel()
	_, last := g.lastEntry()
	var heirs []string
	for voter, answer := range g.askAll(ask, candidates, g.cfg.NodeID, g.raft.CurrentTerm()) {
		if answer.LastIndex > 0 && answer.LastIndex+heirLag >= last {
			heirs = append(heirs, voter)
		}
	}
	if len(heirs) == 0 {
		return nil, g.newError(typesv1.Reason_REASON_PLACEMENT_CHANGED, true,
			"leadership stays here: of %v nobody answers who has all but the last %d entries", candidates, heirLag)
	}
	order := slices.Sorted(slices.Values(candidates))
	slices.SortFunc(heirs, func(a, b string) int { return cmp.Compare(g.rank(order, a), g.rank(order, b)) })
	return heirs, nil
}
