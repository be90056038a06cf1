package lts

// bundle holds transitions of one block, with one label, into one constellation:
// order[start:end]. Those before mark are marked: as far as dividing by the bundle
// needs it, every bottom state with a transition in the bundle has a marked one.
type bundle struct {
	start, mark, end int32
	next, prev       int32 // in the list of its block; -1 at the ends
	// partner is the other half of a bundle that carve has split, while the block
	// may still have to be divided by both; -1 if there is none.
	partner int32
	// fresh is the bundle that transitions of this one are moving to, or -1.
	fresh  int32
	task   task
	queued bool // whether it is in refiner.unstable
}

func (b *bundle) empty() bool { return b.start == b.end }

// task says how a bundle in refiner.unstable divides its block.
type task uint8

const (
	nothing task = iota
	// dividesByMarked: bottom states with a marked transition from the others.
	dividesByMarked
	// dividesByAll: bottom states with a transition from the others.
	dividesByAll
	// dividesByBoth: likewise; then, what has a transition in it, by its partner.
	dividesByBoth
	// dividesByPartner is the second part of dividesByBoth.
	dividesByPartner
)

// waits reports whether a block has still to be divided by the bundle. A bundle that
// waits for its partner's turn only does not: the block has been divided by it.
func (b *bundle) waits() bool { return b.task != nothing && b.task != dividesByPartner }

// enqueue gives a bundle of block x a task.
func (r *refiner) enqueue(id int32, x Block, t task) {
	r.assign(id, x, t)
	if b := &r.bundles[id]; !b.queued {
		b.queued = true
		r.unstable = append(r.unstable, id)
	}
}

// assign changes the task of a bundle of block x, and moves it to the list where it
// belongs with it.
func (r *refiner) assign(id int32, x Block, t task) {
	before, after := r.bundles[id], bundle{task: t}
	if before.waits() == after.waits() {
		r.bundles[id].task = t
		return
	}
	r.unlink(id, x)
	r.bundles[id].task = t
	r.link(id, x)
}

// splitOff makes an empty bundle right behind another one, whose transitions shift
// can move to it.
func (r *refiner) splitOff(from int32) {
	end := r.bundles[from].end
	b := bundle{start: end, mark: end, end: end, next: -1, prev: -1, partner: -1, fresh: -1}
	if n := len(r.freeBundles); n > 0 {
		id := r.freeBundles[n-1]
		r.freeBundles = r.freeBundles[:n-1]
		r.bundles[id] = b
		r.bundles[from].fresh = id
		return
	}
	r.bundles[from].fresh = int32(len(r.bundles))
	r.bundles = append(r.bundles, b)
}

// shift moves a transition from its bundle to the one that was split off. It stays
// marked if it was.
func (r *refiner) shift(t, from int32) {
	b := &r.bundles[from]
	to := &r.bundles[b.fresh]
	at := r.transitions[t].slot
	marked := at < b.mark
	if marked {
		b.mark--
		r.swapTransitions(at, b.mark)
		at = b.mark
	}
	b.end--
	r.swapTransitions(at, b.end)
	to.start--
	if !marked {
		to.mark--
		r.swapTransitions(to.start, to.mark)
	}
	r.transitions[t].bundle = b.fresh
}

// retire takes a transition out of its bundle, for good.
func (r *refiner) retire(t int32) {
	tr := &r.transitions[t]
	b := &r.bundles[tr.bundle]
	tr.bundle = -1
	at := tr.slot
	if at < b.mark {
		b.mark--
		r.swapTransitions(at, b.mark)
		at = b.mark
	}
	b.end--
	r.swapTransitions(at, b.end)
}

// retireBlock retires what is left of a block of one state.
func (r *refiner) retireBlock(x Block) {
	blk := &r.blocks[x]
	s := r.elements[blk.start]
	for _, t := range r.out[r.outOffsets[s]:r.outOffsets[s+1]] {
		r.transitions[t].bundle = -1
	}
	for _, head := range [...]int32{blk.bundles, blk.waiting} {
		for id := head; id >= 0; id = r.bundles[id].next {
			b := &r.bundles[id]
			b.end, b.mark = b.start, b.start
			if !b.queued {
				r.freeBundles = append(r.freeBundles, id)
			}
		}
	}
	blk.bundles, blk.waiting, blk.internal = -1, -1, -1
}

