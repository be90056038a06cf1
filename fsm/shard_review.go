package fsm

import (
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// shrink takes out of the shard's model what the catalog's does not have any
// more. Steps that await a verdict by an older version are still judged by it.
func (s *Shard) shrink(p *specState, content *statev1.ModelContent) {
	stay := make(map[model.Transition]bool, len(content.GetTransitions()))
	for _, v := range content.GetTransitions() {
		stay[transitionOf(v.GetTransition())] = true
	}
	for _, t := range p.model.through(p.modelVersion) {
		if !stay[t] {
			p.model.retire(t, content.GetVersion())
		}
	}
	// What was handed over, and is not in the model, was taken out before this
	// shard has seen it there: to be learned again it must be handed over again.
	for _, v := range p.learned.tree.Items() {
		if _, waits := s.outbox.Get(&statev1.OutboxItem{Id: v.version}); !waits {
			p.learned.remove(v.Transition)
		}
	}
}

// settleReviews lets go of what the model knows now: it deviates no more.
func (s *Shard) settleReviews(p *specState, content *statev1.ModelContent) {
	pendingVersion := p.pendingVersion
	for _, v := range content.GetTransitions() {
		t := transitionOf(v.GetTransition())
		p.deviations.Delete(&deviation{t: t})
		if p.pending.retire(t, p.pendingVersion+1) {
			pendingVersion = p.pendingVersion + 1
		}
	}
	p.pendingVersion = pendingVersion
	s.forgetVersions(p)
}

// forgetVersions drops what only versions had by which nothing will be judged
// any more.
func (s *Shard) forgetVersions(p *specState) {
	if p.model.gone.Len() == 0 && p.pending.gone.Len() == 0 {
		return
	}
	oldest, oldestPending := p.modelVersion, p.pendingVersion
	s.awaiting.Scan(func(w *awaitingStep) bool {
		if w.settled && w.spec == p.key {
			oldest, oldestPending = min(oldest, w.modelVersion), min(oldestPending, w.pendingVersion)
		}
		return true
	})
	p.model.forget(oldest)
	p.pending.forget(oldestPending)
}

// retire takes t out from a version on, and reports whether it was there.
func (s transitionSet) retire(t model.Transition, version uint64) bool {
	v, ok := s.get(t)
	if !ok {
		return false
	}
	s.remove(t)
	s.gone.Set(&versioned{Transition: t, version: v.version, removed: version})
	return true
}

// forget drops what all versions from the given one on do not have.
func (s transitionSet) forget(version uint64) {
	for _, v := range s.gone.Items() {
		if v.removed <= version {
			s.gone.Delete(v)
		}
	}
}
