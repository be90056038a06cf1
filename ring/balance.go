package ring

import "slices"

// balanceHeld moves replicas until no member holds two more than another: the
// ring, which finds the replicas of a shard from its owner, gives some members a
// quarter more than others. A member with more than another holds some shard that
// the other does not, so one move after another always gets there. Owners stay
// where the ring put them as long as replicas can be moved instead.
func (p *Placement) balanceHeld() {
	b := newBalancer(p)
	held := make([]int, len(p.members))
	for _, set := range b.sets {
		for _, m := range set {
			held[m]++
		}
	}
	for {
		most := slices.Index(held, slices.Max(held))
		least := slices.Index(held, slices.Min(held))
		if held[most]-held[least] < 2 {
			return
		}
		best, at := -1, -1
		for s, set := range b.sets {
			i := slices.Index(set, most)
			if i >= 0 && !slices.Contains(set, least) && (best < 0 || at == 0 && i > 0) {
				best, at = s, i
			}
		}
		b.sets[best][at] = least
		p.shards[best][at] = p.members[least]
		held[most]--
		held[least]++
	}
}

// balanceOwners reorders replica sets so that members own as equally many
// shards as the sets allow. It hands ownership along paths: u gives a shard to
// a replica of it, which gives another to a replica of that, until a member
// with at least two fewer than u gains one. Every such step lowers the sum of
// the squares of the counts, so it ends; and when no path is left, no
// assignment inside the replica sets has a lower maximum or a higher minimum.
func (p *Placement) balanceOwners() {
	if p.replicas < 2 {
		return
	}
	b := newBalancer(p)
	for improved := true; improved; {
		improved = false
		for _, u := range b.byLoad() {
			for b.relieve(u) {
				improved = true
			}
		}
	}
}

// balancer works on member indexes instead of ids.
type balancer struct {
	shards [][]string
	sets   [][]int // replica sets, the owner first
	owned  [][]int // shards that each member owns
}

func newBalancer(p *Placement) *balancer {
	b := &balancer{
		shards: p.shards,
		sets:   make([][]int, len(p.shards)),
		owned:  make([][]int, len(p.members)),
	}
	at := make(map[string]int, len(p.members))
	for i, id := range p.members {
		at[id] = i
	}
	for s, ids := range p.shards {
		b.sets[s] = make([]int, len(ids))
		for j, id := range ids {
			b.sets[s][j] = at[id]
		}
		owner := b.sets[s][0]
		b.owned[owner] = append(b.owned[owner], s)
	}
	return b
}

// byLoad returns the members with the most owned shards first, ties by index.
func (b *balancer) byLoad() []int {
	order := make([]int, len(b.owned))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return len(b.owned[y]) - len(b.owned[x]) })
	return order
}

// relieve moves one shard's worth of ownership away from u along the shortest
// path to a member with at least two fewer, and reports whether there was one.
func (b *balancer) relieve(u int) bool {
	type step struct{ from, shard int }
	came := map[int]step{u: {from: -1}}
	for queue := []int{u}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if len(b.owned[at]) <= len(b.owned[u])-2 {
			for at != u {
				s := came[at]
				b.handOver(s.shard, s.from, at)
				at = s.from
			}
			return true
		}
		for _, s := range b.owned[at] {
			for _, next := range b.sets[s][1:] {
				if _, seen := came[next]; !seen {
					came[next] = step{from: at, shard: s}
					queue = append(queue, next)
				}
			}
		}
	}
	return false
}

// handOver makes `to` the owner of a shard that `from` owns. The replica set
// stays the same; the two change places in it.
func (b *balancer) handOver(shard, from, to int) {
	i := slices.Index(b.sets[shard], to)
	b.sets[shard][0], b.sets[shard][i] = b.sets[shard][i], b.sets[shard][0]
	b.shards[shard][0], b.shards[shard][i] = b.shards[shard][i], b.shards[shard][0]
	b.owned[from] = slices.DeleteFunc(b.owned[from], func(s int) bool { return s == shard })
	b.owned[to] = append(b.owned[to], shard)
	slices.Sort(b.owned[to])
}
