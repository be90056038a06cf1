package fsm

import (
	"slices"
	"time"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

const (
	// MaxReviewed bounds the transitions of one acceptance or rejection.
	MaxReviewed = 100
	// MaxReviews bounds the transitions of one version of a specification that
	// are noted as accepted or rejected.
	MaxReviews = 10_000
	// MaxOwnerBytes and MaxReasonBytes bound who reviewed something, and why.
	MaxOwnerBytes  = 256
	MaxReasonBytes = 1024
)

// review is what somebody decided about a transition: accepted if the model has
// it, else rejected. Values are immutable.
type review struct {
	t                        model.Transition
	accepted                 bool
	owner, reason, principal string
	at                       int64
	// expiresAt is when an acceptance ends, 0 for never.
	expiresAt int64
}

func (m *catalogModel) review(t model.Transition) *review {
	r, _ := m.reviews.Get(&review{t: t})
	return r
}

// join puts a transition into the model: it deviates no more, and whoever said
// that it is wrong was overruled.
func (m *catalogModel) join(t model.Transition, version uint64) {
	m.content.add(t, version)
	r := m.review(t)
	if r != nil && !r.accepted {
		m.reviews.Delete(r)
	}
	if m.leave(t) && r == nil {
		m.unreviewed--
	}
}

// drop takes transitions out of the model, as a new version of it.
func (m *catalogModel) drop(list []model.Transition, version uint64) {
	for _, t := range list {
		m.content.remove(t)
		m.reviews.Delete(&review{t: t})
	}
	m.shrunk = version
	m.recount()
}

// grew notes a new version of a sealed model, so that the shards say when they
// work with it.
func (m *catalogModel) grew() {
	if m.mode == typesv1.ModelMode_MODEL_MODE_SEALED {
		m.change(typesv1.ModelMode_MODEL_MODE_SEALED)
	}
}

// recount finds what is kept beside the reviews so that it need not be found
// for every look at the model.
func (m *catalogModel) recount() {
	m.unreviewed, m.nextExpiry = m.deviations.Len(), 0
	m.reviews.Scan(func(r *review) bool {
		if _, deviated := m.deviations.Get(&deviation{t: r.t}); deviated && !r.accepted {
			m.unreviewed--
		}
		if r.expiresAt != 0 && (m.nextExpiry == 0 || r.expiresAt < m.nextExpiry) {
			m.nextExpiry = r.expiresAt
		}
		return true
	})
}

// reviewable checks what acceptances and rejections have in common.
func (c *Catalog) reviewable(key *statev1.SpecKey, list []*typesv1.Transition, owner, reason string) (*catalogModel, []model.Transition, *Error) {
	m, ok := c.models.Get(&catalogModel{key: SpecKeyOf(key)})
	switch {
	case !ok:
		return nil, nil, Errorf(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no version %d of the specification %q", key.GetVersion(), key.GetName())
	case len(list) == 0:
		return nil, nil, Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "no transition is given")
	case owner == "" || reason == "":
		return nil, nil, Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "a review needs an owner and a reason")
	case len(list) > MaxReviewed:
		return nil, nil, Errorf(typesv1.Reason_REASON_LIMIT_EXCEEDED, "%d transitions are above the limit of %d for one review", len(list), MaxReviewed)
	case len(owner) > MaxOwnerBytes || len(reason) > MaxReasonBytes:
		return nil, nil, Errorf(typesv1.Reason_REASON_LIMIT_EXCEEDED, "the owner or the reason is above its limit of %d or %d bytes", MaxOwnerBytes, MaxReasonBytes)
	}
	transitions := make([]model.Transition, len(list))
	for i, t := range list {
		transitions[i] = transitionOf(t)
	}
	transitions = model.Union(transitions)
	fresh := 0
	for _, t := range transitions {
		if m.review(t) == nil {
			fresh++
		}
	}
	if m.reviews.Len()+fresh > MaxReviews {
		return nil, nil, Errorf(typesv1.Reason_REASON_LIMIT_EXCEEDED, "with %d more reviews there would be more than the limit of %d for version %d of %q: import what is right for good into the model", fresh, MaxReviews, key.GetVersion(), key.GetName())
	}
	return m, transitions, nil
}

