package explain

import (
	"slices"

	"github.com/spexio/spex/lts"
)

// Trace is a run of one system that the other one cannot follow to its end, a
// shortest one as far as visible actions count.
type Trace struct {
	// Actions are the visible actions of the run. The other system can do all but
	// the last one.
	Actions []string
	// Start is the state where the run begins, and Run its steps, internal ones included.
	Start string
	Run   []Step
	// Instead are the visible actions that the other system can do in the place of
	// the last one, sorted.
	Instead []string
}

// Step is a step of a run.
type Step struct {
	Action   string
	State    string
	Internal bool
}

// traces finds the traces that only one of the systems has.
func (c *comparison) traces() {
	weak := c.rung(lts.WeakTrace)
	if weak.Holds == lts.Yes {
		return
	}
	var capped [2]bool
	find := func(in lts.Side, known lts.Answer) *Trace {
		if known == lts.Yes {
			return nil
		}
		t, stopped := lts.DistinguishingTrace(c.left.LTS, c.right.LTS, true, in, c.o.Limits)
		capped[in] = stopped
		if t == nil {
			return nil
		}
		if in == lts.Left {
			return c.decorate(t, c.left, c.right)
		}
		return c.decorate(t, c.right, c.left)
	}
	c.report.Missing = find(lts.Left, weak.LeftInRight)
	c.report.Extra = find(lts.Right, weak.RightInLeft)
	if capped[lts.Left] && c.report.Missing == nil || capped[lts.Right] && c.report.Extra == nil {
		c.leaveOut("the search for a trace that tells the systems apart was given up at its limit")
	}
}

// decorate finds a run that has the trace, and what the other system can do instead.
func (c *comparison) decorate(t *lts.Trace, has, other *lts.System) *Trace {
	out := &Trace{Start: has.StateName(has.LTS.Initial())}
	for _, label := range t.Labels {
		out.Actions = append(out.Actions, has.Alphabet.Name(label))
	}
	for _, step := range runOf(has.LTS, t.Labels) {
		s := Step{State: has.StateName(step.To), Action: has.Alphabet.Name(step.Label), Internal: step.Label == lts.Tau}
		if s.Internal {
			s.Action = c.o.Internal
		}
		out.Run = append(out.Run, s)
	}
	for _, s := range lts.After(other.LTS, t.Labels[:len(t.Labels)-1], true) {
		for _, step := range other.LTS.Steps(s) {
			if step.Label != lts.Tau {
				out.Instead = append(out.Instead, other.Alphabet.Name(step.Label))
			}
		}
	}
	slices.Sort(out.Instead)
	out.Instead = slices.Compact(out.Instead)
	return out
}

// runOf finds a shortest run from the initial state whose visible labels are the
// given ones, which it must have.
func runOf(l *lts.LTS, word []lts.Label) []lts.Step {
	// Breadth-first over states and positions in the word; the pairs of one
	// position are told apart by the state alone.
	type node struct {
		state  lts.State
		at     int
		parent int
		step   lts.Step
	}
	type key struct {
		state lts.State
		at    int
	}
	nodes := []node{{state: l.Initial(), parent: -1}}
	seen := map[key]bool{{l.Initial(), 0}: true}
	for i := 0; i < len(nodes); i++ {
		n := nodes[i]
		if n.at == len(word) {
			var run []lts.Step
			for j := i; nodes[j].parent >= 0; j = nodes[j].parent {
				run = append(run, nodes[j].step)
			}
			slices.Reverse(run)
			return run
		}
		for _, step := range l.Steps(n.state) {
			at := n.at
			switch step.Label {
			case lts.Tau:
			case word[n.at]:
				at++
			default:
				continue
			}
			if k := (key{step.To, at}); !seen[k] {
				seen[k] = true
				nodes = append(nodes, node{state: step.To, at: at, parent: i, step: step})
			}
		}
	}
	return nil
}
