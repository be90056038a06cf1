package cluster

import (
	"context"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
)

// Peers is how a node speaks to the other nodes of its cluster. Every method
// is safe for concurrent use, needs a context with a deadline, fills the
// request's Target (the receiver by the argument, the cluster id and the
// sender by what the implementation was given), and returns an *fsm.Error: the
// peer's own, or one with REASON_UNAVAILABLE when the peer did not answer. An
// error without NotApplied leaves open whether the peer acted.
type Peers interface {
	Forward(ctx context.Context, to string, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error)
	Propose(ctx context.Context, to string, req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error)
	ReadIndex(ctx context.Context, to string, req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error)
	Confirm(ctx context.Context, to string, req *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error)
	Pledge(ctx context.Context, to string, req *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error)
	Join(ctx context.Context, to string, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error)
	Status(ctx context.Context, to string, req *peerv1.StatusRequest) (*peerv1.StatusResponse, error)
	ChangeMembership(ctx context.Context, to string, req *peerv1.ChangeMembershipRequest) (*peerv1.ChangeMembershipResponse, error)
	Placement(ctx context.Context, to string, req *peerv1.PlacementRequest) (*peerv1.PlacementResponse, error)
}

// PeerHandler answers what other nodes ask. The transport has checked the
// Target before it calls; the handler must honour the context's deadline.
type PeerHandler interface {
	Forward(ctx context.Context, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error)
	Propose(ctx context.Context, req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error)
	ReadIndex(ctx context.Context, req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error)
	Confirm(ctx context.Context, req *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error)
	Pledge(ctx context.Context, req *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error)
	Join(ctx context.Context, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error)
	Status(ctx context.Context, req *peerv1.StatusRequest) (*peerv1.StatusResponse, error)
	ChangeMembership(ctx context.Context, req *peerv1.ChangeMembershipRequest) (*peerv1.ChangeMembershipResponse, error)
	Placement(ctx context.Context, req *peerv1.PlacementRequest) (*peerv1.PlacementResponse, error)
}

// Resolver finds the current peer address (host:port) of a node by its id. It
// is safe for concurrent use and does no I/O.
type Resolver interface {
	PeerAddress(nodeID string) (address string, ok bool)
}