// applyAccept puts transitions into the model. What the model has learned or
// imported stays for good, whatever the acceptance says about its end.
func (c *Catalog) applyAccept(a *statev1.AcceptDeviations, principal string) Result {
	m, transitions, err := c.reviewable(a.GetSpec(), a.GetTransitions(), a.GetOwner(), a.GetReason())
	if err != nil {
		return Result{Err: err}
	}
	switch m.mode {
	case typesv1.ModelMode_MODEL_MODE_ABSENT:
		return refuse(typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND, "the specification %q has no model: import one first", m.key.Name)
	case typesv1.ModelMode_MODEL_MODE_SEALING:
		return refuse(typesv1.Reason_REASON_MODEL_MODE, "the model of %q is being sealed: wait until that has ended", m.key.Name)
	}
	var novel, changed []model.Transition
	for _, t := range transitions {
		_, known := m.content.get(t)
		switch r := m.review(t); {
		case !known:
			novel, changed = append(novel, t), append(changed, t)
		case r != nil && (r.owner != a.GetOwner() || r.reason != a.GetReason() || r.expiresAt != a.GetExpiresAt()):
			changed = append(changed, t)
		}
	}
	switch {
	case len(changed) == 0:
		return c.done(m.version, false)
	case a.GetExpiresAt() != 0 && a.GetExpiresAt() <= c.now:
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "the acceptance would end at %s, which is over", time.Unix(0, a.GetExpiresAt()).UTC().Format(time.RFC3339))
	case a.GetIfVersion() != 0 && a.GetIfVersion() != m.version:
		return refuse(typesv1.Reason_REASON_MODEL_CHANGED, "the model of %q is at version %d, and was looked at in version %d", m.key.Name, m.version, a.GetIfVersion())
	case m.content.len()+len(novel) > spec.MaxModelTransitions:
		return refuse(typesv1.Reason_REASON_MODEL_LIMIT, "with %d more transitions the model would be above the limit of %d", len(novel), spec.MaxModelTransitions)
	}
	if len(novel) > 0 {
		m.version++
		m.grew()
	}
	for _, t := range novel {
		m.join(t, m.version)
	}
	for _, t := range changed {
		m.reviews.Set(&review{t: t, accepted: true, owner: a.GetOwner(), reason: a.GetReason(), principal: principal, at: c.now, expiresAt: a.GetExpiresAt()})
	}
	m.recount()
	c.note(m, &statev1.ModelEvent{
		Kind: typesv1.ModelEventKind_MODEL_EVENT_KIND_ACCEPTED, Added: uint32(len(novel)), Principal: principal,
		Owner: a.GetOwner(), Reason: a.GetReason(), ExpiresAt: a.GetExpiresAt(), Transitions: transitionProtos(changed),
	})
	return Result{Value: &CatalogResult{Index: c.applied, Version: m.version, Changed: true, Added: len(novel)}}
}

// applyReject notes that transitions are wrong. Whether one has deviated is not
// asked: a shard may know of it that has not handed it over yet.
func (c *Catalog) applyReject(r *statev1.RejectDeviations, principal string) Result {
	m, transitions, err := c.reviewable(r.GetSpec(), r.GetTransitions(), r.GetOwner(), r.GetReason())
	if err != nil {
		return Result{Err: err}
	}
	for _, t := range transitions {
		if _, known := m.content.get(t); known {
			return refuse(typesv1.Reason_REASON_DEVIATION_NOT_FOUND, "%s does not deviate: the model of %q has it", t, m.key.Name)
		}
	}
	var changed []model.Transition
	for _, t := range transitions {
		if old := m.review(t); old == nil || old.owner != r.GetOwner() || old.reason != r.GetReason() {
			changed = append(changed, t)
			m.reviews.Set(&review{t: t, owner: r.GetOwner(), reason: r.GetReason(), principal: principal, at: c.now})
		}
	}
	if len(changed) == 0 {
		return c.done(m.version, false)
	}
	m.recount()
	c.note(m, &statev1.ModelEvent{
		Kind: typesv1.ModelEventKind_MODEL_EVENT_KIND_REJECTED, Principal: principal,
		Owner: r.GetOwner(), Reason: r.GetReason(), Transitions: transitionProtos(changed),
	})
	return c.done(m.version, true)
}

// applyWithdraw takes out of a model what was accepted until a time that is
// over. A model that is being sealed keeps it until the seal has ended.
func (c *Catalog) applyWithdraw(w *statev1.WithdrawAcceptances, principal string) Result {
	m, ok := c.models.Get(&catalogModel{key: SpecKeyOf(w.GetSpec())})
	if !ok {
		return refuse(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no version %d of the specification %q", w.GetSpec().GetVersion(), w.GetSpec().GetName())
	}
	if m.mode == typesv1.ModelMode_MODEL_MODE_SEALING || m.nextExpiry == 0 || m.nextExpiry >= c.now {
		return c.done(m.version, false)
	}
	event := &statev1.ModelEvent{Kind: typesv1.ModelEventKind_MODEL_EVENT_KIND_WITHDRAWN, Principal: principal}
	var over []model.Transition
	m.reviews.Scan(func(r *review) bool {
		if r.expiresAt == 0 || r.expiresAt >= c.now {
			return true
		}
		if len(over) == 0 {
			event.Owner, event.Reason = r.owner, r.reason
		} else if event.Owner != r.owner || event.Reason != r.reason {
			event.Owner, event.Reason = "", ""
		}
		over = append(over, r.t)
		return true
	})
	m.version++
	m.grew()
	m.drop(over, m.version)
	event.Removed, event.Transitions = uint32(len(over)), transitionProtos(over[:min(len(over), MaxReviewed)])
	c.note(m, event)
	return c.done(m.version, true)
}

func transitionProtos(list []model.Transition) []*typesv1.Transition {
	protos := make([]*typesv1.Transition, len(list))
	for i, t := range list {
		protos[i] = transitionProto(t)
	}
	return protos
}

// MaxModelEvents bounds the history of a model; the oldest events go first.
const MaxModelEvents = 100

// note adds an event to the history of a model. What is learned in one go is
// one event. The slice and the events in it are replaced, never changed:
// snapshots share them.
func (c *Catalog) note(m *catalogModel, e *statev1.ModelEvent) {
	e.Time, e.Version, e.ModeRevision = c.now, m.version, m.revision
	history := m.history
	if e.Kind == typesv1.ModelEventKind_MODEL_EVENT_KIND_LEARNED {
		e.FirstTime = c.now
		if n := len(history); n > 0 && history[n-1].GetKind() == e.Kind {
			e.FirstTime, e.Added = history[n-1].GetFirstTime(), e.Added+history[n-1].GetAdded()
			history = history[:n-1]
		}
	}
	history = history[max(0, len(history)+1-MaxModelEvents):]
	m.history = append(slices.Clip(slices.Clone(history)), e)
}
