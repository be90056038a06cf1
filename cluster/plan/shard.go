package plan

import (
	"slices"
	"strings"
)

// step is what one group is up to: at most one change or, if it cannot be taken
// now, what it waits for.
type step struct {
	group  *Group
	change *Change
	wait   *Waiting
	// alike is what several groups wait for in the same words, after their
	// names: it is said once for all of them.
	alike string
	rank  rank
	// starts tells that the change begins the move of a replica, and flows that
	// such a move is under way, so that data is being copied.
	starts, flows bool
}

// rank orders the changes when not all can be taken at once.
type rank int

const (
	rankLeave   rank = iota // leaderships leave nodes that go or drain
	rankGoOn                // what was begun is finished
	rankStart               // a new move
	rankBalance             // leaders are spread
)

func (p *planner) change(g *Group, rank rank, kind Kind, node, why string) step {
	return step{group: g, rank: rank, change: &Change{Kind: kind, Group: g.ID, Node: node, Why: why}}
}

func (p *planner) transfer(g *Group, rank rank, to, why string) step {
	st := p.change(g, rank, Transfer, to, why)
	st.change.From = g.Leader
	return st
}

func (p *planner) wait(g *Group, node, why string) step {
	return step{group: g, wait: &Waiting{Group: g.ID, Node: node, Why: why}}
}

// waitAlike waits for something for which other groups may wait too.
func (p *planner) waitAlike(g *Group, node, alike string) step {
	st := p.wait(g, node, groupName(g.ID)+" "+alike)
	st.alike = alike
	return st
}

// shardStep decides the next step of a shard toward its target. Its leader
// should be lead, "" when nobody can be it.
func (p *planner) shardStep(g *Group, target []string, lead string) step {
	if why := p.blocked(g); why != "" {
		return p.waitAlike(g, g.Leader, why)
	}
	if st, ok := p.leaveLeader(g, lead); ok {
		return st
	}
	if st, ok := p.tidy(g, target); ok {
		return st
	}
	coming, going := p.pending(g, target)
	voters, _ := g.quorum()
	if len(going) > 0 && voters > p.wanted() {
		if st := p.dropVoter(g, target, going, lead); st.change != nil || len(coming) == 0 {
			return st
		}
	}
	if len(coming) > 0 {
		return p.bring(g, target, coming[0], going, lead)
	}
	if len(going) > 0 && len(target) < p.wanted() && g.replica(going[0]).Reachable {
		return p.waitAlike(g, going[0], "keeps a replica on "+p.label(going[0])+" ("+p.reason(going[0])+") until another node can take it: "+p.closed(target))
	}
	if len(going) > 0 {
		return p.dropVoter(g, target, going, lead)
	}
	if lead == "" && p.nodes[g.Leader].State != Active {
		return p.noLeader(g)
	}
	if lead != "" && lead != g.Leader {
		return p.transfer(g, rankBalance, lead, "the leaders are spread evenly over the nodes that hold the shards")
	}
	if len(target) < p.wanted() {
		return p.waitAlike(g, "", "should have "+count(p.asked, "replica")+", and no node can take another: "+p.closed(target))
	}
	if len(target) < p.asked && len(g.Replicas) < p.asked {
		return p.waitAlike(g, "", "should have "+count(p.asked, "replica")+", and there are only "+count(len(p.eligible), "node")+" to hold one: add a node")
	}
	return step{group: g}
}

// closed says why the nodes that could hold a shard, and do not, get no replica.
func (p *planner) closed(target []string) string {
	var why []string
	for _, id := range p.eligible {
		if !p.open(id) && !slices.Contains(target, id) {
			why = append(why, p.label(id)+" "+p.condition(id))
		}
	}
	if len(why) == 0 {
		return "add a node"
	}
	return strings.Join(why, ", ") + ", and gets nothing new"
}

// leaveLeader moves the leadership away from a node that goes or drains.
func (p *planner) leaveLeader(g *Group, lead string) (step, bool) {
	n := p.nodes[g.Leader]
	if n.State == Active || lead == g.Leader {
		return step{}, false
	}
	if lead != "" {
		return p.transfer(g, rankLeave, lead, p.label(g.Leader)+" "+p.condition(g.Leader)), true
	}
	return step{}, false
}

