package shard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Bootstrap writes the first configuration of the group, by node ids. This node
// must be one of the voters. Every voter may bootstrap, but all with the same
// lists; and nobody ever again once the group was formed. It fails with
// ErrHasState when there is any state, which callers may take for success if
// they know the configuration to be the same.
func (g *Group) Bootstrap(voters, nonvoters []string) error {
	var servers []raft.Server
	for _, id := range voters {
		servers = append(servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	for _, id := range nonvoters {
		servers = append(servers, raft.Server{Suffrage: raft.Nonvoter, ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	err := g.raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrCantBootstrap):
		err = ErrHasState
	case errors.Is(err, raft.ErrNotVoter):
		err = ErrNotVoter
	}
	return fmt.Errorf("bootstrap group %d on node %s: %w", g.cfg.ID, g.cfg.NodeID, err)
}

// addNonvoter adds a node that gets the log and has no vote; on a node that
// votes it changes nothing. Like all changes of membership it works on the leader
// only, and returns when the change is committed. An error without NotApplied
// leaves open whether it will be.
func (g *Group) addNonvoter(ctx context.Context, nodeID string) error {
	return g.change(ctx, func(timeout time.Duration) raft.Future {
		return g.raft.AddNonvoter(raft.ServerID(nodeID), raft.ServerAddress(nodeID), 0, timeout)
	})
}

// addVoter adds a node with a vote, or gives a non-voter its vote. A node that
// does not have the log yet counts toward the majority at once: add it without
// a vote first and let it catch up.
func (g *Group) addVoter(ctx context.Context, nodeID string) error {
	return g.change(ctx, func(timeout time.Duration) raft.Future {
		return g.raft.AddVoter(raft.ServerID(nodeID), raft.ServerAddress(nodeID), 0, timeout)
	})
}

// removeServer removes a node from the group. A leader that removes itself steps
// down. The removed node is not told for sure; whoever runs it closes the group there.
func (g *Group) removeServer(ctx context.Context, nodeID string) error {
	return g.change(ctx, func(timeout time.Duration) raft.Future {
		return g.raft.RemoveServer(raft.ServerID(nodeID), 0, timeout)
	})
}

// change makes a change of membership.
func (g *Group) change(ctx context.Context, begin func(timeout time.Duration) raft.Future) error {
	if g.replica.haltCause() != nil {
		return g.haltedError(true)
	}
	if !g.raftLeads() {
		return g.notLeader()
	}
	timeout := g.cfg.Timing.Enqueue
	if deadline, ok := ctx.Deadline(); ok {
		// At least a moment: Raft takes zero for no timeout.
		timeout = min(timeout, max(time.Until(deadline), time.Millisecond))
	}
	if err := g.await(ctx, func() raft.Future { return begin(timeout) }); err != nil {
		return g.raftError(err)
	}
	return nil
}

// await waits for a future of Raft. When ctx ends first, what was begun goes on.
func (g *Group) await(ctx context.Context, begin func() raft.Future) error {
	if g.ctx.Err() != nil {
		return raft.ErrRaftShutdown
	}
	gaveUp, err := g.settled(begin, ctx.Done())
	if gaveUp {
		return context.Cause(ctx)
	}
	return err
}

// members lists the node ids of the latest configuration, committed or not.
func (g *Group) members() (voters, nonvoters []string) {
	for _, server := range g.raft.GetConfiguration().Configuration().Servers {
		if server.Suffrage == raft.Voter {
			voters = append(voters, string(server.ID))
		} else {
			nonvoters = append(nonvoters, string(server.ID))
		}
	}
	return voters, nonvoters
}
