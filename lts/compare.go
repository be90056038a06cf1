package lts

// Limits bound what may be exponential or needs a table of pairs. Whatever runs into
// a limit answers Unknown, never wrongly. A zero field means its default.
type Limits struct {
	// Sets bounds the search for a distinguishing trace, which is exponential in the
	// worst case: the pairs of a state of one system and a set of states of the other
	// that it looks at, per direction. The sets may hold elementsPerSet states and
	// take workPerSet steps to find for each pair allowed. Default DefaultSets.
	Sets int
	// Pairs bounds the table of weak simulation: pairs of states and what has to be
	// shown for them. Weak bisimilarity may look at workPerPair steps for each pair
	// allowed. Default DefaultPairs.
	Pairs int
}

// Defaults of Limits. A search that runs into them takes some seconds and some
// hundred megabytes beside the systems.
const (
	DefaultSets  = 1 << 20
	DefaultPairs = 1 << 21
)

const (
	elementsPerSet = 16
	workPerSet     = 512
	workPerPair    = 128
)

func (lim Limits) orDefaults() Limits {
	if lim.Sets <= 0 {
		lim.Sets = DefaultSets
	}
	if lim.Pairs <= 0 {
		lim.Pairs = DefaultPairs
	}
	return lim
}

// Answer is the answer to a question that may be too hard within limits. The zero
// value says that it is not known.
type Answer uint8

const (
	// Unknown says that a limit was hit, or that nobody asked.
	Unknown Answer = iota
	// Yes is definite.
	Yes
	// No is definite.
	No
)

// String is unknown, yes or no.
func (a Answer) String() string { return [...]string{"unknown", "yes", "no"}[a] }

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// both is the conjunction: No if one is, whatever the other.
func both(a, b Answer) Answer {
	switch {
	case a == No || b == No:
		return No
	case a == Yes && b == Yes:
		return Yes
	}
	return Unknown
}

// Comparison is what is known about two systems under one equivalence.
type Comparison struct {
	Holds Answer
	// LeftInRight and RightInLeft are the two halves of an equivalence that has
	// halves, Unknown otherwise: for WeakSimulation that the right system weakly
	// simulates the left and the reverse, for StrongTrace and WeakTrace that the
	// traces of the left are traces of the right and the reverse.
	LeftInRight, RightInLeft Answer
	// Trace is a trace of one system and not of the other, for StrongTrace and
	// WeakTrace where they do not hold. It is a shortest one unless Capped.
	Trace *Trace
	// Capped says that a limit was hit on the way. What is not Unknown is right all the same.
	Capped bool
}

// Compare compares the initial states of two systems, whose labels must be of one
// alphabet. Strong, DivergencePreservingBranching and Branching take time near
// linear in the systems and know no limit; for the others see Limits.
func Compare(a, b *LTS, e Equivalence, lim Limits) Comparison {
	lim = lim.orDefaults()
	switch e {
	case Strong, DivergencePreservingBranching, Branching:
		u := union(a, b)
		p := Classes(u.l, e)
		return Comparison{Holds: answer(p.Same(u.a, u.b))}
	case Weak:
		return compareWeak(quotientPair(a, b, Branching), lim)
	case WeakSimulation:
		return compareSimulation(quotientPair(a, b, Branching), lim)
	case StrongTrace:
		return compareTraces(quotientPair(a, b, Strong), false, lim)
	case WeakTrace:
		return compareTraces(quotientPair(a, b, Branching), true, lim)
	}
	panic("lts: there is no " + e.String())
}

// pair is a system with two states to be compared, a the left and b the right one.
// Two systems that are compared are put into one, so that classes are of both.
type pair struct {
	l    *LTS
	a, b State
}

// union puts the reachable parts of two systems side by side.
func union(a, b *LTS) pair {
	u, shift := Union(a, b)
	return pair{l: u, a: a.initial, b: b.initial + shift}.reachable()
}

// reachable leaves out the states that neither of the two reaches.
func (p pair) reachable() pair {
	seen := p.l.Reachable(p.a, p.b)
	number := make([]State, len(seen))
	count := State(0)
	for s, yes := range seen {
		number[s] = count
		if yes {
			count++
		}
	}
	if int(count) == len(seen) {
		return p
	}
	l := Assemble(int(count), number[p.a], func(yield func(State, Label, State)) {
		for s, yes := range seen {
			if !yes {
				continue
			}
			for _, step := range p.l.Steps(State(s)) {
				yield(number[s], step.Label, number[step.To])
			}
		}
	})
	return pair{l: l, a: number[p.a], b: number[p.b]}
}

// quotient replaces states by their classes.
func (p pair) quotient(classes *Partition) pair {
	return pair{l: Quotient(p.l, classes), a: classes.Block(p.a), b: classes.Block(p.b)}
}

// quotientPair is the quotient of two systems together: states of either system
// that are equivalent are one state.
func quotientPair(a, b *LTS, e Equivalence) pair {
	u := union(a, b)
	return u.quotient(Classes(u.l, e))
}

// compareWeak takes a branching quotient.
func compareWeak(q pair, lim Limits) Comparison {
	if q.a == q.b {
		return Comparison{Holds: Yes}
	}
	r := newWeakRefiner(q.l)
	if !r.run(q.a, q.b, int64(lim.Pairs)*workPerPair) {
		return Comparison{Capped: true}
	}
	return Comparison{Holds: answer(r.block[q.a] == r.block[q.b])}
}

// compareSimulation takes a branching quotient.
func compareSimulation(q pair, lim Limits) Comparison {
	c := Comparison{LeftInRight: weaklySimulates(q.l, q.a, q.b, lim), RightInLeft: weaklySimulates(q.l, q.b, q.a, lim)}
	c.Holds = both(c.LeftInRight, c.RightInLeft)
	c.Capped = c.LeftInRight == Unknown || c.RightInLeft == Unknown
	return c
}

// compareTraces takes a branching quotient if weak, a strong quotient if not.
func compareTraces(q pair, weak bool, lim Limits) Comparison {
	var c Comparison
	// One direction after the other: what the first has taken is free for the second.
	var left, right *Trace
	c.LeftInRight, left, c.Capped = included(q.l, q.a, q.b, weak, Left, lim)
	var capped bool
	c.RightInLeft, right, capped = included(q.l, q.b, q.a, weak, Right, lim)
	c.Capped = c.Capped || capped
	c.Holds = both(c.LeftInRight, c.RightInLeft)
	if c.Trace = left; left == nil || right != nil && len(right.Labels) < len(left.Labels) {
		c.Trace = right
	}
	return c
}

// included searches one direction to its end.
func included(l *LTS, from, other State, weak bool, in Side, lim Limits) (Answer, *Trace, bool) {
	t := newTraceSearch(l, from, other, weak, lim)
	for t.level() {
	}
	return t.included(), t.trace(in), t.capped
}
