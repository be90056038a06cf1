package cluster

import (
	"fmt"
	"slices"
	"strings"
)

// situation is all that the decision depends on.
type situation struct {
	self        string
	clusterName string
	expect      int
	// seeds: the configuration names other servers to contact.
	seeds            bool
	shards, replicas uint32
	// clusterID is the node's own, "" while it has none.
	clusterID string
	// pledge is the proposal that the node is bound to, nil if none.
	pledge *Proposal
	// peers are the other nodes that are alive in gossip, in order of id.
	peers []Member
}

type action int

const (
	actWait      action = iota // for gossip, for a pledge request, or for people
	actRestarted               // the node has a cluster: nothing to decide
	actPledged                 // the cluster that the node supports exists
	actJoin                    // ask one of candidates to take the node in
	actPropose                 // mint a proposal for members
	actAsk                     // ask the members of the pledge, which is the node's own proposal
)

// String names the action, for logs and scenario tests.
func (a action) String() string {
	return [...]string{"wait", "restarted", "pledged", "join", "propose", "ask"}[a]
}

// decision is what to do next. reason says why, and for a wait what would end it.
type decision struct {
	action     action
	clusterID  string
	candidates []string
	members    []string
	reason     string
}

const mendPledge = "if that proposal can never succeed, stop the pledged servers and empty their data directories, which hold nothing else yet"

// decide is the whole policy of forming and joining. It is pure: no time
// passes in it, so nothing ever happens because a timeout passed.
func decide(s situation) decision {
	if s.clusterID != "" {
		return decision{action: actRestarted, clusterID: s.clusterID, reason: "the data directory belongs to the cluster"}
	}
	// Nodes with state, by cluster id.
	formed := make(map[string][]string)
	for _, m := range s.peers {
		if m.ClusterID != "" {
			formed[m.ClusterID] = append(formed[m.ClusterID], m.ID)
		}
	}
	if s.pledge != nil {
		return decidePledged(s, *s.pledge, formed)
	}
	switch len(formed) {
	case 0:
		return decideNew(s)
	case 1:
		for id, nodes := range formed {
			return decision{action: actJoin, clusterID: id, candidates: nodes, reason: "in sight of the cluster: " + strings.Join(nodes, ", ")}
		}
	}
	return decision{reason: fmt.Sprintf("clusters %s have the same name: cannot tell which one to join; give them different names", joinKeys(formed))}
}

// decidePledged decides for a node that supports a proposal. It joins nothing
// else, whatever it sees: the proposed cluster may exist out of its sight.
func decidePledged(s situation, p Proposal, formed map[string][]string) decision {
	if nodes := formed[p.ClusterID]; len(nodes) > 0 {
		return decision{action: actPledged, clusterID: p.ClusterID, reason: "it exists: in sight of it are " + strings.Join(nodes, ", ")}
	}
	if len(formed) > 0 {
		return decision{reason: fmt.Sprintf("pledged to cluster id %s, but the servers in sight belong to %s: %s", p.ClusterID, joinKeys(formed), mendPledge)}
	}
	alive := []string{s.self}
	for _, m := range s.peers {
		alive = append(alive, m.ID)
	}
	missing := without(p.Members, alive)
	strangers := without(alive, p.Members)
	if len(missing) > 0 {
		reason := fmt.Sprintf("pledged to cluster id %s; not in sight of its members: %s", p.ClusterID, strings.Join(missing, ", "))
		if len(strangers) > 0 {
			// A member that lost its disk comes back under another id.
			reason += fmt.Sprintf("; but in sight, and no member: %s; %s", strings.Join(strangers, ", "), mendPledge)
		}
		return decision{reason: reason}
	}
	if p.Proposer() == s.self {
		return decision{action: actAsk, clusterID: p.ClusterID, members: p.Members, reason: "all members of the proposal are in sight"}
	}
	return decision{reason: fmt.Sprintf("pledged to cluster id %s; %s has not formed it yet", p.ClusterID, p.Proposer())}
}

// decideNew decides for a node that is bound to nothing and sees no cluster.
func decideNew(s situation) decision {
	stateless := []string{s.self}
	for _, m := range s.peers {
		stateless = append(stateless, m.ID)
	}
	slices.Sort(stateless)
	names := strings.Join(stateless, ", ")
	switch n := len(stateless); {
	case s.expect == 0:
		return decision{reason: "no server of a cluster is in sight, and without --expect none is formed; check --join"}
	case s.expect == 1 && s.seeds:
		// Alone in sight says nothing while the servers to join were not reached.
		return decision{reason: "no server of a cluster is in sight; --expect 1 together with --join joins, and forms nothing: leave --join out on the first server"}
	case n < s.expect:
		return decision{reason: fmt.Sprintf("%d of %d expected servers are in sight: %s", n, s.expect, names)}
	case n > s.expect:
		return decision{reason: fmt.Sprintf("%d servers without a cluster are in sight, %d were expected: %s; stop those that are too many, or restart all with --expect %d",
			n, s.expect, names, n)}
	case stateless[0] != s.self:
		return decision{reason: fmt.Sprintf("all %d servers are in sight; %s, the lowest id, proposes", n, stateless[0])}
	default:
		return decision{action: actPropose, members: stateless, reason: "all expected servers are in sight, and this one has the lowest id"}
	}
}

// without returns the elements of a that are not in b.
func without(a, b []string) []string {
	var out []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}

func joinKeys(m map[string][]string) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return strings.Join(keys, " and ")
}
