package model

import "github.com/spexio/spex/lts"

// recheck is rule L. Only states that can reach the step's source may behave
// differently with it. For these it computes the greatest relation to classes of the
// specification that a branching bisimulation may have, beginning with their images;
// for the others their own classes are right. It gives up, with ok false, when that
// would take more than about a full refinement.
func (c *Checker) recheck(l located) (equivalent, ok bool) {
	if !c.images().complete {
		return false, false
	}
	r := newRecheck(c, l)
	if r == nil {
		return false, false
	}
	return r.run()
}

// firstToFail is the state in which a step, that makes the model not equivalent, shows: one that the
// model can reach and that behaves like no state of the specification with the step. There may be
// several such states; it is the first that rule L finds, which begins at the step's source.
func (c *Checker) firstToFail(l located) (lts.State, bool) {
	if !c.images().complete {
		return 0, false
	}
	r := newRecheck(c, l)
	if r == nil {
		return 0, false
	}
	if equivalent, ok := r.run(); !ok || equivalent {
		return 0, false
	}
	return r.failed, true
}

// recheck is the state of one run of rule L.
type recheck struct {
	c *Checker
	b *classes
	l located // with a number for a target that the model lacks
	// step is the added step, as one of its source.
	step []lts.Step
	// index gives 1 + the position of an affected state in the lists below, 0 for the others.
	index  []int32
	states []lts.State
	// blocks are the classes that each affected state may be related to.
	blocks [][]lts.Block
	queued []bool
	queue  []int32
	// seen holds the last search by internal steps that came to an affected state.
	seen   []int32
	search int32
	// failed is the state that was left without classes.
	failed lts.State
	// budget is how many steps may still be looked at.
	budget int
}

// newRecheck finds the affected states and their images; it returns nil when the budget ends.
func newRecheck(c *Checker, l located) *recheck {
	states := c.base.graph.States()
	if c.over != nil {
		states += c.over.count
	}
	if !l.hasTo {
		l.to = lts.State(states)
	}
	r := &recheck{
		c: c, b: c.base.classes(), l: l, step: []lts.Step{{Label: l.label, To: l.to}}, index: make([]int32, states+1),
		budget: max(c.limits.localMin, c.limits.local*c.base.graph.Transitions()),
	}
	im, fresh := r.newlyReachable()
	if im == nil {
		return nil
	}
	r.affect(l.from, im)
	for i := 0; i < len(r.states); i++ {
		x, y := c.predecessors(r.states[i])
		for _, part := range [2][]lts.Step{x, y} {
			if !r.spend(len(part)) {
				return nil
			}
			for _, p := range part {
				if r.index[p.To] == 0 && (c.reachable(p.To) || fresh[p.To]) {
					r.affect(p.To, im)
				}
			}
		}
	}
	return r
}

// newlyReachable finds the states that only the step makes reachable, and images for them.
func (r *recheck) newlyReachable() (*images, map[lts.State]bool) {
	im, c := r.c.images(), r.c
	if !r.l.hasTo || c.reachable(r.l.to) {
		return im, nil
	}
	fresh := map[lts.State]bool{}
	todo := []lts.State{r.l.to}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if fresh[s] || c.reachable(s) {
			continue
		}
		fresh[s] = true
		x, y := c.steps(s)
		if !r.spend(len(x) + len(y) + 1) {
			return nil, nil
		}
		for _, part := range [2][]lts.Step{x, y} {
			for _, step := range part {
				todo = append(todo, step.To)
			}
		}
	}
	child := im.child()
	child.limit = im.pairs + r.budget
	var pairs []pair
	for _, block := range im.at(r.l.from).list {
		pairs = child.step(r.b, block, r.l.label, r.l.to, pairs)
	}
	// The images that the model has without the step bound those of the states that it can reach.
	child.follow(r.b, pairs, c.steps, c.reachable)
	if !child.complete {
		return nil, nil
	}
	return child, fresh
}

// affect adds a state to the affected ones.
func (r *recheck) affect(s lts.State, im *images) {
	blocks := im.at(s).list
	if s == r.c.base.initial {
		blocks = []lts.Block{r.b.start}
	}
	r.states = append(r.states, s)
	r.blocks = append(r.blocks, append([]lts.Block(nil), blocks...))
	r.index[s] = int32(len(r.states))
}

func (r *recheck) spend(n int) bool {
	r.budget -= n + 1
	return r.budget >= 0
}

