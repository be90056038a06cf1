package plan

import (
	"cmp"
	"slices"
)

// Next returns the changes that can be taken now, at most one for each group, and
// what it would like to do and does not. Changes and groups that are Busy
// together are never more than Settings.MaxConcurrent; neither are the groups to
// which a new replica is being copied, unless a node comes back to which more
// copies were on their way.
//
// All changes may be carried out at the same time, in any order, and any of them
// may fail. With Settings.Paused there are no changes, and all of them are in
// what waits.
func Next(s State) ([]Change, []Waiting) {
	p := newPlanner(s)
	targets := p.targets()
	changes, waiting := p.choose(p.steps(targets))
	if s.Settings.Paused {
		held := make([]Waiting, 0, len(changes)+len(waiting))
		for _, c := range changes {
			held = append(held, Waiting{Group: c.Group, Node: c.Node, Why: "paused, and would " + p.describe(c)})
		}
		return nil, append(held, waiting...)
	}
	return changes, waiting
}

// steps collects what each group is up to, the catalog first.
func (p *planner) steps(targets map[uint32][]string) []step {
	steps := make([]step, 0, len(p.shards)+1)
	if p.catalog != nil && !p.catalog.Busy {
		steps = append(steps, p.catalogStep())
	}
	leads := p.leads(targets)
	for _, g := range p.shards {
		if !g.Busy {
			steps = append(steps, p.shardStep(g, targets[g.ID], leads[g.ID]))
		}
	}
	return steps
}

// choose takes as many of the changes as may be under way at the same time.
func (p *planner) choose(steps []step) (changes []Change, waiting []Waiting) {
	limit := max(p.s.Settings.MaxConcurrent, 1)
	free, moving := limit, 0
	for _, g := range p.s.Groups {
		if g.Busy {
			free--
			moving++
		}
	}
	var ready []step
	waiting = p.silent()
	for _, st := range merge(steps) {
		if st.flows {
			moving++
		}
		if st.change != nil {
			ready = append(ready, st)
		} else if st.wait != nil {
			waiting = append(waiting, *st.wait)
		}
	}
	slices.SortStableFunc(ready, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), p.urgency(a)-p.urgency(b))
	})
	more := 0
	for _, st := range ready {
		if free <= 0 || st.starts && moving >= limit {
			more++
			continue
		}
		free--
		if st.starts {
			moving++
		}
		changes = append(changes, *st.change)
	}
	if more > 0 {
		waiting = append(waiting, Waiting{Group: 0, Why: count(more, "more group") + " would change too, but at most " + count(limit, "") + " may at the same time"})
	}
	return changes, waiting
}

// silent says what is going to happen to the nodes that are not heard of.
func (p *planner) silent() []Waiting {
	var waiting []Waiting
	for _, id := range p.eligible {
		n := p.nodes[id]
		if n.Alive {
			continue
		}
		why := p.label(id) + " " + p.condition(id) + ": it is replaced after " + length(p.s.Settings.DeadAfter) + ", or at once when it is removed by hand"
		if p.s.Settings.DeadAfter <= 0 {
			why = p.label(id) + " " + p.condition(id) + ": it is replaced when it is removed by hand, as dead-after is off"
		}
		waiting = append(waiting, Waiting{Node: id, Why: why})
	}
	return waiting
}

// merge lets groups that wait for the same say so once.
func merge(steps []step) []step {
	type reason struct{ node, alike string }
	groups := map[reason][]uint32{}
	key := func(st step) reason { return reason{st.wait.Node, st.alike} }
	for _, st := range steps {
		if st.alike != "" {
			groups[key(st)] = append(groups[key(st)], st.group.ID)
		}
	}
	out := make([]step, 0, len(steps))
	for _, st := range steps {
		if st.alike != "" {
			ids := groups[key(st)]
			if ids[0] != st.group.ID {
				continue
			}
			if len(ids) > 1 {
				w := *st.wait
				w.Why = groupNames(ids) + ": each " + st.alike
				st.wait = &w
			}
		}
		out = append(out, st)
	}
	return out
}

// urgency orders new moves: the groups that survive the fewest failures first.
func (p *planner) urgency(st step) int {
	if st.rank != rankStart {
		return 0
	}
	return st.group.FailureTolerance()
}

// describe says what a change does, after "would".
func (p *planner) describe(c Change) string {
	node, group := p.label(c.Node), groupName(c.Group)
	switch c.Kind {
	case Place:
		return "place " + group + " on " + node + ": " + c.Why
	case AddNonvoter:
		return "add " + node + " to " + group + ": " + c.Why
	case Promote:
		return "give " + node + " a vote in " + group + ": " + c.Why
	case Transfer:
		return "move the leadership of " + group + " from " + p.label(c.From) + " to " + node + ": " + c.Why
	case Remove:
		return "remove " + node + " from " + group + ": " + c.Why
	case Unplace:
		return "let " + node + " delete its state of " + group + ": " + c.Why
	case Demote:
		return "take the vote of " + node + " in " + group + ": " + c.Why
	}
	return "forget " + node + ": " + c.Why
}