// noLeader waits for somebody who can lead in place of a node that drains.
func (p *planner) noLeader(g *Group) step {
	return p.waitAlike(g, g.Leader, "is led by "+p.label(g.Leader)+", which "+p.condition(g.Leader)+
		", and no other voter that is up to date and stays can lead it now")
}

// tidy does what endangers nobody: members without a vote that do not belong
// leave, the table drops who is not a member, and names every member that stays.
func (p *planner) tidy(g *Group, target []string) (step, bool) {
	for _, r := range g.Replicas {
		if !r.Voter && !slices.Contains(target, r.Node) {
			return p.change(g, rankGoOn, Remove, r.Node, p.label(r.Node)+" has no vote in "+groupName(g.ID)+" and is not to hold it: "+p.reason(r.Node)), true
		}
	}
	placed := slices.Sorted(slices.Values(g.Placed))
	for _, id := range placed {
		if g.replica(id) == nil && !slices.Contains(target, id) {
			return p.change(g, rankGoOn, Unplace, id, p.label(id)+" is no member of "+groupName(g.ID)+" any more and may delete its state"), true
		}
	}
	for _, id := range target {
		if g.replica(id) != nil && !slices.Contains(placed, id) {
			return p.change(g, rankGoOn, Place, id, p.label(id)+" is a member of "+groupName(g.ID)+", and the placement table does not say so"), true
		}
	}
	return step{}, false
}

