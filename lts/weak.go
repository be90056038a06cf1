package lts

import "slices"

// weakPartition computes the classes of weak bisimilarity of all states: weak
// bisimilarity is strong bisimilarity where a step by a stands for internal steps,
// a, and internal steps again, and an internal step for any number of them, none
// included.
//
// Blocks of the result have the signature that their members have by single steps:
// (a, B) if some member (after internal steps among branching bisimilar states) has
// an a step into B, internal steps inside the block left out. That is not saturated:
// what a block can do weakly is what these steps give together, and two signatures
// may differ that come to the same. It stays linear in the system, which the
// saturated one does not, and the quotient is weakly bisimilar either way.
//
// The saturated relation may be quadratic in the system and is never built. Memory is
// linear. Time is that of a branching partition, plus what weakRefiner says.
func weakPartition(l *LTS) *Partition {
	branching := Classes(l, Branching)
	r := newWeakRefiner(Quotient(l, branching))
	r.run(-1, -1, 0)
	block := make([]Block, l.States())
	for s := range block {
		block[s] = r.block[branching.Block(State(s))]
	}
	return newPartition(l, block, len(r.first), true, branching.speaks)
}

// weakRefiner refines a partition of a system without tau cycles until it is stable
// under weak steps, after Paige and Tarjan (Three Partition Refinement Algorithms,
// SIAM J. Comput. 16, 1987). Blocks are grouped into constellations, and the
// partition is stable under every constellation: if some state of a block has a weak
// a step into the constellation, so have all of it. A constellation of several
// blocks is resolved by taking out one of at most half its size, B. Going backwards
// from B finds who has a weak step into it; those that have one into the rest too
// are told from those that have not by going forwards until the rest is met, instead
// of by counters, which would need the memory of the saturated relation.
//
// A state is in B at most log n times. Each time costs the weak predecessors of B
// per label and, in the worst case, the weak successors of those, so O(L m log n)
// for each state at the very worst and O(m log n) in all where weak steps are about
// as many as steps: internal steps that branching bisimilarity leaves are short. The
// bad case is a chain of n internal steps each of which drops an option of its own,
// which takes time quadratic in n, but not memory.
type weakRefiner struct {
	l *LTS

	block []Block
	// elements holds all states block by block: block b is
	// elements[first[b]:first[b]+size[b]], and position is the inverse.
	elements, position []int32
	first, size        []int32
	constellation      []int32   // of each block
	blocks             [][]Block // of each constellation
	compound           []int32   // constellations with more than one block

	marked  []int32 // of each block: how many of its states split put to its front
	touched []Block

	// active counts the states that are not alone in their block, the only ones that
	// can still be told apart; when narrow ran last there were narrowed. Searches keep
	// to sources, what active states reach by internal steps, and to targets, that and
	// their weak successors.
	active, narrowed int32
	sources, targets []bool

	// work counts steps looked at.
	work int64

	inClosure, leads, leadsBy memo
	closure, steppers         []State
	into                      []uint64
	deep, deepBy              []frame
}

// frame is a state on the stack of a depth-first search, with the steps not yet tried.
type frame struct {
	state State
	rest  []Step
}

// memo is a set of states with an answer for each, emptied in constant time.
type memo struct {
	round int32
	when  []int32
	yes   []bool
}

func newMemo(n int) memo { return memo{when: make([]int32, n), yes: make([]bool, n)} }

func (m *memo) clear()                { m.round++ }
func (m *memo) has(s State) bool      { return m.when[s] == m.round }
func (m *memo) put(s State, yes bool) { m.when[s], m.yes[s] = m.round, yes }
func (m *memo) addNew(s State) (b bool) {
	if m.when[s] == m.round {
		return false
	}
	m.when[s] = m.round
	return true
}

