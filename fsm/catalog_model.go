package fsm

import (
	"bytes"
	"slices"
	"time"

	"github.com/tidwall/btree"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// MaxSpecificationVersions bounds what the catalog keeps, over all namespaces.
const MaxSpecificationVersions = 10_000

// specVersion is one version of a specification. Values are immutable.
type specVersion struct {
	key        SpecKey
	definition *typesv1.Specification
	appliedAt  int64
	// deleted is set on the newest version when the specification was deleted.
	deleted bool
}

// catalogModel is the implementation model of a specification version.
type catalogModel struct {
	key SpecKey
	// mode and revision change together.
	mode     typesv1.ModelMode
	revision uint64
	// content grows; version counts the times that it did.
	content transitionSet
	version uint64
	// deviations holds what nobody has reviewed, for counting distinct ones.
	deviations *btree.BTreeG[*deviation]
	// arrivals has the deviations in the order of their arrival, of which
	// nextOrder is the last; it follows from the deviations.
	arrivals  *btree.BTreeG[arrival]
	nextOrder uint64
	joint     jointState
	// sealDeadline is when a seal that is under way is given up.
	sealDeadline int64
	// acknowledged lists the shards that have logged this revision, sorted.
	acknowledged []uint32
	// shrunk is the last version that took something out, 0 for none.
	shrunk uint64
	// reviews holds what somebody decided about transitions.
	reviews *btree.BTreeG[*review]
	// unreviewed counts the deviations that nobody rejected, and nextExpiry is
	// when the next acceptance ends, 0 for never. Both follow from the rest.
	unreviewed int
	nextExpiry int64
	// retiring is set once the version is being retired, and droppedBy lists the
	// shards that have dropped it, sorted.
	retiring  bool
	droppedBy []uint32
	history   []*statev1.ModelEvent
}

func newCatalogModel(key SpecKey) *catalogModel {
	return &catalogModel{
		key: key, content: newTransitionSet(),
		deviations: newTree(func(a, b *deviation) bool { return model.Compare(a.t, b.t) < 0 }),
		reviews:    newTree(func(a, b *review) bool { return model.Compare(a.t, b.t) < 0 }),
		arrivals:   newArrivals(),
	}
}

func (m *catalogModel) change(mode typesv1.ModelMode) {
	m.mode, m.acknowledged, m.sealDeadline = mode, nil, 0
	m.revision++
}

// latest returns the newest version of a specification, deleted or not.
func (c *Catalog) latest(namespace, name string) *specVersion {
	var found *specVersion
	pivot := &specVersion{key: SpecKey{namespace, name, ^uint64(0)}}
	c.specs.Descend(pivot, func(v *specVersion) bool {
		if v.key.Namespace == namespace && v.key.Name == name {
			found = v
		}
		return false
	})
	return found
}

func (c *Catalog) latestModel(namespace, name string) (*catalogModel, *Error) {
	v := c.latest(namespace, name)
	if v == nil || v.deleted {
		return nil, Errorf(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no specification %q in the namespace %q: apply it first", name, namespace)
	}
	m, _ := c.models.Get(&catalogModel{key: v.key})
	return m, nil
}

func (c *Catalog) applySpecification(a *statev1.ApplySpecification) Result {
	def := &typesv1.Specification{}
	if err := c.stage.load(a.GetPayload(), def); err != nil {
		return Result{Err: err}
	}
	if def.GetName() == "" || def.GetName() != a.GetName() {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "the specification is named %q, not %q", def.GetName(), a.GetName())
	}
	if n := len(def.GetTransitions()); n > spec.MaxTransitions {
		return refuse(typesv1.Reason_REASON_LIMIT_EXCEEDED, "%d transitions are above the limit of %d", n, spec.MaxTransitions)
	}
	key := SpecKey{Namespace: a.GetNamespace(), Name: a.GetName(), Version: 1}
	if old := c.latest(key.Namespace, key.Name); old != nil {
		if !old.deleted && equalBytes(old.definition, def) {
			return c.done(old.key.Version, false)
		}
		key.Version = old.key.Version + 1
	}
	if c.specs.Len() >= MaxSpecificationVersions {
		return refuse(typesv1.Reason_REASON_LIMIT_EXCEEDED, "the catalog holds %d versions of specifications already", MaxSpecificationVersions)
	}
	c.specs.Set(&specVersion{key: key, definition: def, appliedAt: c.now})
	m := newCatalogModel(key)
	m.change(typesv1.ModelMode_MODEL_MODE_LEARNING)
	if def.GetOnMissingModel() == typesv1.OnMissingModel_ON_MISSING_MODEL_REJECT {
		m.mode = typesv1.ModelMode_MODEL_MODE_ABSENT
	}
	c.models.Set(m)
	return c.done(key.Version, true)
}

func equalBytes(a, b proto.Message) bool {
	deterministic := proto.MarshalOptions{Deterministic: true}
	x, errX := deterministic.Marshal(a)
	y, errY := deterministic.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// applyDeleteSpecification hides a specification from new instances. Instances
// that have begun go on with the version that they are pinned to.
func (c *Catalog) applyDeleteSpecification(d *statev1.DeleteSpecification) Result {
	v := c.latest(d.GetNamespace(), d.GetName())
	if v == nil || v.deleted {
		return refuse(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no specification %q in the namespace %q", d.GetName(), d.GetNamespace())
	}
	gone := *v
	gone.deleted = true
	c.specs.Set(&gone)
	return c.done(v.key.Version, true)
}

func (c *Catalog) applyImport(i *statev1.ImportModel, principal string) Result {
	content := &statev1.ModelImport{}
	if err := c.stage.load(i.GetPayload(), content); err != nil {
		return Result{Err: err}
	}
	m, err := c.latestModel(i.GetNamespace(), i.GetSpec())
	if err != nil {
		return Result{Err: err}
	}
	if m.mode == typesv1.ModelMode_MODEL_MODE_SEALING {
		return refuse(typesv1.Reason_REASON_MODEL_MODE, "the model of %q is being sealed: wait until that has ended", i.GetSpec())
	}
	novel := newTransitionSet()
	for _, t := range content.GetTransitions() {
		if _, ok := m.content.get(transitionOf(t)); !ok {
			novel.add(transitionOf(t), m.version+1)
		}
	}
	added := novel.len()
	var others []model.Transition
	if content.GetReplace() {
		others = m.others(content.GetTransitions())
	}
	if m.content.len()+added-len(others) > spec.MaxModelTransitions {
		return refuse(typesv1.Reason_REASON_MODEL_LIMIT, "with %d more transitions the model would be above the limit of %d", added, spec.MaxModelTransitions)
	}
	changed := added+len(others) > 0
	if changed {
		m.version++
		for _, t := range novel.through(m.version) {
			m.join(t, m.version)
		}
	}
	if len(others) > 0 {
		m.drop(others, m.version)
	}
	switch m.mode {
	case typesv1.ModelMode_MODEL_MODE_ABSENT:
		changed = true
		if content.GetLearning() {
			m.change(typesv1.ModelMode_MODEL_MODE_LEARNING)
		} else {
			m.change(typesv1.ModelMode_MODEL_MODE_SEALED)
		}
	case typesv1.ModelMode_MODEL_MODE_SEALED:
		// A new revision, so that the shards say when they have adopted it.
		if changed {
			m.change(typesv1.ModelMode_MODEL_MODE_SEALED)
		}
	}
	if changed {
		c.note(m, &statev1.ModelEvent{
			Kind: typesv1.ModelEventKind_MODEL_EVENT_KIND_IMPORTED, Added: uint32(added), Removed: uint32(len(others)), Principal: principal,
		})
	}
	return Result{Value: &CatalogResult{Index: c.applied, Version: m.version, Changed: changed, Added: added, Removed: len(others)}}
}

// others lists what the model has beside the given transitions.
func (m *catalogModel) others(list []*typesv1.Transition) []model.Transition {
	given := make(map[model.Transition]bool, len(list))
	for _, t := range list {
		given[transitionOf(t)] = true
	}
	return slices.DeleteFunc(m.content.through(m.version), func(t model.Transition) bool { return given[t] })
}

func (c *Catalog) applyChangeMode(g *statev1.ChangeModelMode, principal string) Result {
	m, ok := c.models.Get(&catalogModel{key: SpecKeyOf(g.GetSpec())})
	if !ok {
		return refuse(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no version %d of the specification %q", g.GetSpec().GetVersion(), g.GetSpec().GetName())
	}
	if r := g.GetIfModeRevision(); r != 0 && r != m.revision || g.GetMode() == m.mode {
		return c.done(m.revision, false)
	}
	switch g.GetMode() {
	case typesv1.ModelMode_MODEL_MODE_LEARNING:
		kind := typesv1.ModelEventKind_MODEL_EVENT_KIND_LEARNING
		if m.mode == typesv1.ModelMode_MODEL_MODE_SEALING {
			kind = typesv1.ModelEventKind_MODEL_EVENT_KIND_SEAL_ABORTED
		}
		m.change(typesv1.ModelMode_MODEL_MODE_LEARNING)
		c.note(m, &statev1.ModelEvent{Kind: kind, Principal: principal})
	case typesv1.ModelMode_MODEL_MODE_SEALING:
		switch m.mode {
		case typesv1.ModelMode_MODEL_MODE_SEALED:
			return c.done(m.revision, false)
		case typesv1.ModelMode_MODEL_MODE_ABSENT:
			return refuse(typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND, "the specification %q has no model to seal: import one or let it learn first", m.key.Name)
		}
		if g.GetTimeoutNanos() < 0 {
			return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "a seal cannot end before it begins (timeout %s)", time.Duration(g.GetTimeoutNanos()))
		}
		m.change(typesv1.ModelMode_MODEL_MODE_SEALING)
		m.sealDeadline = c.now + min(g.GetTimeoutNanos(), maxTime)
		c.note(m, &statev1.ModelEvent{Kind: typesv1.ModelEventKind_MODEL_EVENT_KIND_SEALING, Principal: principal})
	default:
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "a model cannot be put into the mode %s", g.GetMode())
	}
	return c.done(m.revision, true)
}

// applyReport takes what a shard hands over. Everything in it may come twice.
func (c *Catalog) applyReport(r *statev1.ReportShard) Result {
	changed := false
	grown := map[*catalogModel]uint32{}
	for _, item := range r.GetItems() {
		m, ok := c.models.Get(&catalogModel{key: SpecKeyOf(item.GetSpec())})
		if !ok {
			continue
		}
		t := transitionOf(item.GetTransition())
		if _, ok := m.content.get(t); ok {
			// Known already; a deviation was accepted before it came here.
			continue
		}
		if d := item.GetDeviation(); d != nil {
			if _, ok := m.deviations.Get(&deviation{t: t}); !ok && m.deviations.Len() < MaxDeviations {
				ref := StepRefOf(d.GetFirst())
				m.arrive(&deviation{
					t: t, verdict: d.GetVerdict(), reason: d.GetReason(), explanation: d.GetExplanation(), grade: d.GetGrade(), count: 1,
					first: ref, firstAt: d.GetTimeUnixNano(), last: ref, lastAt: d.GetTimeUnixNano(),
				})
				if m.review(t) == nil {
					m.unreviewed++
				}
				changed = true
			}
			continue
		}
		if m.mode == typesv1.ModelMode_MODEL_MODE_SEALED {
			// The model has all that was learned before it was sealed, and this
			// comes a second time: it was taken out since.
			continue
		}
		if grown[m] == 0 {
			m.version++
		}
		grown[m]++
		m.join(t, m.version)
		changed = true
	}
	for m, added := range grown {
		c.note(m, &statev1.ModelEvent{Kind: typesv1.ModelEventKind_MODEL_EVENT_KIND_LEARNED, Added: added})
	}
	for _, a := range r.GetAcknowledgements() {
		if m, ok := c.models.Get(&catalogModel{key: SpecKeyOf(a.GetSpec())}); ok && a.GetModeRevision() == m.revision {
			changed = c.acknowledge(m, r.GetShard()) || changed
		}
	}
	for _, key := range r.GetDropped() {
		changed = c.droppedBy(SpecKeyOf(key), r.GetShard()) || changed
	}
	return c.done(0, changed)
}

// acknowledge notes that a shard has logged the model's mode. When all have
// logged SEALING, each has handed over all that it learned before, and the model
// is complete.
func (c *Catalog) acknowledge(m *catalogModel, shard uint32) bool {
	at, found := slices.BinarySearch(m.acknowledged, shard)
	if found || shard == 0 || shard > c.shards {
		return false
	}
	m.acknowledged = slices.Insert(slices.Clone(m.acknowledged), at, shard)
	if m.mode == typesv1.ModelMode_MODEL_MODE_SEALING && len(m.acknowledged) == int(c.shards) {
		m.change(typesv1.ModelMode_MODEL_MODE_SEALED)
		c.note(m, &statev1.ModelEvent{Kind: typesv1.ModelEventKind_MODEL_EVENT_KIND_SEALED})
	}
	return true
}
