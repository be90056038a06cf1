package fsm

import (
	"slices"

	"github.com/tidwall/btree"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// jointState is how far the deviations of all shards were judged together (B2),
// with one version of the model. With another version all are judged anew.
type jointState struct {
	modelVersion uint64
	// through is the order of the last deviation that was judged.
	through uint64
	// pending holds the deviations that do not violate the specification
	// together; each addition makes a version.
	pending        transitionSet
	pendingVersion uint64
}

// arrival is the place of a deviation in the order in which the catalog got them.
type arrival struct {
	order uint64
	t     model.Transition
}

func newArrivals() *btree.BTreeG[arrival] {
	return newTree(func(a, b arrival) bool { return a.order < b.order })
}

// arrive takes a deviation that the model did not have.
func (m *catalogModel) arrive(d *deviation) {
	m.nextOrder++
	d.order = m.nextOrder
	m.deviations.Set(d)
	m.arrivals.Set(arrival{d.order, d.t})
}

// leave forgets the deviation by a transition, and tells whether there was one.
func (m *catalogModel) leave(t model.Transition) bool {
	d, ok := m.deviations.Delete(&deviation{t: t})
	if ok {
		m.arrivals.Delete(arrival{order: d.order})
	}
	return ok
}

// together is the joint state for the present version of the model.
func (m *catalogModel) together() jointState {
	if m.joint.modelVersion == m.version && m.joint.pending.tree != nil {
		return m.joint
	}
	return jointState{modelVersion: m.version, pending: newTransitionSet()}
}

// unjudged lists up to limit deviations that are next to be judged.
func (m *catalogModel) unjudged(through uint64, limit int) []model.Transition {
	var list []model.Transition
	m.arrivals.Ascend(arrival{order: through + 1}, func(a arrival) bool {
		if len(list) < limit {
			list = append(list, a.t)
		}
		return len(list) < limit
	})
	return list
}

// applyJudge records what a deviation does together with those before it.
func (c *Catalog) applyJudge(j *statev1.JudgeDeviation) Result {
	m, ok := c.models.Get(&catalogModel{key: SpecKeyOf(j.GetSpec())})
	if !ok {
		return refuse(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no version %d of the specification %q", j.GetSpec().GetVersion(), j.GetSpec().GetName())
	}
	verdict := j.GetJudgement().GetVerdict()
	if verdict != typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT && verdict != typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "%s is no verdict about deviations", verdict)
	}
	st, t := m.together(), transitionOf(j.GetTransition())
	if j.GetJudgement().GetModelVersion() != st.modelVersion || j.GetJudgement().GetPendingVersion() != st.pendingVersion || !slices.Equal(m.unjudged(st.through, 1), []model.Transition{t}) {
		return c.done(st.pendingVersion, false)
	}
	old, _ := m.deviations.Get(&deviation{t: t})
	d := *old
	d.joint = j.GetJudgement()
	m.deviations.Set(&d)
	c.reportJoint(m, old, &d)
	st.through = d.order
	if verdict == typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT && st.pending.len() < MaxPending && st.pending.add(t, st.pendingVersion+1) {
		st.pendingVersion++
	}
	m.joint = st
	return c.done(st.pendingVersion, true)
}

// JointTask is what is to be judged next of the deviations from a model.
type JointTask struct {
	Definition *typesv1.Specification
	// The versions that the judgements have to name.
	ModelVersion, PendingVersion uint64
	Pending                      []model.Transition
	// Next are the deviations in their order. It is empty when all were judged.
	Next []model.Transition
}

// JointTask returns what the catalog's leader has to judge, at most limit deviations.
// Only those from a sealed model are: while it learns, every version would be another one.
func (c *Catalog) JointTask(key SpecKey, limit int) (JointTask, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m, ok := c.models.Get(&catalogModel{key: key})
	v, found := c.specs.Get(&specVersion{key: key})
	if !ok || !found || m.mode != typesv1.ModelMode_MODEL_MODE_SEALED {
		return JointTask{}, false
	}
	st := m.together()
	task := JointTask{Definition: v.definition, ModelVersion: st.modelVersion, PendingVersion: st.pendingVersion, Next: m.unjudged(st.through, limit)}
	if len(task.Next) > 0 {
		task.Pending = st.pending.through(st.pendingVersion)
	}
	return task, len(task.Next) > 0
}

// Joint returns what a deviation does together with those that came before it,
// nil until that was judged. The message must not be changed.
func (c *Catalog) Joint(key SpecKey, t model.Transition) *typesv1.JointJudgement {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m, ok := c.models.Get(&catalogModel{key: key})
	if !ok {
		return nil
	}
	if d, ok := m.deviations.Get(&deviation{t: t}); ok {
		return d.joint
	}
	return nil
}
