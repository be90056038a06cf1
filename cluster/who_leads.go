package cluster

import (
	"context"
	"sync"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	"github.com/spexio/spex/shard/store"
)

// groupKey names the replica of a group on a node.
type groupKey struct {
	node  string
	group uint32
}

// newestLeader finds out who of some nodes leads a group, by what they said: the one
// that leads in the highest term and has applied the first command of that term.
// It is "" and nil if nobody says so.
func newestLeader(group uint32, nodes []string, said map[groupKey]*peerv1.GroupStatus) (id string, lead *peerv1.GroupStatus) {
	for _, node := range nodes {
		if s := said[groupKey{node, group}]; s.GetLeading() && (lead == nil || s.GetTerm() > lead.GetTerm()) {
			id, lead = node, s
		}
	}
	return id, lead
}

// follows tells whether what a replica said shows that it follows a leader.
func follows(s *peerv1.GroupStatus, leader string, lead *peerv1.GroupStatus) bool {
	return s.GetLeader() == leader && s.GetTerm() == lead.GetTerm()
}

// leaderStatus asks the members of a group who of them leads it. It waits for those
// that do not answer only until a majority of the voters is known to follow that leader.
func (n *Node) leaderStatus(ctx context.Context, group uint32) (id string, lead *peerv1.GroupStatus) {
	members := n.catalog.machine.Placement(group).GetReplicas()
	if group == store.CatalogGroup {
		members, _ = n.catalog.group.Members()
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	said := n.askMembers(ctx, group, members, func(said map[groupKey]*peerv1.GroupStatus) bool {
		id, lead := newestLeader(group, members, said)
		following := 0
		for _, v := range lead.GetVoters() {
			if v == id || follows(said[groupKey{v, group}], id, lead) {
				following++
			}
		}
		return following > len(lead.GetVoters())/2
	})
	return newestLeader(group, members, said)
}

// askMembers asks members of a group, all at the same time, what they know of it, until
// ctx ends or what was said is enough. Who answered and has no replica said nil.
func (n *Node) askMembers(ctx context.Context, group uint32, members []string, enough func(said map[groupKey]*peerv1.GroupStatus) bool) map[groupKey]*peerv1.GroupStatus {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		from string
		resp *peerv1.StatusResponse
	}
	answers := make(chan answer, len(members))
	for _, m := range members {
		work.Go(func() { answers <- answer{m, n.statusOf(ctx, m, &peerv1.StatusRequest{Groups: []uint32{group}})} })
	}
	said := map[groupKey]*peerv1.GroupStatus{}
	for range members {
		a := <-answers
		if a.resp == nil {
			continue
		}
		key := groupKey{a.from, group}
		said[key] = nil
		for _, g := range a.resp.GetGroups() {
			if g.GetGroup() == group {
				said[key] = g
			}
		}
		if enough(said) {
			break
		}
	}
	return said
}

// statusOf asks a node, which may be this one, about its groups; nil if it does not answer.
func (n *Node) statusOf(ctx context.Context, id string, req *peerv1.StatusRequest) *peerv1.StatusResponse {
	if id == n.cfg.Self.GetId() {
		return n.localStatus(req.GetStateHash(), req.GetGroups()...)
	}
	resp, err := n.cfg.Peers.Status(ctx, id, req)
	if err != nil {
		return nil
	}
	return resp
}
