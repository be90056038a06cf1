package hml

import "github.com/spexio/spex/lts"

// checker evaluates formulas on a system straight from the meaning of their parts.
type checker struct {
	l *lts.LTS
	// The states with an internal step to s are preds[offsets[s]:offsets[s+1]].
	offsets []int32
	preds   []lts.State
	todo    []lts.State // of silently, kept for the next time
}

func newChecker(l *lts.LTS) *checker {
	c := &checker{l: l, offsets: make([]int32, l.States()+1)}
	for s := range lts.State(l.States()) {
		for _, step := range stepsOf(l, s, lts.Tau) {
			c.offsets[step.To+1]++
		}
	}
	for s := range l.States() {
		c.offsets[s+1] += c.offsets[s]
	}
	c.preds = make([]lts.State, c.offsets[l.States()])
	next := append([]int32(nil), c.offsets...)
	for s := range lts.State(l.States()) {
		for _, step := range stepsOf(l, s, lts.Tau) {
			c.preds[next[step.To]] = s
			next[step.To]++
		}
	}
	return c
}

// stepsOf returns the steps of a state with one label.
func stepsOf(l *lts.LTS, s lts.State, label lts.Label) []lts.Step {
	steps := l.Steps(s)
	lo, hi := 0, len(steps)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); steps[mid].Label < label {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for hi < len(steps) && steps[hi].Label == label {
		hi++
	}
	return steps[lo:hi]
}

// Holds model checks the formula: it returns for each state of a system whether
// the formula is true there. The labels of the system must be those of the one
// that the formula was made from. The time is that of one pass over the system for
// each part of the formula.
func (f *Formula) Holds(l *lts.LTS) []bool {
	c := newChecker(l)
	uses := make([]int, len(f.nodes)) // by nodes not yet evaluated
	for i := range f.nodes {
		f.nodes[i].operands(func(o int32) { uses[o]++ })
	}
	values := make([][]bool, len(f.nodes))
	for i := range f.nodes {
		values[i] = c.value(&f.nodes[i], values)
		f.nodes[i].operands(func(o int32) {
			if uses[o]--; uses[o] == 0 {
				values[o] = nil
			}
		})
	}
	return values[f.root()]
}

// value evaluates a node whose operands have values.
func (c *checker) value(n *node, values [][]bool) []bool {
	out := make([]bool, c.l.States())
	switch n.op {
	case opTrue:
		for s := range out {
			out[s] = true
		}
	case opNot:
		for s, v := range values[n.after] {
			out[s] = !v
		}
	case opAnd:
		copy(out, values[n.args[0]])
		for _, a := range n.args[1:] {
			for s, v := range values[a] {
				out[s] = out[s] && v
			}
		}
	case opDiamond:
		c.into(n.label, values[n.after], out)
	case opStep:
		c.into(n.label, values[n.after], out)
		for s := range out {
			here := out[s] || n.label == lts.Tau && values[n.after][s]
			out[s] = here && values[n.before][s]
		}
		c.silently(out)
	case opWeak:
		reach := append([]bool(nil), values[n.after]...)
		c.silently(reach)
		if n.label == lts.Tau {
			return reach
		}
		c.into(n.label, reach, out)
		c.silently(out)
	case opDiverge:
		c.forever(values[n.after], out)
		c.silently(out)
	}
	return out
}

// into marks the states with a step to a target.
func (c *checker) into(label lts.Label, target, out []bool) {
	for s := range out {
		for _, step := range stepsOf(c.l, lts.State(s), label) {
			if target[step.To] {
				out[s] = true
				break
			}
		}
	}
}

// silently adds the states that reach a marked one by internal steps.
func (c *checker) silently(set []bool) {
	todo := c.todo[:0]
	for s, in := range set {
		if in {
			todo = append(todo, lts.State(s))
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, p := range c.preds[c.offsets[s]:c.offsets[s+1]] {
			if !set[p] {
				set[p] = true
				todo = append(todo, p)
			}
		}
	}
	c.todo = todo
}

// forever marks the states with an endless path of internal steps through states
// of the set: from the set it takes those without an internal step that stays in
// it, until none is left.
func (c *checker) forever(set, out []bool) {
	copy(out, set)
	ways := make([]int32, len(set))
	var dead []lts.State
	for s := range set {
		if !set[s] {
			continue
		}
		for _, step := range stepsOf(c.l, lts.State(s), lts.Tau) {
			if set[step.To] {
				ways[s]++
			}
		}
		if ways[s] == 0 {
			dead = append(dead, lts.State(s))
		}
	}
	for len(dead) > 0 {
		s := dead[len(dead)-1]
		dead = dead[:len(dead)-1]
		out[s] = false
		for _, p := range c.preds[c.offsets[s]:c.offsets[s+1]] {
			if !set[p] {
				continue
			}
			if ways[p]--; ways[p] == 0 {
				dead = append(dead, p)
			}
		}
	}
}
