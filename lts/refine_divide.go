package lts

// divide divides a block in two: into the red states, which reach a transition of a
// bundle after inert transitions, and the blue ones, which do not. Red bottom states
// must be marked before. Red states that lose their inert transitions by this become
// bottom states and go into a block of their own, together with those that reach
// them; that block is left to be stabilised.
func (r *refiner) divide(x Block, splitter int32) {
	red, ok := r.separate(x, splitter)
	if !ok {
		return
	}
	fresh := r.newBottoms
	r.newBottoms = 0
	blk := &r.blocks[red]
	if fresh == 0 || blk.size() == 1 {
		return
	}
	if fresh < blk.bottoms() {
		// The new bottom states are the last ones among the bottom states.
		r.rotate(blk.start, blk.bottomEnd-fresh, blk.bottomEnd)
		blk.marked = fresh
		// This makes no more bottom states: what reaches a new bottom state has a
		// successor that does, and what does not has none that does.
		red, _ = r.separate(red, -1)
	}
	r.stabilise(red)
}

// separate divides a block into what reaches a marked bottom state or a transition of
// the splitter by inert transitions, and the rest, and clears the marks. It returns
// the block with the former, and false if there was nothing to divide. Red states
// that have become bottom states are counted in newBottoms; they are the last ones
// among the bottom states of their block.
func (r *refiner) separate(x Block, splitter int32) (red Block, ok bool) {
	blk := &r.blocks[x]
	marked := blk.marked
	blk.marked = 0
	if marked == blk.bottoms() {
		return x, false // every state reaches a bottom state
	}
	redBottoms, blueBottoms := marked, blk.bottoms()-marked
	redStart := blk.end
	if blk.bottomEnd < blk.end {
		redStart = r.lockstep(x, redBottoms, splitter)
	}
	redOthers := blk.end - redStart
	if redBottoms+redOthers == 0 {
		return x, false
	}
	// From [red bottoms][blue bottoms][blue others][red others] to
	// [red bottoms][red others][blue bottoms][blue others].
	r.rotate(blk.bottomEnd, redStart, blk.end)
	r.rotate(blk.start+redBottoms, blk.bottomEnd, blk.bottomEnd+redOthers)
	middle := blk.start + redBottoms + redOthers

	fresh := Block(len(r.blocks))
	y := *blk
	y.bundles, y.waiting, y.internal = -1, -1, -1
	redIsFresh := middle-blk.start <= blk.end-middle
	redPart, bluePart := blk, &y
	if redIsFresh {
		redPart, bluePart = &y, blk
	}
	start, end := blk.start, blk.end
	redPart.start, redPart.bottomEnd, redPart.end = start, start+redBottoms, middle
	bluePart.start, bluePart.bottomEnd, bluePart.end = middle, middle+blueBottoms, end
	r.blocks = append(r.blocks, y)
	r.moveTransitions(x, fresh, redIsFresh, splitter)
	if c := &r.constellations[y.constellation]; !c.compound {
		c.compound = true
		r.compound = append(r.compound, y.constellation)
	}
	if redIsFresh {
		return fresh, true
	}
	return x, true
}

// moveTransitions gives the states of y, which were in x, their block number, moves
// their transitions into bundles of their own, and finds new bottom states.
func (r *refiner) moveTransitions(x, y Block, yIsRed bool, splitter int32) {
	part := r.blocks[y]
	for _, s := range r.elements[part.start:part.end] {
		r.states[s].block = y
	}
	if part.size() == 1 {
		r.retireState(x, y, yIsRed)
	} else {
		r.moveBundles(x, y, yIsRed, splitter)
	}
	internal := r.blocks[x].internal
	if !yIsRed && internal >= 0 {
		for _, s := range r.elements[part.start:part.end] {
			for t := r.inOffsets[s]; t < r.inOffsets[s+1]; t++ {
				if r.transitions[t].bundle != internal {
					continue
				}
				p := r.transitions[t].source
				if r.states[p].inert--; r.states[p].inert == 0 {
					r.addBottom(x, p)
				}
			}
		}
	}
	if r.blocks[x].size() == 1 {
		r.retireBlock(x)
	}
}

