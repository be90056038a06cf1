package fsm

import (
	"fmt"
	"strings"

	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// maxCulpritChecks bounds the search for those that a deviation does not go
	// together with, and maxCulprits how many are told.
	maxCulpritChecks, maxCulprits = 256, 16
)

const (
	stillEquivalent = typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
	notEquivalent   = typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
)

// Judge judges the next deviations in their order, by the checker of the model in
// the version that the task names; those that do not violate the specification
// count for the ones after them, as Apply will have it. It may take long, and
// depends on nothing else. Once stop reports true, which it is asked before every
// comparison of a model, those are returned that are judged by then.
func (task JointTask) Judge(stop func() bool, checker *model.Checker) []*typesv1.JointJudgement {
	pending, version := task.Pending, task.PendingVersion
	joint := checker
	if len(pending) > 0 {
		joint = checker.With(pending)
	}
	out := make([]*typesv1.JointJudgement, 0, len(task.Next))
	for _, t := range task.Next {
		if stop() {
			return out
		}
		j := &typesv1.JointJudgement{Verdict: stillEquivalent, ModelVersion: task.ModelVersion, PendingVersion: version}
		out = append(out, j)
		if joint.Decide(t).Verdict != notEquivalent {
			if len(pending) < MaxPending {
				pending = append(pending[:len(pending):len(pending)], t)
				joint = joint.With([]model.Transition{t})
				version++
			}
			continue
		}
		j.Verdict = notEquivalent
		if checker.Decide(t).Verdict != stillEquivalent {
			continue // it violates the specification by itself, and its own judgement says why
		}
		j.Joint = true
		with := culprits(stop, checker, pending, t)
		if stop() {
			return out[:len(out)-1]
		}
		j.Explanation = explainTogether(checker, t, with, len(pending))
		for _, p := range with {
			j.With = append(j.With, &typesv1.Transition{From: p.From, Action: p.Action, To: p.To})
		}
	}
	return out
}

func violatesWith(checker *model.Checker, with []model.Transition, t model.Transition) bool {
	if len(with) > 0 {
		checker = checker.With(with)
	}
	return checker.Decide(t).Verdict == notEquivalent
}

// culprits finds pending deviations with which t violates the specification, and
// without any of which it does not. It returns none when that takes too long, when
// they are too many to be told, or when stop reports true.
func culprits(stop func() bool, checker *model.Checker, pending []model.Transition, t model.Transition) []model.Transition {
	set := pending
	checks := 0
	for size := max(1, len(set)/2); ; {
		removed, needed := false, 0
		for start := 0; start < len(set); {
			if checks++; checks > maxCulpritChecks || stop() {
				return nil
			}
			rest := append(set[:start:start], set[min(len(set), start+size):]...)
			if violatesWith(checker, rest, t) {
				set, removed = rest, true
			} else {
				start += size
				if needed++; needed > maxCulprits { // each holds at least one
					return nil
				}
			}
		}
		if size > 1 {
			size /= 2
		} else if !removed {
			break
		}
	}
	return set
}

func explainTogether(checker *model.Checker, t model.Transition, with []model.Transition, pending int) string {
	if len(with) == 0 {
		return fmt.Sprintf("%s is allowed by itself, but not together with the %d deviations that came before it.", t, pending)
	}
	names := make([]string, len(with))
	for i, p := range with {
		names[i] = p.String()
	}
	_, reason := checker.With(append(with[:len(with):len(with)], t)).Equivalent()
	return fmt.Sprintf("%s is allowed by itself, but not together with %s: with all of them the model does not behave as the specification says (%s).",
		t, strings.Join(names, " and "), reason)
}
