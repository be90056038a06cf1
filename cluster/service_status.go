package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"runtime"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/shard/store"
)

// stateRefused is the state of a replica that could not be opened.
const stateRefused = "refused"

// statusPatience is how long a status waits for a node that does not answer.
const statusPatience = 2 * time.Second

// Version tells the release of this node.
func (n *Node) Version() *spexv1.GetVersionResponse {
	return &spexv1.GetVersionResponse{Version: n.cfg.Version, FeatureLevel: fsm.FeatureLevel, GoVersion: runtime.Version()}
}

// Status asks every node about its groups and puts the answers together. It
// needs no quorum: nodes that do not answer are shown as unreachable.
func (n *Node) Status(ctx context.Context, req *spexv1.GetStatusRequest) (*spexv1.GetStatusResponse, error) {
	cluster := n.catalog.machine.Cluster()
	resp := &spexv1.GetStatusResponse{
		ClusterId: cluster.ID, ClusterName: cluster.Name, NodeId: n.cfg.Self.GetId(), FeatureLevel: cluster.FeatureLevel, ReplicasAsked: cluster.Replicas,
		PlacementPaused: n.catalog.machine.Placing().Paused,
	}
	nodes := n.catalog.machine.Nodes()
	answers := n.askAll(ctx, nodes, req.GetStateHash())
	gossip := map[string]string{}
	for _, m := range n.cfg.Members() {
		gossip[m.ID] = m.Status.String()
	}
	names := map[string]string{}
	for _, node := range nodes {
		names[node.GetId()] = node.GetName()
	}
	byNode := map[string]*spexv1.NodeStatus{}
	for i, node := range nodes {
		st := &spexv1.NodeStatus{
			Id: node.GetId(), Name: node.GetName(), ClientAddress: node.GetClientAddress(), PeerAddress: node.GetPeerAddress(),
			Gossip: gossip[node.GetId()], Reachable: answers[i] != nil, Version: answers[i].GetVersion(),
			Space: answers[i].GetSpace(), Alarms: answers[i].GetAlarms(), State: nodeStates[n.catalog.machine.NodeState(node.GetId())],
		}
		if answers[i] != nil && answers[i].ClockOffsetNanos != nil {
			st.ClockOffset = durationpb.New(time.Duration(answers[i].GetClockOffsetNanos()))
		}
		if st.Gossip == "" {
			st.Gossip = "unknown"
			if node.GetId() == n.cfg.Self.GetId() {
				st.Gossip = "alive"
			}
		}
		byNode[node.GetId()] = st
		resp.Nodes = append(resp.Nodes, st)
	}
	groups := groupsByID(nodes, answers)
	var catalogReplicas []string
	for _, node := range nodes {
		catalogReplicas = append(catalogReplicas, node.GetId())
	}
	resp.Catalog = shardStatus(store.CatalogGroup, catalogReplicas, groups, names)
	resp.Catalog.Formed = cluster.ID != ""
	for _, v := range n.catalog.group.Status().Voters {
		if st := byNode[v]; st != nil {
			st.CatalogVoter = true
		}
	}
	for _, p := range n.catalog.machine.Placements() {
		st := shardStatus(p.GetShard(), p.GetReplicas(), groups, names)
		st.Formed = p.GetFormed()
		resp.Shards = append(resp.Shards, st)
		for _, id := range p.GetReplicas() {
			if node := byNode[id]; node != nil {
				node.Replicas++
				if st.Leader == id {
					node.Leaders++
				}
			}
		}
	}
	return resp, nil
}

// patienceOf is how long a status waits for the nodes. Hashes of large states take as
// long as they take: they have nearly all of the time that the caller has, so that it
// gets what the others say before it gives up.
func patienceOf(ctx context.Context, hash bool) time.Duration {
	if !hash {
		return statusPatience
	}
	if deadline, ok := ctx.Deadline(); ok {
		return max(time.Until(deadline)*9/10, statusPatience)
	}
	return 5 * statusPatience
}

// askAll returns the answers in the order of the nodes, nil for none.
func (n *Node) askAll(ctx context.Context, nodes []*statev1.Node, hash bool) []*peerv1.StatusResponse {
	ctx, cancel := context.WithTimeout(ctx, patienceOf(ctx, hash))
	defer cancel()
	answers := make([]*peerv1.StatusResponse, len(nodes))
	var work sync.WaitGroup
	for i, node := range nodes {
		work.Add(1)
		go func() {
			defer work.Done()
			answers[i] = n.statusOf(ctx, node.GetId(), &peerv1.StatusRequest{StateHash: hash})
		}()
	}
	work.Wait()
	return answers
}