// run removes classes until all that are left are matched. The model is not
// equivalent when a state that it can reach has none left, and equivalent when all have.
func (r *recheck) run() (equivalent, ok bool) {
	r.queued, r.seen = make([]bool, len(r.states)), make([]int32, len(r.states))
	for i := range r.states {
		r.push(int32(i))
	}
	for n := 0; n < len(r.queue); n++ {
		i := r.queue[n]
		r.queued[i] = false
		kept := r.blocks[i][:0:0]
		for _, block := range r.blocks[i] {
			matched := r.matches(r.states[i], block) && r.offersAll(r.states[i], block)
			if r.budget < 0 {
				return false, false
			}
			if matched {
				kept = append(kept, block)
			}
		}
		if len(kept) == 0 {
			r.failed = r.states[i]
			return false, true
		}
		if len(kept) < len(r.blocks[i]) {
			r.blocks[i] = kept
			if !r.wake(r.states[i]) {
				return false, false
			}
		}
	}
	return true, true
}

func (r *recheck) push(i int32) {
	if !r.queued[i] {
		r.queued[i] = true
		r.queue = append(r.queue, i)
	}
}

// wake queues the states whose relation depends on that of s: those with a step to
// it, and those that come to these by internal steps.
func (r *recheck) wake(s lts.State) bool {
	r.search++
	todo := []lts.State{s}
	for first := true; len(todo) > 0; first = false {
		x := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		p, q := r.c.predecessors(x)
		own := []lts.Step(nil)
		if x == r.l.to {
			own = []lts.Step{{Label: r.l.label, To: r.l.from}}
		}
		for _, part := range [3][]lts.Step{p, q, own} {
			if !r.spend(len(part)) {
				return false
			}
			for _, step := range part {
				i := r.index[step.To] - 1
				if i < 0 || !first && step.Label != lts.Tau || r.seen[i] == r.search {
					continue
				}
				r.seen[i] = r.search
				r.push(i)
				todo = append(todo, step.To)
			}
		}
	}
	return true
}

// steps are those of a state in the model with the step.
func (r *recheck) steps(s lts.State) [3][]lts.Step {
	a, b := r.c.steps(s)
	if s == r.l.from {
		return [3][]lts.Step{a, b, r.step}
	}
	return [3][]lts.Step{a, b, nil}
}

// related reports whether a state may be related to a class of the specification.
func (r *recheck) related(s lts.State, block lts.Block) bool {
	i := r.index[s]
	if i == 0 {
		return r.c.class(s) == block
	}
	for _, x := range r.blocks[i-1] {
		if x == block {
			return true
		}
	}
	return false
}

// matches reports whether the class can do whatever the state can.
func (r *recheck) matches(s lts.State, block lts.Block) bool {
	for _, part := range r.steps(s) {
		if !r.spend(len(part)) {
			return false
		}
		for _, step := range part {
			if !r.matched(block, step) {
				return false
			}
		}
	}
	return true
}

func (r *recheck) matched(block lts.Block, step lts.Step) bool {
	if step.Label == lts.Tau && r.related(step.To, block) {
		return true
	}
	for _, o := range r.b.by(block, step.Label) {
		if r.related(step.To, o.To) {
			return true
		}
	}
	return false
}

// offersAll reports whether the state can do whatever the class can.
func (r *recheck) offersAll(s lts.State, block lts.Block) bool {
	for _, o := range r.b.Signature(block) {
		if !r.offers(s, block, o) {
			return false
		}
	}
	return true
}

// offers reports whether the state comes, by internal steps through states that may be
// related to the class, to one that has the observation.
func (r *recheck) offers(s lts.State, block lts.Block, o lts.Observation) bool {
	r.search++
	var inner []lts.State
	for {
		for _, part := range r.steps(s) {
			if !r.spend(len(part)) {
				return false
			}
			for _, step := range part {
				if step.Label == o.Label && r.related(step.To, o.To) {
					return true
				}
				if step.Label != lts.Tau || !r.related(step.To, block) {
					continue
				}
				i := r.index[step.To] - 1
				if i < 0 {
					return true // a state of the class that the step does not affect
				}
				if r.seen[i] != r.search {
					r.seen[i] = r.search
					inner = append(inner, step.To)
				}
			}
		}
		if len(inner) == 0 {
			return false
		}
		s, inner = inner[len(inner)-1], inner[:len(inner)-1]
	}
}