func (r *refiner) swapTransitions(i, j int32) {
	if i == j {
		return
	}
	a, b := r.order[i], r.order[j]
	r.order[i], r.order[j] = b, a
	r.transitions[a].slot, r.transitions[b].slot = j, i
}

// link puts a bundle into the list of its block.
func (r *refiner) link(id int32, x Block) {
	head := r.listOf(id, x)
	r.bundles[id].next, r.bundles[id].prev = *head, -1
	if *head >= 0 {
		r.bundles[*head].prev = id
	}
	*head = id
}

// listOf is the head of the list of block x that a bundle belongs to.
func (r *refiner) listOf(id int32, x Block) *int32 {
	if r.bundles[id].waits() {
		return &r.blocks[x].waiting
	}
	return &r.blocks[x].bundles
}

// unlink takes a bundle out of the list of its block.
func (r *refiner) unlink(id int32, x Block) {
	b := &r.bundles[id]
	if b.prev >= 0 {
		r.bundles[b.prev].next = b.next
	} else {
		*r.listOf(id, x) = b.next
	}
	if b.next >= 0 {
		r.bundles[b.next].prev = b.prev
	}
}

// drop takes an empty bundle away from its block. One that is queued is free when
// drain meets it, since its number must not be given out before.
func (r *refiner) drop(id int32, x Block) {
	r.unlink(id, x)
	b := &r.bundles[id]
	if r.blocks[x].internal == id {
		r.blocks[x].internal = -1
	}
	if b.partner >= 0 {
		r.bundles[b.partner].partner = -1
		b.partner = -1
	}
	if !b.queued {
		r.freeBundles = append(r.freeBundles, id)
	}
}

// siblings counts, for each state, label and constellation, the transitions that
// the state has by the label into the constellation. Its one purpose is to tell
// states that keep a transition into the rest of a constellation from those that
// have transitions into the carved block only.
type siblings struct {
	// count is the number of transitions of each group. The group of a transition
	// that is the only one is -1.
	count []int32
	// other is the group that transitions are moving to, for one that they are
	// moving from, and the reverse; else -1.
	other []int32
	split []int32 // groups that transitions are moving from
	free  []int32
}

// add makes a group of n transitions.
func (g *siblings) add(n int32) int32 {
	if k := len(g.free); k > 0 {
		id := g.free[k-1]
		g.free = g.free[:k-1]
		g.count[id], g.other[id] = n, -1
		return id
	}
	g.count, g.other = append(g.count, n), append(g.other, -1)
	return int32(len(g.count) - 1)
}

// join puts a transition into the group of another one.
func (g *siblings) join(first, t *transition) {
	if first.group < 0 {
		first.group = g.add(1)
	}
	t.group = first.group
	g.count[t.group]++
}

// part moves a transition, which leads into the block being carved, to the group of those.
func (g *siblings) part(t *transition) {
	from := t.group
	if from < 0 {
		return
	}
	to := g.other[from]
	if to < 0 {
		to = g.add(0)
		g.other[from], g.other[to] = to, from
		g.split = append(g.split, from)
	}
	g.count[from]--
	g.count[to]++
	t.group = to
}

// parted reports whether the source of a transition into the carved block has one
// by the same label into the rest of the constellation.
func (g *siblings) parted(t *transition) bool {
	to := t.group
	if to < 0 {
		return false
	}
	from := g.other[to]
	return from >= 0 && g.count[from] > 0
}

// forget makes ready for the next block to be carved.
func (g *siblings) forget() {
	for _, from := range g.split {
		to := g.other[from]
		g.other[from], g.other[to] = -1, -1
		if g.count[from] == 0 {
			g.free = append(g.free, from)
		}
	}
	g.split = g.split[:0]
}
