package fsm

import (
	"errors"
	"time"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// ReviewView is what somebody decided about a transition.
type ReviewView struct {
	Spec                     SpecKey
	Transition               model.Transition
	Accepted                 bool
	Owner, Reason, Principal string
	At                       time.Time
	// ExpiresAt is when an acceptance ends; zero means never.
	ExpiresAt time.Time
}

func (r *review) view(key SpecKey) ReviewView {
	v := ReviewView{Spec: key, Transition: r.t, Accepted: r.accepted, Owner: r.owner, Reason: r.reason, Principal: r.principal, At: time.Unix(0, r.at)}
	if r.expiresAt != 0 {
		v.ExpiresAt = time.Unix(0, r.expiresAt)
	}
	return v
}

// Review returns what was decided about a transition, if anything was.
func (c *Catalog) Review(key SpecKey, t model.Transition) (ReviewView, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m, ok := c.models.Get(&catalogModel{key: key})
	if !ok {
		return ReviewView{}, false
	}
	r := m.review(t)
	if r == nil {
		return ReviewView{}, false
	}
	return r.view(key), true
}

// Deviated reports whether a shard has handed over a deviation by the
// transition that the model does not have since.
func (c *Catalog) Deviated(key SpecKey, t model.Transition) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m, ok := c.models.Get(&catalogModel{key: key})
	if !ok {
		return false
	}
	_, ok = m.deviations.Get(&deviation{t: t})
	return ok
}

// ModelHistory lists what happened to a model, oldest first, up to
// MaxModelEvents events. The slice and the events must not be changed.
func (c *Catalog) ModelHistory(key SpecKey) ([]*statev1.ModelEvent, ModelStatus, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m, ok := c.models.Get(&catalogModel{key: key})
	if !ok {
		return nil, ModelStatus{}, false
	}
	return m.history, m.status(), true
}

func (m *catalogModel) reviewRecords(emit func(*statev1.Record) error) error {
	if err := each(m.reviews, func(r *review) error {
		return emit(&statev1.Record{Kind: &statev1.Record_Review{Review: &statev1.ReviewRecord{
			Transition: transitionProto(r.t), Accepted: r.accepted, Owner: r.owner, Reason: r.reason, Principal: r.principal, Time: r.at, ExpiresAt: r.expiresAt,
		}}})
	}); err != nil {
		return err
	}
	for _, e := range m.history {
		if err := emit(&statev1.Record{Kind: &statev1.Record_ModelEvent{ModelEvent: e}}); err != nil {
			return err
		}
	}
	return nil
}

func (b *catalogRestore) restoreReview(r *statev1.Record) error {
	if b.model == nil {
		return errors.New("a review or an event without its model")
	}
	if e := r.GetModelEvent(); e != nil {
		b.model.history = append(b.model.history, e)
		return nil
	}
	v := r.GetReview()
	b.model.reviews.Set(&review{
		t: transitionOf(v.GetTransition()), accepted: v.GetAccepted(), owner: v.GetOwner(), reason: v.GetReason(), principal: v.GetPrincipal(),
		at: v.GetTime(), expiresAt: v.GetExpiresAt(),
	})
	return nil
}
