package hml

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/spexio/spex/lts"
)

// writer makes formulas for pairs of parts of the tree of splits.
type writer struct {
	*factory
	v     *levels
	e     lts.Equivalence
	truth truths
	lim   Limits
	// positive is, for an ordered pair of siblings in the tree, the formula that
	// begins with something that the first one can do, or absent.
	positive map[[2]int32]int32
	// chosen is the formula for an ordered pair of siblings.
	chosen map[[2]int32]int32
}

// absent says that there is no formula that begins with something the first one can do.
const absent int32 = -1

// Up to so many formulas the writer looks for the shortest one of several ways;
// beyond that it takes what looks shortest.
const (
	careful      = 1500
	carefulWays  = 6
	estimateWays = 64
	estimatePool = 128
)

func newWriter(v *levels, e lts.Equivalence, lim Limits) *writer {
	return &writer{
		factory: newFactory(), v: v, e: e, lim: lim,
		truth:    newTruths(v),
		positive: map[[2]int32]int32{}, chosen: map[[2]int32]int32{},
	}
}

// formula makes the formula for two states in different blocks.
func (w *writer) formula(s, t lts.State) (*Formula, error) {
	x, y := w.v.lift(w.v.at(w.v.block[s], math.MaxInt32), w.v.at(w.v.block[t], math.MaxInt32))
	// There are at least as many parts as the formula is deep.
	if err := w.fits(int(w.v.parts[x].level)); err != nil {
		return nil, err
	}
	// At the outset a negation only swaps the sides, so both count alike.
	root, err := w.begin(x, y)
	if err != nil {
		return nil, err
	}
	other, err := w.begin(y, x)
	if err != nil {
		return nil, err
	}
	if root == absent || other != absent && w.weight[other] < w.weight[root] {
		root = w.not(other)
	}
	return w.factory.formula(root), nil
}

// tell returns a formula that is true in one part and false in another.
func (w *writer) tell(x, y int32) (int32, error) {
	x, y = w.v.lift(x, y)
	key := [2]int32{x, y}
	if id, ok := w.chosen[key]; ok {
		return id, nil
	}
	id, err := w.begin(x, y)
	if err != nil {
		return 0, err
	}
	if id == absent || len(w.chosen) < careful {
		other, err := w.begin(y, x)
		if err != nil {
			return 0, err
		}
		if id == absent || other != absent && add(w.weight[other], 1) < w.weight[id] {
			id = w.not(other)
		}
	}
	w.chosen[key] = id
	return id, nil
}

// option is an observation of one part that the other one cannot make, with what
// the other can do with the same label: this has to be told apart.
type option struct {
	label    lts.Label
	from, to int32    // parts
	rivals   []uint64 // items of the other part
	silent   bool
	cost     uint64
}

// begin makes the formula that begins with an observation of x that y cannot make,
// or returns absent.
func (w *writer) begin(x, y int32) (int32, error) {
	key := [2]int32{x, y}
	if id, ok := w.positive[key]; ok {
		return id, nil
	}
	ways := 1
	if len(w.positive) < careful {
		ways = carefulWays
	}
	best := absent
	for i, o := range w.options(x, y) {
		if i == ways {
			break
		}
		id, err := w.write(o, w.v.parts[x].level-1)
		if err != nil {
			return 0, err
		}
		if best == absent || w.weight[id] < w.weight[best] {
			best = id
		}
		if len(o.rivals) == 0 {
			break // nothing is simpler than what the other cannot do at all
		}
	}
	w.positive[key] = best
	return best, nil
}

// options lists the observations that begin could use, what looks simplest first.
func (w *writer) options(x, y int32) []option {
	has, lacks := w.v.parts[x].signature, w.v.parts[y].signature
	level := w.v.parts[x].level - 1
	var out []option
	for _, item := range has {
		if _, found := slices.BinarySearch(lacks, item); found {
			continue
		}
		label, from, to := unpack(item)
		o := option{label: label, silent: label == lts.Tau, from: w.v.at(from, level), to: w.v.at(to, level)}
		lo, _ := slices.BinarySearch(lacks, pack(label, 0, 0))
		hi, _ := slices.BinarySearch(lacks, pack(label+1, 0, 0))
		o.rivals = lacks[lo:hi]
		if len(out) < estimateWays {
			w.estimate(&o, level)
		} else {
			o.cost = math.MaxUint64
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b option) int {
		return cmp.Or(cmp.Compare(btoi(a.silent), btoi(b.silent)), cmp.Compare(a.cost, b.cost), cmp.Compare(len(a.rivals), len(b.rivals)))
	})
	return out
}

