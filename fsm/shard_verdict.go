package fsm

import (
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// MaxDeviations bounds the distinct deviations that a shard counts for one
	// version of a specification; further ones are still judged and reported.
	MaxDeviations = 10_000
	// MaxPending bounds the pending set, with which every novel step is judged.
	MaxPending = 1_000
)

// VerdictResult is the answer to RecordVerdict.
type VerdictResult struct {
	Ref StepRef
	// First is false when the step had its verdict already, or its versions
	// have been decided anew since the judgement: then nothing changed.
	First     bool
	Judgement *typesv1.Judgement
}

// applyVerdict records the first verdict on a step that awaits one.
func (s *Shard) applyVerdict(c *statev1.RecordVerdict) Result {
	ref := StepRefOf(c.GetStep())
	j := c.GetJudgement()
	w, ok := s.awaiting.Get(&awaitingStep{ref: ref})
	if brokenVerdicts && !ok {
		overwriteVerdict(s, c)
	}
	if !ok || !w.settled || j.GetModelVersion() != w.modelVersion || j.GetSpecVersion() != w.spec.Version || j.GetPendingVersion() != w.pendingVersion {
		return Result{Value: &VerdictResult{Ref: ref}}
	}
	switch j.GetVerdict() {
	case typesv1.Verdict_VERDICT_OK, typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT, typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT:
	default:
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "%s is no verdict to record", j.GetVerdict())
	}
	s.settle(w, j)
	return Result{Value: &VerdictResult{Ref: ref, First: true, Judgement: j}}
}

// settle gives a step its verdict, in its history if the instance still keeps
// it, and in the request window, so that every later answer is the same.
func (s *Shard) settle(w *awaitingStep, j *typesv1.Judgement) {
	s.awaiting.Delete(w)
	at := s.now
	deviates := j.GetVerdict() != typesv1.Verdict_VERDICT_OK
	if rec := s.record(w.ref.Key); rec != nil {
		next := *rec
		next.window = rec.window.setVerdict(w.ref.Incarnation, w.ref.Seq, j.GetVerdict())
		if rec.live != nil && rec.live.incarnation == w.ref.Incarnation {
			live := *rec.live
			live.awaiting--
			live.offModel = live.offModel || deviates
			if live.history.has(w.ref.Seq) {
				st := *live.history.at(w.ref.Seq)
				at = st.time
				st.verdict = j.GetVerdict()
				if deviates {
					st.judgement = j
				}
				live.history = live.history.set(w.ref.Seq, st)
			}
			if deviates && live.trail == nil {
				s.follow(s.spec(live.spec), w.ref.Key, &live, true)
			}
			next.live = &live
		}
		s.put(&next)
	}
	if deviates {
		s.deviate(w, j, at)
	}
}

// deviate counts a deviation, reports it, hands it to the catalog when it is
// new to this shard, and lets it join the pending set unless it violates the
// specification alone or together with what is pending. Verdicts come in the
// order of the identifiers; at is the time of the step, as far as it is known.
func (s *Shard) deviate(w *awaitingStep, j *typesv1.Judgement, at int64) {
	p := s.spec(w.spec)
	t := *w.transition
	// The transition may have been accepted since the step was taken: then it
	// was a deviation, and is none to review.
	_, known := p.model.get(t)
	d := &deviation{
		t: t, first: w.ref, firstAt: at, last: w.ref, lastAt: at,
		verdict: j.GetVerdict(), reason: j.GetReason(), explanation: j.GetExplanation(), grade: j.GetGrade(),
	}
	if old, ok := p.deviations.Get(&deviation{t: t}); ok {
		*d = *old
		if v := worse(old.verdict, j.GetVerdict()); v != old.verdict {
			d.verdict, d.reason, d.explanation, d.grade = v, j.GetReason(), j.GetExplanation(), j.GetGrade()
		}
	} else if !known && p.deviations.Len() < MaxDeviations {
		s.send(&statev1.OutboxItem{Spec: w.spec.Proto(), Transition: transitionProto(t), Deviation: &statev1.Deviation{
			Verdict: j.GetVerdict(), Reason: j.GetReason(), Explanation: j.GetExplanation(), Grade: j.GetGrade(), First: w.ref.Proto(), TimeUnixNano: at,
		}})
	}
	d.count++
	if at < d.firstAt {
		d.first, d.firstAt = w.ref, at
	}
	if at >= d.lastAt {
		d.last, d.lastAt = w.ref, at
	}
	if !known && (d.count > 1 || p.deviations.Len() < MaxDeviations) {
		p.deviations.Set(d)
	}

	violates := j.GetVerdict() == typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT || j.GetWithPending() == typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
	if !violates && !known && p.pending.len() < MaxPending && p.pending.add(t, p.pendingVersion+1) {
		p.pendingVersion++
	}

	s.report(&statev1.ReportRecord{
		Kind: typesv1.ReportKind_REPORT_KIND_DEVIATION, Spec: w.spec.Proto(), Step: w.ref.Proto(), State: t.To, Transition: transitionProto(t), Judgement: j,
	})
}
