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
	sp := p.newSpread()
	for gi := range sp.groups {
		for range p.wanted() {
			if !sp.assign(gi) {
				break // there is no node left that may hold it
			}
		}
	}
	out := make(map[uint32][]string, len(sp.groups))
	for gi, g := range sp.groups {
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

// spread is the flow network: nodes and groups are indexes.
type spread struct {
	groups []*Group
	cost   [][]int64 // of a replica of a group on a node
	sets   [][]int   // the nodes of each group so far
	load   []int     // the groups of each node so far
	// push[v*n+w] is what it costs at least to move a replica from v to w,
	// and by which group; rows are computed when they are asked for.
	push  []move
	stale []bool
}

type move struct {
	cost  int64
	group int
}

func (p *planner) newSpread() *spread {
	n := len(p.eligible)
	sp := &spread{
		groups: p.shards,
		cost:   make([][]int64, len(p.shards)),
		sets:   make([][]int, len(p.shards)),
		load:   make([]int, n),
		push:   make([]move, n*n),
		stale:  make([]bool, n),
	}
	for v := range sp.stale {
		sp.stale[v] = true
	}
	proposal := p.proposal()
	for gi, g := range p.shards {
		sp.cost[gi] = make([]int64, n)
		for v, id := range p.eligible {
			sp.cost[gi][v] = p.costOf(g, id, proposal)
		}
	}
	return sp
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
	return n != nil && n.State == Active && n.Alive
}

// assign gives a group one more node, along the cheapest path, and reports
// whether there was one.
func (sp *spread) assign(group int) bool {
	n := len(sp.load)
	dist := make([]int64, n)
	came := make([]int, n) // the node before; -1 at the start of the path
	queued := make([]bool, n)
	var queue []int
	for v := range n {
		dist[v], came[v] = impossible, -1
		if c := sp.cost[group][v]; c < impossible && !slices.Contains(sp.sets[group], v) {
			dist[v], queued[v] = c, true
			queue = append(queue, v)
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		v := queue[0]
		queued[v] = false
		sp.refresh(v)
		for w := range n {
			m := sp.push[v*n+w]
			if m.cost >= impossible || dist[v]+m.cost >= dist[w] {
				continue
			}
			dist[w], came[w] = dist[v]+m.cost, v
			if !queued[w] {
				queued[w] = true
				queue = append(queue, w)
			}
		}
	}
	best, bestCost := -1, impossible
	for v := range n {
		if c := dist[v] + costUneven*int64(sp.load[v]); dist[v] < impossible && c < bestCost {
			best, bestCost = v, c
		}
	}
	if best < 0 {
		return false
	}
	sp.load[best]++
	for v := best; ; v = came[v] {
		if came[v] < 0 {
			sp.sets[group] = append(sp.sets[group], v)
			sp.touch(group)
			return true
		}
		g := sp.push[came[v]*n+v].group
		sp.touch(g)
		sp.sets[g][slices.Index(sp.sets[g], came[v])] = v
		sp.stale[v] = true
	}
}

// touch marks what depends on the set of a group.
func (sp *spread) touch(group int) {
	for _, v := range sp.sets[group] {
		sp.stale[v] = true
	}
}

// refresh computes what can be pushed away from v.
func (sp *spread) refresh(v int) {
	if !sp.stale[v] {
		return
	}
	sp.stale[v] = false
	n := len(sp.load)
	row := sp.push[v*n : (v+1)*n]
	for w := range row {
		row[w] = move{cost: impossible}
	}
	for gi, set := range sp.sets {
		if !slices.Contains(set, v) {
			continue
		}
		for w := range row {
			c := sp.cost[gi][w]
			if c < impossible && c-sp.cost[gi][v] < row[w].cost && !slices.Contains(set, w) {
				row[w] = move{cost: c - sp.cost[gi][v], group: gi}
			}
		}
	}
}