// moveBundles moves the transitions of y out of the bundles of x. The splitter goes
// with the red states as it is.
func (r *refiner) moveBundles(x, y Block, yIsRed bool, splitter int32) {
	part := r.blocks[y]
	internal := r.blocks[x].internal
	touched := r.touched[:0]
	if !yIsRed || splitter < 0 {
		splitter = -1
	} else {
		r.bundles[splitter].fresh = splitter
	}
	for i := part.start; i < part.end; i++ {
		s := r.elements[i]
		lost := int32(0)
		for k := r.outOffsets[s]; k < r.outOffsets[s+1]; k++ {
			t := r.out[k]
			from := r.transitions[t].bundle
			if from == splitter {
				continue
			}
			if r.bundles[from].fresh < 0 {
				r.splitOff(from)
				touched = append(touched, from)
			}
			r.shift(t, from)
			if from == internal && yIsRed && r.states[r.target[k]].block == x {
				lost++
			}
		}
		if lost == 0 {
			continue
		}
		if r.states[s].inert -= lost; r.states[s].inert == 0 {
			r.addBottom(y, s)
		}
	}
	r.touched = touched
	r.settle(x, y, touched, splitter)
}

// retireState is moveBundles for a block y of one state, whose transitions need no
// bundles any more.
func (r *refiner) retireState(x, y Block, yIsRed bool) {
	s := r.elements[r.blocks[y].start]
	for _, t := range r.out[r.outOffsets[s]:r.outOffsets[s+1]] {
		from := r.transitions[t].bundle
		r.retire(t)
		if r.bundles[from].empty() {
			r.drop(from, x)
		}
	}
	if yIsRed && r.states[s].inert > 0 {
		r.states[s].inert = 0
		r.addBottom(y, s)
	}
}

// addBottom moves a state among the bottom states of its block, behind the others.
func (r *refiner) addBottom(b Block, s int32) {
	blk := &r.blocks[b]
	r.swapStates(r.states[s].position, blk.bottomEnd)
	blk.bottomEnd++
	r.newBottoms++
}

// settle ends the split of bundles that are moving from block x to y: the fresh ones
// inherit tasks and partners. A bundle that moves as it is may be there besides.
func (r *refiner) settle(x, y Block, touched []int32, whole int32) {
	for _, from := range touched {
		if p := r.bundles[from].partner; p >= 0 {
			r.bundles[r.bundles[from].fresh].partner = r.bundles[p].fresh
		}
	}
	if whole >= 0 {
		b := &r.bundles[whole]
		if p := b.partner; p >= 0 {
			b.partner, r.bundles[p].partner = r.bundles[p].fresh, -1
		}
		b.fresh = -1
		r.unlink(whole, x)
		r.link(whole, y)
	}
	for _, from := range touched {
		fresh := r.bundles[from].fresh
		r.bundles[from].fresh = -1
		r.link(fresh, y)
		if r.blocks[x].internal == from {
			r.blocks[y].internal = fresh
		}
		if r.bundles[from].task != nothing {
			r.enqueue(fresh, y, r.bundles[from].task)
		}
		if r.bundles[from].empty() {
			r.drop(from, x)
		}
	}
}

