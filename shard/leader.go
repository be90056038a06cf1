package shard

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Leader tells who leads the group, as far as this node knows. It may be wrong
// at any moment.
func (g *Group) Leader() (id string, known bool) {
	if g.replica.haltCause() != nil {
		return "", false
	}
	_, leader := g.raft.LeaderWithID()
	return string(leader), leader != ""
}

// Leading tells whether this node leads, and in which term. It is true only once
// the term's Lead has been applied here: from then on everything that was
// acknowledged in earlier terms has been applied too. Another node may have
// been elected without this one knowing; a linearizable read asks.
func (g *Group) Leading() (term uint64, ok bool) {
	term = g.leadTerm.Load()
	if term == 0 || !g.raftLeads() || g.replica.haltCause() != nil || g.ctx.Err() != nil {
		return 0, false
	}
	// Raft's term never falls, and it leads in the term that it has. If it led
	// above and has this term now, it led in this term.
	if g.raft.CurrentTerm() != term {
		return 0, false
	}
	return term, true
}

// raftLeads tells whether Raft leads, be it without Lead yet.
func (g *Group) raftLeads() bool { return g.raft.State() == raft.Leader }

// LeaderState is the present state, as OnLeader reports it.
func (g *Group) LeaderState() LeaderState {
	leader, _ := g.Leader()
	s := LeaderState{Leader: leader, Term: g.raft.CurrentTerm()}
	if term, ok := g.Leading(); ok {
		s = LeaderState{Leader: g.cfg.NodeID, Term: term, Leading: true}
	}
	return s
}

// Changes returns a channel that is closed at the next change of leadership, or
// now and then without one. Take the channel before looking at the state.
func (g *Group) Changes() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// announce wakes everybody who waits for Changes.
func (g *Group) announce() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.changed)
	g.changed = make(chan struct{})
}

// awaitLeading waits while this node is Raft's leader but has not applied its
// Lead. It returns the term, or why this node does not lead.
func (g *Group) awaitLeading(ctx context.Context) (uint64, *fsm.Error) {
	for {
		changed := g.Changes()
		if g.replica.haltCause() != nil {
			return 0, g.haltedError(true)
		}
		if g.ctx.Err() != nil {
			return 0, g.closedError()
		}
		if term, ok := g.Leading(); ok {
			return term, nil
		}
		if !g.raftLeads() {
			return 0, g.notLeader()
		}
		select {
		case <-changed:
		case <-g.replica.halted:
		case <-g.ctx.Done():
		case <-ctx.Done():
			return 0, g.newError(typesv1.Reason_REASON_NO_LEADER, true, "the new leader was not ready in time: %v", context.Cause(ctx))
		}
	}
}

// leaderLoop follows Raft's leadership. Raft's notices only wake it: it acts on
// the state that it reads then, so that lost or late notices do no harm.
func (g *Group) leaderLoop() {
	notices := make(chan raft.Observation, 1)
	observer := raft.NewObserver(notices, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	g.raft.RegisterObserver(observer)
	defer g.raft.DeregisterObserver(observer)

	var last LeaderState
	tell := func(state LeaderState) {
		if state != last && g.cfg.OnLeader != nil {
			g.cfg.OnLeader(state)
		}
		last = state
	}
	// Whoever works for the leader is told to stop, also when the group closes.
	defer func() {
		tell(LeaderState{Term: last.Term})
		g.announce()
	}()
	for {
		g.announce()
		tell(g.LeaderState())
		var retry <-chan time.Time
		if g.needsLead() {
			err := g.proposeLead()
			if err == nil {
				continue
			}
			g.cfg.Logger.Warn("a new leader could not establish itself", "error", err)
			retry = time.After(g.cfg.Timing.Heartbeat)
		}
		select {
		case <-notices:
		case <-g.raft.LeaderCh():
		case <-retry:
		case <-g.ctx.Done():
			return
		}
	}
}

// needsLead tells whether this node leads a term for which it has not applied Lead.
func (g *Group) needsLead() bool {
	return g.raftLeads() && g.leadTerm.Load() != g.raft.CurrentTerm() && g.replica.haltCause() == nil
}

// proposeLead commits and applies Lead for the present term.
func (g *Group) proposeLead() error {
	term := g.raft.CurrentTerm()
	lead := &statev1.Command{Kind: &statev1.Command_Lead{Lead: &statev1.Lead{Term: term, NodeId: g.cfg.NodeID}}}
	data, err := proto.Marshal(lead)
	if err != nil {
		return fmt.Errorf("encode Lead: %w", err)
	}
	index, resp, failed := g.proposeEntry([][]byte{data})
	if failed != nil {
		return failed
	}
	if resp.term != term {
		return fmt.Errorf("lead of term %d was written in term %d", term, resp.term)
	}
	if len(resp.results) != 1 {
		return fmt.Errorf("the machine gave %d results for Lead", len(resp.results))
	}
	if refusal := resp.results[0].Err; refusal != nil {
		return fmt.Errorf("the machine refused Lead: %w", refusal)
	}
	g.leadTerm.Store(term)
	g.cfg.Logger.Info("this node leads the group", "term", term, "index", index)
	return nil
}
