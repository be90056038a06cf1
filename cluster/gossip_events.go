package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"
)

const (
	// maxFallen bounds how many dead and left nodes are remembered.
	maxFallen = 256
	// maxRefused bounds for how many refused nodes it is remembered that they were logged.
	maxRefused = 256
)

// gossipCallbacks is what memberlist calls, holding its own lock: nothing here
// may block or call it back. It keeps these methods off Gossip itself.
type gossipCallbacks struct{ g *Gossip }

// NodeMeta is what this node tells of itself.
func (c gossipCallbacks) NodeMeta(limit int) []byte {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	meta, err := encodeMeta(c.g.self, c.g.leaving)
	if err != nil || len(meta) > limit {
		// StartGossip made sure that it fits with any cluster id of the usual
		// length; without it the node is refused by others instead of by a panic.
		c.g.log.Error("gossip cannot describe this node", "error", err)
		return nil
	}
	return meta
}

// NotifyMsg takes in a hint of a leader, all that is sent beside who is there.
func (c gossipCallbacks) NotifyMsg(message []byte) {
	known := func(nodeID string) bool {
		_, ok := c.g.Member(nodeID)
		return ok
	}
	if err := c.g.cfg.Hints.hear(message, known); err != nil {
		c.g.log.Debug("a message of gossip was not understood", "error", err)
	}
}

// GetBroadcasts gives hints of leaders the room that who is there leaves in a packet.
func (c gossipCallbacks) GetBroadcasts(overhead, limit int) [][]byte {
	return c.g.cfg.Hints.queue.GetBroadcasts(overhead, limit)
}

// LocalState and MergeRemoteState are unused: who has missed a hint asks.
func (gossipCallbacks) LocalState(bool) []byte        { return nil }
func (gossipCallbacks) MergeRemoteState([]byte, bool) {}

// NotifyAlive refuses nodes of another cluster, so that address reuse cannot
// merge two gossip pools for good.
func (c gossipCallbacks) NotifyAlive(peer *memberlist.Node) error {
	g := c.g
	m, _, err := decodeMeta(peer.Meta)
	if err != nil {
		return err
	}
	if m.ID != peer.Name {
		return fmt.Errorf("gossip: node %q calls itself %q", peer.Name, m.ID)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.ID == g.self.ID {
		if m.PeerAddress != g.self.PeerAddress {
			g.elsewhere = m.PeerAddress
			g.tellLocked()
		}
		return nil
	}
	if !g.foreignLocked(m) {
		return nil
	}
	m.GossipAddress = peer.Address()
	g.logForeignLocked(m)
	return fmt.Errorf("node %s belongs to cluster id %s, this one to %s", m.ID, m.ClusterID, g.self.ClusterID)
}

// NotifyJoin, NotifyUpdate and NotifyLeave copy the node, which memberlist goes
// on to change.
func (c gossipCallbacks) NotifyJoin(n *memberlist.Node)   { c.g.note(n, StatusAlive) }
func (c gossipCallbacks) NotifyUpdate(n *memberlist.Node) { c.g.note(n, StatusAlive) }
func (c gossipCallbacks) NotifyLeave(n *memberlist.Node)  { c.g.note(n, StatusDead) }

func (g *Gossip) note(n *memberlist.Node, status MemberStatus) {
	m, leaving, err := decodeMeta(n.Meta)
	if err != nil {
		g.log.Warn("gossip about a node that cannot be read", "member", n.Name, "error", err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.ID == g.self.ID {
		return
	}
	if status == StatusDead && leaving {
		status = StatusLeft
	}
	m.GossipAddress, m.Status = n.Address(), status
	before, had := g.known[m.ID]
	g.known[m.ID] = m
	g.fallen = slices.DeleteFunc(g.fallen, func(id string) bool { return id == m.ID })
	if status != StatusAlive {
		g.fallen = append(g.fallen, m.ID)
		if len(g.fallen) > maxFallen {
			delete(g.known, g.fallen[0])
			g.fallen = g.fallen[1:]
		}
	}
	if !had || before.Status != status {
		g.log.Info("gossip: node is "+status.String(), "member", m.ID, "gossip", m.GossipAddress, "peer", m.PeerAddress, "cluster_id", m.ClusterID)
	}
	g.rebuildLocked()
}

// foreignLocked reports whether a node belongs to another cluster than this one.
func (g *Gossip) foreignLocked(m Member) bool {
	return g.self.ClusterID != "" && m.ClusterID != "" && m.ClusterID != g.self.ClusterID
}

// logForeignLocked logs a refused node once for each cluster id it comes with.
func (g *Gossip) logForeignLocked(m Member) {
	if g.refused[m.ID] == m.ClusterID {
		return
	}
	if len(g.refused) >= maxRefused {
		clear(g.refused)
	}
	g.refused[m.ID] = m.ClusterID
	g.log.Error("refused a node of another cluster with the same name: give the clusters different names, or mend the --join list",
		"member", m.ID, "gossip", m.GossipAddress, "its_cluster_id", m.ClusterID, "cluster_id", g.self.ClusterID)
}

// rebuildLocked swaps in a new view and tells the subscribers.
func (g *Gossip) rebuildLocked() {
	v := &gossipView{byID: make(map[string]Member, len(g.known)+1)}
	v.byID[g.self.ID] = g.self
	v.members = append(v.members, g.self)
	for id, m := range g.known {
		if g.foreignLocked(m) {
			g.logForeignLocked(m)
			continue
		}
		v.byID[id] = m
		v.members = append(v.members, m)
	}
	slices.SortFunc(v.members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	g.view.Store(v)
	g.cfg.Hints.nodes.Store(int32(len(v.members)))
	g.tellLocked()
}

// tellLocked tells the subscribers that there is news.
func (g *Gossip) tellLocked() {
	for ch := range g.subs {
		select {
		case ch <- struct{}{}:
		default: // a value is waiting already, and the reader will see this change too
		}
	}
}