// lockstep searches the red and the blue non-bottom states of a block, by turns, a
// few transitions each, so that the whole costs no more than the search that ends
// first; one that has found more than half of the states waits for the other.
//
// Red bottom states are the first redBottoms states of the block. What is found blue
// is gathered right behind the bottom states and what is found red at the end of the
// block. The result is where the blue ones end and the red ones start.
//
// A state that is not a bottom state is blue if all its inert transitions lead to
// blue states and none of its transitions is in the splitter. One that fails only in
// the latter will be a new bottom state, which pays for the look at its transitions.
func (r *refiner) lockstep(x Block, redBottoms, splitter int32) (redStart int32) {
	const turn = 32 // transitions
	blk := r.blocks[x]
	red := redSearch{r: r, blk: blk, redBottoms: redBottoms, next: blk.start, begin: blk.end}
	if splitter >= 0 {
		red.i, red.iEnd = r.bundles[splitter].start, r.bundles[splitter].end
	}
	blue := blueSearch{r: r, blk: blk, splitter: splitter, next: blk.start + redBottoms, end: blk.bottomEnd}
	half := blk.size() / 2
	for {
		if blue.end-(blk.start+redBottoms) <= half && blue.run(turn, red.begin) {
			redStart = blue.end
			break
		}
		if redBottoms+blk.end-red.begin <= half && red.run(turn) {
			redStart = red.begin
			break
		}
	}
	for _, s := range r.counted {
		r.states[s].missing = 0
	}
	r.counted = r.counted[:0]
	return redStart
}

// redSearch finds states with a transition in the splitter, elements i to iEnd of
// order, and goes backwards from red states by inert transitions.
type redSearch struct {
	r          *refiner
	blk        blockRecord
	i, iEnd    int32
	redBottoms int32
	begin      int32 // red states that are no bottom states are elements[begin:blk.end]
	next       int32 // red bottom state to go back from, then how many others were
	others     int32
	t, tEnd    int32 // incoming transitions of the state at hand
}

// run looks at some transitions and reports whether the search is complete.
func (q *redSearch) run(turn int) bool {
	r := q.r
	for range turn {
		switch {
		case q.i < q.iEnd:
			q.add(r.transitions[r.order[q.i]].source)
			q.i++
		case q.t < q.tEnd:
			if r.transitions[q.t].bundle == q.blk.internal {
				q.add(r.transitions[q.t].source)
			}
			q.t++
		default:
			var s int32
			if q.next < q.blk.start+q.redBottoms {
				s = r.elements[q.next]
				q.next++
			} else if q.others < q.blk.end-q.begin {
				q.others++
				s = r.elements[q.blk.end-q.others]
			} else {
				return true
			}
			q.t, q.tEnd = r.inOffsets[s], r.inOffsets[s+1]
		}
	}
	return false
}

func (q *redSearch) add(s int32) {
	if at := q.r.states[s].position; at >= q.blk.bottomEnd && at < q.begin {
		q.begin--
		q.r.swapStates(at, q.begin)
	}
}

// blueSearch goes backwards from blue states by inert transitions to states all of
// whose inert transitions lead to blue ones.
type blueSearch struct {
	r        *refiner
	blk      blockRecord
	splitter int32
	next     int32 // elements[next:end] are blue states to go back from
	end      int32
	t, tEnd  int32
}

// run looks at some transitions and reports whether the search is complete. States
// from redBegin on are known to be red.
func (q *blueSearch) run(turn int, redBegin int32) bool {
	r := q.r
	for range turn {
		if q.t == q.tEnd {
			if q.next == q.end {
				return true
			}
			s := r.elements[q.next]
			q.next++
			q.t, q.tEnd = r.inOffsets[s], r.inOffsets[s+1]
			continue
		}
		if r.transitions[q.t].bundle == q.blk.internal {
			q.look(r.transitions[q.t].source, redBegin)
		}
		q.t++
	}
	return false
}

// look counts an inert transition from s to a blue state.
func (q *blueSearch) look(s, redBegin int32) {
	r := q.r
	at := r.states[s].position
	if at < q.blk.bottomEnd || at >= redBegin {
		return
	}
	if r.states[s].missing == 0 {
		r.states[s].missing = r.states[s].inert
		r.counted = append(r.counted, s)
	}
	if r.states[s].missing--; r.states[s].missing > 0 || q.splitter >= 0 && r.inBundle(s, q.splitter) {
		return
	}
	r.swapStates(at, q.end)
	q.end++
}

// inBundle reports whether a state has a transition in a bundle.
func (r *refiner) inBundle(s, bundle int32) bool {
	for _, t := range r.out[r.outOffsets[s]:r.outOffsets[s+1]] {
		if r.transitions[t].bundle == bundle {
			return true
		}
	}
	return false
}