func newWeakRefiner(l *LTS) *weakRefiner {
	n := l.States()
	r := &weakRefiner{
		l: l, block: make([]Block, n),
		elements: make([]int32, n), position: make([]int32, n),
		first: []int32{0}, size: []int32{int32(n)}, constellation: []int32{0}, blocks: [][]Block{{0}}, marked: []int32{0},
		active: int32(n), narrowed: int32(n), sources: make([]bool, n), targets: make([]bool, n),
		inClosure: newMemo(n), leads: newMemo(n), leadsBy: newMemo(n),
	}
	for s := range int32(n) {
		r.elements[s], r.position[s] = s, s
		r.sources[s], r.targets[s] = true, true
	}
	return r
}

// run refines until the partition is stable, or until states a and b are in
// different blocks, if they are not negative. It reports whether it came to an end
// before it had looked at limit steps, unless limit is 0.
func (r *weakRefiner) run(a, b State, limit int64) bool {
	done := func() bool {
		return a >= 0 && r.block[a] != r.block[b] || r.active == 0
	}
	r.refine(slices.Clone(r.elements), -1)
	for len(r.compound) > 0 && !done() {
		if limit > 0 && r.work > limit {
			return false
		}
		c := r.compound[len(r.compound)-1]
		all := r.blocks[c]
		last := len(all) - 1
		if r.size[all[last]] > r.size[all[last-1]] {
			all[last], all[last-1] = all[last-1], all[last]
		}
		small := all[last]
		r.blocks[c] = all[:last]
		if last == 1 {
			r.compound = r.compound[:len(r.compound)-1]
		}
		r.constellation[small] = int32(len(r.blocks))
		r.blocks = append(r.blocks, []Block{small})
		if r.active <= r.narrowed/2 {
			r.narrow()
		}
		r.refine(slices.Clone(r.elements[r.first[small]:r.first[small]+r.size[small]]), c)
	}
	return true
}

