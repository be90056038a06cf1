package lts

import "slices"

// setID is the number of a set of a setStore. The empty set is number 0.
type setID = int32

const emptySet setID = 0

// setStore holds sets of states, each of them once: equal sets have equal numbers.
// The sets are those of a subset construction, made only where somebody asks. When
// tau is internal (weak), all sets are closed under internal steps.
//
// Two budgets bound it. elements is what all sets together may hold, work is how
// many steps may be followed to find them; when either is used up the answers are
// no longer to be trusted and capped is set.
type setStore struct {
	l    *LTS
	weak bool

	content  []State // set i is content[begin[i]:begin[i+1]], sorted
	begin    []int64
	byHash   map[uint64]setID // first set with that hash
	sameHash []setID          // the next set with the same hash, or 0
	rows     [][]setStep      // nil: not computed yet
	of       []setID          // closure of each state; -1: not computed yet

	elements, work int64
	capped         bool

	// stamp[s] == round: s is in the set that is being made.
	stamp []int32
	round int32
	todo  []State
	found []Step
}

// setStep leads from a set to the set of all states that its members reach by a label.
type setStep struct {
	label Label
	to    setID
}

func newSetStore(l *LTS, weak bool, lim Limits) *setStore {
	st := &setStore{
		l: l, weak: weak, begin: []int64{0}, byHash: map[uint64]setID{},
		of: make([]setID, l.States()), stamp: make([]int32, l.States()), round: 1,
		elements: int64(lim.Sets) * elementsPerSet, work: int64(lim.Sets) * workPerSet,
	}
	for s := range st.of {
		st.of[s] = -1
	}
	st.intern(nil)
	st.rows[emptySet] = []setStep{}
	return st
}

func (st *setStore) members(id setID) []State { return st.content[st.begin[id]:st.begin[id+1]] }

// contains reports whether a state is in a set.
func (st *setStore) contains(id setID, s State) bool {
	_, found := slices.BinarySearch(st.members(id), s)
	return found
}

// includes reports whether every element of b is in a.
func (st *setStore) includes(a, b setID) bool {
	x, y := st.members(a), st.members(b)
	if len(y) > len(x) {
		return false
	}
	if st.work -= int64(len(y)); st.work < 0 {
		st.capped = true
	}
	for _, s := range y {
		for len(x) > 0 && x[0] < s {
			x = x[1:]
		}
		if len(x) == 0 || x[0] != s {
			return false
		}
	}
	return true
}

// intern returns the number of a sorted set, which it copies.
func (st *setStore) intern(set []State) setID {
	sum := uint64(len(set))
	for _, s := range set {
		sum = (sum ^ uint64(uint32(s))) * 0x9e3779b97f4a7c15
		sum ^= sum >> 29
	}
	first, known := st.byHash[sum]
	if known {
		for id := first; ; id = st.sameHash[id] {
			if slices.Equal(st.members(id), set) {
				return id
			}
			if st.sameHash[id] == 0 {
				break
			}
		}
	}
	if st.elements -= int64(len(set)); st.elements < 0 {
		st.capped = true
		return emptySet
	}
	id := setID(len(st.rows))
	st.content = append(st.content, set...)
	st.begin = append(st.begin, int64(len(st.content)))
	st.rows = append(st.rows, nil)
	if known {
		st.sameHash = append(st.sameHash, st.sameHash[first])
		st.sameHash[first] = id
	} else {
		st.sameHash = append(st.sameHash, 0)
		st.byHash[sum] = id
	}
	return id
}

// add puts a state into the set that is being made, with what it reaches by
// internal steps if those do not count.
func (st *setStore) add(s State) {
	if st.stamp[s] == st.round {
		return
	}
	st.stamp[s] = st.round
	from := len(st.todo)
	st.todo = append(st.todo, s)
	if !st.weak {
		return
	}
	for i := from; i < len(st.todo); i++ {
		for _, step := range st.l.tauSteps(st.todo[i]) {
			st.work--
			if st.stamp[step.To] != st.round {
				st.stamp[step.To] = st.round
				st.todo = append(st.todo, step.To)
			}
		}
	}
}

// close makes a set of what was added since the last call.
func (st *setStore) close() setID {
	if st.work < 0 {
		st.capped = true
	}
	slices.Sort(st.todo)
	id := st.intern(st.todo)
	st.todo = st.todo[:0]
	st.round++
	return id
}

// closure is the set of a state alone: with what it reaches by internal steps if weak.
func (st *setStore) closure(s State) setID {
	if st.of[s] < 0 {
		st.add(s)
		st.of[s] = st.close()
	}
	return st.of[s]
}

// row returns where a set leads by each label that some member has, sorted by label.
func (st *setStore) row(id setID) []setStep {
	if st.rows[id] != nil {
		return st.rows[id]
	}
	found := st.found[:0]
	for _, s := range st.members(id) {
		steps := st.l.Steps(s)
		st.work -= int64(len(steps))
		if st.work < 0 {
			st.capped = true
			return nil
		}
		if st.weak {
			steps = steps[len(st.l.tauSteps(s)):]
		}
		found = append(found, steps...)
	}
	st.found = found
	slices.SortFunc(found, compareSteps)
	row := make([]setStep, 0, 2)
	for len(found) > 0 {
		label, n := found[0].Label, 0
		for n < len(found) && found[n].Label == label {
			st.add(found[n].To)
			n++
		}
		row = append(row, setStep{label, st.close()})
		found = found[n:]
		if st.capped {
			return nil
		}
	}
	st.rows[id] = row
	return row
}

// next is where a set leads by a label; the empty set if no member has it.
func (st *setStore) next(id setID, label Label) setID {
	row := st.row(id)
	i, found := slices.BinarySearchFunc(row, label, func(s setStep, l Label) int { return int(s.label) - int(l) })
	if !found {
		return emptySet
	}
	return row[i].to
}