func groupsByID(nodes []*statev1.Node, answers []*peerv1.StatusResponse) map[groupKey]*peerv1.GroupStatus {
	groups := map[groupKey]*peerv1.GroupStatus{}
	for i, node := range nodes {
		for _, g := range answers[i].GetGroups() {
			groups[groupKey{node.GetId(), g.GetGroup()}] = g
		}
		if answers[i] != nil {
			// Present, so that a group that is missing there can be told from a node that does not answer.
			groups[groupKey{node.GetId(), ^uint32(0)}] = nil
		}
	}
	return groups
}

// shardStatus puts together what the replicas of a group say.
func shardStatus(id uint32, replicas []string, groups map[groupKey]*peerv1.GroupStatus, names map[string]string) *spexv1.ShardStatus {
	st := &spexv1.ShardStatus{Id: id}
	leader, lead := newestLeader(id, replicas, groups)
	st.Leader = leader
	for _, node := range replicas {
		st.Term = max(st.Term, groups[groupKey{node, id}].GetTerm())
	}
	st.LeaderName = names[st.Leader]
	st.Instances, st.Awaiting = lead.GetInstances(), lead.GetAwaiting()
	st.FailureTolerance = tolerance(lead, groups)
	for _, node := range replicas {
		g := groups[groupKey{node, id}]
		r := &spexv1.ReplicaStatus{
			NodeId: node, NodeName: names[node], State: g.GetState(), AppliedIndex: g.GetAppliedIndex(), CommitIndex: g.GetCommitIndex(),
			StateHash: hex.EncodeToString(g.GetStateHash()), StateHashIndex: g.GetStateHashIndex(), Error: g.GetError(),
			Voter: slices.Contains(lead.GetVoters(), node),
		}
		if g == nil {
			r.State = "unreachable"
			if _, answered := groups[groupKey{node, ^uint32(0)}]; answered {
				r.State = "missing"
			}
		}
		if applied := g.GetAppliedIndex(); g != nil && lead.GetAppliedIndex() > applied {
			r.Lag = lead.GetAppliedIndex() - applied
		}
		st.Replicas = append(st.Replicas, r)
	}
	return st
}

// localStatus tells about the given groups on this node, about all without any.
func (n *Node) localStatus(hash bool, groups ...uint32) *peerv1.StatusResponse {
	asked := func(id uint32) bool { return len(groups) == 0 || slices.Contains(groups, id) }
	resp := &peerv1.StatusResponse{Version: n.cfg.Version, Space: n.space.message(), TimeUnixNano: n.cfg.Now().UnixNano()}
	var alarm string
	if resp.ClockOffsetNanos, alarm = n.clock.status(); alarm != "" {
		resp.Alarms = append(resp.Alarms, alarm)
	}
	if asked(store.CatalogGroup) {
		resp.Groups = append(resp.Groups, groupStatus(n.catalog.group, fsm.Stats{}, hash, n.catalog.machine.StateHash))
	}
	n.mu.Lock()
	replicas := make([]*replica, 0, len(n.replicas))
	for id, r := range n.replicas {
		if asked(id) {
			replicas = append(replicas, r)
		}
	}
	for id, err := range n.refused {
		if asked(id) {
			resp.Groups = append(resp.Groups, &peerv1.GroupStatus{Group: id, State: stateRefused, Error: err.Error()})
		}
	}
	n.mu.Unlock()
	for _, r := range replicas {
		resp.Groups = append(resp.Groups, groupStatus(r.group, r.machine.Stats(), hash, r.machine.StateHash))
	}
	return resp
}

func groupStatus(g group, stats fsm.Stats, hash bool, stateHash func() (uint64, [sha256.Size]byte, error)) *peerv1.GroupStatus {
	s := g.Status()
	st := &peerv1.GroupStatus{
		Group: s.Group, State: s.State, Term: s.Term, Leader: s.Leader, AppliedIndex: s.Applied, CommitIndex: s.Commit, LastIndex: s.Last,
		Instances: uint64(stats.Instances), Awaiting: uint64(stats.Awaiting),
		Voters: s.Voters, Nonvoters: s.Nonvoters, Leading: s.Leading, Settled: s.Settled,
	}
	if s.Halted != nil {
		st.Error = s.Halted.Error()
	}
	if hash {
		index, sum, err := stateHash()
		if err != nil {
			st.Error = err.Error()
		} else {
			st.StateHashIndex, st.StateHash = index, sum[:]
		}
	}
	return st
}
