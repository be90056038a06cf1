package cluster

import (
	"context"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/callctx"
	"github.com/spexio/spex/internal/failpoint"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard/store"
)

// Forward answers a request that another node took. It is never passed on.
func (n *Node) Forward(ctx context.Context, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	id := req.GetTarget().GetGroup()
	if kind, ok := req.GetRequest().(*peerv1.ForwardRequest_Reports); ok {
		from, err := n.reportSource(id)
		if err != nil {
			return nil, err
		}
		resp, err := from.serve(ctx, kind.Reports)
		return &peerv1.ForwardResponse{Response: &peerv1.ForwardResponse_Reports{Reports: resp}}, err
	}
	r, err := n.replica(id)
	if r == nil {
		return nil, n.notHere(id, err)
	}
	return r.serve(callctx.WithPrincipal(ctx, req.GetPrincipal()), req)
}

// Propose applies a command to the catalog if this node leads it.
func (n *Node) Propose(ctx context.Context, req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	if req.GetTarget().GetGroup() != store.CatalogGroup {
		return nil, n.notHere(req.GetTarget().GetGroup(), nil)
	}
	return n.catalog.proposeHere(ctx, req.GetCommand())
}

// ReadIndex answers for a group that this node leads.
func (n *Node) ReadIndex(ctx context.Context, req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	g, ok := n.host.Get(req.GetTarget().GetGroup())
	if !ok {
		return nil, n.notHere(req.GetTarget().GetGroup(), nil)
	}
	index, err := g.ReadIndex(ctx)
	if err != nil {
		return nil, err
	}
	return &peerv1.ReadIndexResponse{Index: index}, nil
}

// Confirm says whether this node's term in a group is the given one, and what it
// thinks of the group's leader.
func (n *Node) Confirm(ctx context.Context, req *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
	g, ok := n.host.Get(req.GetTarget().GetGroup())
	if !ok {
		return nil, n.notHere(req.GetTarget().GetGroup(), nil)
	}
	confirmed, term := g.ConfirmTerm(req.GetTerm())
	resp := &peerv1.ConfirmResponse{Confirmed: confirmed, Term: term}
	if req.GetAboutLeader() {
		answer := g.Lost(ctx, req.GetLeader(), req.GetTerm())
		if n.retiring.Load() {
			answer.LastTerm, answer.LastIndex = 0, 0 // it cannot take over
		}
		resp.Lost, resp.LastTerm, resp.LastIndex = answer.Lost, answer.LastTerm, answer.LastIndex
	}
	return resp, nil
}

// PeerStatus tells what this node knows about its groups.
func (n *Node) PeerStatus(_ context.Context, req *peerv1.StatusRequest) (*peerv1.StatusResponse, error) {
	if req.GetTimeOnly() {
		return &peerv1.StatusResponse{TimeUnixNano: n.cfg.Now().UnixNano()}, nil
	}
	if req.GetSpaceOnly() {
		return &peerv1.StatusResponse{Space: n.space.message()}, nil
	}
	return n.localStatus(req.GetStateHash(), req.GetGroups()...), nil
}

// Join takes another node into the cluster: it is listed, and gets the catalog, without
// a vote. Placement moves shards to it then. Listed first, since only what is listed can
// be removed, should it never come back.
func (n *Node) Join(ctx context.Context, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	cluster := n.catalog.machine.Cluster()
	if cluster.ID == "" {
		return nil, n.unavailable("this node does not have the catalog yet: try again")
	}
	if name := req.GetClusterName(); name != cluster.Name {
		return nil, fsm.Errorf(typesv1.Reason_REASON_WRONG_CLUSTER, "this is the cluster %q, the node was configured for %q", cluster.Name, name)
	}
	if _, leading := n.catalog.group.Leading(); !leading {
		return n.passJoin(ctx, req)
	}
	if n.catalog.machine.NodeState(req.GetNode().GetId()) == statev1.NodeState_NODE_STATE_GONE {
		return nil, fsm.Errorf(typesv1.Reason_REASON_NODE_REMOVED, "the node %s was removed from the cluster: start its server with an empty data directory", req.GetNode().GetId())
	}
	cmd := &statev1.Command{Principal: "node/" + req.GetNode().GetId(), Kind: &statev1.Command_RegisterNode{RegisterNode: &statev1.RegisterNode{Node: req.GetNode()}}}
	if _, err := n.catalog.propose(ctx, cmd); err != nil {
		return nil, err
	}
	failpoint.Hit("cluster/join-listed")
	if err := n.catalog.admit(ctx, req.GetNode().GetId()); err != nil {
		return nil, err
	}
	failpoint.Hit("cluster/join-admitted")
	return &peerv1.JoinResponse{ClusterId: cluster.ID}, nil
}

// passJoin hands the request of a joining node to the catalog's leader: the
// joining node cannot know who that is.
func (n *Node) passJoin(ctx context.Context, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	leader, ok := n.catalog.group.Leader()
	if !ok || leader == n.cfg.Self.GetId() || req.GetTarget().GetFrom() != req.GetNode().GetId() {
		return nil, fsm.Errorf(typesv1.Reason_REASON_NO_LEADER, "the catalog has no leader at the moment: try again")
	}
	return n.cfg.Peers.Join(ctx, leader, req)
}
