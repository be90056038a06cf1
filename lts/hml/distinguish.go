package hml

import (
	"errors"
	"fmt"

	"github.com/spexio/spex/lts"
)

// Errors of Distinguish; the errors that it returns wrap them with the details.
var (
	// ErrEquivalent: there is no such formula.
	ErrEquivalent = errors.New("hml: the states are equivalent")
	// ErrTooLarge: the search would need more than Limits allow. A trace, where
	// there is one, or the reason for a single step may still be had.
	ErrTooLarge = errors.New("hml: too large for a formula")
	// ErrUnsupported: there are no formulas for this equivalence. For traces the
	// trace itself is what tells two systems apart.
	ErrUnsupported = errors.New("hml: no formulas for this equivalence")
	// ErrFault: the formula that was found is not true in the one state and false
	// in the other. This is a bug of this package; the formula is not returned.
	ErrFault = errors.New("hml: the formula does not tell the states apart, which is a bug")
)

// Limits bound the search. A value that is not positive stands for the one of DefaultLimits.
type Limits struct {
	// States that the two states reach, before anything is merged.
	States int
	// Items is the number of observations kept at one time, 8 bytes each, and for
	// weak bisimilarity the number of weak steps.
	Items int
	// Parts is the number of different formulas that are tried; each takes a bit
	// for each class of states.
	Parts int
}

// DefaultLimits are those of Distinguish: about 300 MB at the worst.
func DefaultLimits() Limits { return Limits{States: 1 << 20, Items: 1 << 24, Parts: 1 << 17} }

// memory bounds the bits of Parts, in bytes.
const memory = 1 << 28

func (lim Limits) orDefault() Limits {
	d := DefaultLimits()
	if lim.States <= 0 {
		lim.States = d.States
	}
	if lim.Items <= 0 {
		lim.Items = d.Items
	}
	if lim.Parts <= 0 {
		lim.Parts = d.Parts
	}
	lim.States = min(lim.States, blockMask)
	return lim
}

// Distinguish returns a formula that is true in s and false in t, of the least
// depth that there is, for Strong, DivergencePreservingBranching, Branching and
// Weak. The formula has been model checked on l. Errors are ErrEquivalent,
// ErrTooLarge, ErrUnsupported and ErrFault.
func Distinguish(l *lts.LTS, s, t lts.State, e lts.Equivalence) (*Formula, error) {
	return Limits{}.Distinguish(l, s, t, e)
}

// Distinguish is the function of that name within limits.
func (lim Limits) Distinguish(l *lts.LTS, s, t lts.State, e lts.Equivalence) (*Formula, error) {
	lim = lim.orDefault()
	if e > lts.Weak {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, e)
	}
	g, err := prepare(l, s, t, e, lim)
	if err != nil {
		return nil, err
	}
	if len(g.labels) >= 1<<labelBits {
		return nil, fmt.Errorf("%w: %d actions, %d are allowed", ErrTooLarge, len(g.labels), 1<<labelBits-1)
	}
	v := newLevels(g, e == lts.Branching || e == lts.DivergencePreservingBranching, lim)
	if err := v.run(g.left, g.right); err != nil {
		return nil, err
	}
	if v.block[g.left] == v.block[g.right] {
		return nil, fmt.Errorf("%w: %d and %d by %v bisimilarity", ErrEquivalent, s, t, e)
	}
	w := newWriter(v, e, lim)
	f, err := w.formula(g.left, g.right)
	if err != nil {
		return nil, err
	}
	if value := f.Holds(l); !value[s] || value[t] {
		return nil, fmt.Errorf("%w: %v in %d, %v in %d, which ought to be true and false", ErrFault, value[s], s, value[t], t)
	}
	return f, nil
}
