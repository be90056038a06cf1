//go:build spexbroken

package fsm

import statev1 "github.com/spexio/spex/proto/spex/state/v1"

var brokenDedupe, brokenVerdicts bool

// Break makes every shard of this process forget request ids, or let a later
// verdict replace the first. It is called before anything else runs.
func Break(dedupe, verdicts bool) { brokenDedupe, brokenVerdicts = dedupe, verdicts }

// overwriteVerdict replaces the verdict of a step that has one.
func overwriteVerdict(s *Shard, c *statev1.RecordVerdict) {
	ref, j := StepRefOf(c.GetStep()), c.GetJudgement()
	rec := s.record(ref.Key)
	if rec == nil || rec.live == nil || rec.live.incarnation != ref.Incarnation || !rec.live.history.has(ref.Seq) {
		return
	}
	next, live := *rec, *rec.live
	st := *live.history.at(ref.Seq)
	st.verdict, st.judgement = j.GetVerdict(), j
	live.history = live.history.set(ref.Seq, st)
	next.live, next.window = &live, rec.window.setVerdict(ref.Incarnation, ref.Seq, j.GetVerdict())
	s.records.Set(&next)
}
