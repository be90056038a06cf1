package plan

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Clusters of any size go through deaths, returns, joins, drains and
// decommissions while changes fail and take their time: whatever is planned on
// the way is safe, and when the faults stop everything ends where it belongs.
func TestEveryChangeIsSafeAndAllEndsWell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 8).Draw(t, "nodes"),
			rapid.IntRange(1, 20).Draw(t, "shards"), rapid.IntRange(1, 5).Draw(t, "replicas"))
		w.s.Settings.MaxConcurrent = rapid.IntRange(1, 6).Draw(t, "concurrent")
		w.lossy = true
		for range rapid.IntRange(0, 60).Draw(t, "rounds") {
			if rapid.IntRange(0, 3).Draw(t, "fault?") == 0 {
				w.disturb(rapid.IntRange(0, 9).Draw(t, "fault"))
			}
			w.round(t)
			w.tick(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
		}
		w.heal()
		w.converge(t)
		w.checkGoal(t)
	})
}

// disturb does something to the cluster.
func (w *world) disturb(kind int) {
	n := &w.s.Nodes[w.rng.IntN(len(w.s.Nodes))]
	switch kind {
	case 0, 1, 2:
		n.Alive = false
	case 3, 4, 5:
		n.Alive, n.SilentFor = true, 0
	case 6:
		if len(w.s.Nodes) < 12 {
			w.join()
		}
	case 7:
		if n.State == Active {
			n.State = Draining
		} else if n.State == Draining {
			n.State = Active
		}
	case 8:
		if w.remaining() > 1 && n.State != Removed {
			n.State = Decommissioning
		}
	case 9:
		w.s.Settings.Replicas = 1 + w.rng.IntN(5)
	}
	w.settle()
}

// remaining counts the nodes that nobody sends away.
func (w *world) remaining() int {
	k := 0
	for _, n := range w.s.Nodes {
		if n.State == Active {
			k++
		}
	}
	return k
}

// heal brings everybody back.
func (w *world) heal() {
	w.lossy = false
	for i := range w.s.Nodes {
		w.s.Nodes[i].Alive, w.s.Nodes[i].SilentFor = true, 0
		if w.s.Nodes[i].State == Draining {
			w.s.Nodes[i].State = Active
		}
	}
	for _, c := range w.under {
		w.group(c.Group).Busy = false
	}
	w.under = map[uint32]Change{}
	w.settle()
}

// converge runs until nothing is left to do.
func (w *world) converge(t rapid.TB) {
	t.Helper()
	idle := 0
	for range 40 * (len(w.s.Groups) + len(w.s.Nodes)) {
		changes, _ := w.round(t)
		if len(changes) == 0 {
			idle++
		} else {
			idle = 0
		}
		if idle > 3 { // longer than Stabilise
			return
		}
		w.tick(5 * time.Second)
	}
	t.Fatalf("does not come to an end: %v\n%s", w.log[max(0, len(w.log)-40):], w)
}

// checkGoal looks at a cluster that is settled and in which all nodes are active.
func (w *world) checkGoal(t rapid.TB) {
	t.Helper()
	held := map[string]int{}
	for _, n := range w.s.Nodes {
		if n.State == Removed && member0(w, n.ID) {
			t.Fatalf("%s is forgotten and still a member of the catalog\n%s", n.ID, w)
		}
	}
	w.s.Nodes = slices.DeleteFunc(w.s.Nodes, func(n Node) bool { return n.State == Removed })
	for _, n := range w.s.Nodes {
		if n.State != Active {
			t.Fatalf("%s is still %v\n%s", n.ID, n.State, w)
		}
		held[n.ID] = 0
	}
	want := min(w.s.Settings.Replicas, len(w.s.Nodes))
	for _, g := range w.s.Groups {
		voters, _ := votes(g.Replicas)
		if g.ID == 0 {
			want := min(len(w.s.Nodes), 5)
			if want == 4 {
				want = 3
			}
			if len(g.Replicas) != len(w.s.Nodes) || voters != want {
				t.Fatalf("the catalog has %d members and %d voters, want %d and %d\n%s", len(g.Replicas), voters, len(w.s.Nodes), want, w)
			}
			continue
		}
		if voters != want || len(g.Replicas) != want || len(g.Placed) != want {
			t.Fatalf("shard %d has %d voters, %d members and %d placed, want %d\n%s", g.ID, voters, len(g.Replicas), len(g.Placed), want, w)
		}
		for _, r := range g.Replicas {
			held[r.Node]++
			if !slices.Contains(g.Placed, r.Node) {
				t.Fatalf("shard %d: %s is not in the table\n%s", g.ID, r.Node, w)
			}
		}
	}
	lo, hi := 1<<30, 0
	for _, k := range held {
		lo, hi = min(lo, k), max(hi, k)
	}
	if hi-lo > 1 {
		t.Fatalf("the shards are spread unevenly: %v\n%s", held, w)
	}
	w.checkLeaders(t)
}

