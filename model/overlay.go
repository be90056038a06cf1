package model

import (
	"cmp"
	"slices"
	"sync"

	"github.com/spexio/spex/lts"
)

// overlay holds transitions that were added to a base without changing its classes,
// as far as states are concerned that the model can reach. Each addition is either one
// that rules E1 and E2 allow, and these compose; or its source cannot be reached, not
// even with all the others.
type overlay struct {
	added  []Transition         // none of them in the base; there may be duplicates
	states map[string]lts.State // those that the base lacks
	count  int                  // of them
	// out and in hold the additions of the first kind, by source and by target.
	out, in adjacency
	// apart holds the additions of the second kind. If there are any, the classes of
	// states that cannot be reached are unknown.
	apart map[Transition]struct{}
	// culprit is an addition that by itself makes it certain that neither the model with
	// the additions nor any extension of it is equivalent. Then there are additions of
	// other kinds as well: the overlay knows the model and its verdict, and nothing else.
	culprit *Transition
	// reachable are the states that the base's model could not reach.
	reachable map[lts.State]bool

	imagesOnce sync.Once
	imagesOf   *images
	fullOnce   sync.Once
	full       *Checker
}

// adjacency holds steps by the state at one end of them.
type adjacency struct {
	ends  []lts.State // sorted
	steps []lts.Step  // To is the other end
}

// transition is a transition in the numbers of the union.
type transition struct {
	from lts.State
	step lts.Step
}

func newAdjacency(list []transition) adjacency {
	slices.SortFunc(list, func(a, b transition) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.step.Label, b.step.Label), cmp.Compare(a.step.To, b.step.To))
	})
	list = slices.Compact(list)
	a := adjacency{make([]lts.State, len(list)), make([]lts.Step, len(list))}
	for i, t := range list {
		a.ends[i], a.steps[i] = t.from, t.step
	}
	return a
}

// at are the steps at a state, sorted.
func (a *adjacency) at(s lts.State) []lts.Step {
	lo, _ := slices.BinarySearch(a.ends, s)
	hi := lo
	for hi < len(a.ends) && a.ends[hi] == s {
		hi++
	}
	return a.steps[lo:hi:hi]
}

// maxOverlay bounds an overlay; beyond it a new base pays off.
const maxOverlay = 4096

// newOverlay returns nil when the additions may change classes that matter. The
// model must have exactly one initialisation, and the additions none.
func newOverlay(b *base, added []Transition, l limits) *overlay {
	if len(added) > maxOverlay {
		return nil
	}
	c := b.classes()
	o := &overlay{added: added, states: map[string]lts.State{}, reachable: map[lts.State]bool{}, apart: map[Transition]struct{}{}}
	out, in := make([]transition, 0, len(added)), make([]transition, 0, len(added))
	var apart, todo []lts.State
	var unstable []Transition
	for _, t := range added {
		from, to := o.state(b, t.From), o.state(b, t.To)
		label, stable := b.label(t.Action)
		if stable {
			_, stable = c.preserves(o.class(b, from), label, o.class(b, to))
		}
		if !stable {
			o.apart[t] = struct{}{}
			apart, unstable = append(apart, from), append(unstable, t)
			continue
		}
		out = append(out, transition{from, lts.Step{Label: label, To: to}})
		in = append(in, transition{to, lts.Step{Label: label, To: from}})
		if o.reaches(b, from) {
			todo = append(todo, to)
		}
	}
	o.out, o.in = newAdjacency(out), newAdjacency(in)
	o.reach(b, todo)
	part := &Checker{base: b, over: o, limits: l}
	reached := false
	for i, s := range apart {
		if !o.reaches(b, s) {
			continue
		}
		reached = true
		if t := unstable[i]; part.excludes(t) && (o.culprit == nil || Compare(t, *o.culprit) < 0) {
			o.culprit = &t
		}
	}
	if reached && o.culprit == nil {
		return nil
	}
	return o
}

// excludes reports whether rule N decides about a step from a reachable state, which may
// be one of several additions.
func (c *Checker) excludes(t Transition) bool {
	l := c.locate(t)
	return !l.hasLabel || l.label >= c.base.specLabels || c.impossible(l)
}

// unclear reports whether the classes of some states that cannot be reached are unknown.
func (o *overlay) unclear() bool { return len(o.apart) > 0 }

