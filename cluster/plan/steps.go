package plan

import (
	"cmp"
	"slices"
	"time"
)

// Steps returns the whole way from a State to where it is settled, as if every
// change succeeded at once, new replicas caught up and nobody failed or returned;
// Busy and Paused are not heeded. The steps of a shard follow each other, and
// the catalog's come last; in truth several shards change at a time.
func Steps(s State) []Change {
	sim := newSimulation(s)
	var all []Change
	p := newPlanner(sim.state)
	targets := p.targets()
	// A round takes one change of each group, and a replica takes six: the bound
	// is never reached by a plan that gets anywhere.
	for range 64 + 8*len(sim.state.Nodes) {
		changes, _ := p.choose(p.steps(targets))
		if len(changes) == 0 {
			break
		}
		for _, c := range changes {
			sim.apply(c)
		}
		all = append(all, changes...)
		p = newPlanner(sim.state)
	}
	last := func(c Change) uint32 { return c.Group - 1 } // the catalog wraps round to the end
	slices.SortStableFunc(all, func(a, b Change) int { return cmp.Compare(last(a), last(b)) })
	return all
}

// simulation is a State in which changes succeed.
type simulation struct{ state State }

// newSimulation copies a State, with nothing under way and no limit.
func newSimulation(s State) *simulation {
	s.Nodes = slices.Clone(s.Nodes)
	s.Groups = slices.Clone(s.Groups)
	for i := range s.Groups {
		g := &s.Groups[i]
		g.Replicas, g.Placed, g.Busy = slices.Clone(g.Replicas), slices.Clone(g.Placed), false
	}
	s.Settings.Paused = false
	s.Settings.MaxConcurrent = 2*len(s.Groups) + 1
	sim := &simulation{state: s}
	for i := range s.Groups {
		sim.catchUp(&s.Groups[i])
	}
	return sim
}

// catchUp lets every replica that can be reached have all of the log.
func (sim *simulation) catchUp(g *Group) {
	for i := range g.Replicas {
		if r := &g.Replicas[i]; r.Reachable {
			r.Applied, r.CaughtUpFor = g.Commit, max(sim.state.Settings.Stabilise, time.Second)
		}
	}
}

func (sim *simulation) apply(c Change) {
	if c.Kind == RemoveNode {
		for i := range sim.state.Nodes {
			if n := &sim.state.Nodes[i]; n.ID == c.Node {
				n.State = Removed
			}
		}
		return
	}
	i := slices.IndexFunc(sim.state.Groups, func(g Group) bool { return g.ID == c.Group })
	g := &sim.state.Groups[i]
	switch c.Kind {
	case Place:
		g.Placed = append(g.Placed, c.Node)
	case Unplace:
		g.Placed = slices.DeleteFunc(g.Placed, func(id string) bool { return id == c.Node })
	case AddNonvoter:
		g.Replicas = append(g.Replicas, Replica{Node: c.Node, Reachable: true})
		sim.catchUp(g)
	case Promote, Demote:
		g.replica(c.Node).Voter = c.Kind == Promote
	case Transfer:
		g.Leader = c.Node
	case Remove:
		g.Replicas = slices.DeleteFunc(g.Replicas, func(r Replica) bool { return r.Node == c.Node })
	}
}
