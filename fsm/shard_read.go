package fsm

import (
	"time"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// InstanceView is an instance as it was at one applied index.
type InstanceView struct {
	Key         Key
	Incarnation uint64
	Spec        SpecKey
	Meta        map[string]string
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Seq         uint64
	State       string
	OffModel    bool
	Awaiting    uint32
	// FirstKept is the lowest sequence number in the history.
	FirstKept uint64
	// Deadline is by when the next step has to come, zero when it need not.
	// TimedOut is set once it has passed and that was reported.
	Deadline time.Time
	TimedOut bool
	// PruneAt is from when on the instance is pruned, zero when it is not in its state.
	PruneAt time.Time
	// RunViolation is set once the steps violate the specification by themselves.
	RunViolation *typesv1.RunViolation
	history      history
	trail        *trail
}

// StepView is one step of a history.
type StepView struct {
	Seq                 uint64
	From, Action, State string
	Time                time.Time
	// EventTime is zero when the caller gave none.
	EventTime time.Time
	Verdict   typesv1.Verdict
	Judgement *typesv1.Judgement
	// RunViolation is set when the step proves that the steps of the instance
	// violate the specification by themselves.
	RunViolation *typesv1.RunViolation
}

func viewOf(r *record) *InstanceView {
	in := r.live
	v := &InstanceView{
		Key: r.key, Incarnation: in.incarnation, Spec: in.spec, CreatedAt: time.Unix(0, in.createdAt),
		Seq: in.seq, State: in.state, OffModel: in.offModel, Awaiting: in.awaiting, FirstKept: in.history.first, history: in.history, trail: in.trail,
	}
	v.RunViolation, _ = in.trail.violationBy(in.seq)
	if v.UpdatedAt = v.CreatedAt; in.history.has(in.seq) {
		v.UpdatedAt = time.Unix(0, in.history.at(in.seq).time)
	}
	if len(in.meta) > 0 {
		v.Meta = make(map[string]string, len(in.meta))
		for _, m := range in.meta {
			v.Meta[m.GetKey()] = m.GetValue()
		}
	}
	return v
}

// Step returns the step with the sequence number, if it is kept.
func (v *InstanceView) Step(seq uint64) (StepView, bool) {
	if !v.history.has(seq) {
		return StepView{}, false
	}
	st := v.history.at(seq)
	s := StepView{Seq: seq, From: st.t.From, Action: st.t.Action, State: st.t.To, Time: time.Unix(0, st.time), Verdict: st.verdict, Judgement: st.judgement}
	s.RunViolation = v.trail.violationOf(seq)
	if st.eventTime != 0 {
		s.EventTime = time.Unix(0, st.eventTime)
	}
	return s, true
}

// Instance returns the instance that uses the identifier.
func (s *Shard) Instance(key Key) (*InstanceView, bool) {
	v, _, ok := s.InstanceAt(key)
	return v, ok
}

// InstanceAt is Instance, with the log index of the last entry that it reflects.
func (s *Shard) InstanceAt(key Key) (v *InstanceView, index uint64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.record(key)
	if r == nil || r.live == nil {
		return nil, s.applied, false
	}
	return s.addDeadlines(viewOf(r), r.live), s.applied, true
}

// List returns up to limit instances of a namespace in the order of their ids,
// after the given id; empty spec or state match all. More is set when the scan
// stopped before the end, and last is then the id to go on after. One call looks
// at a bounded number of records, so that it holds up Apply only briefly: it may
// return fewer than limit instances, or none, with more set.
func (s *Shard) List(namespace, spec, state, after string, limit int) (list []*InstanceView, last string, more bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	last, more = s.scan(namespace, spec, state, after, limit, func(v *InstanceView, _ *instance) { list = append(list, v) })
	return list, last, more
}

// scan visits what List returns.
func (s *Shard) scan(namespace, spec, state, after string, limit int, visit func(*InstanceView, *instance)) (last string, more bool) {
	const maxLooked = 20_000
	looked, found := 0, 0
	s.records.Ascend(&record{key: Key{namespace, after}}, func(r *record) bool {
		if r.key.Namespace != namespace {
			return false
		}
		if r.key.ID == after && after != "" {
			return true
		}
		if found == limit || looked == maxLooked {
			more = true
			return false
		}
		looked++
		last = r.key.ID
		if in := r.live; in != nil && (spec == "" || in.spec.Name == spec) && (state == "" || in.state == state) {
			found++
			visit(s.addDeadlines(viewOf(r), in), in)
		}
		return true
	})
	return last, more
}

// DeviationView counts a distinct deviating transition on this shard.
type DeviationView struct {
	Spec                SpecKey
	Transition          model.Transition
	Verdict             typesv1.Verdict
	Reason, Explanation string
	Grade               string
	Count               uint64
	First, Last         StepRef
	FirstAt, LastAt     time.Time
}

// Deviations lists the distinct deviating transitions of a namespace; an empty
// spec matches all.
func (s *Shard) Deviations(namespace, spec string) []DeviationView {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []DeviationView
	for _, p := range s.sortedSpecs() {
		if p.key.Namespace != namespace || spec != "" && p.key.Name != spec {
			continue
		}
		p.deviations.Scan(func(d *deviation) bool {
			list = append(list, DeviationView{
				Spec: p.key, Transition: d.t, Verdict: d.verdict, Reason: d.reason, Explanation: d.explanation, Grade: d.grade, Count: d.count,
				First: d.first, Last: d.last, FirstAt: time.Unix(0, d.firstAt), LastAt: time.Unix(0, d.lastAt),
			})
			return true
		})
	}
	return list
}

// Stats counts what a shard holds.
type Stats struct {
	Instances, Awaiting, Outbox, Specs int
}

// Stats counts what the shard holds.
func (s *Shard) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{Instances: s.live, Awaiting: s.awaiting.Len(), Outbox: s.outbox.Len(), Specs: len(s.specs)}
}

