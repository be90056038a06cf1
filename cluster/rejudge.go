package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// jointBatch bounds the deviations that are judged together before the catalog
// hears of them.
const jointBatch = 32

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
	done := c.node.judge.begin(jointKey{m.Key, task.ModelVersion, task.PendingVersion}, m.Key, func() {
		judged = task.Judge(func() bool { return ctx.Err() != nil }, checker)
	})
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
