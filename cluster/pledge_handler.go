package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// HandlePledge answers a proposer. A refusal is a response with a reason and
// binds this node to nothing; the proposer may ask again. pledged = true is
// given only after the pledge is on disk, and from the first request that
// passed the checks on this node supports no other proposal, whatever becomes
// of it. A request without a cluster id is a trial: the answer is the one that
// a proposal would get now, and binds nobody. HandlePledge answers before,
// during and after Run.
func (b *Bootstrap) HandlePledge(ctx context.Context, req *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE, Message: err.Error(), NotApplied: true}
	}
	p := proposalOf(req)
	// Joining and pledging exclude each other: see startJoin.
	b.mu.Lock()
	defer b.mu.Unlock()
	if reason, bound := b.refuseLocked(p, req.GetTarget().GetFrom()); reason != "" {
		b.log.Info("refused a pledge", "proposer", p.Proposer(), "proposed_cluster_id", p.ClusterID, "reason", reason)
		return &peerv1.PledgeResponse{Reason: reason, ClusterId: bound}, nil
	}
	if p.ClusterID == "" {
		return &peerv1.PledgeResponse{Pledged: true}, nil
	}
	before, had, _ := b.pledges.current()
	if err := b.pledges.pledge(p); err != nil {
		if errors.Is(err, errPledgedElsewhere) {
			return &peerv1.PledgeResponse{Reason: err.Error(), ClusterId: before.ClusterID}, nil
		}
		return nil, &fsm.Error{Reason: typesv1.Reason_REASON_INTERNAL, Message: fmt.Sprintf("node %s cannot pledge: %v", b.cfg.Self.ID, err)}
	}
	failpoint.Hit("cluster/pledge-written")
	if !had {
		b.log.Info("pledged to a new cluster", "cluster_id", p.ClusterID, "proposer", p.Proposer(), "members", p.Members)
		b.wakeUp()
	}
	return &peerv1.PledgeResponse{Pledged: true, ClusterId: p.ClusterID}, nil
}

// refuseLocked returns why this node does not support a proposal, and the
// cluster id that it is bound to; "" means that it does.
func (b *Bootstrap) refuseLocked(p Proposal, from string) (reason, bound string) {
	if current, ok, _ := b.pledges.current(); ok {
		if current.Equal(p) {
			return "", current.ClusterID
		}
		return fmt.Sprintf("node %s is pledged to another proposal, of %s with members %s: %s", b.cfg.Self.ID,
			current.Proposer(), strings.Join(current.Members, ", "), mendPledge), current.ClusterID
	}
	if id := b.identity.ClusterID(); id != "" {
		return fmt.Sprintf("node %s belongs to a cluster", b.cfg.Self.ID), id
	}
	if b.joining != "" {
		return fmt.Sprintf("node %s is joining a cluster", b.cfg.Self.ID), b.joining
	}
	if err := p.check(); err != nil {
		return err.Error(), ""
	}
	return b.compare(p, from)
}

// compare checks a proposal against what this node was told and sees.
func (b *Bootstrap) compare(p Proposal, from string) (reason, bound string) {
	s := b.gather()
	self := s.self
	seen := []string{self}
	for _, m := range s.peers {
		if m.ClusterID != "" {
			return fmt.Sprintf("node %s sees %s of an existing cluster", self, m.ID), m.ClusterID
		}
		seen = append(seen, m.ID)
	}
	slices.Sort(seen)
	switch {
	case p.ClusterName != s.clusterName:
		return fmt.Sprintf("node %s is of cluster %q, not of %q", self, s.clusterName, p.ClusterName), ""
	case p.Proposer() != from:
		return fmt.Sprintf("%q proposes, but only %q, the lowest id, may", from, p.Proposer()), ""
	case !slices.Contains(p.Members, self):
		return fmt.Sprintf("node %s is not in the list", self), ""
	case len(p.Members) != s.expect:
		return fmt.Sprintf("%d members proposed, node %s was started with --expect %d: give all the same", len(p.Members), self, s.expect), ""
	case p.Shards != s.shards || p.Replicas != s.replicas:
		return fmt.Sprintf("%d shards and %d replicas proposed, node %s was started with --shards %d --replicas %d: give all the same",
			p.Shards, p.Replicas, self, s.shards, s.replicas), ""
	case !slices.Equal(seen, p.Members):
		return fmt.Sprintf("node %s sees %s: not the proposed list", self, strings.Join(seen, ", ")), ""
	}
	return "", ""
}
