package explain

import "github.com/spexio/spex/lts"

// GradeOf grades the difference between two systems whose labels are of one
// alphabet, which is what Report.Grade says, at less cost than Compare. For
// ExtraBehaviour it returns a shortest trace that only the right system has.
func GradeOf(left, right *lts.LTS, limits lts.Limits) (Grade, *lts.Trace) {
	if lts.BranchingBisimilar(left, right) {
		return Equivalent, nil
	}
	return GradeOfDifferent(left, right, limits)
}

// GradeOfDifferent is GradeOf for systems that are known not to be branching bisimilar.
func GradeOfDifferent(left, right *lts.LTS, limits lts.Limits) (Grade, *lts.Trace) {
	extra, capped := lts.DistinguishingTrace(left, right, true, lts.Right, limits)
	included := lts.Yes
	switch {
	case extra != nil:
		return ExtraBehaviour, extra
	case capped:
		included = lts.Unknown
	}
	follows := lts.WeaklySimulates(right, left, limits)
	return gradeBy(included, follows, func() lts.Answer { return lts.WeaklySimulates(left, right, limits) }), nil
}

// gradeBy grades systems that are not branching bisimilar. rightInLeft is about
// traces, and the simulations say whether the other system can follow.
func gradeBy(rightInLeft, leftFollows lts.Answer, rightFollows func() lts.Answer) Grade {
	if rightInLeft == lts.No {
		return ExtraBehaviour
	}
	switch leftFollows {
	case lts.Yes:
		switch rightFollows() {
		case lts.No:
			return CoverageGap
		case lts.Unknown:
			return Undecided
		}
	case lts.Unknown:
		return Undecided
	case lts.No:
		// Choices differ, if it is not that some trace is not allowed.
		if rightInLeft == lts.Unknown {
			return Undecided
		}
	}
	return BranchingMismatch
}
