package plan

import (
	"slices"

	"github.com/spexio/spex/ring"
)

// The costs of keeping and of adding a replica. Each level outweighs any sum of
// the one below it: 1,024 shards of 5 replicas at most.
const (
	costUneven = int64(1) << 36 // times the load of a node, for each replica that it gets
	costAdd    = int64(1) << 18 // a new replica
	costSilent = 8              // to keep one that cannot be reached
	costPlaced = 3              // to keep one that is not in the configuration yet
	costLearn  = 2              // to keep one without a vote
	costVoter  = 1              // to keep a voter; a leader stays for nothing
	impossible = int64(1) << 60
)

// targets returns for every shard the nodes that should hold it, sorted.
//
// Among all the ways to put every shard on the asked number of nodes it
// takes the most even one, and among those one that needs the fewest new
// replicas. That makes a plan which is made afresh after each of its
// steps converge: a shard in the middle of a move has one holder too many, the
// addition that was done is not needed again, and so the number of additions
// still needed falls with each of them, whatever was chosen in between.
//
// It is a minimum cost flow from shards to nodes, with a convex cost for the
// load of a node: replicas are assigned one after another along cheapest
// paths, where a path may push replicas of other shards along.
func (p *planner) targets() map[uint32][]string {
	if sets, ok := p.settled(); ok {
		return sets
	}
	proposal := p.proposal()
	sp := newSpread(len(p.eligible))
	for _, g := range p.shards {
		cost := make([]int64, len(p.eligible))
		for v, id := range p.eligible {
			cost[v] = p.costOf(g, id, proposal)
		}
		sp.add(cost)
	}
	for gi := range p.shards {
		for range p.wanted() {
			if !sp.assign(gi) {
				break // there is no node left that may hold it
			}
		}
	}
	out := make(map[uint32][]string, len(p.shards))
	for gi, g := range p.shards {
		ids := make([]string, 0, len(sp.sets[gi]))
		for _, n := range sp.sets[gi] {
			ids = append(ids, p.eligible[n])
		}
		slices.Sort(ids)
		out[g.ID] = ids
	}
	return out
}

// wanted is how many nodes should hold each shard.
func (p *planner) wanted() int { return min(p.asked, len(p.eligible)) }

// settled answers without a search when every shard is where it may stay and the
// load is even, as it nearly always is.
func (p *planner) settled() (map[uint32][]string, bool) {
	sets := make(map[uint32][]string, len(p.shards))
	load := make(map[string]int, len(p.eligible))
	for _, g := range p.shards {
		held := p.holders(g)
		for _, id := range held {
			if !p.isEligible[id] {
				return nil, false
			}
			load[id]++
		}
		if len(held) != p.wanted() {
			return nil, false
		}
		sets[g.ID] = held
	}
	if len(p.eligible) == 0 {
		return sets, true
	}
	lo, hi := load[p.eligible[0]], load[p.eligible[0]]
	for _, id := range p.eligible {
		lo, hi = min(lo, load[id]), max(hi, load[id])
	}
	return sets, hi-lo <= 1
}

// holders returns the nodes that hold a replica of a group or should open one,
// sorted.
func (p *planner) holders(g *Group) []string {
	ids := make([]string, 0, len(g.Replicas)+1)
	for _, r := range g.Replicas {
		ids = append(ids, r.Node)
	}
	for _, id := range g.Placed {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// proposal is where the ring would put the shards. It decides between nodes that
// would do equally well.
func (p *planner) proposal() ring.Placement {
	last := uint32(0)
	for _, g := range p.shards {
		last = max(last, g.ID)
	}
	// Beyond the limits of the ring there is no proposal, and none is needed.
	placement, err := ring.Place(p.eligible, int(last), p.asked)
	if err != nil {
		return ring.Placement{}
	}
	return placement
}

// costOf is what it costs that a node holds a replica of a group.
func (p *planner) costOf(g *Group, id string, proposal ring.Placement) int64 {
	if r := g.replica(id); r != nil {
		cost := int64(costVoter)
		switch {
		case id == g.Leader:
			cost = 0
		case !r.Voter:
			cost = costLearn
		}
		if !r.Reachable && id != g.Leader {
			cost += costSilent
		}
		return cost
	}
	if slices.Contains(g.Placed, id) {
		cost := int64(costPlaced)
		if !p.nodes[id].Alive {
			cost += costSilent
		}
		return cost
	}
	if !p.open(id) {
		return impossible
	}
	cost := costAdd
	if !slices.Contains(proposal.Replicas(g.ID), id) {
		cost++
	}
	return cost
}

// open tells whether a node may get replicas that it does not hold.
func (p *planner) open(id string) bool {
	n := p.nodes[id]
	return n != nil && n.State == Active && n.Alive && !n.Unheard
}
