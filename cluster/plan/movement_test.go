package plan

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// From an even spread a node that joins takes its share, a node that leaves gives
// up what it holds, and nothing else moves: no plan could do with less.
func TestMovementIsTheLeastPossible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, shards, replicas := rapid.IntRange(2, 8).Draw(t, "nodes"), rapid.IntRange(1, 24).Draw(t, "shards"), rapid.IntRange(1, 3).Draw(t, "replicas")
		w := newWorld(rapid.Uint64().Draw(t, "seed"), nodes, shards, replicas)
		w.converge(t)
		w.checkGoal(t)

		before := w.held()
		w.placed, w.moved = 0, 0
		w.join()
		w.converge(t)
		w.checkGoal(t)
		after := w.held()
		least := 0
		for id, k := range after {
			least += max(0, k-before[id])
		}
		if want := len(w.s.Groups) - 1; nodes >= replicas {
			// The newcomer's share, rounded down: the others differ by one already.
			if share := want * replicas / (nodes + 1); w.placed != share {
				t.Fatalf("a join of %d placed %d replicas, want %d", nodes, w.placed, share)
			}
		} else if w.placed != least {
			t.Fatalf("a join placed %d replicas, want %d", w.placed, least)
		}
		if w.moved > w.placed+shards/(nodes+1)+1 {
			t.Fatalf("%d leaderships moved for %d replicas", w.moved, w.placed)
		}

		leaver := rapid.IntRange(0, nodes).Draw(t, "leaver")
		held := w.held()[w.s.Nodes[leaver].ID]
		if nodes < replicas {
			held = 0 // nobody can take them
		}
		w.placed = 0
		w.s.Nodes[leaver].State = Decommissioning
		adds := w.additions()
		w.converge(t)
		w.checkGoal(t)
		// Where the nodes that have room hold the same shards, one exchange more is needed.
		if w.placed != adds || adds < held || adds > held+1 {
			t.Fatalf("a node that held %d replicas left, %d were planned and %d placed", held, adds, w.placed)
		}
	})
}

// additions counts the new replicas that the targets need.
func (w *world) additions() int {
	adds := 0
	for id, target := range newPlanner(w.s).targets() {
		for _, node := range target {
			if _, in := member(w.group(id), node); !in {
				adds++
			}
		}
	}
	return adds
}

// held counts the shards that each node holds.
func (w *world) held() map[string]int {
	held := map[string]int{}
	for _, g := range w.s.Groups {
		for _, r := range g.Replicas {
			if g.ID != 0 {
				held[r.Node]++
			}
		}
	}
	return held
}

// Without faults the replicas being copied at one time are no more than allowed.
func TestCopiesAtOneTime(t *testing.T) {
	w := newWorld(7, 5, 40, 3)
	w.s.Settings.MaxConcurrent = 3
	w.converge(t)
	w.join()
	for range 400 {
		w.round(t)
		copying := 0
		for _, g := range w.s.Groups {
			if g.ID == 0 {
				continue
			}
			for _, id := range g.Placed {
				if r, in := member(&g, id); !in || !r.Voter {
					copying++
				}
			}
		}
		if copying > 3 {
			t.Fatalf("%d replicas are copied at one time, want at most 3", copying)
		}
		w.tick(time.Second)
	}
	w.checkGoal(t)
}

// large is a cluster of 100 nodes and 256 shards, settled.
func large(t rapid.TB) *world {
	w := newWorld(3, 100, 256, 3)
	w.s.Settings.MaxConcurrent = 64
	for range 2000 {
		changes, _ := Next(w.s)
		if len(changes) == 0 {
			return w
		}
		for _, c := range changes {
			w.apply(c)
		}
		w.settle()
		w.tick(w.s.Settings.Stabilise)
	}
	t.Fatalf("does not settle")
	return nil
}

// A large cluster is planned within a fraction of the loop's second, also when
// ten nodes died at once.
func TestLargeCluster(t *testing.T) {
	w := large(t)
	for i := range 10 {
		w.s.Nodes[7*i].Alive, w.s.Nodes[7*i].SilentFor = false, time.Hour
	}
	w.settle()
	lost := 0
	for _, g := range w.s.Groups {
		if g.Leader == "" {
			lost++
		}
	}
	changes, _ := Next(w.s)
	if len(changes) == 0 {
		t.Fatal("no changes, and ten nodes are dead")
	}
	start := time.Now()
	steps := Steps(w.s)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("Steps took %v", took)
	}
	places := 0
	for _, c := range steps {
		if c.Kind == Place {
			places++
		}
	}
	if places == 0 {
		t.Fatal("no replica is placed")
	}
	t.Logf("%d steps, %d replicas placed, %d groups without a leader", len(steps), places, lost)
}

func BenchmarkNextSettled(b *testing.B) {
	w := large(b)
	for b.Loop() {
		Next(w.s)
	}
}

func BenchmarkNextTenDead(b *testing.B) {
	w := large(b)
	for i := range 10 {
		w.s.Nodes[7*i].Alive, w.s.Nodes[7*i].SilentFor = false, time.Hour
	}
	w.settle()
	for b.Loop() {
		Next(w.s)
	}
}

func BenchmarkStepsTenJoined(b *testing.B) {
	w := large(b)
	for range 10 {
		w.join()
	}
	for b.Loop() {
		Steps(w.s)
	}
}