// state returns a state, which is added to the overlay if neither has it.
func (o *overlay) state(b *base, name string) lts.State {
	if s, ok := b.index[name]; ok {
		return s
	}
	s, ok := o.states[name]
	if !ok {
		s = lts.State(b.graph.States() + o.count)
		o.states[name] = s
		o.count++
	}
	return s
}

// class is the class of a state; what the base lacks has no behaviour of its own.
func (o *overlay) class(b *base, s lts.State) lts.Block {
	if int(s) < b.graph.States() {
		return b.classes().Block(s)
	}
	return b.classes().isolated
}

func (o *overlay) reaches(b *base, s lts.State) bool {
	return int(s) < b.graph.States() && b.classes().reachable[s] || o.reachable[s]
}

// reach notes that the states can be reached, and what follows.
func (o *overlay) reach(b *base, todo []lts.State) {
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if o.reaches(b, s) {
			continue
		}
		o.reachable[s] = true
		if int(s) < b.graph.States() {
			for _, step := range b.graph.Steps(s) {
				todo = append(todo, step.To)
			}
		}
		for _, step := range o.out.at(s) {
			todo = append(todo, step.To)
		}
	}
}

// images extends the images of the base by what the additions bring.
func (o *overlay) images(c *Checker) *images {
	o.imagesOnce.Do(func() {
		b := c.base
		parent := b.images(c.limits.images)
		if !parent.complete {
			o.imagesOf = parent
			return
		}
		im := parent.child()
		var todo []pair
		for i, from := range o.out.ends {
			for _, block := range parent.at(from).list {
				todo = im.step(b.classes(), block, o.out.steps[i].Label, o.out.steps[i].To, todo)
			}
		}
		im.follow(b.classes(), todo, c.steps, nil)
		if !im.complete {
			o.imagesOf = &images{}
			return
		}
		stuck := func(s lts.State, steps []lts.Step) {
			im.doomed = im.doomed || im.stuck(b.classes(), s, steps)
		}
		for s := range o.reachable {
			x, y := c.steps(s)
			stuck(s, x)
			stuck(s, y)
		}
		for i, from := range o.out.ends {
			if o.reaches(b, from) {
				stuck(from, o.out.steps[i:i+1])
			}
		}
		o.imagesOf = im
	})
	return o.imagesOf
}

// whole is a checker that knows all about the model.
func (c *Checker) whole() *Checker {
	if c.over != nil && c.over.culprit != nil {
		return c.over.fullChecker(c)
	}
	return c
}

// fullChecker judges the same model by classes of its own, which are known for all states.
func (o *overlay) fullChecker(c *Checker) *Checker {
	o.fullOnce.Do(func() {
		o.full = newChecker(c.base.spec, slices.Concat(c.base.model, o.added), c.limits)
	})
	return o.full
}

// With returns a checker of the model with more transitions, which may be in any order
// and must be ones that Check accepts. It shares what c has computed if the
// additions change nothing of it, as those do that rules E0, E1 and E2 decide, or if one
// of them can be in no equivalent model, as rule N finds; then it costs time in proportion to
// the additions, also those of earlier calls, and else as much as NewChecker. Verdicts and
// grades are those of NewChecker. Another rule may have decided, where an explanation names one
// of several states it may name another, and of a model that is not equivalent it may be known more
// exactly what is wrong. The slice is not kept.
func (c *Checker) With(added []Transition) *Checker {
	var fresh []Transition
	shared := len(c.base.initials) == 1
	for _, t := range added {
		if !c.knows(t) {
			fresh = append(fresh, t)
			shared = shared && !isInit(t)
		}
	}
	if len(fresh) == 0 {
		return c
	}
	all := fresh
	if c.over != nil {
		all = append(fresh, c.over.added...)
	}
	if shared {
		if o := newOverlay(c.base, all, c.limits); o != nil {
			return &Checker{base: c.base, over: o, limits: c.limits}
		}
	}
	return newChecker(c.base.spec, slices.Concat(c.base.model, all), c.limits)
}

// transitions are those of the model, sorted by Compare and without duplicates.
func (c *Checker) transitions() []Transition {
	if c.over == nil {
		return Union(c.base.model)
	}
	return Union(c.base.model, c.over.added)
}

// knows reports whether the model has a transition.
func (c *Checker) knows(t Transition) bool {
	if isInit(t) {
		return slices.Contains(c.base.initials, t.To)
	}
	return c.locate(t).known
}
