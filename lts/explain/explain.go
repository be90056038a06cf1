// Package explain says how two systems compare, in words: whether an equivalence
// holds, which grade of difference there is, which weaker equivalences still hold,
// a shortest trace and a formula that tell the systems apart, and which part of the
// first system the second has not shown.
//
// The two systems are called left and right. Where one of them is a specification
// and the other an implementation, the specification is on the left: the grades
// are about what the right one does too much or too little.
//
// Everything here is a function of its arguments, bounded by Limits, and safe for
// concurrent use as long as nobody extends the alphabet of the systems.
package explain

import (
	"errors"
	"fmt"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/hml"
)

// Grade says what kind of difference there is, as seen by who checks an
// implementation (right) against a specification (left). The first one that fits is
// given, in the order of the constants.
type Grade string

const (
	// Equivalent: the systems are branching bisimilar.
	Equivalent Grade = "EQUIVALENT"
	// ExtraBehaviour: the right system has a trace of visible actions that the left
	// one does not have, so it did something that is not allowed.
	ExtraBehaviour Grade = "EXTRA_BEHAVIOUR"
	// CoverageGap: the left system weakly simulates the right one, but not the other
	// way round. Nothing wrong was seen, and something is not there: not seen yet, or
	// never offered, which nobody can tell who only watches.
	CoverageGap Grade = "COVERAGE_GAP"
	// BranchingMismatch: every trace is allowed, but the choices are made at
	// different points.
	BranchingMismatch Grade = "BRANCHING_MISMATCH"
	// Undecided: not equivalent, and a limit was reached before it was clear how.
	Undecided Grade = "UNDECIDED"
)

// ErrAlphabets is returned for systems that do not share one Alphabet.
var ErrAlphabets = errors.New("explain: the two systems have different alphabets")

// Options say what to compare and how much to explain.
type Options struct {
	// Equivalence is what Report.Holds is about. The zero value is lts.Strong;
	// models are judged by lts.Branching.
	Equivalence lts.Equivalence
	// Limits bounds the searches whose worst case is exponential or quadratic.
	Limits lts.Limits
	// Left and Right are what the systems are called in sentences, "the
	// specification" and "the implementation" if empty.
	Left, Right string
	// Internal is what the internal action is called, "tau" if empty.
	Internal string
	// VerdictOnly leaves out everything but Holds: no grade, no reasons.
	VerdictOnly bool
	// MaxExplained is the number of transitions of both systems together up to
	// which traces, formulas and coverage are looked for; 0 is DefaultMaxExplained, a
	// negative number is no limit.
	MaxExplained int
}

// DefaultMaxExplained bounds the systems that are explained unless the caller
// says otherwise: at most some ten seconds of work on one processor.
const DefaultMaxExplained = 200_000

func (o Options) withDefaults() Options {
	if o.Left == "" {
		o.Left = "the specification"
	}
	if o.Right == "" {
		o.Right = "the implementation"
	}
	if o.Internal == "" {
		o.Internal = "tau"
	}
	if o.MaxExplained == 0 {
		o.MaxExplained = DefaultMaxExplained
	}
	return o
}

// Report is the result of Compare.
type Report struct {
	Equivalence lts.Equivalence
	// Holds is lts.Unknown where a limit was reached, which only simulation and
	// trace equivalences do.
	Holds lts.Answer
	// Grade is empty if only the verdict was asked for.
	Grade Grade
	// Summary is one sentence for people.
	Summary string
	// Ladder tells for every equivalence whether it holds, strongest first.
	Ladder []lts.Rung
	// Strongest is the strongest equivalence that is known to hold; it means
	// something only if AnyHolds.
	Strongest lts.Equivalence
	AnyHolds  bool
	// Extra is a shortest trace of the right system that the left one does not have,
	// and Missing the other way round; nil where there is none or a limit was reached.
	Extra, Missing *Trace
	// Formula is true of the left system and false of the right one; nil where the
	// systems are equivalent, where the equivalence is decided by traces or simulation, or
	// where a limit was reached.
	Formula *Formula
	// Coverage tells what of the left system the right one has shown; nil if only
	// the verdict was asked for or a limit was reached.
	Coverage *Coverage
	// LeftOut says why parts of the explanation are missing; it is empty when none is.
	LeftOut string
}

