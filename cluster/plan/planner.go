package plan

import (
	"cmp"
	"slices"
)

// maxCatalogVoters bounds the voters of the catalog.
const maxCatalogVoters = 5

// planner is a State made easy to ask.
type planner struct {
	s      State
	asked  int
	nodes  map[string]*Node
	shards []*Group // by id
	// catalog is nil in a State without it.
	catalog *Group
	// eligible are the nodes that may hold replicas, sorted by id.
	eligible   []string
	isEligible map[string]bool
	labels     map[string]string
}

func newPlanner(s State) *planner {
	p := &planner{
		s:          s,
		asked:      max(s.Settings.Replicas, 1),
		nodes:      make(map[string]*Node, len(s.Nodes)),
		isEligible: make(map[string]bool, len(s.Nodes)),
		labels:     make(map[string]string, len(s.Nodes)),
	}
	named := make(map[string]int, len(s.Nodes))
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Short && n.State == Active {
			drained := *n
			drained.State = Draining
			n = &drained
		}
		p.nodes[n.ID] = n
		named[n.Name]++
	}
	for id, n := range p.nodes {
		p.labels[id] = id
		if n.Name != "" && named[n.Name] == 1 {
			p.labels[id] = n.Name
		}
		if p.mayHold(n) {
			p.eligible = append(p.eligible, id)
			p.isEligible[id] = true
		}
	}
	slices.Sort(p.eligible)
	for i := range s.Groups {
		if g := &s.Groups[i]; g.ID == 0 {
			p.catalog = g
		} else {
			p.shards = append(p.shards, g)
		}
	}
	slices.SortFunc(p.shards, func(a, b *Group) int { return cmp.Compare(a.ID, b.ID) })
	return p
}

// mayHold tells whether a node keeps the replicas that it has.
func (p *planner) mayHold(n *Node) bool {
	return (n.State == Active || n.State == Draining) && !p.dead(n)
}

// dead tells whether a node has been silent for so long that it is replaced.
func (p *planner) dead(n *Node) bool {
	return !n.Alive && p.s.Settings.DeadAfter > 0 && n.SilentFor >= p.s.Settings.DeadAfter
}

// leaves tells whether an operator sends a node away for good.
func (p *planner) leaves(id string) bool {
	n := p.nodes[id]
	return n != nil && (n.State == Decommissioning || n.State == Removed)
}

// alive tells whether a node was heard of lately.
func (p *planner) alive(id string) bool {
	n := p.nodes[id]
	return n != nil && n.Alive
}

// label is the name of a node for people.
func (p *planner) label(id string) string {
	if l, ok := p.labels[id]; ok {
		return l
	}
	return id
}

// replica returns the member of a group on a node, or nil.
func (g *Group) replica(id string) *Replica {
	for i := range g.Replicas {
		if g.Replicas[i].Node == id {
			return &g.Replicas[i]
		}
	}
	return nil
}

// quorum counts the voters of a group and those that can be reached. The leader
// reaches itself.
func (g *Group) quorum() (voters, reachable int) {
	for _, r := range g.Replicas {
		if !r.Voter {
			continue
		}
		voters++
		if r.Reachable || r.Node == g.Leader {
			reachable++
		}
	}
	return voters, reachable
}

// FailureTolerance returns how many more voters a group may lose and still have
// a majority: negative when it has none now.
func (g *Group) FailureTolerance() int {
	voters, reachable := g.quorum()
	return tolerance(voters, reachable)
}

func tolerance(voters, reachable int) int { return reachable - (voters/2 + 1) }

// inStep counts the voters of a group that could commit the next write: the leader,
// and those that keep up with it. One that answers and is behind could not.
func (g *Group) inStep() (voters, inStep int) {
	for _, r := range g.Replicas {
		if r.Voter {
			voters++
		}
		if r.Voter && g.keepsUp(r) {
			inStep++
		}
	}
	return voters, inStep
}

func (g *Group) keepsUp(r Replica) bool {
	return r.Node == g.Leader || r.Reachable && r.CaughtUpFor > 0
}

// mayLose tells whether a voter can lose its vote: a majority of the rest is in
// step, and if a voter is not, the group does not survive fewer failures than
// before.
func (g *Group) mayLose(id string) bool {
	voters, before := g.inStep()
	after := before
	if g.keepsUp(*g.replica(id)) {
		after--
	}
	left := tolerance(voters-1, after)
	if left < 0 {
		return false
	}
	return after == before || before == voters || left >= tolerance(voters, before)
}

// blocked says why a group gets no change at all now, and "" when it may.
func (p *planner) blocked(g *Group) string {
	if len(g.Replicas) == 0 {
		return "is of unknown configuration and is not changed until it is known"
	}
	leader := g.replica(g.Leader)
	if g.Leader == "" || leader == nil || !leader.Voter {
		return "has no leader and is not changed until it has one"
	}
	for _, r := range g.Replicas {
		if p.nodes[r.Node] == nil {
			return "has the member " + r.Node + ", which the catalog does not know, and is not changed"
		}
	}
	if voters, reachable := g.quorum(); tolerance(voters, reachable) < 0 {
		return "reaches " + count(reachable, "") + " of " + count(voters, "voter") + " and is not changed without a majority"
	}
	return ""
}
