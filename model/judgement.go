package model

import (
	"github.com/spexio/spex/lts/explain"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Reason codes of a Judgement and of Equivalent. "Place" is where the specification
// can be, up to equivalence, after a path that leads the model to the step's source.
const (
	// ReasonAllowed: the model does not know the step, and it stays equivalent with it.
	ReasonAllowed = "ALLOWED"
	// ReasonUnreachableSource: the model stays equivalent with the step only because
	// the step begins in a state that the model cannot reach.
	ReasonUnreachableSource = "UNREACHABLE_SOURCE"
	// ReasonActionNotInSpec: no transition of the specification has the action.
	ReasonActionNotInSpec = "ACTION_NOT_IN_SPEC"
	// ReasonActionNotEnabled: the specification has the action, but at no place of the
	// step's source.
	ReasonActionNotEnabled = "ACTION_NOT_ENABLED"
	// ReasonWrongTarget: the action is allowed at a place of the source, but it leads the
	// specification only to states that the step's target cannot stand for. When the
	// model is equivalent, that is: the target behaves like none of them. When it is not: the
	// target is known, and no path to it allows any of them, so that no extension of the
	// model with the step can be equivalent either.
	ReasonWrongTarget = "WRONG_TARGET"
	// ReasonTauDropsOption: the internal step takes away a choice that the specification
	// keeps open: an action that is possible in the source, perhaps after internal steps,
	// is not possible in the target. The model is equivalent without the step.
	ReasonTauDropsOption = "TAU_DROPS_OPTION"
	// ReasonOptionLost: the model is equivalent without the step, and a step to a state like
	// the target is allowed at some place of the source; but the source behaves differently
	// with it, and then the model is not equivalent any more. Also the reason of a step that is
	// allowed by itself and makes the model with the pending ones, which is equivalent, so no more.
	ReasonOptionLost = "OPTION_LOST"
	// ReasonNoInitial: the model has no initialisation.
	ReasonNoInitial = "NO_INITIAL"
	// ReasonMultipleInitial: the model has more than one initialisation.
	ReasonMultipleInitial = "MULTIPLE_INITIAL"
	// ReasonBaselineNotEquivalent: the model is not equivalent, whether with the step or
	// without it, and the step by itself is not to blame.
	ReasonBaselineNotEquivalent = "BASELINE_NOT_EQUIVALENT"
)

// Rule names the argument that decided about a step. All of them give the verdict
// of the definition; they differ in what they cost.
type Rule string

const (
	// RuleKnown: the model has the step.
	RuleKnown Rule = "KNOWN"
	// RuleInit: the model has no initialisation, or would have two with the step, or has them already.
	RuleInit Rule = "INIT"
	// RuleE0: the step begins in a state that the model cannot reach, so nothing changes.
	RuleE0 Rule = "E0"
	// RuleE1: an internal step inside one class changes neither verdict nor classes.
	RuleE1 Rule = "E1"
	// RuleE2: the class of the source can do the same already, so neither verdict nor
	// classes change.
	RuleE2 Rule = "E2"
	// RuleN: no state of the specification can be the image of the step's source or target
	// in any equivalence, so the model with the step is not equivalent.
	RuleN Rule = "N"
	// RuleD: the specification is deterministic and without internal steps up to
	// equivalence, and then an equivalent model stays so by E1 and E2 only.
	RuleD Rule = "D"
	// RuleL: exact, by looking again at the states from which the step's source can be reached.
	RuleL Rule = "L"
	// RuleF: exact, by refining the whole system.
	RuleF Rule = "F"
)

// Decision is the verdict about a step and the rule that found it.
type Decision struct {
	// Verdict is OK for a step that the model knows, else says whether the model
	// with the step is branching bisimilar to the specification.
	Verdict typesv1.Verdict
	Rule    Rule
}

// Judgement is what is known about a step.
type Judgement struct {
	// Verdict is OK for a step that the model knows, else says whether the model
	// with the step is branching bisimilar to the specification.
	Verdict typesv1.Verdict
	// Rule is what decided the verdict.
	Rule Rule
	// Grade grades the model with the step; for a step that it knows, the model as it is. It
	// is empty when the model has not exactly one initialisation. A step that is not to
	// blame has the grade that the model had before.
	Grade explain.Grade
	// Reason is one of the Reason constants; it is empty if and only if the verdict is OK.
	Reason string
	// Explanation is a sentence for people; it is empty if and only if the verdict is OK.
	Explanation string
	// WithPending is the verdict about the model with the pending transitions and
	// the step; it is unspecified when there are no pending transitions, and OK for
	// a step that the model knows.
	WithPending typesv1.Verdict
	// BaselineEquivalent says whether the model is equivalent without the step.
	BaselineEquivalent bool
}

const (
	still = typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
	not   = typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
)

// verdict is the verdict about a step that the model does not know.
func verdict(equivalent bool) typesv1.Verdict {
	if equivalent {
		return still
	}
	return not
}
