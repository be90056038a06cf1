package plan

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// world is a cluster that the planner is let loose on. It knows nothing of the
// planner's code: what a change does and whether it is safe is written down here
// a second time.
type world struct {
	s    State
	rng  *rand.Rand
	next int // of the node that joins next
	// under holds what is under way: a change that is carried out, or lost, later.
	under map[uint32]Change
	// lossy makes changes fail and take their time.
	lossy  bool
	placed int // replicas placed so far
	moved  int // leaderships transferred so far
	log    []string
}

func newWorld(seed uint64, nodes, shards, replicas int) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), under: map[uint32]Change{}}
	w.s.Settings = Settings{Replicas: replicas, DeadAfter: time.Minute, Stabilise: 10 * time.Second, MaxConcurrent: 4}
	for range nodes {
		w.join()
	}
	w.s.Groups = append(w.s.Groups, Group{ID: 0, Commit: 100})
	for i := range min(nodes, 5) {
		if i == 3 && nodes == 4 {
			break
		}
		w.s.Groups[0].Replicas = append(w.s.Groups[0].Replicas, Replica{Node: w.s.Nodes[i].ID, Voter: true})
	}
	for id := range shards {
		g := Group{ID: uint32(id + 1), Commit: 100}
		for _, i := range w.rng.Perm(nodes)[:min(nodes, replicas)] {
			g.Replicas = append(g.Replicas, Replica{Node: w.s.Nodes[i].ID, Voter: true})
			g.Placed = append(g.Placed, w.s.Nodes[i].ID)
		}
		w.s.Groups = append(w.s.Groups, g)
	}
	w.settle()
	for i := range w.s.Groups {
		for j := range w.s.Groups[i].Replicas {
			w.s.Groups[i].Replicas[j].CaughtUpFor = time.Hour
		}
	}
	return w
}

func (w *world) join() {
	w.next++
	id := fmt.Sprintf("n%d", w.next)
	w.s.Nodes = append(w.s.Nodes, Node{ID: id, Name: id, Alive: true})
}

func (w *world) node(id string) *Node {
	for i := range w.s.Nodes {
		if w.s.Nodes[i].ID == id {
			return &w.s.Nodes[i]
		}
	}
	return nil
}

func (w *world) up(id string) bool {
	n := w.node(id)
	return n != nil && n.Alive
}

// settle lets Raft do its part: members are reachable when their nodes are, and a group has
// a leader when a majority of its voters is.
func (w *world) settle() {
	for i := range w.s.Groups {
		g := &w.s.Groups[i]
		var voters, up []string
		for j := range g.Replicas {
			r := &g.Replicas[j]
			r.Reachable = w.up(r.Node)
			if !r.Reachable {
				r.CaughtUpFor = 0
			}
			if r.Voter {
				voters = append(voters, r.Node)
				if r.Reachable {
					up = append(up, r.Node)
				}
			}
		}
		slices.Sort(up)
		switch {
		case len(up) <= len(voters)/2:
			g.Leader = ""
		case !slices.Contains(up, g.Leader):
			g.Leader = up[w.rng.IntN(len(up))]
		}
	}
}

// tick lets time pass.
func (w *world) tick(d time.Duration) {
	for i := range w.s.Nodes {
		if n := &w.s.Nodes[i]; n.Alive {
			n.SilentFor = 0
		} else {
			n.SilentFor += d
		}
	}
	for i := range w.s.Groups {
		g := &w.s.Groups[i]
		for j := range g.Replicas {
			r := &g.Replicas[j]
			if g.Leader == "" || !r.Reachable {
				continue
			}
			if r.CaughtUpFor > 0 || !w.lossy || w.rng.IntN(3) == 0 {
				r.CaughtUpFor += d
				r.Applied = g.Commit
			}
		}
	}
	w.settle()
}

