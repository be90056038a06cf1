package plan

import "slices"

// spread puts groups on nodes, each group on as many as it is assigned to, so
// that the sum of the squares of the loads is least and, among such ways, the sum
// of the costs. It is a minimum cost flow, found by cheapest augmenting paths.
// Nodes and groups are indexes.
type spread struct {
	cost [][]int64 // of a group on a node
	sets [][]int   // the nodes of each group so far
	load []int     // the groups of each node so far
	// push[v*n+w] is the cheapest way to move some group from v to w; rows that are
	// stale are computed when they are needed.
	push  []move
	stale []bool
}

type move struct {
	cost  int64
	group int
}

func newSpread(nodes int) *spread {
	return &spread{load: make([]int, nodes), push: make([]move, nodes*nodes), stale: slices.Repeat([]bool{true}, nodes)}
}

// add adds a group, given what it costs on each node.
func (sp *spread) add(cost []int64) {
	sp.cost = append(sp.cost, cost)
	sp.sets = append(sp.sets, nil)
}

// keepAll puts every group on the one node where it costs nothing, if there is
// one for each and the load is even then: the usual case, without a search.
func (sp *spread) keepAll() bool {
	load := make([]int, len(sp.load))
	for _, cost := range sp.cost {
		v := slices.Index(cost, 0)
		if v < 0 {
			return false
		}
		load[v]++
	}
	if len(load) > 0 && slices.Max(load)-slices.Min(load) > 1 {
		return false
	}
	for gi, cost := range sp.cost {
		sp.sets[gi] = []int{slices.Index(cost, 0)}
	}
	return true
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
	best, bestCost := -1, int64(0)
	for v := range n {
		if c := dist[v] + costUneven*int64(sp.load[v]); dist[v] < impossible && (best < 0 || c < bestCost) {
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
