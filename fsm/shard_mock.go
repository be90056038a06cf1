package fsm

import (
	"maps"
	"slices"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// applyMock puts an instance straight into a state, in place of the one that may
// be there. A mock takes the place of the initialisation: it is seq 1, which the
// history does not keep, so that an instance without steps has an empty one.
func (s *Shard) applyMock(c *statev1.MockInstance) Result {
	key := KeyOf(c.GetKey())
	hash := hashBody(requestMock, c.GetSpec(), c.GetState())
	rec := s.record(key)
	if rec != nil {
		if res, done := s.seenBefore(rec, c.GetRequestId(), requestMock, hash, model.Transition{To: c.GetState()}); done {
			return res
		}
	}
	if s.forgotten(window{}, c.GetRequestId()) {
		return forgotten(c.GetRequestId())
	}
	sp, err := s.specForNew(SpecKey{Namespace: key.Namespace, Name: c.GetSpec(), Version: c.GetSpecVersion()}, c.GetRefused())
	if err != nil {
		return Result{Err: err}
	}
	if c.GetState() == "" {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "a mocked instance needs the state that it is in")
	}
	next := &record{key: key, incarnation: s.applied, spec: sp.key}
	if rec != nil {
		// One entry may mock the same identifier more than once.
		next.incarnation, next.window = max(s.applied, rec.incarnation+1), rec.window
		if rec.live != nil {
			next.window = s.keepInit(rec)
			s.unschedule(key, rec.live)
			s.live--
		}
	}
	next.live = &instance{incarnation: next.incarnation, spec: sp.key, createdAt: s.now, seq: 1, state: c.GetState(), history: history{first: 2}}
	for _, k := range slices.Sorted(maps.Keys(c.GetMeta())) {
		next.live.meta = append(next.live.meta, &statev1.MetaEntry{Key: k, Value: c.GetMeta()[k]})
	}
	done := seen{id: c.GetRequestId(), hash: hash, at: s.now, kind: requestMock, ref: next.incarnation, seq: 1, verdict: typesv1.Verdict_VERDICT_OK, index: s.applied}
	if done.id != "" {
		next.window = next.window.add(done, s.now, s.retention.requestWindow())
	}
	s.live++
	s.put(next)
	res := s.firstAnswer(next, done, model.Transition{To: c.GetState()})
	res.Duplicate = false
	return Result{Value: res}
}
