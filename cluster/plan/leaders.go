package plan

// leads decides who should lead each shard: the nodes that may lead it share
// the shards by count as evenly as the replica sets allow, and among the most even
// ways it is one that needs the fewest transfers. So every transfer that was
// done is one less to do, and a plan made afresh after each of them converges, as
// with targets. A shard that nobody may lead now, or that gets no change, is left
// out.
func (p *planner) leads(targets map[uint32][]string) map[uint32]string {
	at := make(map[string]int, len(p.eligible))
	for v, id := range p.eligible {
		at[id] = v
	}
	var groups []*Group
	sp := newSpread(len(p.eligible))
	for _, g := range p.shards {
		if p.blocked(g) != "" {
			continue
		}
		may := p.mayLead(g, targets[g.ID])
		if g.Busy && p.isEligible[g.Leader] {
			may = []string{g.Leader} // who leads it afterwards is not known; it counts where it is
		}
		if len(may) == 0 {
			continue
		}
		cost := make([]int64, len(p.eligible))
		for v := range cost {
			cost[v] = impossible
		}
		for _, id := range may {
			cost[at[id]] = costAdd
			if id == g.Leader {
				cost[at[id]] = 0
			}
		}
		groups = append(groups, g)
		sp.add(cost)
	}
	if !sp.keepAll() {
		for gi := range groups {
			sp.assign(gi)
		}
	}
	lead := make(map[uint32]string, len(groups))
	for gi, g := range groups {
		lead[g.ID] = p.eligible[sp.sets[gi][0]]
	}
	return lead
}

// mayLead returns the nodes that may lead a shard: voters that are up to date,
// stay, and neither drain nor go. The leader itself is as far as anybody.
func (p *planner) mayLead(g *Group, target []string) []string {
	var ids []string
	for _, id := range target {
		r := g.replica(id)
		if r == nil || !r.Voter || p.nodes[id].State != Active {
			continue
		}
		if id == g.Leader || r.Reachable && r.CaughtUpFor > 0 && p.alive(id) {
			ids = append(ids, id)
		}
	}
	return ids
}
