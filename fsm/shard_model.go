package fsm

import (
	"maps"
	"slices"

	"github.com/tidwall/btree"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// specState is what a shard knows of a version of a specification. Its fields
// are replaced or grow in copy-on-write sets; a snapshot clones it.
type specState struct {
	key SpecKey
	// definition is nil until the specification is installed: the mode may come before.
	definition *typesv1.Specification
	// rules are those of the definition.
	rules *instanceRules
	mode  typesv1.ModelMode
	// modeRevision is the catalog's count of mode changes; it only grows.
	modeRevision uint64
	// model is the catalog's content at modelVersion.
	model        transitionSet
	modelVersion uint64
	// learned is what this shard has learned and the model does not have yet.
	learned transitionSet
	// pending holds the deviations that were judged and do not violate the
	// specification together (B2); each addition makes a version.
	pending        transitionSet
	pendingVersion uint64
	deviations     *btree.BTreeG[*deviation]
	// frontiers is the table in use; both are nil when the specification was
	// installed without one, and never change once they are there.
	frontiers     *model.Frontiers
	frontierTable *statev1.FrontierTable
	// uses counts the instances and tombstones of the version. It follows from them.
	uses int
	// droppedAt is set on the note that is left of a version that was retired.
	droppedAt int64
}

// deviation counts a distinct deviating transition. Values are immutable.
type deviation struct {
	t                   model.Transition
	verdict             typesv1.Verdict
	reason, explanation string
	grade               string
	count               uint64
	first, last         StepRef
	firstAt, lastAt     int64
	// order and joint are the catalog's: when the deviation came to it, and what it
	// does together with those before it.
	order uint64
	joint *typesv1.JointJudgement
}

func newSpecState(key SpecKey) *specState {
	return &specState{
		key: key, mode: typesv1.ModelMode_MODEL_MODE_UNSPECIFIED,
		model: newTransitionSet(), learned: newTransitionSet(), pending: newTransitionSet(),
		deviations: newTree(func(a, b *deviation) bool { return model.Compare(a.t, b.t) < 0 }),
	}
}

// define installs the definition; nil leaves the specification as not installed.
func (p *specState) define(d *typesv1.Specification) {
	p.definition, p.rules = d, rulesOf(d)
}

func (p *specState) clone() *specState {
	c := *p
	c.model, c.learned, c.pending, c.deviations = p.model.clone(), p.learned.clone(), p.pending.clone(), p.deviations.Copy()
	return &c
}

// full refuses to learn beyond the limit: a model that large is almost always
// one whose states carry data.
func (p *specState) full() (Result, bool) {
	if p.model.len()+p.learned.len() < spec.MaxModelTransitions {
		return Result{}, false
	}
	return refuse(typesv1.Reason_REASON_MODEL_LIMIT,
		"the model of %q has reached %d transitions and learns no more: its states probably carry data, such as an id or a count", p.key.Name, spec.MaxModelTransitions), true
}

// ModeResult is the answer to SetModelMode.
type ModeResult struct {
	Changed bool
	// Settled lists the steps that awaited a verdict and have it by this command.
	Settled []StepRef
}

// spec returns nil for a version that the shard does not know. Every step asks.
func (s *Shard) spec(key SpecKey) *specState { return s.specs[key] }

// sortedSpecs lists the versions in the order of their keys.
func (s *Shard) sortedSpecs() []*specState {
	return slices.SortedFunc(maps.Values(s.specs), func(a, b *specState) int { return a.key.Compare(b.key) })
}

func (s *Shard) specOrNew(key SpecKey) *specState {
	if p := s.spec(key); p != nil {
		return p
	}
	p := newSpecState(key)
	s.specs[key] = p
	return p
}

// learn adds a transition to the learned set and to the outbox.
func (s *Shard) learn(key SpecKey, t model.Transition) *model.Transition {
	p := s.spec(key)
	p.learned.add(t, s.nextOutbox)
	s.send(&statev1.OutboxItem{Spec: key.Proto(), Transition: transitionProto(t)})
	s.soonest = 0 // the state that the step leaves is not terminal any more
	v, _ := p.learned.get(t)
	return &v.Transition
}

func (s *Shard) send(item *statev1.OutboxItem) {
	item.Id = s.nextOutbox
	s.nextOutbox++
	s.outbox.Set(item)
}

func (s *Shard) applyInstall(c *statev1.InstallSpecification) Result {
	content := &statev1.SpecificationContent{}
	if err := s.stage.load(c.GetPayload(), content); err != nil {
		return Result{Err: err}
	}
	key := SpecKeyOf(c.GetSpec())
	if content.GetSpecification() == nil || key.Version == 0 || c.GetMode() == typesv1.ModelMode_MODEL_MODE_UNSPECIFIED {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "the content of %q has no specification, no version or no mode", key.Name)
	}
	if _, err := frontiersOf(key.Name, content.GetFrontierTable()); err != nil {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "%v", err)
	}
	p := s.spec(key)
	if res, gone := p.retired(); gone {
		return res
	}
	if p != nil && p.definition != nil {
		_ = p.track(content.GetFrontierTable()) // it was checked
		return Result{}
	} else if p != nil && c.GetModeRevision() < p.modeRevision {
		// The barrier of a seal: a leader with an old view of the catalog must
		// not bring back a mode that this shard has left.
		return refuse(typesv1.Reason_REASON_MODEL_MODE, "mode revision %d of %q is older than this shard's %d", c.GetModeRevision(), key.Name, p.modeRevision)
	}
	p = s.specOrNew(key)
	p.define(content.GetSpecification())
	_ = p.track(content.GetFrontierTable()) // it was checked
	p.mode, p.modeRevision = c.GetMode(), c.GetModeRevision()
	s.extend(p, content.GetModel())
	return Result{}
}

