package plan

import (
	"cmp"
	"slices"
)

// catalogVoters is how many voters the catalog should have: an even number of
// them survives no more failures than one less, but of two nodes both vote, so
// that every write is on two disks.
func (p *planner) catalogVoters() int {
	n := 0
	for _, node := range p.nodes {
		if node.State == Active || node.State == Draining {
			n++
		}
	}
	n = min(n, maxCatalogVoters)
	if n == 4 {
		n = 3
	}
	return n
}

// catalogTarget returns who should have a vote in the catalog, sorted: those
// that have one and may keep it, the leader above all; then those that know most.
func (p *planner) catalogTarget() []string {
	g := p.catalog
	var pool []string
	for _, id := range p.eligible {
		if r := g.replica(id); r != nil && r.Voter || p.open(id) {
			pool = append(pool, id)
		}
	}
	value := func(id string) int {
		r := g.replica(id)
		switch {
		case id == g.Leader:
			return 0
		case r == nil:
			return 5
		case r.Voter && r.Reachable:
			return 1
		case r.Voter:
			return 2
		case r.CaughtUpFor > 0:
			return 3
		}
		return 4
	}
	slices.SortStableFunc(pool, func(a, b string) int { return cmp.Compare(value(a), value(b)) })
	pool = pool[:min(len(pool), p.catalogVoters())]
	slices.Sort(pool)
	return pool
}

// catalogStep decides the next step of the catalog.
func (p *planner) catalogStep() step {
	g := p.catalog
	if why := p.blocked(g); why != "" {
		return p.waitAlike(g, g.Leader, why)
	}
	target := p.catalogTarget()
	lead := p.catalogLead(target)
	if st, ok := p.leaveLeader(g, lead); ok {
		return st
	}
	if st, ok := p.catalogMembers(); ok {
		return st
	}
	coming, going := p.pending(g, target)
	voters, _ := g.quorum()
	var held step
	if len(going) > 0 && (len(coming) == 0 || voters > len(target)) {
		st := p.dropVoter(g, target, going, lead)
		if st.change != nil || len(coming) == 0 {
			held = st
		}
	}
	if held.change == nil && len(coming) > 0 {
		held = p.bring(g, target, coming[0], going, lead)
	}
	if held.change == nil && held.wait == nil && lead == "" && p.nodes[g.Leader].State != Active {
		held = p.noLeader(g)
	}
	if held.change == nil {
		// The rest does not depend on voters.
		if st, ok := p.forget(); ok {
			return st
		}
	}
	held.group = g
	held.starts, held.flows = false, false // the catalog is small
	return held
}

// catalogLead is who should lead the catalog: who does, if he stays.
func (p *planner) catalogLead(target []string) string {
	may := p.mayLead(p.catalog, target)
	if len(may) == 0 || slices.Contains(may, p.catalog.Leader) {
		return p.catalog.Leader[:len(p.catalog.Leader)*min(len(may), 1)]
	}
	return may[0]
}

// catalogMembers gives every node a replica of the catalog.
func (p *planner) catalogMembers() (step, bool) {
	for _, id := range p.eligible {
		if p.catalog.replica(id) == nil && p.alive(id) {
			return p.change(p.catalog, rankGoOn, AddNonvoter, id, "every node has the catalog"), true
		}
	}
	return step{}, false
}

// forget lets go of a node that was sent away and holds no shard any more. The
// catalog forgets it while it still gets the catalog's log, so that it learns of
// that; then it leaves the catalog.
func (p *planner) forget() (step, bool) {
	var known, gone []string
	for id, n := range p.nodes {
		r := p.catalog.replica(id)
		switch {
		case r != nil && r.Voter || !p.leaves(id) || p.holdsShards(id):
		case n.State != Removed:
			known = append(known, id)
		case r != nil:
			gone = append(gone, id)
		}
	}
	slices.Sort(known)
	slices.Sort(gone)
	switch {
	case len(gone) > 0:
		return p.change(p.catalog, rankGoOn, Remove, gone[0], p.label(gone[0])+" is forgotten"), true
	case len(known) > 0:
		return p.change(p.catalog, rankGoOn, RemoveNode, known[0], p.label(known[0])+" "+p.condition(known[0])+" and holds no shard any more"), true
	}
	return step{}, false
}

// holdsShards tells whether a node holds, or may hold, a replica of a shard.
func (p *planner) holdsShards(id string) bool {
	for _, g := range p.shards {
		if len(g.Replicas) == 0 || g.replica(id) != nil || slices.Contains(g.Placed, id) {
			return true
		}
	}
	return false
}
