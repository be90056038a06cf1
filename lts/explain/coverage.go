package explain

import "github.com/spexio/spex/lts"

// Transition is a transition by the names of its system.
type Transition struct {
	From, Action, To string
}

// Coverage tells which transitions of the left system the right one has shown. The
// systems are followed together from their initial states: where the right one takes a
// step and the left one can be in a state that answers it, the transitions of the
// answer are shown. Answers into states that could not go on as the right system does are
// left out, as long as the left system can follow at all. Internal steps that change nothing
// (to a branching bisimilar state) cannot be seen and do not count, nor do transitions that the left
// system cannot reach.
type Coverage struct {
	Shown, Total int
	// Missing are the transitions that were not shown, in the order of the system.
	Missing []Transition
}

// Complete reports whether everything was shown.
func (c *Coverage) Complete() bool { return c.Shown == c.Total }

// together is a state of the left system with one of the right system.
type together struct{ left, right lts.State }

// follower follows two systems together and marks transitions of the left one.
type follower struct {
	left, right *lts.LTS
	limit       int
	// fits says whether the left state can go on as the right one does; nil means that nothing is known.
	fits  func(left, right lts.State) bool
	seen  map[together]struct{}
	todo  []together
	shown map[lts.State]map[lts.Step]bool
	// work counts steps looked at.
	work int
}

// DefaultCoverageWork bounds the steps that the search for coverage looks at.
const DefaultCoverageWork = 20_000_000

// CoverageOf computes the coverage of the left system; nil if it would cost too much.
func CoverageOf(left, right *lts.System, limits lts.Limits, internal string) *Coverage {
	f := &follower{
		left: left.LTS, right: right.LTS, limit: DefaultCoverageWork,
		seen: map[together]struct{}{}, shown: map[lts.State]map[lts.Step]bool{},
	}
	order := lts.NewSimulation(right.LTS, left.LTS, limits)
	if order.Has(right.LTS.Initial(), left.LTS.Initial()) == lts.Yes {
		f.fits = func(l, r lts.State) bool { return order.Has(r, l) != lts.No }
	}
	if !f.run() {
		return nil
	}
	out := &Coverage{}
	classes := lts.BranchingPartition(left.LTS)
	for s, reachable := range left.LTS.Reachable(left.LTS.Initial()) {
		if !reachable {
			continue
		}
		s := lts.State(s)
		for _, step := range left.LTS.Steps(s) {
			if step.Label == lts.Tau && classes.Same(s, step.To) {
				continue
			}
			out.Total++
			if f.shown[s][step] {
				out.Shown++
				continue
			}
			name := internal
			if step.Label != lts.Tau {
				name = left.Alphabet.Name(step.Label)
			}
			out.Missing = append(out.Missing, Transition{left.StateName(s), name, left.StateName(step.To)})
		}
	}
	return out
}

// run follows both systems as far as they go and reports whether it came to an end
// before the limit.
func (f *follower) run() bool {
	f.visit(f.left.Initial(), f.right.Initial())
	for len(f.todo) > 0 {
		at := f.todo[len(f.todo)-1]
		f.todo = f.todo[:len(f.todo)-1]
		if f.follow(at); f.work > f.limit {
			return false
		}
	}
	return true
}

func (f *follower) visit(left, right lts.State) {
	at := together{left, right}
	if _, known := f.seen[at]; known || f.fits != nil && !f.fits(left, right) {
		return
	}
	f.seen[at] = struct{}{}
	f.todo = append(f.todo, at)
}

// way is a state that internal steps lead to, with the last of them.
type way struct {
	state  lts.State
	parent int
	step   lts.Step
}

// follow answers each step of the right system from one pair.
func (f *follower) follow(at together) {
	ways := f.silent(at.left)
	for _, step := range f.right.Steps(at.right) {
		for i, w := range ways {
			f.work++
			if step.Label == lts.Tau {
				// The left system answers by any number of internal steps.
				if f.fits == nil || f.fits(w.state, step.To) {
					f.markWay(ways, i)
					f.visit(w.state, step.To)
				}
				continue
			}
			for _, answer := range f.left.Steps(w.state) {
				f.work++
				if answer.Label != step.Label || f.fits != nil && !f.fits(answer.To, step.To) {
					continue
				}
				f.markWay(ways, i)
				f.mark(w.state, answer)
				f.visit(answer.To, step.To)
			}
		}
	}
}

// silent lists what internal steps lead to from a state, itself first.
func (f *follower) silent(s lts.State) []way {
	ways := []way{{state: s, parent: -1}}
	seen := map[lts.State]bool{s: true}
	for i := 0; i < len(ways); i++ {
		for _, step := range f.left.Steps(ways[i].state) {
			f.work++
			if step.Label == lts.Tau && !seen[step.To] {
				seen[step.To] = true
				ways = append(ways, way{step.To, i, step})
			}
		}
	}
	return ways
}

// markWay marks the internal steps that lead to ways[i].
func (f *follower) markWay(ways []way, i int) {
	for ; ways[i].parent >= 0; i = ways[i].parent {
		f.mark(ways[ways[i].parent].state, ways[i].step)
	}
}

func (f *follower) mark(s lts.State, step lts.Step) {
	m := f.shown[s]
	if m == nil {
		m = map[lts.Step]bool{}
		f.shown[s] = m
	}
	m[step] = true
}
