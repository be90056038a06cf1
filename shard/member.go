package shard

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// MemberChange is one change of who takes part in a group.
type MemberChange struct {
	// Kind is what happens to Node.
	Kind MemberChangeKind
	// Node is a node id.
	Node string
	// Voters and Nonvoters are the configuration that the change was decided on,
	// in any order. It is refused on any other.
	Voters, Nonvoters []string
}

// MemberChangeKind says what a MemberChange does.
type MemberChangeKind int

const (
	// AddNonvoterChange gives a node the log, without a vote.
	AddNonvoterChange MemberChangeKind = iota + 1
	// PromoteChange gives a non-voter a vote.
	PromoteChange
	// DemoteChange takes the vote of a node that keeps the log.
	DemoteChange
	// RemoveChange takes a node out of the group.
	RemoveChange
	// TransferChange hands leadership to a voter: Node, or the one that is most up
	// to date when Node is empty. Nothing is done when Node leads.
	TransferChange
)

// Change makes one change of membership on the group's leader and returns when it
// is committed. It is refused with PLACEMENT_CHANGED, and nothing happens, when
// the configuration is not the expected one or the change does not fit it:
// hashicorp/raft itself would write an entry for a change that changes nothing,
// would take AddNonvoter of a voter for a change of address, and would let a
// leader remove itself, after which nobody leads for an election timeout.
// It may be compared by hand because raft does not tell the index of a
// configuration (raft.ConfigurationFuture.Index is 0 for the latest one).
//
// One change is made at a time; others wait. When ctx ends the change goes on; an
// error without NotApplied leaves open whether it will be made.
func (g *Group) Change(ctx context.Context, c MemberChange) error {
	select {
	case g.changing <- struct{}{}:
	case <-ctx.Done():
		return g.newError(typesv1.Reason_REASON_UNAVAILABLE, true, "another change of membership is under way: %v", context.Cause(ctx))
	}
	g.begun.Add(1)
	free := func() { <-g.changing }
	if _, err := g.awaitLeading(ctx); err != nil {
		free()
		return err
	}
	if err := g.fits(c); err != nil {
		free()
		return err
	}
	if c.Kind == TransferChange && c.Node == g.cfg.NodeID {
		free()
		return nil
	}
	// The next change has to be decided on what this one leads to: so it waits
	// for the end of this one, also when the caller does not.
	done := make(chan error, 1)
	started := g.spawn(func() {
		defer free()
		done <- g.make(g.ctx, c)
	})
	if !started {
		free()
		return g.closedError()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return g.unknownOutcome(context.Cause(ctx))
	}
}

// make makes a change that fits.
func (g *Group) make(ctx context.Context, c MemberChange) error {
	switch c.Kind {
	case AddNonvoterChange:
		return g.addNonvoter(ctx, c.Node)
	case PromoteChange:
		return g.addVoter(ctx, c.Node)
	case DemoteChange:
		return g.demoteVoter(ctx, c.Node)
	case RemoveChange:
		return g.removeServer(ctx, c.Node)
	default:
		return g.TransferLeadership(ctx, c.Node)
	}
}

// fits tells whether a change makes sense in the present configuration.
func (g *Group) fits(c MemberChange) error {
	voters, nonvoters := g.members()
	if !sameMembers(voters, c.Voters) || !sameMembers(nonvoters, c.Nonvoters) {
		return g.misfit("its voters are %v and its non-voters %v, not %v and %v", voters, nonvoters, c.Voters, c.Nonvoters)
	}
	votes, follows := slices.Contains(voters, c.Node), slices.Contains(nonvoters, c.Node)
	self := c.Node == g.cfg.NodeID
	switch {
	case c.Kind == TransferChange && c.Node == "" && len(voters) > 1:
		return nil
	case c.Node == "":
		return g.misfit("no node was named")
	case c.Kind == AddNonvoterChange && (votes || follows):
		return g.misfit("%s takes part in it already", c.Node)
	case c.Kind == PromoteChange && !follows:
		return g.misfit("%s is no non-voter of it", c.Node)
	case c.Kind == DemoteChange && !votes, c.Kind == TransferChange && !votes:
		return g.misfit("%s is no voter of it", c.Node)
	case c.Kind == RemoveChange && !votes && !follows:
		return g.misfit("%s takes no part in it", c.Node)
	case self && (c.Kind == DemoteChange || c.Kind == RemoveChange):
		return g.misfit("%s leads it", c.Node)
	case c.Kind < AddNonvoterChange || c.Kind > TransferChange:
		return g.misfit("a change of kind %d is not known", int(c.Kind))
	}
	return nil
}

func (g *Group) misfit(format string, args ...any) *fsm.Error {
	return g.newError(typesv1.Reason_REASON_PLACEMENT_CHANGED, true, "the members are left as they are: "+format, args...)
}

// demoteVoter takes a node's vote and leaves it the log. A leader that demotes
// itself steps down.
func (g *Group) demoteVoter(ctx context.Context, nodeID string) error {
	return g.change(ctx, func(timeout time.Duration) raft.Future {
		return g.raft.DemoteVoter(raft.ServerID(nodeID), 0, timeout)
	})
}

// Members lists the node ids of the latest configuration that this node knows,
// committed or not, both empty for a group without any state.
func (g *Group) Members() (voters, nonvoters []string) { return g.members() }

// settledMembers lists the members, and tells whether this is certain to be a
// committed configuration. Raft tells only the latest one. But what was in the log
// when this node was elected is committed when it has applied its Lead; and after
// that a configuration changes only by Change, which holds its token until the
// change is committed, or this node leads no more.
func (g *Group) settledMembers() (voters, nonvoters []string, settled bool) {
	term, leading := g.Leading()
	begun := g.begun.Load()
	free := len(g.changing) == 0
	voters, nonvoters = g.members()
	again, still := g.Leading()
	return voters, nonvoters, leading && still && term == again && free && len(g.changing) == 0 && begun == g.begun.Load()
}

func sameMembers(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
