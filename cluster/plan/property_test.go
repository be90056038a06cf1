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

// checkLeaders wants the leaders as even as the replica sets allow. They are not as long
// as shards can be handed on, from one node to the next, until a node leads one less and
// another, which led two less than it or fewer, one more. Where there is no such way,
// the most that a node leads is as little, and the least as much, as can be.
func (w *world) checkLeaders(t rapid.TB) {
	t.Helper()
	led := map[string]int{}
	for _, n := range w.s.Nodes {
		led[n.ID] = 0
	}
	for _, g := range w.s.Groups {
		if g.ID != 0 {
			led[g.Leader]++
		}
	}
	lo, hi := 1<<30, 0
	for from, k := range led {
		lo, hi = min(lo, k), max(hi, k)
		for to := range w.heirs(from) {
			if k > led[to]+1 {
				t.Fatalf("%s leads %d shards, %s leads %d, and one could be handed on: %v\n%s", from, k, to, led[to], led, w)
			}
		}
	}
	if w.s.Settings.Replicas >= 3 && len(led) <= 5 && hi-lo > 1 {
		t.Fatalf("the leaders are uneven: %v\n%s", led, w)
	}
}

// heirs lists who can lead one shard more when a node leads one less, and everybody
// between them as many as before.
func (w *world) heirs(from string) map[string]bool {
	found := map[string]bool{}
	for next := []string{from}; len(next) > 0; next = next[1:] {
		for _, g := range w.s.Groups {
			if g.ID == 0 || g.Leader != next[0] {
				continue
			}
			for _, r := range g.Replicas {
				if !found[r.Node] {
					found[r.Node] = true
					next = append(next, r.Node)
				}
			}
		}
	}
	return found
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
