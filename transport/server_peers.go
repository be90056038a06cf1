package transport

import (
	"context"
	"strings"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// resolver asks gossip, which knows the newest addresses, and then the catalog,
// which knows nodes that gossip has not met yet.
type resolver struct{ s *Server }

func (r resolver) PeerAddress(id string) (string, bool) {
	if r.s.gossip != nil {
		if addr, ok := r.s.gossip.PeerAddress(id); ok {
			return addr, true
		}
	}
	if r.s.gate.open.Load() {
		return r.s.gate.Node.CatalogAddress(id)
	}
	return "", false
}

// peerHandler answers other nodes: pledges from the beginning, the rest once
// the node is open.
type peerHandler struct{ s *Server }

func errStarting() *fsm.Error {
	return fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "the node has not found its cluster yet: try again, or ask another node")
}

func (h peerHandler) node() (*cluster.Node, error) {
	if !h.s.gate.open.Load() {
		return nil, errStarting()
	}
	return h.s.gate.Node, nil
}

func withNode[Req, Resp any](h peerHandler, ctx context.Context, req Req, call func(*cluster.Node, context.Context, Req) (Resp, error)) (Resp, error) {
	n, err := h.node()
	if err != nil {
		var none Resp
		return none, err
	}
	return call(n, ctx, req)
}

func (h peerHandler) Forward(ctx context.Context, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	return withNode(h, ctx, req, (*cluster.Node).Forward)
}

func (h peerHandler) Propose(ctx context.Context, req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	return withNode(h, ctx, req, (*cluster.Node).Propose)
}

func (h peerHandler) ReadIndex(ctx context.Context, req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	return withNode(h, ctx, req, (*cluster.Node).ReadIndex)
}

func (h peerHandler) Confirm(ctx context.Context, req *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
	return withNode(h, ctx, req, (*cluster.Node).Confirm)
}

func (h peerHandler) Pledge(ctx context.Context, req *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error) {
	return h.s.boot.HandlePledge(ctx, req)
}

func (h peerHandler) Join(ctx context.Context, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	return withNode(h, ctx, req, (*cluster.Node).Join)
}

func (h peerHandler) Status(ctx context.Context, req *peerv1.StatusRequest) (*peerv1.StatusResponse, error) {
	if h.s.asksItself(ctx) {
		return nil, fsm.Errorf(typesv1.Reason_REASON_WRONG_TARGET, "this is the process that asks")
	}
	return withNode(h, ctx, req, (*cluster.Node).PeerStatus)
}

func (h peerHandler) ChangeMembership(ctx context.Context, req *peerv1.ChangeMembershipRequest) (*peerv1.ChangeMembershipResponse, error) {
	return withNode(h, ctx, req, (*cluster.Node).ChangeMembership)
}

func (h peerHandler) Placement(ctx context.Context, req *peerv1.PlacementRequest) (*peerv1.PlacementResponse, error) {
	return withNode(h, ctx, req, (*cluster.Node).PeerPlacement)
}

// isHealth reports whether a call is about the server itself and not for the node behind it.
func isHealth(fullMethod string) bool {
	return strings.HasPrefix(fullMethod, "/grpc.health.") || strings.HasPrefix(fullMethod, "/grpc.reflection.")
}