// round plans once, checks what comes out and carries it out.
func (w *world) round(t rapid.TB) (changes []Change, waiting []Waiting) {
	t.Helper()
	for i := range w.s.Groups {
		g := &w.s.Groups[i]
		if c, ok := w.under[g.ID]; ok && w.rng.IntN(2) == 0 {
			delete(w.under, g.ID)
			g.Busy = false
			if w.rng.IntN(3) > 0 {
				w.apply(c)
			}
		}
	}
	w.settle()
	w.shuffle()
	changes, waiting = Next(w.s)
	again, _ := Next(w.s)
	if !slices.Equal(changes, again) {
		t.Fatalf("two answers to one state: %v and %v", changes, again)
	}
	busy := 0
	for _, g := range w.s.Groups {
		if g.Busy {
			busy++
		}
	}
	if n := len(changes) + busy; len(changes) > 0 && n > w.s.Settings.MaxConcurrent {
		t.Fatalf("%d groups in change, want at most %d", n, w.s.Settings.MaxConcurrent)
	}
	seen := map[uint32]bool{}
	for _, c := range changes {
		if seen[c.Group] {
			t.Fatalf("two changes of group %d: %v", c.Group, changes)
		}
		seen[c.Group] = true
		if why := w.unsafe(c); why != "" {
			t.Fatalf("%+v: %s\n%s", c, why, w)
		}
		w.log = append(w.log, fmt.Sprintf("%v %d %s", c.Kind, c.Group, c.Node))
	}
	for _, c := range changes {
		if w.lossy && c.Kind != RemoveNode && w.rng.IntN(3) == 0 {
			w.under[c.Group] = c
			w.group(c.Group).Busy = true
		} else if !w.lossy || w.rng.IntN(4) > 0 {
			w.apply(c)
		}
	}
	w.settle()
	return changes, waiting
}

// shuffle changes the order of everything, which must not matter.
func (w *world) shuffle() {
	w.rng.Shuffle(len(w.s.Nodes), func(i, j int) { w.s.Nodes[i], w.s.Nodes[j] = w.s.Nodes[j], w.s.Nodes[i] })
	w.rng.Shuffle(len(w.s.Groups), func(i, j int) { w.s.Groups[i], w.s.Groups[j] = w.s.Groups[j], w.s.Groups[i] })
	for _, g := range w.s.Groups {
		w.rng.Shuffle(len(g.Replicas), func(i, j int) { g.Replicas[i], g.Replicas[j] = g.Replicas[j], g.Replicas[i] })
		w.rng.Shuffle(len(g.Placed), func(i, j int) { g.Placed[i], g.Placed[j] = g.Placed[j], g.Placed[i] })
	}
}

func (w *world) group(id uint32) *Group {
	for i := range w.s.Groups {
		if w.s.Groups[i].ID == id {
			return &w.s.Groups[i]
		}
	}
	return nil
}

func member(g *Group, id string) (Replica, bool) {
	for _, r := range g.Replicas {
		if r.Node == id {
			return r, true
		}
	}
	return Replica{}, false
}

func votes(rs []Replica) (voters, up int) {
	for _, r := range rs {
		if r.Voter {
			voters++
			if r.Reachable {
				up++
			}
		}
	}
	return voters, up
}

// unsafe says what is wrong with a change, and "" when nothing is.
func (w *world) unsafe(c Change) string {
	if c.Why == "" {
		return "does not say why"
	}
	n := w.node(c.Node)
	if n == nil && c.Kind != Unplace {
		return "of a node that nobody knows"
	}
	g := w.group(c.Group)
	if c.Kind == RemoveNode {
		return w.unsafeRemoveNode(n)
	}
	voters, up := votes(g.Replicas)
	if g.Leader == "" || g.Busy || up <= voters/2 {
		return "of a group that has no leader, no majority or a change under way"
	}
	r, in := member(g, c.Node)
	asked := w.s.Settings.Replicas
	if g.ID == 0 {
		asked = 5
	}
	switch c.Kind {
	case Place:
		if g.ID == 0 || slices.Contains(g.Placed, c.Node) {
			return "is placed already"
		}
		if !in && (!n.Alive || n.State != Active) {
			return "of a node that is dead, drains or goes"
		}
	case Unplace:
		if g.ID == 0 || in || !slices.Contains(g.Placed, c.Node) {
			return "of a node that is a member still, or is not in the table"
		}
	case AddNonvoter:
		if in || !n.Alive || n.State == Decommissioning || n.State == Removed {
			return "is a member already, is dead or goes"
		}
		if g.ID != 0 && !slices.Contains(g.Placed, c.Node) {
			return "has not opened its replica"
		}
	case Promote:
		if !in || r.Voter || !r.Reachable || r.CaughtUpFor < w.s.Settings.Stabilise {
			return "is no member without a vote that has caught up"
		}
		if voters+1 > asked+1 {
			return fmt.Sprintf("makes %d voters of %d", voters+1, asked)
		}
		if up+1 <= (voters+1)/2 {
			return "leaves no majority"
		}
	case Transfer:
		if !in || !r.Voter || !r.Reachable || r.CaughtUpFor == 0 || n.State != Active || c.From != g.Leader || c.Node == g.Leader {
			return "is nobody who can take the leadership"
		}
	case Remove, Demote:
		if (c.Kind == Demote) != (g.ID == 0 && r.Voter) {
			return "of the wrong kind"
		}
		return w.unsafeLoss(g, c.Node, asked)
	}
	return ""
}