// Formula is a formula that tells the two systems apart, in several forms.
type Formula struct {
	*hml.Formula
	// Names gives the actions their names when the formula is printed.
	Names hml.Names
	// Words says in sentences for people what the formula says.
	Words []string
}

// Compare compares two systems, whose alphabet must be the same one.
func Compare(left, right *lts.System, o Options) (*Report, error) {
	if left.Alphabet != right.Alphabet {
		return nil, ErrAlphabets
	}
	c := &comparison{left: left, right: right, o: o.withDefaults()}
	c.report.Equivalence = o.Equivalence
	c.report.Holds = lts.Compare(left.LTS, right.LTS, o.Equivalence, o.Limits).Holds
	if o.VerdictOnly {
		c.report.Summary = c.verdict() + "."
		return &c.report, nil
	}
	if size := left.LTS.Transitions() + right.LTS.Transitions(); c.o.MaxExplained >= 0 && size > c.o.MaxExplained {
		return Unexplained(c.report.Holds, size, o), nil
	}
	if err := c.explain(); err != nil {
		return nil, err
	}
	return &c.report, nil
}

// Unexplained is the report for systems that are too large to be explained, of which the
// answer is known; size counts the transitions of both.
func Unexplained(holds lts.Answer, size int, o Options) *Report {
	c := &comparison{o: o.withDefaults()}
	c.report.Equivalence, c.report.Holds = o.Equivalence, holds
	if !o.VerdictOnly {
		c.report.LeftOut = fmt.Sprintf("the systems have %d transitions together, and differences are explained up to %d", size, c.o.MaxExplained)
	}
	c.report.Summary = c.verdict() + "."
	return &c.report
}

// comparison is a comparison under way.
type comparison struct {
	left, right *lts.System
	o           Options
	report      Report
}

// explain fills in all that depends on how the systems differ.
func (c *comparison) explain() error {
	r := &c.report
	r.Ladder = lts.Ladder(c.left.LTS, c.right.LTS, c.o.Limits)
	r.Strongest, r.AnyHolds = lts.Strongest(r.Ladder)
	if r.Holds == lts.Unknown {
		r.Holds = c.rung(r.Equivalence).Holds
	}
	c.traces()
	r.Grade = c.grade()
	if r.Coverage = CoverageOf(c.left, c.right, c.o.Limits, c.o.Internal); r.Coverage == nil {
		c.leaveOut("what was not shown would take too long to find")
	}
	if err := c.formula(); err != nil {
		return err
	}
	r.Summary = c.summary()
	return nil
}

// leaveOut notes why a part of the explanation is missing.
func (c *comparison) leaveOut(why string) {
	if c.report.LeftOut != "" {
		why = c.report.LeftOut + "; " + why
	}
	c.report.LeftOut = why
}

// rung looks up the comparison by one equivalence.
func (c *comparison) rung(e lts.Equivalence) lts.Comparison {
	for _, rung := range c.report.Ladder {
		if rung.Equivalence == e {
			return rung.Comparison
		}
	}
	return lts.Comparison{}
}

// grade grades the difference by what is known about traces and simulation.
func (c *comparison) grade() Grade {
	if c.rung(lts.Branching).Holds == lts.Yes {
		return Equivalent
	}
	included := c.rung(lts.WeakTrace).RightInLeft
	if c.report.Extra != nil {
		included = lts.No
	}
	simulation := c.rung(lts.WeakSimulation)
	return gradeBy(included, simulation.RightInLeft, func() lts.Answer { return simulation.LeftInRight })
}

// formula finds what tells the systems apart by the equivalence that was asked for,
// or by branching bisimilarity where that one has no formulas.
func (c *comparison) formula() error {
	e := c.o.Equivalence
	if e > lts.Weak {
		return nil
	}
	if c.report.Holds != lts.No {
		return nil
	}
	var u lts.Builder
	u.AddLTS(c.left.LTS)
	shift := u.AddLTS(c.right.LTS)
	initial := c.left.LTS.Initial()
	f, err := hml.Distinguish(u.Build(initial), initial, c.right.LTS.Initial()+shift, e)
	switch {
	case errors.Is(err, hml.ErrTooLarge):
		c.leaveOut("the formula would be too large")
		return nil
	case err != nil:
		return fmt.Errorf("explain: %w", err)
	}
	names := c.left.Alphabet
	c.report.Formula = &Formula{Formula: f, Names: names, Words: f.Words(names, c.o.Left, c.o.Right)}
	return nil
}
