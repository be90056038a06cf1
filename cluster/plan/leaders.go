package plan

import "slices"

// leads decides who should lead each shard: the nodes that may lead it share
// the shards by count as evenly as the replica sets allow, with few transfers.
// A shard that nobody may lead now is left out.
//
// Leadership is handed along paths: u gives a shard to another node that may
// lead it, which gives one of its own to the next, until a node with at least
// two fewer than u gets one. Each such path lowers the sum of the squares of the
// counts, so it ends; and when there is none left, no other choice has a lower
// maximum or a higher minimum.
func (p *planner) leads(targets map[uint32][]string) map[uint32]string {
	l := &leaders{may: make(map[uint32][]string, len(p.shards)), lead: make(map[uint32]string, len(p.shards)), led: map[string][]uint32{}}
	var homeless []uint32
	for _, g := range p.shards {
		if p.blocked(g) != "" {
			continue
		}
		l.may[g.ID] = p.mayLead(g, targets[g.ID])
		if g.Busy {
			// Who leads it when the change is done is not known; count it where it is.
			l.may[g.ID] = nil
			l.give(g.ID, g.Leader)
		} else if slices.Contains(l.may[g.ID], g.Leader) {
			l.give(g.ID, g.Leader)
		} else if len(l.may[g.ID]) > 0 {
			homeless = append(homeless, g.ID)
		}
	}
	for _, id := range homeless {
		best := l.may[id][0]
		for _, node := range l.may[id][1:] {
			if len(l.led[node]) < len(l.led[best]) {
				best = node
			}
		}
		l.give(id, best)
	}
	l.balance()
	return l.lead
}

// mayLead returns the nodes that may lead a shard, sorted: voters that are up
// to date, stay, and neither drain nor go. The leader itself is as far as anybody.
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

type leaders struct {
	may  map[uint32][]string
	lead map[uint32]string
	led  map[string][]uint32 // sorted
}

func (l *leaders) give(shard uint32, to string) {
	if from, ok := l.lead[shard]; ok {
		l.led[from] = slices.DeleteFunc(l.led[from], func(id uint32) bool { return id == shard })
	}
	l.lead[shard] = to
	at, _ := slices.BinarySearch(l.led[to], shard)
	l.led[to] = slices.Insert(l.led[to], at, shard)
}

func (l *leaders) balance() {
	for improved := true; improved; {
		improved = false
		for _, node := range l.byLoad() {
			for l.relieve(node) {
				improved = true
			}
		}
	}
}

// byLoad returns the nodes that lead something, those with the most first.
func (l *leaders) byLoad() []string {
	nodes := make([]string, 0, len(l.led))
	for id := range l.led {
		nodes = append(nodes, id)
	}
	slices.Sort(nodes)
	slices.SortStableFunc(nodes, func(a, b string) int { return len(l.led[b]) - len(l.led[a]) })
	return nodes
}

// relieve hands one shard's worth of leadership away from a node along the
// shortest path to one with at least two fewer, and reports whether there was one.
func (l *leaders) relieve(node string) bool {
	type hop struct {
		from  string
		shard uint32
	}
	came := map[string]hop{node: {}}
	for queue := []string{node}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if len(l.led[at]) <= len(l.led[node])-2 {
			for at != node {
				h := came[at]
				l.give(h.shard, at)
				at = h.from
			}
			return true
		}
		for _, shard := range l.led[at] {
			for _, next := range l.may[shard] {
				if _, seen := came[next]; !seen {
					came[next] = hop{from: at, shard: shard}
					queue = append(queue, next)
				}
			}
		}
	}
	return false
}
