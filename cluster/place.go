package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spexio/spex/cluster/plan"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// changePatience bounds one change. What it began may go on afterwards: it is
// seen at the next look.
const changePatience = 15 * time.Second

// run looks and acts for as long as this node leads the catalog, one term after
// the other, until ctx ends.
func (p *placer) run(ctx context.Context) {
	ticker := time.NewTicker(p.timing.Every)
	defer ticker.Stop()
	var changes sync.WaitGroup
	defer changes.Wait()
	var led uint64
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		term, leading := p.node.catalog.group.Leading()
		if !leading || p.node.catalog.machine.Cluster().ID == "" {
			led = 0
			continue
		}
		if term != led {
			p.remember(memory{})
			led = term
		}
		p.round(ctx, term, &changes)
	}
}

// round takes one look and begins the changes that the planner allows.
func (p *placer) round(ctx context.Context, term uint64, changes *sync.WaitGroup) {
	look, cancel := context.WithTimeout(ctx, 2*statusPatience)
	state, _, seen := p.gather(look)
	cancel()
	p.remember(seen)
	next, waiting := plan.Next(state)
	for _, w := range waiting {
		p.node.log.Debug("placement waits", "group", w.Group, "node_waited_for", w.Node, "why", w.Why)
	}
	for _, c := range next {
		// What was decided on this look is of no use to a later term.
		if now, leading := p.node.catalog.group.Leading(); !leading || now != term {
			return
		}
		p.begin(ctx, c, groupOf(state, c.Group), changes)
	}
}

func groupOf(s plan.State, id uint32) plan.Group {
	for _, g := range s.Groups {
		if g.ID == id {
			return g
		}
	}
	return plan.Group{ID: id}
}

// begin makes a change beside the loop, unless one of the group is under way.
func (p *placer) begin(ctx context.Context, c plan.Change, g plan.Group, changes *sync.WaitGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, busy := p.running[c.Group]; busy {
		return
	}
	p.running[c.Group] = c
	changes.Add(1)
	go func() {
		defer changes.Done()
		log := p.node.log.With("change", c.Kind.String(), "group", c.Group, "on", c.Node)
		log.Info("placement: a change begins", "why", c.Why)
		ctx, cancel := context.WithTimeout(ctx, changePatience)
		err := p.make(ctx, c, g)
		cancel()
		switch {
		case errors.Is(err, context.Canceled):
		case err != nil:
			log.Warn("placement: a change was not made; it is looked at again", "error", err)
		default:
			log.Info("placement: a change is made")
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.running, c.Group)
	}()
}

// make carries out one change.
func (p *placer) make(ctx context.Context, c plan.Change, g plan.Group) error {
	switch c.Kind {
	case plan.Place:
		err := p.tell(ctx, &statev1.Command{Kind: &statev1.Command_PlaceReplica{PlaceReplica: &statev1.PlaceReplica{Shard: c.Group, Node: c.Node}}})
		failpoint.Hit("cluster/replica-placed")
		return err
	case plan.Unplace:
		failpoint.Hit("cluster/replica-before-unplace")
		return p.tell(ctx, &statev1.Command{Kind: &statev1.Command_UnplaceReplica{UnplaceReplica: &statev1.UnplaceReplica{Shard: c.Group, Node: c.Node}}})
	case plan.RemoveNode:
		return p.tell(ctx, &statev1.Command{Kind: &statev1.Command_ForgetNode{ForgetNode: &statev1.ForgetNode{Node: c.Node}}})
	}
	kind, ok := map[plan.Kind]peerv1.ChangeMembershipRequest_Kind{
		plan.AddNonvoter: peerv1.ChangeMembershipRequest_KIND_ADD_NONVOTER,
		plan.Promote:     peerv1.ChangeMembershipRequest_KIND_PROMOTE,
		plan.Demote:      peerv1.ChangeMembershipRequest_KIND_DEMOTE,
		plan.Remove:      peerv1.ChangeMembershipRequest_KIND_REMOVE,
		plan.Transfer:    peerv1.ChangeMembershipRequest_KIND_TRANSFER,
	}[c.Kind]
	if !ok {
		return fmt.Errorf("the planner asks for a change of kind %d, which this release does not know", int(c.Kind))
	}
	req := &peerv1.ChangeMembershipRequest{Target: &peerv1.Target{Group: c.Group}, Kind: kind, Node: c.Node}
	for _, r := range g.Replicas {
		if r.Voter {
			req.ExpectedVoters = append(req.ExpectedVoters, r.Node)
		} else {
			req.ExpectedNonvoters = append(req.ExpectedNonvoters, r.Node)
		}
	}
	if c.Kind == plan.Transfer {
		failpoint.Hit("cluster/leadership-before-move")
	}
	err := p.ask(ctx, g.Leader, req)
	if c.Kind == plan.Transfer && err == nil {
		failpoint.Hit("cluster/leadership-moved")
	}
	return err
}

// ask has the leader that was looked at make a change, and no other: that one may
// know a newer configuration.
func (p *placer) ask(ctx context.Context, leader string, req *peerv1.ChangeMembershipRequest) error {
	if leader == p.node.cfg.Self.GetId() {
		_, err := p.node.ChangeMembership(ctx, req)
		return err
	}
	_, err := p.node.cfg.Peers.ChangeMembership(ctx, leader, req)
	return err
}

// tell has the catalog apply a command if this node still leads it: another leader
// decides for itself.
func (p *placer) tell(ctx context.Context, cmd *statev1.Command) error {
	cmd.Principal = "node/" + p.node.cfg.Self.GetId()
	resp, err := p.node.catalog.proposeHere(ctx, cmd)
	if err != nil {
		return err
	}
	if d := resp.GetError(); d != nil {
		return fsm.ErrorFromDetail(d)
	}
	return nil
}