// member0 tells whether a node is a member of the catalog's group.
func member0(w *world, id string) bool {
	_, in := member(w.group(0), id)
	return in
}

// checkLeaders compares the most and the fewest shards that a node leads with
// what is possible, found by matching.
func (w *world) checkLeaders(t rapid.TB) {
	t.Helper()
	led := map[string]int{}
	for _, n := range w.s.Nodes {
		led[n.ID] = 0
	}
	shards := 0
	for _, g := range w.s.Groups {
		if g.ID != 0 {
			led[g.Leader]++
			shards++
		}
	}
	hi := 0
	for _, k := range led {
		hi = max(hi, k)
	}
	if hi > 0 && w.canLead(hi-1) {
		t.Fatalf("some node leads %d shards, and fewer would do: %v\n%s", hi, led, w)
	}
	if mean := shards / len(led); w.s.Settings.Replicas >= 3 && len(led) <= 5 && hi > mean+1 {
		t.Fatalf("the leaders are uneven: %v", led)
	}
}

// canLead tells whether all shards find a leader when no node leads more than
// limit: a bipartite matching with augmenting paths.
func (w *world) canLead(limit int) bool {
	led := map[string][]uint32{}
	var place func(id uint32, seen map[string]bool) bool
	place = func(id uint32, seen map[string]bool) bool {
		for _, r := range w.group(id).Replicas {
			if seen[r.Node] {
				continue
			}
			seen[r.Node] = true
			if len(led[r.Node]) < limit {
				led[r.Node] = append(led[r.Node], id)
				return true
			}
			for i, other := range led[r.Node] {
				if place(other, seen) {
					led[r.Node][i] = id
					return true
				}
			}
		}
		return false
	}
	for _, g := range w.s.Groups {
		if g.ID != 0 && !place(g.ID, map[string]bool{}) {
			return false
		}
	}
	return true
}

// With few nodes and shards all spreads can be tried: none is more even, and
// none as even needs fewer new replicas.
func TestTargetsAreTheBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		nodes, shards, replicas := rapid.IntRange(1, 4).Draw(t, "nodes"), rapid.IntRange(1, 4).Draw(t, "shards"), rapid.IntRange(1, 3).Draw(t, "replicas")
		s := State{Settings: Settings{Replicas: replicas}}
		for i := range nodes {
			s.Nodes = append(s.Nodes, Node{ID: string(rune('a' + i)), Alive: true})
		}
		for id := range shards {
			g := Group{ID: uint32(id + 1)}
			for i := range nodes {
				if rng.IntN(2) == 0 {
					g.Replicas = append(g.Replicas, Replica{Node: s.Nodes[i].ID, Voter: rng.IntN(3) > 0, Reachable: true})
				}
			}
			s.Groups = append(s.Groups, g)
		}
		got := newPlanner(s).targets()
		load := map[string]int{}
		adds := 0
		for _, g := range s.Groups {
			if len(got[g.ID]) != min(replicas, nodes) {
				t.Fatalf("shard %d on %v, want %d nodes", g.ID, got[g.ID], min(replicas, nodes))
			}
			for _, id := range got[g.ID] {
				load[id]++
				if _, in := member(&g, id); !in {
					adds++
				}
			}
		}
		squares := 0
		for _, k := range load {
			squares += k * k
		}
		bestSquares, bestAdds := bruteForce(s, min(replicas, nodes))
		if squares != bestSquares || adds != bestAdds {
			t.Fatalf("squares %d, new %d; best are %d and %d\n%v\n%+v", squares, adds, bestSquares, bestAdds, got, s.Groups)
		}
	})
}

// bruteForce tries every way to put each shard on k nodes.
func bruteForce(s State, k int) (squares, adds int) {
	var subsets []int
	for set := range 1 << len(s.Nodes) {
		n := 0
		for b := set; b > 0; b >>= 1 {
			n += b & 1
		}
		if n == k {
			subsets = append(subsets, set)
		}
	}
	squares, adds = 1<<30, 1<<30
	load := make([]int, len(s.Nodes))
	var try func(gi, fresh int)
	try = func(gi, fresh int) {
		if gi == len(s.Groups) {
			sq := 0
			for _, l := range load {
				sq += l * l
			}
			if sq < squares || sq == squares && fresh < adds {
				squares, adds = sq, fresh
			}
			return
		}
		for _, set := range subsets {
			more := 0
			for i := range s.Nodes {
				if set&(1<<i) != 0 {
					load[i]++
					if _, in := member(&s.Groups[gi], s.Nodes[i].ID); !in {
						more++
					}
				}
			}
			try(gi+1, fresh+more)
			for i := range s.Nodes {
				if set&(1<<i) != 0 {
					load[i]--
				}
			}
		}
	}
	try(0, 0)
	return squares, adds
}
