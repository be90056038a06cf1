package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// sleep lets up to that many milliseconds pass.
func (s *sim) sleep(upTo int) {
	s.mu.Lock()
	d := time.Duration(1+s.rng.IntN(upTo)) * time.Millisecond
	s.mu.Unlock()
	time.Sleep(d)
}

// gossip refreshes the views until ctx ends; in a lossy network only some.
func (s *sim) gossip(ctx context.Context) {
	for ctx.Err() == nil {
		s.sleep(40)
		s.mu.Lock()
		for _, n := range s.nodes {
			if p := n.proc; p != nil && !p.dead && s.rng.Float64() >= s.loss {
				p.refreshLocked()
			}
		}
		s.mu.Unlock()
	}
}

func (p *simProc) refreshLocked() {
	var view []Member
	for _, n := range p.s.nodes {
		q := n.proc
		if q == nil || q.dead || p.s.hiddenLocked(p.node.name, n.name) {
			continue
		}
		view = append(view, Member{ID: q.id, ClusterID: q.published, Status: StatusAlive, PeerAddress: n.name + ":1"})
	}
	slices.SortFunc(view, func(a, b Member) int { return compareIDs(a.ID, b.ID) })
	if slices.Equal(view, p.view) {
		return
	}
	p.view = view
	for ch := range p.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (s *sim) hiddenLocked(a, b string) bool {
	return s.hidden[[2]string{min(a, b), max(a, b)}]
}

func (s *sim) hide(a, b string, hidden bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden[[2]string{min(a, b), max(a, b)}] = hidden
}

// Members and Subscribe make a process its own Membership.
func (p *simProc) Members() []Member {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return slices.Clone(p.view)
}

func (p *simProc) Subscribe() (<-chan struct{}, func()) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	ch := make(chan struct{}, 1)
	p.subs[ch] = struct{}{}
	return ch, func() {
		p.s.mu.Lock()
		defer p.s.mu.Unlock()
		delete(p.subs, ch)
	}
}

// deliver finds the process of a node id, if the message gets through.
func (p *simProc) deliver(to string) *simProc {
	p.s.sleep(30)
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	for _, n := range p.s.nodes {
		q := n.proc
		if q != nil && !q.dead && !p.dead && q.id == to && !p.s.hiddenLocked(p.node.name, n.name) && p.s.rng.Float64() >= p.s.loss {
			return q
		}
	}
	return nil
}

var errLost = &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE, Message: "no answer"}

func (p *simProc) Pledge(ctx context.Context, to string, req *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error) {
	q := p.deliver(to)
	if q == nil {
		return nil, errLost
	}
	req.Target = &peerv1.Target{From: p.id, To: to}
	resp, err := q.bootstrap.HandlePledge(ctx, req)
	if q.deliver(p.id) == nil {
		return nil, errLost
	}
	return resp, err
}

func (p *simProc) Join(_ context.Context, to string, _ *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	q := p.deliver(to)
	if q == nil || q.identity.ClusterID() == "" || q.deliver(p.id) == nil {
		return nil, errLost
	}
	return &peerv1.JoinResponse{ClusterId: q.identity.ClusterID()}, nil
}

func (*simProc) Forward(context.Context, string, *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	return nil, errLost
}
func (*simProc) Propose(context.Context, string, *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	return nil, errLost
}
func (*simProc) ReadIndex(context.Context, string, *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	return nil, errLost
}
func (*simProc) Confirm(context.Context, string, *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
	return nil, errLost
}
func (*simProc) Status(context.Context, string, *peerv1.StatusRequest) (*peerv1.StatusResponse, error) {
	return nil, errLost
}

func (*simProc) ChangeMembership(context.Context, string, *peerv1.ChangeMembershipRequest) (*peerv1.ChangeMembershipResponse, error) {
	return nil, errLost
}

func (*simProc) Placement(context.Context, string, *peerv1.PlacementRequest) (*peerv1.PlacementResponse, error) {
	return nil, errLost
}