// pending returns the nodes of the target without a vote, those that are
// furthest first, and the voters that are not of the target: those that cannot
// be reached first, the leader last.
func (p *planner) pending(g *Group, target []string) (coming, going []string) {
	for _, id := range target {
		if r := g.replica(id); r == nil || !r.Voter {
			coming = append(coming, id)
		}
	}
	progress := func(id string) int {
		switch {
		case !p.alive(id):
			return 3
		case g.replica(id) != nil:
			return 0
		case slices.Contains(g.Placed, id):
			return 1
		}
		return 2
	}
	slices.SortStableFunc(coming, func(a, b string) int { return progress(a) - progress(b) })
	for _, r := range g.Replicas {
		if r.Voter && !slices.Contains(target, r.Node) {
			going = append(going, r.Node)
		}
	}
	slices.Sort(going)
	worth := func(id string) int {
		switch {
		case id == g.Leader:
			return 2
		case g.replica(id).Reachable:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(going, func(a, b string) int { return worth(a) - worth(b) })
	return coming, going
}

// bring leads a node one step further toward its vote.
func (p *planner) bring(g *Group, target []string, id string, going []string, lead string) step {
	name, label := groupName(g.ID), p.label(id)
	r := g.replica(id)
	placed := slices.Contains(g.Placed, id)
	if !p.alive(id) {
		return p.wait(g, id, label+" is to hold "+name+", and "+p.condition(id))
	}
	if r == nil && !placed {
		why := name + " has " + count(len(g.Replicas), "replica") + " of " + count(len(target), "")
		if len(going) > 0 {
			why = "takes the place of " + p.label(going[0]) + ": " + p.reason(going[0])
		}
		st := p.change(g, rankStart, Place, id, why)
		st.starts = true
		return st
	}
	if r == nil {
		st := p.change(g, rankGoOn, AddNonvoter, id, label+" opens its replica of "+name+" and gets the log, without a vote at first")
		st.flows = true
		return st
	}
	var st step
	switch {
	case !r.Reachable:
		st = p.wait(g, id, label+" does not answer for "+name+" yet")
	case r.CaughtUpFor <= 0:
		st = p.wait(g, id, label+" is catching up with "+name+": "+behind(r.Applied, g.Commit))
	case r.CaughtUpFor < p.s.Settings.Stabilise:
		st = p.wait(g, id, label+" has been caught up with "+name+" for "+length(r.CaughtUpFor)+" of "+length(p.s.Settings.Stabilise))
	default:
		if why := p.cannotFollow(g, id, target, going, lead); why != "" {
			st = p.wait(g, id, label+" is caught up with "+name+" and gets no vote yet: "+why)
		} else {
			st = p.change(g, rankGoOn, Promote, id, label+" has been caught up for "+length(r.CaughtUpFor))
		}
	}
	st.flows = true
	return st
}

// cannotFollow says why a promotion could not be followed by the removal of the
// voter whose place is taken, so that the group would be left with a voter too
// many; "" when it can, or when there is room.
func (p *planner) cannotFollow(g *Group, id string, target, going []string, lead string) string {
	voters, _ := g.quorum()
	if voters > p.wants(g) {
		return "there is a voter too many already"
	}
	if voters < len(target) || len(going) == 0 {
		return ""
	}
	after := *g
	after.Replicas = slices.Clone(g.Replicas)
	after.replica(id).Voter = true
	if lead == "" {
		lead = id
	}
	st := p.dropVoter(&after, target, going, lead)
	if st.wait != nil {
		return st.wait.Why
	}
	return ""
}

// dropVoter takes a voter out of the configuration, the leadership first if it
// has that.
func (p *planner) dropVoter(g *Group, target, going []string, lead string) step {
	name := groupName(g.ID)
	for _, id := range going {
		if p.ghost(g, id, target, going) {
			continue
		}
		if !g.mayLose(id) {
			return p.wait(g, id, name+" keeps "+p.label(id)+" for now ("+p.reason(id)+"): "+p.without(g, id))
		}
		if id != g.Leader {
			kind := Remove
			if g.ID == 0 {
				kind = Demote // every node needs the catalog
			}
			return p.change(g, rankGoOn, kind, id, p.reason(id))
		}
		if lead == "" || lead == id {
			return p.wait(g, id, p.label(id)+" leads "+name+" ("+p.reason(id)+"), and no other voter can lead it now")
		}
		return p.transfer(g, rankGoOn, lead, p.label(id)+" leads "+name+" and is to leave it: "+p.reason(id))
	}
	if len(going) == 0 {
		return step{group: g}
	}
	return p.waitAlike(g, going[0], "keeps a replica on "+p.label(going[0])+", which "+p.condition(going[0])+
		", for no other node can take it and it may return: add a node, or remove that one by hand")
}

// without says what is wrong with a configuration that lacks a voter.
func (p *planner) without(g *Group, id string) string {
	var away, behind []string
	for _, r := range g.Replicas {
		switch {
		case !r.Voter || r.Node == id || g.keepsUp(r):
		case r.Reachable:
			behind = append(behind, r.Node)
		default:
			away = append(away, r.Node)
		}
	}
	var why []string
	if len(away) > 0 {
		why = append(why, p.list(away)+" cannot be reached")
	}
	if len(behind) > 0 {
		why = append(why, p.list(behind)+" did not catch up")
	}
	return "without it the shard would survive fewer failures while " + strings.Join(why, " and ")
}

// ghost tells whether a voter is dead, nobody can take its place, and its
// removal would not let the group survive more failures: it may return with its
// data, so it stays.
func (p *planner) ghost(g *Group, id string, target, going []string) bool {
	n := p.nodes[id]
	if p.leaves(id) || !p.dead(n) || g.replica(id).Reachable || id == g.Leader {
		return false
	}
	voters, reachable := g.quorum()
	if len(target) >= p.wants(g) || voters > p.wants(g) {
		return false
	}
	gone := 0
	for _, other := range going {
		if other != g.Leader && !g.replica(other).Reachable {
			gone++
		}
	}
	return tolerance(voters-gone, reachable) <= tolerance(voters, reachable)
}

// wants is how many voters a group is asked to have.
func (p *planner) wants(g *Group) int {
	if g.ID == 0 {
		return p.catalogVoters()
	}
	return p.asked
}

// behind says how far a replica is.
func behind(applied, commit uint64) string {
	if commit <= applied {
		return "nearly there"
	}
	return "it has applied " + count(int(applied), "") + " of " + count(int(commit), "") + " entries"
}
