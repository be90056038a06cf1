package cluster

import (
	"context"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/shard/store"
)

// changeKinds are the changes of a configuration that a peer may ask for.
var changeKinds = map[peerv1.ChangeMembershipRequest_Kind]shard.MemberChangeKind{
	peerv1.ChangeMembershipRequest_KIND_ADD_NONVOTER: shard.AddNonvoterChange,
	peerv1.ChangeMembershipRequest_KIND_PROMOTE:      shard.PromoteChange,
	peerv1.ChangeMembershipRequest_KIND_DEMOTE:       shard.DemoteChange,
	peerv1.ChangeMembershipRequest_KIND_REMOVE:       shard.RemoveChange,
	peerv1.ChangeMembershipRequest_KIND_TRANSFER:     shard.TransferChange,
}

// ChangeMembership changes the configuration of a group that this node leads.
func (n *Node) ChangeMembership(ctx context.Context, req *peerv1.ChangeMembershipRequest) (*peerv1.ChangeMembershipResponse, error) {
	id := req.GetTarget().GetGroup()
	g, ok := n.host.Get(id)
	if !ok {
		_, err := n.replica(id)
		return nil, n.notHere(id, err)
	}
	c := shard.MemberChange{
		Kind: changeKinds[req.GetKind()], Node: req.GetNode(), Voters: req.GetExpectedVoters(), Nonvoters: req.GetExpectedNonvoters(),
	}
	// Leadership may go to any voter, whoever the others are.
	if c.Kind == shard.TransferChange && len(c.Voters)+len(c.Nonvoters) == 0 {
		c.Voters, c.Nonvoters = g.Members()
	}
	if c.Kind == shard.TransferChange {
		failpoint.Hit("cluster/transfer-received")
	}
	if err := g.Change(ctx, c); err != nil {
		return nil, inDoubt(err)
	}
	switch c.Kind {
	case shard.AddNonvoterChange:
		failpoint.Hit("cluster/replica-added")
	case shard.PromoteChange:
		failpoint.Hit("cluster/replica-promoted")
	case shard.RemoveChange:
		failpoint.Hit("cluster/replica-removed")
	case shard.TransferChange:
		failpoint.Hit("cluster/transfer-done")
	}
	return &peerv1.ChangeMembershipResponse{}, nil
}

// admit gives a node the catalog, without a vote. It changes nothing for a node
// that has it.
func (c *catalog) admit(ctx context.Context, node string) error {
	voters, nonvoters := c.group.Members()
	for _, id := range append(append([]string(nil), voters...), nonvoters...) {
		if id == node {
			return nil
		}
	}
	err := c.group.Change(ctx, shard.MemberChange{Kind: shard.AddNonvoterChange, Node: node, Voters: voters, Nonvoters: nonvoters})
	if err != nil {
		return inDoubt(err)
	}
	return nil
}

// onLeader has the leader of a group do what the peers' call does; here is what
// this node does if it is that leader. It is repeated while nobody leads.
func onLeader[Req any, Resp any](ctx context.Context, n *Node, group uint32, what effect, req Req,
	here func(context.Context, Req) (Resp, error), there func(context.Context, string, Req) (Resp, error),
) (resp Resp, err error) {
	err = n.router.toLeader(ctx, group, what, func(ctx context.Context, target string) (err error) {
		if target == n.cfg.Self.GetId() {
			resp, err = here(ctx, req)
		} else {
			resp, err = there(ctx, target, req)
		}
		return err
	})
	return resp, err
}

// TransferLeadership hands the leadership of a shard, or of the catalog (0), to
// one of its voters, given by id or name, or to the one that is most up to date
// when node is empty. Unless placement is paused, leaders that are then no
// longer spread evenly are moved again.
func (n *Node) TransferLeadership(ctx context.Context, group uint32, node string) error {
	if group != store.CatalogGroup && n.catalog.machine.Placement(group) == nil {
		return fsm.Errorf(invalidArgument, "there is no shard %d", group)
	}
	req := &peerv1.ChangeMembershipRequest{Target: &peerv1.Target{Group: group}, Kind: peerv1.ChangeMembershipRequest_KIND_TRANSFER}
	if node != "" {
		found, err := n.findNode(ctx, node)
		if err != nil {
			return err
		}
		req.Node = found.GetId()
	}
	_, err := onLeader(ctx, n, group, moves, req, n.ChangeMembership, n.cfg.Peers.ChangeMembership)
	return err
}
