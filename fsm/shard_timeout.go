package fsm

import (
	"time"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TimeoutResult is the answer to FireTimeout.
type TimeoutResult struct {
	Ref StepRef
	// Fired is false when there was nothing to report: another step came, the
	// time is not over, the state is terminal, or it was reported before.
	Fired bool
}

// PruneResult is the answer to PruneInstance.
type PruneResult struct {
	Ref StepRef
	// Pruned is false when there was nothing to prune, for reasons as in TimeoutResult.
	Pruned bool
}

// lastStep returns the record of a live instance whose last step is ref.
func (s *Shard) lastStep(ref StepRef) *record {
	rec := s.record(ref.Key)
	if rec == nil || rec.live == nil || rec.live.incarnation != ref.Incarnation || rec.live.seq != ref.Seq {
		return nil
	}
	return rec
}

// applyFire reports that an instance has stayed in its state for too long, once
// for each step. Everything it decides by is replicated: the time of the entry,
// the last step, and the model as it is at this index.
func (s *Shard) applyFire(c *statev1.FireTimeout) Result {
	ref := StepRefOf(c.GetStep())
	res := &TimeoutResult{Ref: ref}
	rec := s.lastStep(ref)
	if rec == nil {
		return Result{Value: res}
	}
	at, over := s.over(timeoutDeadline, rec.live)
	if !over {
		return Result{Value: res}
	}
	next, live := *rec, *rec.live
	next.live = &live
	s.unschedule(ref.Key, rec.live)
	live.timedOut = ref.Seq
	s.schedule(ref.Key, &live)
	s.put(&next)
	res.Fired = true
	s.report(&statev1.ReportRecord{
		Kind: typesv1.ReportKind_REPORT_KIND_TIMEOUT, Spec: live.spec.Proto(), Step: ref.Proto(), Transition: transitionProto(*live.history.at(ref.Seq).t),
		State: live.state, Deadline: at, Rejected: rejectsTimeout(s.spec(live.spec).definition.GetErrorPolicy()),
	})
	return Result{Value: res}
}

// rejectsTimeout applies the error policy, which rejects timeouts by default.
func rejectsTimeout(p *typesv1.ErrorPolicy) bool {
	return p.GetTransitionTimeout() != typesv1.ErrorAction_ERROR_ACTION_ACCEPT
}

// applyPrune removes an instance that has been still for long enough. It leaves a
// tombstone, as a delete does, and a report.
func (s *Shard) applyPrune(c *statev1.PruneInstance) Result {
	ref := StepRefOf(c.GetStep())
	res := &PruneResult{Ref: ref}
	rec := s.lastStep(ref)
	if rec == nil {
		return Result{Value: res}
	}
	at, over := s.over(pruneDeadline, rec.live)
	if !over {
		return Result{Value: res}
	}
	res.Pruned = true
	s.report(&statev1.ReportRecord{
		Kind: typesv1.ReportKind_REPORT_KIND_PRUNED, Spec: rec.spec.Proto(), Step: ref.Proto(), Transition: transitionProto(*rec.live.history.at(ref.Seq).t),
		State: rec.live.state, Deadline: at,
	})
	s.unschedule(ref.Key, rec.live)
	next := *rec
	next.window = s.keepInit(&next)
	next.live, next.deletedAt = nil, s.now
	s.live--
	s.put(&next)
	s.expiring.Set(next.expiry())
	return Result{Value: res}
}

// addDeadlines completes a view of a live instance.
func (s *Shard) addDeadlines(v *InstanceView, inst *instance) *InstanceView {
	p := s.spec(inst.spec)
	v.TimedOut = inst.timedOut == inst.seq
	if at, ok := s.deadlineOf(timeoutDeadline, inst); ok && p.counts(timeoutDeadline, inst.state) {
		v.Deadline = time.Unix(0, at)
	} else if v.TimedOut {
		v.Deadline = v.UpdatedAt.Add(time.Duration(p.rules.timeout))
	}
	if at, ok := s.deadlineOf(pruneDeadline, inst); ok && p.counts(pruneDeadline, inst.state) {
		v.PruneAt = time.Unix(0, at)
	}
	return v
}