func (s *Shard) applyExtend(c *statev1.ExtendModel) Result {
	content := &statev1.ModelContent{}
	if err := s.stage.load(c.GetPayload(), content); err != nil {
		return Result{Err: err}
	}
	p := s.spec(SpecKeyOf(c.GetSpec()))
	if p == nil || p.definition == nil {
		return refuse(typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED, "the specification %q is not installed on this shard", c.GetSpec().GetName())
	}
	if content.GetFromVersion() > p.modelVersion {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "a delta from version %d does not fit the model's version %d", content.GetFromVersion(), p.modelVersion)
	}
	s.extend(p, content)
	return Result{}
}

func (s *Shard) extend(p *specState, content *statev1.ModelContent) {
	if content.GetVersion() <= p.modelVersion {
		return
	}
	if content.GetComplete() {
		s.shrink(p, content)
	}
	for _, v := range content.GetTransitions() {
		t := transitionOf(v.GetTransition())
		p.model.add(t, v.GetVersion())
		p.learned.remove(t)
	}
	p.modelVersion = content.GetVersion()
	s.settleReviews(p, content)
	s.soonest = 0
}

// applyMode brings a change of the model's mode. The steps that were held back
// while the model was being sealed are settled here, in the order of the index:
// they are known, or learned again after an abort, or get the versions by which
// they will be judged.
func (s *Shard) applyMode(c *statev1.SetModelMode) Result {
	key := SpecKeyOf(c.GetSpec())
	switch c.GetMode() {
	case typesv1.ModelMode_MODEL_MODE_LEARNING, typesv1.ModelMode_MODEL_MODE_SEALING, typesv1.ModelMode_MODEL_MODE_SEALED:
	default:
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "a model cannot be put into the mode %s", c.GetMode())
	}
	if p := s.spec(key); p != nil && c.GetModeRevision() <= p.modeRevision || c.GetModeRevision() == 0 {
		return Result{Value: &ModeResult{}}
	}
	p := s.specOrNew(key)
	sealed := c.GetMode() == typesv1.ModelMode_MODEL_MODE_SEALED
	if sealed && p.definition != nil && p.modelVersion < c.GetModelVersion() {
		return refuse(typesv1.Reason_REASON_MODEL_MODE, "the model of %q is at version %d here; sealing needs %d", key.Name, p.modelVersion, c.GetModelVersion())
	}
	p.mode, p.modeRevision = c.GetMode(), c.GetModeRevision()
	s.soonest = 0
	s.report(&statev1.ReportRecord{Kind: typesv1.ReportKind_REPORT_KIND_MODEL_MODE, Spec: key.Proto(), Mode: p.mode, ModeRevision: p.modeRevision})
	res := &ModeResult{Changed: true}
	if p.mode == typesv1.ModelMode_MODEL_MODE_SEALING {
		return Result{Value: res}
	}
	for _, w := range s.unsettled(key) {
		_, known := p.model.get(*w.transition)
		if !known && p.mode == typesv1.ModelMode_MODEL_MODE_LEARNING {
			_, known = p.learned.get(*w.transition)
		}
		switch {
		case known:
		case p.mode == typesv1.ModelMode_MODEL_MODE_LEARNING:
			s.learn(key, *w.transition)
		default:
			settled := *w
			settled.settled, settled.modelVersion, settled.pendingVersion = true, p.modelVersion, p.pendingVersion
			s.awaiting.Set(&settled)
			continue
		}
		s.settle(w, &typesv1.Judgement{Verdict: typesv1.Verdict_VERDICT_OK})
		res.Settled = append(res.Settled, w.ref)
	}
	return Result{Value: res}
}

func (s *Shard) unsettled(key SpecKey) []*awaitingStep {
	var list []*awaitingStep
	s.awaiting.Scan(func(w *awaitingStep) bool {
		if !w.settled && w.spec == key {
			list = append(list, w)
		}
		return true
	})
	return list
}

func (s *Shard) applyAcknowledge(c *statev1.AcknowledgeOutbox) Result {
	for {
		item, ok := s.outbox.Min()
		if !ok || item.GetId() > c.GetThrough() {
			return Result{}
		}
		s.outbox.Delete(item)
	}
}