// narrow finds the sources and targets anew. It takes linear time and runs when the
// active states have become half as many.
func (r *weakRefiner) narrow() {
	r.narrowed = r.active
	clear(r.sources)
	clear(r.targets)
	var todo []State
	add := func(s State, in []bool) {
		if !in[s] {
			in[s] = true
			todo = append(todo, s)
		}
	}
	for s, b := range r.block {
		if r.size[b] > 1 {
			add(State(s), r.sources)
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, step := range r.l.tauSteps(s) {
			add(step.To, r.sources)
		}
	}
	for s, source := range r.sources {
		if source {
			add(State(s), r.targets)
			for _, step := range r.l.Steps(State(s)) {
				add(step.To, r.targets)
			}
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, step := range r.l.tauSteps(s) {
			add(step.To, r.targets)
		}
	}
}

// refine makes the partition stable under the given states and under the rest of
// the constellation they were taken from, given that it is stable under both
// together. A negative number says that there is no rest.
func (r *weakRefiner) refine(splitter []State, rest int32) {
	r.leads.clear()
	closure := r.before(r.closure[:0], splitter, r.targets)
	r.closure = closure
	into := r.into[:0]
	for _, s := range closure {
		for _, step := range r.l.Incoming(s) {
			if step.Label != Tau && r.sources[step.To] {
				into = append(into, step.pack())
			}
		}
		r.work += int64(len(r.l.Incoming(s)))
	}
	slices.Sort(into)
	r.into = into
	// What the closure was found by is overwritten from here on.
	r.split(closure, rest, func(s State) bool { return r.reaches(s, rest) })
	for len(into) > 0 {
		label := unpack(into[0]).Label
		r.steppers = r.steppers[:0]
		for len(into) > 0 && unpack(into[0]).Label == label {
			r.steppers = append(r.steppers, State(unpack(into[0]).To))
			into = into[1:]
		}
		r.closure = r.before(r.closure[:0], r.steppers, r.sources)
		r.leadsBy.clear()
		r.split(r.closure, rest, func(s State) bool { return r.reachesBy(s, label, rest) })
	}
}

// before appends to out the given states and all that reach them by internal steps,
// as far as they are in a set.
func (r *weakRefiner) before(out, states []State, in []bool) []State {
	r.inClosure.clear()
	for _, s := range states {
		if in[s] && r.inClosure.addNew(s) {
			out = append(out, s)
		}
	}
	for i := 0; i < len(out); i++ {
		for _, step := range r.l.Incoming(out[i]) {
			r.work++
			if step.Label != Tau {
				break
			}
			if in[step.To] && r.inClosure.addNew(step.To) {
				out = append(out, step.To)
			}
		}
	}
	return out
}

// split divides blocks by who is among the states, and those again by who has a
// way to the rest as well.
func (r *weakRefiner) split(states []State, rest int32, alsoRest func(State) bool) {
	r.divide(states)
	if rest < 0 {
		return
	}
	both := states[:0]
	for _, s := range states {
		// A block of one cannot be divided, and one that has no way to the rest must be asked for.
		if r.size[r.block[s]] > 1 && alsoRest(s) {
			both = append(both, s)
		}
	}
	r.divide(both)
}

// divide makes a new block of those states of each block that are given, unless that is all of them.
func (r *weakRefiner) divide(states []State) {
	for _, s := range states {
		b := r.block[s]
		if r.size[b] == 1 {
			continue
		}
		if r.marked[b] == 0 {
			r.touched = append(r.touched, b)
		}
		at, to := r.position[s], r.first[b]+r.marked[b]
		other := r.elements[to]
		r.elements[at], r.position[other] = other, at
		r.elements[to], r.position[s] = s, to
		r.marked[b]++
	}
	for _, b := range r.touched {
		n := r.marked[b]
		r.marked[b] = 0
		if n == r.size[b] {
			continue
		}
		fresh := Block(len(r.first))
		r.first, r.size, r.marked = append(r.first, r.first[b]), append(r.size, n), append(r.marked, 0)
		for _, s := range r.elements[r.first[b] : r.first[b]+n] {
			r.block[s] = fresh
		}
		r.first[b] += n
		r.size[b] -= n
		for _, size := range []int32{n, r.size[b]} {
			if size == 1 {
				r.active--
			}
		}
		c := r.constellation[b]
		r.constellation = append(r.constellation, c)
		r.blocks[c] = append(r.blocks[c], fresh)
		if len(r.blocks[c]) == 2 {
			r.compound = append(r.compound, c)
		}
	}
	r.touched = r.touched[:0]
}

// reaches reports whether a state comes into a constellation by internal steps, none included.
func (r *weakRefiner) reaches(s State, rest int32) bool {
	return r.search(&r.deep, &r.leads, s, func(x State) bool { return r.constellation[r.block[x]] == rest })
}

// reachesBy reports whether a state has a weak step by a visible label into a constellation.
func (r *weakRefiner) reachesBy(s State, label Label, rest int32) bool {
	return r.search(&r.deepBy, &r.leadsBy, s, func(x State) bool {
		steps := r.l.Steps(x)
		i, _ := slices.BinarySearchFunc(steps, label, func(s Step, l Label) int { return int(s.Label) - int(l) })
		for ; i < len(steps) && steps[i].Label == label; i++ {
			r.work++
			if r.reaches(steps[i].To, rest) {
				return true
			}
		}
		return false
	})
}

// search reports whether internal steps lead from a state to one that is a goal. It
// remembers what it finds for every state on the way; the steps have no cycles.
func (r *weakRefiner) search(stack *[]frame, known *memo, from State, goal func(State) bool) bool {
	if known.has(from) {
		return known.yes[from]
	}
	open := (*stack)[:0]
	visit := func(s State) bool {
		open = append(open, frame{s, r.l.tauSteps(s)})
		return goal(s)
	}
	found := visit(from)
	for !found && len(open) > 0 {
		top := &open[len(open)-1]
		if len(top.rest) == 0 {
			known.put(top.state, false)
			open = open[:len(open)-1]
			continue
		}
		to := top.rest[0].To
		top.rest = top.rest[1:]
		r.work++
		if known.has(to) {
			found = known.yes[to]
		} else {
			found = visit(to)
		}
	}
	for _, f := range open {
		known.put(f.state, true)
	}
	*stack = open[:0]
	return found
}