// SpecStatus is what a shard's leader compares with the catalog.
type SpecStatus struct {
	Key          SpecKey
	Installed    bool
	Mode         typesv1.ModelMode
	ModeRevision uint64
	ModelVersion uint64
	// Followed is set when the shard has the frontier table of the version.
	Followed bool
	// Dropped is set on what is left of a version that was retired.
	Dropped bool
	// Learned counts the transitions that the catalog's model did not have yet.
	Learned int
}

// Specs lists what the shard knows of specifications, in order.
func (s *Shard) Specs() []SpecStatus {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]SpecStatus, 0, len(s.specs))
	for _, p := range s.sortedSpecs() {
		list = append(list, p.status())
	}
	return list
}

// Spec returns what the shard knows of a version of a specification.
func (s *Shard) Spec(key SpecKey) (SpecStatus, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.spec(key); p != nil {
		return p.status(), true
	}
	return SpecStatus{}, false
}

func (p *specState) status() SpecStatus {
	return SpecStatus{Key: p.key, Installed: p.definition != nil, Mode: p.mode, ModeRevision: p.modeRevision, ModelVersion: p.modelVersion, Learned: p.learned.len(), Followed: p.frontiers != nil, Dropped: p.dropped()}
}

// Outbox lists up to limit items that the catalog has not acknowledged, oldest first.
func (s *Shard) Outbox(limit int) []*statev1.OutboxItem {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*statev1.OutboxItem
	s.outbox.Scan(func(item *statev1.OutboxItem) bool {
		list = append(list, item)
		return len(list) < limit
	})
	return list
}

// Unsent reports whether the outbox holds learned transitions of the
// specification version, which a seal has to wait for.
func (s *Shard) Unsent(key SpecKey) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	unsent := false
	s.outbox.Scan(func(item *statev1.OutboxItem) bool {
		unsent = item.GetDeviation() == nil && SpecKeyOf(item.GetSpec()) == key
		return !unsent
	})
	return unsent
}

// Case is a step that awaits a verdict, with all that the verdict depends on.
type Case struct {
	Ref        StepRef
	Spec       SpecKey
	Transition model.Transition
	// The versions that were in force at the step's index.
	ModelVersion, PendingVersion uint64
}

// Cases lists up to limit steps that can be judged now, after the given reference.
func (s *Shard) Cases(after StepRef, limit int) []Case {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Case
	s.awaiting.Ascend(&awaitingStep{ref: after}, func(w *awaitingStep) bool {
		if w.settled && w.ref != after {
			list = append(list, Case{Ref: w.ref, Spec: w.spec, Transition: *w.transition, ModelVersion: w.modelVersion, PendingVersion: w.pendingVersion})
		}
		return len(list) < limit
	})
	return list
}

// Evidence is what verdicts at given versions of a model are computed from.
type Evidence struct {
	Definition *typesv1.Specification
	Model      []model.Transition
	Pending    []model.Transition
}

// Evidence returns the specification with its model and its pending deviations
// as they were at the versions; ok is false if the shard does not have them.
func (s *Shard) Evidence(key SpecKey, modelVersion, pendingVersion uint64) (e Evidence, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.spec(key)
	if p == nil || p.definition == nil || p.modelVersion < modelVersion || p.pendingVersion < pendingVersion {
		return Evidence{}, false
	}
	return Evidence{Definition: p.definition, Model: p.model.through(modelVersion), Pending: p.pending.through(pendingVersion)}, true
}

// Answer returns the current answer about a stored step of a live instance that
// still keeps it.
func (s *Shard) Answer(ref StepRef) (*StepResult, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.record(ref.Key)
	if r == nil || r.live == nil || r.live.incarnation != ref.Incarnation || !r.live.history.has(ref.Seq) {
		return nil, false
	}
	res := s.firstAnswer(r, seen{ref: ref.Incarnation, seq: ref.Seq}, model.Transition{})
	res.Duplicate = false
	return res, true
}