// estimate guesses the length of the formula from the depths of what it must tell apart.
func (w *writer) estimate(o *option, level int32) {
	for i, item := range o.rivals {
		if i == estimatePool {
			o.cost += uint64(len(o.rivals) - i)
			break
		}
		_, from, to := unpack(item)
		after, before := w.v.splitLevel(o.to, w.v.at(to, level)), w.v.splitLevel(o.from, w.v.at(from, level))
		switch {
		case after == 0:
			o.cost += uint64(before)
		case before == 0:
			o.cost += uint64(after)
		default:
			o.cost += uint64(min(after, before))
		}
	}
}

// rival is something that the formula must exclude: the parts that the other one
// could be in before and behind the step.
type rival struct {
	from, to int32
	depth    int32 // of the formula for it
	after    bool  // it is told apart behind the step
}

// write makes the formula for an option: conjuncts behind and before the step that
// exclude every rival, no one of them needlessly.
func (w *writer) write(o option, level int32) (int32, error) {
	rivals := make([]rival, len(o.rivals))
	for i, item := range o.rivals {
		_, from, to := unpack(item)
		r := rival{from: w.v.at(from, level), to: w.v.at(to, level)}
		after, before := w.v.splitLevel(o.to, r.to), w.v.splitLevel(o.from, r.from)
		r.after = before == 0 || after != 0 && after <= before
		if r.depth = before; r.after {
			r.depth = after
		}
		rivals[i] = r
	}
	// What excludes the simple ones often excludes others too.
	slices.SortStableFunc(rivals, func(a, b rival) int { return cmp.Compare(a.depth, b.depth) })
	var after, before []int32
	for _, r := range rivals {
		if w.excluded(r, after, before) {
			continue
		}
		x, y := o.from, r.from
		if r.after {
			x, y = o.to, r.to
		}
		id, err := w.tell(x, y)
		if err != nil {
			return 0, err
		}
		if err := w.evaluate(); err != nil {
			return 0, err
		}
		if r.after {
			after = append(after, id)
		} else {
			before = append(before, id)
		}
	}
	w.thin(rivals, &after, &before)
	return w.build(o, after, before)
}

// excluded reports whether one of the conjuncts is false for a rival.
func (w *writer) excluded(r rival, after, before []int32) bool {
	to, from := w.v.parts[r.to].state, w.v.parts[r.from].state
	return slices.ContainsFunc(after, func(id int32) bool { return !w.truth.of(id, to) }) ||
		slices.ContainsFunc(before, func(id int32) bool { return !w.truth.of(id, from) })
}

// thin drops conjuncts that the others make superfluous, the longest first.
func (w *writer) thin(rivals []rival, after, before *[]int32) {
	byWeight := func(a, b int32) int { return cmp.Compare(w.weight[b], w.weight[a]) }
	for _, side := range []*[]int32{before, after} {
		slices.SortStableFunc(*side, byWeight)
		for i := 0; i < len(*side); {
			all := *side
			*side = slices.Concat(all[:i], all[i+1:])
			if slices.ContainsFunc(rivals, func(r rival) bool { return !w.excluded(r, *after, *before) }) {
				*side = all
				i++
			}
		}
	}
}

// build makes the node for a step with conjuncts.
func (w *writer) build(o option, after, before []int32) (int32, error) {
	then, here := w.and(after), w.and(before)
	label := w.v.g.labels[o.label]
	var id int32
	switch {
	case w.e == lts.Strong:
		id = w.diamond(label, then)
	case w.e == lts.Weak:
		id = w.weakly(label, then)
	case w.v.g.endless != 0 && o.label == w.v.g.endless:
		// The step is a loop: before and behind it are the same.
		id = w.diverge(w.and([]int32{then, here}))
	default:
		id = w.step(label, then, here)
	}
	return id, w.evaluate()
}

// evaluate finds out where the formulas made since the last time are true.
func (w *writer) evaluate() error {
	if err := w.fits(len(w.nodes)); err != nil {
		return err
	}
	for i := len(w.truth.sets); i < len(w.nodes); i++ {
		w.truth.add(&w.nodes[i])
	}
	return nil
}

// fits reports, as an error, that there would be too many partial formulas.
func (w *writer) fits(parts int) error {
	if parts > w.lim.Parts || parts*w.truth.words*8 > memory {
		return fmt.Errorf("%w: it takes %d partial formulas or more for %d classes of states", ErrTooLarge, parts, len(w.v.block))
	}
	return nil
}
