package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

const (
	// jointBatch bounds the deviations that are judged together before the
	// catalog hears of them.
	jointBatch = 32
	// maxCulpritChecks bounds the search for those that a deviation does not go
	// together with, and maxCulprits how many are told.
	maxCulpritChecks, maxCulprits = 256, 16
)

const (
	stillEquivalent = typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
	notEquivalent   = typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
)

// jointLoop judges, while this node leads the catalog, every deviation together
// with those of all shards that came before it: a shard sees only its own.
func (c *catalog) jointLoop(ctx context.Context) {
	// What failed is not woken for.
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for ctx.Err() == nil {
		changed := c.changes.Changed()
		more := false
		if _, leading := c.group.Leading(); leading {
			for _, m := range c.machine.Models() {
				again, err := c.judgeTogether(ctx, m)
				if err != nil && ctx.Err() == nil {
					c.node.log.Warn("deviations could not be judged together; they will be tried again", "spec", m.Key.Name, "error", err)
				}
				more = more || again && err == nil
			}
		}
		if more {
			continue
		}
		select {
		case <-changed:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// judgeTogether judges the next deviations from one model, and says whether
// there may be more of them.
func (c *catalog) judgeTogether(ctx context.Context, m fsm.ModelStatus) (more bool, err error) {
	if m.Mode != typesv1.ModelMode_MODEL_MODE_SEALED {
		return false, nil
	}
	task, ok := c.machine.JointTask(m.Key, jointBatch)
	if !ok {
		return false, nil
	}
	checker, err := c.checker(m.Key, task)
	if err != nil || checker == nil {
		return checker == nil, err
	}
	var judged []*typesv1.JointJudgement // until done is closed the computation's
	done := c.node.judge.begin(jointKey{m.Key, task.ModelVersion, task.PendingVersion}, m.Key, func() { judged = judgeJointly(checker, task) })
	select {
	case <-done:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if len(judged) == 0 {
		return false, fmt.Errorf("%d deviations by version %d of %q cannot be judged", len(task.Next), m.Key.Version, m.Key.Name)
	}
	cmds := make([]*statev1.Command, len(judged))
	for i, j := range judged {
		t := task.Next[i]
		cmds[i] = &statev1.Command{Principal: "spex/judge", Kind: &statev1.Command_JudgeDeviation{JudgeDeviation: &statev1.JudgeDeviation{
			Spec: m.Key.Proto(), Transition: &typesv1.Transition{From: t.From, Action: t.Action, To: t.To}, Judgement: j,
		}}}
	}
	failpoint.Hit("cluster/joint-before-propose")
	ctx, cancel := context.WithTimeout(ctx, c.node.cfg.RouteBudget)
	defer cancel()
	_, err = c.group.ProposeAll(ctx, cmds)
	return true, err
}

// jointKey names what is being computed for the catalog.
type jointKey struct {
	spec           fsm.SpecKey
	model, pending uint64
}

// checker is that of the model's version, from memory if possible; nil when the
// model has become another one meanwhile.
func (c *catalog) checker(key fsm.SpecKey, task fsm.JointTask) (*model.Checker, error) {
	cached := checkerKey{key, task.ModelVersion}
	if checker, ok := c.node.judge.cache.Checker(cached); ok {
		return checker, nil
	}
	transitions, st, ok := c.machine.ModelTransitions(key)
	if !ok || st.Version != task.ModelVersion {
		return nil, nil
	}
	s, err := spec.FromProto(task.Definition)
	if err != nil {
		return nil, fmt.Errorf("the catalog's copy of the specification: %w", err)
	}
	return c.node.judge.cache.Keep(cached, model.NewChecker(s, transitions)), nil
}

// judgeJointly judges deviations in their order; those that do not violate
// the specification count for the ones after them, as Apply will have it.
func judgeJointly(checker *model.Checker, task fsm.JointTask) []*typesv1.JointJudgement {
	pending, version := task.Pending, task.PendingVersion
	joint := checker
	if len(pending) > 0 {
		joint = checker.With(pending)
	}
	out := make([]*typesv1.JointJudgement, 0, len(task.Next))
	for _, t := range task.Next {
		j := &typesv1.JointJudgement{Verdict: stillEquivalent, ModelVersion: task.ModelVersion, PendingVersion: version}
		out = append(out, j)
		if joint.Decide(t).Verdict != notEquivalent {
			if len(pending) < fsm.MaxPending {
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
		with := culprits(checker, pending, t)
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
// without any of which it does not. It returns none when that takes too long.
func culprits(checker *model.Checker, pending []model.Transition, t model.Transition) []model.Transition {
	set := pending
	checks := 0
	for size := max(1, len(set)/2); ; {
		removed := false
		for start := 0; start < len(set); {
			if checks++; checks > maxCulpritChecks {
				return nil
			}
			rest := append(set[:start:start], set[min(len(set), start+size):]...)
			if violatesWith(checker, rest, t) {
				set, removed = rest, true
			} else {
				start += size
			}
		}
		if size > 1 {
			size /= 2
		} else if !removed {
			break
		}
	}
	if len(set) > maxCulprits {
		return nil
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