func (w *world) unsafeRemoveNode(n *Node) string {
	if n.State != Decommissioning {
		return "is not sent away, or forgotten already"
	}
	for _, g := range w.s.Groups {
		if r, in := member(&g, n.ID); in && (g.ID != 0 || r.Voter) || slices.Contains(g.Placed, n.ID) {
			return fmt.Sprintf("holds group %d", g.ID)
		}
	}
	return ""
}

// unsafeLoss judges the removal of a member, or of its vote.
func (w *world) unsafeLoss(g *Group, id string, asked int) string {
	r, in := member(g, id)
	if !in {
		return "is no member"
	}
	if !r.Voter {
		return ""
	}
	if id == g.Leader {
		return "leads"
	}
	if g.ID != 0 && r.Reachable && w.node(id).State == Decommissioning && len(g.Replicas) <= min(asked, w.holders()) {
		return "is alive, and nobody has taken its place"
	}
	// Who answers and is behind cannot commit what comes next.
	current := slices.Clone(g.Replicas)
	for i := range current {
		current[i].Reachable = current[i].Reachable && (current[i].CaughtUpFor > 0 || current[i].Node == g.Leader)
	}
	r, _ = member(&Group{Replicas: current}, id)
	voters, up := votes(current)
	left := slices.DeleteFunc(current, func(r Replica) bool { return r.Node == id })
	voters2, up2 := votes(left)
	if up2 <= voters2/2 {
		return "leaves no majority that is up to date"
	}
	before, after := up-voters/2, up2-voters2/2
	if r.Reachable && up < voters && after < before {
		return "is alive, and fewer failures are survived without it"
	}
	n := w.node(id)
	away := n.State == Decommissioning || n.State == Removed || n.SilentFor >= w.s.Settings.DeadAfter
	if g.ID != 0 && !away && voters <= min(asked, w.holders()) {
		return "is not to go, and there is no voter too many"
	}
	return ""
}

// holders counts the nodes that may hold shards.
func (w *world) holders() int {
	k := 0
	for _, n := range w.s.Nodes {
		if (n.State == Active || n.State == Draining) && n.SilentFor < w.s.Settings.DeadAfter {
			k++
		}
	}
	return k
}

// apply carries a change out, as Raft and the catalog would.
func (w *world) apply(c Change) {
	if c.Kind == RemoveNode {
		w.node(c.Node).State = Removed
		return
	}
	g := w.group(c.Group)
	at := slices.IndexFunc(g.Replicas, func(r Replica) bool { return r.Node == c.Node })
	if g.Leader == "" {
		return
	}
	switch c.Kind {
	case Place:
		if !slices.Contains(g.Placed, c.Node) {
			g.Placed = append(g.Placed, c.Node)
			w.placed++
		}
	case Unplace:
		g.Placed = slices.DeleteFunc(g.Placed, func(id string) bool { return id == c.Node })
	case AddNonvoter:
		if at < 0 {
			g.Replicas = append(g.Replicas, Replica{Node: c.Node})
		}
	case Promote, Demote:
		if at >= 0 {
			g.Replicas[at].Voter = c.Kind == Promote
		}
	case Remove:
		if at >= 0 && g.Leader != c.Node {
			g.Replicas = slices.Delete(g.Replicas, at, at+1)
			if n := w.node(c.Node); g.ID == 0 && n.State == Removed {
				w.s.Nodes = slices.DeleteFunc(w.s.Nodes, func(n Node) bool { return n.ID == c.Node })
			}
		}
	case Transfer:
		if at >= 0 && g.Replicas[at].Reachable {
			g.Leader = c.Node
			w.moved++
		}
	}
}

// String shows what there is.
func (w *world) String() string {
	s := w.s
	s.Nodes, s.Groups = slices.Clone(s.Nodes), slices.Clone(s.Groups)
	slices.SortFunc(s.Nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Groups, func(a, b Group) int { return cmp.Compare(a.ID, b.ID) })
	out := ""
	for _, n := range s.Nodes {
		out += fmt.Sprintf("%s %v alive=%v silent=%v\n", n.ID, n.State, n.Alive, n.SilentFor)
	}
	for _, g := range s.Groups {
		out += fmt.Sprintf("%d leader=%s placed=%v busy=%v", g.ID, g.Leader, g.Placed, g.Busy)
		for _, r := range g.Replicas {
			out += fmt.Sprintf(" %s(voter=%v up=%v %v)", r.Node, r.Voter, r.Reachable, r.CaughtUpFor)
		}
		out += "\n"
	}
	return out
}
