package hml

import (
	"fmt"
	"slices"

	"github.com/spexio/spex/lts"
)

// graph is what is left of a system for the search: the part that the two states
// reach, with states that are certainly equivalent merged, and its labels replaced
// by dense numbers, the internal action's being 0. Where the engine follows
// internal steps by itself they are acyclic and lead to smaller numbers.
type graph struct {
	l      *lts.LTS
	labels []lts.Label // of the original system, by dense number
	// endless is the label of loops that stand for divergence; 0 is none.
	endless     lts.Label
	left, right lts.State
}

// prepare makes the graph for a comparison.
func prepare(l *lts.LTS, s, t lts.State, e lts.Equivalence, lim Limits) (*graph, error) {
	g := restrict(l, s, t)
	if g.l.States() > lim.States {
		return nil, fmt.Errorf("%w: %d states can be reached, %d are allowed", ErrTooLarge, g.l.States(), lim.States)
	}
	switch e {
	case lts.Strong:
		return g, nil
	case lts.DivergencePreservingBranching:
		g.markDivergence()
	}
	g.merge()
	g.sortSilently()
	if e == lts.Weak && g.left != g.right {
		if err := g.saturate(lim.Items); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// restrict copies the part that two states reach.
func restrict(l *lts.LTS, s, t lts.State) *graph {
	keep := l.Reachable(s, t)
	number := make([]lts.State, len(keep))
	var b lts.Builder
	var used []lts.Label
	for i, in := range keep {
		if in {
			number[i] = b.AddState()
			for _, step := range l.Steps(lts.State(i)) {
				used = append(used, step.Label)
			}
			slices.Sort(used)
			used = slices.Compact(used)
		}
	}
	g := &graph{labels: slices.Insert(slices.DeleteFunc(used, func(a lts.Label) bool { return a == lts.Tau }), 0, lts.Tau)}
	dense := make(map[lts.Label]lts.Label, len(g.labels))
	for i, label := range g.labels {
		dense[label] = lts.Label(i)
	}
	for i, in := range keep {
		if in {
			for _, step := range l.Steps(lts.State(i)) {
				b.Add(number[i], dense[step.Label], number[step.To])
			}
		}
	}
	g.left, g.right = number[s], number[t]
	g.l = b.Build(g.left)
	return g
}

// markDivergence merges the states of each cycle of internal steps, and gives
// those a loop with a label of its own.
func (g *graph) markDivergence() {
	component, count := silentComponents(g.l)
	g.endless = lts.Label(len(g.labels))
	g.labels = append(g.labels, lts.Tau)
	var b lts.Builder
	b.AddStates(int(count))
	for s := range lts.State(g.l.States()) {
		from := component[s]
		for _, step := range g.l.Steps(s) {
			to := component[step.To]
			if step.Label == lts.Tau && from == to {
				b.Add(from, g.endless, from)
			} else {
				b.Add(from, step.Label, to)
			}
		}
	}
	g.left, g.right = component[g.left], component[g.right]
	g.l = b.Build(g.left)
}

// silentComponents finds the strongly connected components of the internal steps
// by Tarjan's algorithm, with a stack of its own.
func silentComponents(l *lts.LTS) (component []lts.State, count lts.State) {
	n := l.States()
	component = slices.Repeat([]lts.State{-1}, n)
	index, low := make([]int32, n), make([]int32, n) // index 0: not visited
	next := make([]int32, n)
	var open, calls []lts.State
	visited := int32(0)
	enter := func(s lts.State) {
		visited++
		index[s], low[s] = visited, visited
		open, calls = append(open, s), append(calls, s)
	}
	for root := range lts.State(n) {
		if index[root] == 0 {
			enter(root)
		}
		for len(calls) > 0 {
			s := calls[len(calls)-1]
			if tau := stepsOf(l, s, lts.Tau); int(next[s]) < len(tau) {
				to := tau[next[s]].To
				next[s]++
				if index[to] == 0 {
					enter(to)
				} else if component[to] < 0 {
					low[s] = min(low[s], index[to])
				}
				continue
			}
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				caller := calls[len(calls)-1]
				low[caller] = min(low[caller], low[s])
			}
			if low[s] == index[s] {
				at := slices.Index(open, s)
				for _, member := range open[at:] {
					component[member] = count
				}
				open = open[:at]
				count++
			}
		}
	}
	return component, count
}

// merge takes the quotient by branching bisimilarity, which refines every
// equivalence that looks at it afterwards and is fast.
func (g *graph) merge() {
	p := lts.BranchingPartition(g.l)
	var b lts.Builder
	b.AddStates(p.Blocks())
	for block := range lts.Block(p.Blocks()) {
		for _, o := range p.Signature(block) {
			b.Add(block, o.Label, o.To)
		}
	}
	g.left, g.right = p.Block(g.left), p.Block(g.right)
	g.l = b.Build(g.left)
}

// sortSilently renumbers the states such that internal steps, which are acyclic
// after merge, lead to smaller numbers.
func (g *graph) sortSilently() {
	n := g.l.States()
	waiting := make([]int32, n) // internal steps to states without a number
	c := newChecker(g.l)
	var order []lts.State
	for s := range lts.State(n) {
		if waiting[s] = int32(len(stepsOf(g.l, s, lts.Tau))); waiting[s] == 0 {
			order = append(order, s)
		}
	}
	number := make([]lts.State, n)
	for i := 0; i < len(order); i++ {
		s := order[i]
		number[s] = lts.State(i)
		for _, p := range c.preds[c.offsets[s]:c.offsets[s+1]] {
			if waiting[p]--; waiting[p] == 0 {
				order = append(order, p)
			}
		}
	}
	var b lts.Builder
	b.AddStates(n)
	for s := range lts.State(n) {
		for _, step := range g.l.Steps(s) {
			b.Add(number[s], step.Label, number[step.To])
		}
	}
	g.left, g.right = number[g.left], number[g.right]
	g.l = b.Build(g.left)
}

// saturate replaces the steps by the weak ones: a is any internal steps, a, any
// internal steps, and the internal action any number of them, none included.
func (g *graph) saturate(limit int) error {
	n := g.l.States()
	silent := make([][]lts.State, n) // what each state reaches by internal steps
	total := 0
	for s := range lts.State(n) {
		reach := []lts.State{s}
		for _, step := range stepsOf(g.l, s, lts.Tau) {
			reach = append(reach, silent[step.To]...)
		}
		slices.Sort(reach)
		silent[s] = slices.Clip(slices.Compact(reach))
		if total += len(silent[s]); total > limit {
			return fmt.Errorf("%w: more than %d weak steps", ErrTooLarge, limit)
		}
	}
	var b lts.Builder
	b.AddStates(n)
	weak := make([][]lts.Step, n) // visible ones
	for s := range lts.State(n) {
		var own []lts.Step
		for _, step := range g.l.Steps(s) {
			if step.Label == lts.Tau {
				own = append(own, weak[step.To]...)
				continue
			}
			for _, to := range silent[step.To] {
				own = append(own, lts.Step{Label: step.Label, To: to})
			}
		}
		slices.SortFunc(own, func(a, b lts.Step) int {
			if a.Label != b.Label {
				return int(a.Label - b.Label)
			}
			return int(a.To - b.To)
		})
		weak[s] = slices.Clip(slices.Compact(own))
		if total += len(weak[s]); total > limit {
			return fmt.Errorf("%w: more than %d weak steps", ErrTooLarge, limit)
		}
		for _, to := range silent[s] {
			b.Add(s, lts.Tau, to)
		}
		for _, step := range weak[s] {
			b.Add(s, step.Label, step.To)
		}
	}
	g.l = b.Build(g.left)
	return nil
}
