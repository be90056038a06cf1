package lts

// Rung is one equivalence of a ladder with what is known about it.
type Rung struct {
	Equivalence
	Comparison
	// Implied says that Holds follows from other rungs. There is no trace then.
	Implied bool
}

// Ladder compares two systems, whose labels must be of one alphabet, under all
// equivalences, strongest first. What follows from another rung is not computed:
// Strong implies everything; each bisimilarity implies the weaker ones, weak
// simulation both ways and equal weak traces, and a weak trace of one system alone
// refutes everything. StrongTrace is apart: it follows from Strong alone, and gives
// and takes nothing but WeakTrace.
func Ladder(a, b *LTS, lim Limits) []Rung {
	lim = lim.orDefaults()
	l := &ladder{union: union(a, b), lim: lim, asked: map[Equivalence]Comparison{}}
	l.bisimilarities()
	l.weak()
	l.strongTraces()
	return l.rungs()
}

// Strongest is the strongest equivalence of a ladder that holds, and false if none
// is known to.
func Strongest(rungs []Rung) (Equivalence, bool) {
	for _, r := range rungs {
		if r.Holds == Yes {
			return r.Equivalence, true
		}
	}
	return 0, false
}

// fact is a statement that the rungs are made of.
type fact uint8

const (
	isStrong fact = iota
	isDivergencePreserving
	isBranching
	isWeak
	leftSimulated // the right system weakly simulates the left
	rightSimulated
	leftStrongTraces // the traces of the left system are traces of the right
	rightStrongTraces
	leftWeakTraces
	rightWeakTraces
	facts
)

// implications lists what follows from what, without what follows from the list itself.
var implications = [][2]fact{
	{isStrong, isDivergencePreserving}, {isDivergencePreserving, isBranching}, {isBranching, isWeak},
	{isWeak, leftSimulated}, {isWeak, rightSimulated},
	{leftSimulated, leftWeakTraces}, {rightSimulated, rightWeakTraces},
	{isStrong, leftStrongTraces}, {isStrong, rightStrongTraces},
	{leftStrongTraces, leftWeakTraces}, {rightStrongTraces, rightWeakTraces},
}

// knowledge is what is known of each fact.
type knowledge [facts]Answer

// set records an answer, if it is one, with all that follows.
func (k *knowledge) set(f fact, a Answer) {
	if a == Unknown {
		return
	}
	k[f] = a
	for changed := true; changed; {
		changed = false
		for _, i := range implications {
			premise, conclusion := i[0], i[1]
			if k[premise] == Yes && k[conclusion] == Unknown {
				k[conclusion], changed = Yes, true
			}
			if k[conclusion] == No && k[premise] == Unknown {
				k[premise], changed = No, true
			}
		}
	}
}

// halves are the facts that an equivalence consists of, the same one twice if it
// does not consist of halves.
func (e Equivalence) halves() (left, right fact) {
	switch e {
	case Strong:
		return isStrong, isStrong
	case DivergencePreservingBranching:
		return isDivergencePreserving, isDivergencePreserving
	case Branching:
		return isBranching, isBranching
	case Weak:
		return isWeak, isWeak
	case WeakSimulation:
		return leftSimulated, rightSimulated
	case StrongTrace:
		return leftStrongTraces, rightStrongTraces
	}
	return leftWeakTraces, rightWeakTraces
}

// ladder computes rungs, cheapest first.
type ladder struct {
	union pair
	quot  pair // branching quotient
	lim   Limits
	known knowledge
	// asked holds what has been computed, even without an answer.
	asked map[Equivalence]Comparison
}

// open reports whether an equivalence, or a half of it, is not known.
func (l *ladder) open(e Equivalence) bool {
	left, right := e.halves()
	return l.known[left] == Unknown || l.known[right] == Unknown
}

// learn records the outcome of a computation.
func (l *ladder) learn(e Equivalence, c Comparison) {
	l.asked[e] = c
	left, right := e.halves()
	if left == right {
		l.known.set(left, c.Holds)
		return
	}
	l.known.set(left, c.LeftInRight)
	l.known.set(right, c.RightInLeft)
}

// bisimilarities decides those that partition refinement decides in near-linear time.
func (l *ladder) bisimilarities() {
	p := Classes(l.union.l, Branching)
	l.quot = l.union.quotient(p)
	l.learn(Branching, Comparison{Holds: answer(l.quot.a == l.quot.b)})
	for _, e := range []Equivalence{DivergencePreservingBranching, Strong} {
		if l.open(e) {
			l.learn(e, Comparison{Holds: answer(Classes(l.union.l, e).Same(l.union.a, l.union.b))})
		}
	}
}

// probeSets is how far a first search for a weak trace goes.
const probeSets = 1 << 14

// weak decides the equivalences of weak steps. A short trace refutes all of them,
// so a search for one comes first; where it is hard, it is taken up again at the end.
func (l *ladder) weak() {
	if !l.open(WeakTrace) {
		return
	}
	probe := l.lim
	probe.Sets = min(probe.Sets, probeSets)
	l.learn(WeakTrace, compareTraces(l.quot, true, probe))
	if l.open(Weak) {
		l.learn(Weak, compareWeak(l.quot, l.lim))
	}
	if l.open(WeakSimulation) {
		l.learn(WeakSimulation, l.simulations())
	}
	if l.open(WeakTrace) && l.lim.Sets > probe.Sets {
		l.learn(WeakTrace, compareTraces(l.quot, true, l.lim))
	}
}

// simulations decides the directions of weak simulation that are not known.
func (l *ladder) simulations() Comparison {
	c := Comparison{LeftInRight: l.known[leftSimulated], RightInLeft: l.known[rightSimulated]}
	if c.LeftInRight == Unknown {
		c.LeftInRight = weaklySimulates(l.quot.l, l.quot.a, l.quot.b, l.lim)
	}
	if c.RightInLeft == Unknown {
		c.RightInLeft = weaklySimulates(l.quot.l, l.quot.b, l.quot.a, l.lim)
	}
	c.Capped = c.LeftInRight == Unknown || c.RightInLeft == Unknown
	return c
}

// strongTraces compares traces in which the internal action is a letter.
func (l *ladder) strongTraces() {
	if l.open(StrongTrace) {
		q := l.union.quotient(Classes(l.union.l, Strong))
		l.learn(StrongTrace, compareTraces(q, false, l.lim))
	}
}

// rungs puts together what is known.
func (l *ladder) rungs() []Rung {
	var all []Rung
	for _, e := range Equivalences() {
		left, right := e.halves()
		c, asked := l.asked[e]
		r := Rung{Equivalence: e, Comparison: c, Implied: !asked}
		if left != right {
			r.LeftInRight, r.RightInLeft = l.known[left], l.known[right]
		}
		r.Holds = both(l.known[left], l.known[right])
		if asked && c.Holds == Unknown && r.Holds != Unknown {
			r.Implied = true
		}
		r.Capped = c.Capped && (r.Holds == Unknown || r.Trace != nil)
		all = append(all, r)
	}
	return all
}
