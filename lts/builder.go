package lts

import (
	"fmt"
	"math"
	"slices"
)

// edge is a transition of a Builder.
type edge struct {
	from State
	step Step
}

// Builder collects states and transitions. The zero value is empty. It may go on
// being used after Build. It takes 12 bytes for a transition, and Build 8 more.
type Builder struct {
	states int32
	edges  []edge
}

// Grow makes room for as many more transitions, so that adding those copies nothing.
func (b *Builder) Grow(transitions int) { b.edges = slices.Grow(b.edges, transitions) }

// AddState adds a state and returns it.
func (b *Builder) AddState() State { return b.AddStates(1) }

// AddStates adds n states and returns the first of them. It panics if there are
// more states than a State can number.
func (b *Builder) AddStates(n int) State {
	if n < 0 || n > math.MaxInt32-int(b.states) {
		panic(fmt.Sprintf("lts: %d states more than %d", n, b.states))
	}
	first := b.states
	b.states += int32(n)
	return first
}

// Add adds a transition; both states must have been added before, and the label must not be negative.
func (b *Builder) Add(from State, label Label, to State) {
	if from < 0 || from >= b.states || to < 0 || to >= b.states || label < 0 {
		panic(fmt.Sprintf("lts: transition (%d, %d, %d) in a system of %d states", from, label, to, b.states))
	}
	b.edges = append(b.edges, edge{from, Step{label, to}})
}

// AddLTS adds a copy of all states and transitions of another system and returns
// what must be added to a state of that system to get its copy. To put two systems
// side by side and nothing else, Union is cheaper.
func (b *Builder) AddLTS(l *LTS) State {
	shift := b.AddStates(l.States())
	b.Grow(l.Transitions())
	for s := range State(l.States()) {
		for _, step := range l.Steps(s) {
			b.edges = append(b.edges, edge{s + shift, Step{step.Label, step.To + shift}})
		}
	}
	return shift
}

// Clone returns a builder with the same content; additions to either do not show in the other.
func (b *Builder) Clone() *Builder {
	return &Builder{states: b.states, edges: slices.Clip(b.edges)}
}

// Build makes the LTS with the given initial state, which must have been added.
func (b *Builder) Build(initial State) *LTS {
	if initial < 0 || initial >= b.states {
		panic(fmt.Sprintf("lts: initial state %d in a system of %d states", initial, b.states))
	}
	if len(b.edges) > math.MaxInt32 {
		panic(fmt.Sprintf("lts: %d transitions", len(b.edges)))
	}
	// Count, place, then sort and deduplicate the steps of each state.
	offsets := make([]int32, b.states+1)
	for i := range b.edges {
		offsets[b.edges[i].from+1]++
	}
	startOf(offsets)
	steps := make([]Step, len(b.edges))
	for i := range b.edges {
		e := &b.edges[i]
		steps[offsets[e.from+1]] = e.step
		offsets[e.from+1]++
	}
	return &LTS{initial: initial, offsets: offsets, steps: normalize(offsets, steps)}
}

// startOf turns counts, that of i in offsets[i+1], into the beginning of each range,
// that of i in offsets[i+1]. Whoever fills the ranges counts these up, which makes
// them the ends of the ranges, as adjacency lists have them.
func startOf(offsets []int32) {
	sum := int32(0)
	for i := 1; i < len(offsets); i++ {
		n := offsets[i]
		offsets[i] = sum
		sum += n
	}
}

// normalize sorts the steps of each state, takes out duplicates and returns what is
// left of the steps. Those of state s are steps[offsets[s]:offsets[s+1]], before and
// after.
func normalize(offsets []int32, steps []Step) []Step {
	out, begin := int32(0), int32(0)
	for s := range len(offsets) - 1 {
		end := offsets[s+1]
		own := steps[begin:end]
		sortSteps(own)
		own = slices.Compact(own)
		if out == begin {
			out += int32(len(own))
		} else {
			out += int32(copy(steps[out:], own))
		}
		begin = end
		offsets[s+1] = out
	}
	return steps[:out:out]
}

// insertionLimit is the length up to which sorting by insertion is the fastest.
const insertionLimit = 12

// sortSteps sorts by label, then target. Most lists are of a few steps.
func sortSteps(steps []Step) {
	if len(steps) > insertionLimit {
		slices.SortFunc(steps, compareSteps)
		return
	}
	for i := 1; i < len(steps); i++ {
		step := steps[i]
		key, j := step.pack(), i
		for j > 0 && steps[j-1].pack() > key {
			steps[j] = steps[j-1]
			j--
		}
		steps[j] = step
	}
}

// pack orders steps by label, then target. Neither is negative.
func (s Step) pack() uint64 { return uint64(uint32(s.Label))<<32 | uint64(uint32(s.To)) }

func compareSteps(a, b Step) int {
	switch x, y := a.pack(), b.pack(); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// Union puts two systems side by side: the states of a keep their numbers, those
// of b are shifted by the second result. The initial state is that of a. Labels
// must be of one alphabet.
func Union(a, b *LTS) (u *LTS, shift State) {
	n, m := a.States(), a.Transitions()
	if n+b.States() > math.MaxInt32 || m+b.Transitions() > math.MaxInt32 {
		panic("lts: the union of two systems is too large for numbers of 32 bits")
	}
	shift = State(n)
	u = &LTS{
		initial: a.initial,
		offsets: make([]int32, n+b.States()+1),
		steps:   make([]Step, m+b.Transitions()),
	}
	copy(u.offsets, a.offsets)
	for s, end := range b.offsets {
		u.offsets[n+s] = end + int32(m)
	}
	copy(u.steps, a.steps)
	// A shift of all targets keeps the order of the steps.
	for i, step := range b.steps {
		u.steps[m+i] = Step{step.Label, step.To + shift}
	}
	return u, shift
}
