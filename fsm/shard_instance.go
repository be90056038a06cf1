package fsm

import (
	"maps"
	"slices"
	"strconv"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// StepResult tells about a step that is stored.
type StepResult struct {
	Ref StepRef
	// From is empty for an initialisation, and for a duplicate whose step is
	// not kept any more when nothing else remembers it.
	From, Action, State string
	Verdict             typesv1.Verdict
	Judgement           *typesv1.Judgement
	// Rejected is set when the policy of the specification rejects the verdict.
	Rejected bool
	// Duplicate is set when an earlier request stored the step.
	Duplicate bool
	OffModel  bool
	// RunViolation is set from the step on at which it was noticed that the steps
	// of the instance violate the specification by themselves.
	RunViolation *typesv1.RunViolation
	Spec         SpecKey
	// ModelVersion is the version of the model that the shard had.
	ModelVersion uint64
	Index        uint64
}

// DeleteResult is the answer to DeleteInstance.
type DeleteResult struct {
	// Deleted is false when there was nothing to delete, which is no error.
	Deleted, Duplicate bool
	Incarnation        uint64
	Index              uint64
}

func (s *Shard) applyInit(c *statev1.InitInstance) Result {
	key := KeyOf(c.GetKey())
	hash := initHash(c)
	rec := s.record(key)
	if rec != nil {
		if rec.live != nil && c.GetRequestId() != "" && rec.live.initRequest == c.GetRequestId() {
			if rec.live.initHash != hash {
				return reused(c.GetRequestId())
			}
			first, ok := rec.window.find(c.GetRequestId())
			if !ok {
				first = s.recall(rec, requestInit, 1)
			}
			return Result{Value: s.firstAnswer(rec, first, model.Init(""))}
		}
		if res, done := s.seenBefore(rec, c.GetRequestId(), requestInit, hash, model.Init(c.GetInitialState())); done {
			return res
		}
		if rec.live != nil {
			return refuse(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_ALREADY_IN_USE,
				"the identifier %q is in use by an instance of %s at seq %d: choose another, or delete that instance first", key.ID, rec.live.spec.Name, rec.live.seq)
		}
	}
	if s.forgotten(window{}, c.GetRequestId()) {
		return forgotten(c.GetRequestId())
	}
	sp, err := s.specForNew(SpecKey{Namespace: key.Namespace, Name: c.GetSpec(), Version: c.GetSpecVersion()}, c.GetRefused())
	if err != nil {
		return Result{Err: err}
	}
	if sp.mode == typesv1.ModelMode_MODEL_MODE_ABSENT {
		return refuse(typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND,
			"the specification %q has no implementation model and does not allow to begin one: import a model, or set on_missing_model: learn", c.GetSpec())
	}
	state := c.GetInitialState()
	if state == "" {
		state = sp.definition.GetInitialState()
	}
	if state == "" {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "the specification %q has no transitions and so no initial state: name the state to begin in", c.GetSpec())
	}
	incarnation := s.applied
	if rec != nil {
		// One entry may delete and begin the same identifier more than once.
		incarnation = max(incarnation, rec.incarnation+1)
	}
	inst := &instance{incarnation: incarnation, spec: sp.key, createdAt: s.now, history: history{first: 1}, initRequest: c.GetRequestId(), initHash: hash}
	for _, k := range slices.Sorted(maps.Keys(c.GetMeta())) {
		inst.meta = append(inst.meta, &statev1.MetaEntry{Key: k, Value: c.GetMeta()[k]})
	}
	next := &record{key: key, live: inst, incarnation: inst.incarnation, spec: inst.spec}
	if rec != nil {
		next.window = rec.window
	}
	res := s.take(next, sp, model.Init(state), request{id: c.GetRequestId(), kind: requestInit, hash: hash, eventTime: c.GetEventTime()})
	if res.Err == nil {
		s.live++
		s.report(&statev1.ReportRecord{Kind: typesv1.ReportKind_REPORT_KIND_INITIALISED, Spec: inst.spec.Proto(), Step: inst.ref(key).Proto(), State: state})
	}
	return res
}

func (s *Shard) applyStep(c *statev1.Step) Result {
	key := KeyOf(c.GetKey())
	rec := s.record(key)
	hash := hashBody(requestStep, c.GetAction(), c.GetToState(), strconv.FormatInt(c.GetEventTime(), 10))
	asked := model.Transition{Action: c.GetAction(), To: c.GetToState()}
	if rec != nil {
		if res, done := s.seenBefore(rec, c.GetRequestId(), requestStep, hash, asked); done {
			return res
		}
	}
	if s.forgotten(window{}, c.GetRequestId()) {
		return forgotten(c.GetRequestId())
	}
	if rec == nil || rec.live == nil {
		return refuse(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "there is no instance %q in the namespace %q: initialise it first", key.ID, key.Namespace)
	}
	inst := rec.live
	if c.GetIncarnation() != 0 && c.GetIncarnation() != inst.incarnation {
		return refuse(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND,
			"the instance %q is not the incarnation %d any more: the identifier was initialised again (incarnation %d)", key.ID, c.GetIncarnation(), inst.incarnation)
	}
	if want := c.GetExpectedSeq(); want != 0 && want != inst.seq+1 {
		return s.outOfSequence(rec, want, asked)
	}
	next := *rec
	live := *inst
	next.live = &live
	t := model.Transition{From: inst.state, Action: c.GetAction(), To: c.GetToState()}
	return s.take(&next, s.spec(inst.spec), t, request{id: c.GetRequestId(), kind: requestStep, hash: hash, eventTime: c.GetEventTime()})
}

// outOfSequence answers a step whose expected_seq is not the next one. A step
// that was stored at that place with the same body counts as done; so does one
// that is too old to be compared, since whoever chains its steps by their
// sequence numbers has seen the answer of a later one.
func (s *Shard) outOfSequence(rec *record, want uint64, asked model.Transition) Result {
	inst := rec.live
	switch {
	case want > inst.seq+1, want == 1: // the first one is always the initialisation
	case want < inst.history.first:
		return Result{Value: s.firstAnswer(rec, s.recall(rec, requestStep, want), asked)}
	case inst.history.has(want):
		if st := inst.history.at(want); st.t.Action == asked.Action && st.t.To == asked.To {
			return Result{Value: s.firstAnswer(rec, s.recall(rec, requestStep, want), asked)}
		}
	}
	err := Errorf(typesv1.Reason_REASON_SEQUENCE_MISMATCH, "the next step of the instance %q gets seq %d, not %d", rec.key.ID, inst.seq+1, want)
	err.CurrentSeq = inst.seq
	return Result{Err: err}
}

// recall makes up what the window would say of a step of the live incarnation
// that it does not hold. Where only the history could tell the verdict it is
// left unspecified; firstAnswer looks there.
func (s *Shard) recall(rec *record, kind requestKind, seq uint64) seen {
	inst := rec.live
	e := seen{kind: kind, ref: inst.incarnation, seq: seq, index: s.applied}
	if _, waits := s.awaiting.Get(&awaitingStep{ref: StepRef{Key: rec.key, Incarnation: e.ref, Seq: seq}}); waits {
		e.verdict = typesv1.Verdict_VERDICT_PENDING
	} else if !inst.offModel {
		e.verdict = typesv1.Verdict_VERDICT_OK
	}
	return e
}

type request struct {
	id        string
	kind      requestKind
	hash      uint64
	eventTime int64
}

// take stores a step in next, which the caller owns: the decision whether the
// step is known, learned, or awaits a verdict is made here and nowhere else.
func (s *Shard) take(next *record, sp *specState, t model.Transition, req request) Result {
	inst := next.live
	st := step{time: s.now, eventTime: req.eventTime, verdict: typesv1.Verdict_VERDICT_OK}
	var wait *awaitingStep
	known, ok := sp.model.get(t)
	if !ok && sp.mode != typesv1.ModelMode_MODEL_MODE_SEALED {
		known, ok = sp.learned.get(t)
	}
	ref := StepRef{Key: next.key, Incarnation: inst.incarnation, Seq: inst.seq + 1}
	switch {
	case ok:
		st.t = &known.Transition
	case sp.mode == typesv1.ModelMode_MODEL_MODE_LEARNING:
		if res, full := sp.full(); full {
			return res
		}
		st.t = s.learn(sp.key, t)
	default:
		st.t, st.verdict = &t, typesv1.Verdict_VERDICT_PENDING
		wait = &awaitingStep{ref: ref, spec: sp.key, transition: &t}
		if sp.mode == typesv1.ModelMode_MODEL_MODE_SEALED {
			wait.settled, wait.modelVersion, wait.pendingVersion = true, sp.modelVersion, sp.pendingVersion
		}
	}
	if wait != nil {
		s.awaiting.Set(wait)
		inst.awaiting++
	}
	s.unschedule(next.key, inst)
	inst.seq++
	inst.state = st.t.To
	inst.history = inst.history.append(st, historyLimit(sp.definition))
	s.follow(sp, next.key, inst, wait != nil && wait.settled)
	s.schedule(next.key, inst)
	done := seen{id: req.id, hash: req.hash, at: s.now, kind: req.kind, ref: inst.incarnation, seq: inst.seq, from: st.t.From, verdict: st.verdict, index: s.applied}
	if req.kind == requestInit {
		done.from = st.t.To
	}
	if req.id != "" {
		next.window = next.window.add(done, s.now, s.retention.requestWindow())
	}
	s.put(next)
	res := s.firstAnswer(next, done, t)
	res.Duplicate = false
	return Result{Value: res}
}

func (s *Shard) applyDelete(c *statev1.DeleteInstance) Result {
	key := KeyOf(c.GetKey())
	rec := s.record(key)
	body := []string{strconv.FormatUint(c.GetIncarnation(), 10)}
	if c.GetLastSeq() != 0 {
		body = append(body, strconv.FormatUint(c.GetLastSeq(), 10))
	}
	hash := hashBody(requestDelete, body...)
	if rec != nil {
		if e, ok := rec.window.find(c.GetRequestId()); ok && c.GetRequestId() != "" {
			if e.kind != requestDelete || e.hash != hash {
				return reused(c.GetRequestId())
			}
			return Result{Value: &DeleteResult{Deleted: e.seq != 0, Duplicate: true, Incarnation: e.ref, Index: e.index}}
		}
		if s.forgotten(rec.window, c.GetRequestId()) {
			return forgotten(c.GetRequestId())
		}
	} else if s.forgotten(window{}, c.GetRequestId()) {
		return forgotten(c.GetRequestId())
	}
	next := &record{key: key, deletedAt: s.now}
	if rec != nil {
		*next = *rec
	}
	res := &DeleteResult{Index: s.applied}
	done := seen{id: c.GetRequestId(), hash: hash, at: s.now, kind: requestDelete, index: s.applied}
	if next.live != nil && (c.GetIncarnation() == 0 || c.GetIncarnation() == next.incarnation) &&
		(c.GetLastSeq() == 0 || c.GetLastSeq() == next.live.seq) {
		res.Deleted, res.Incarnation = true, next.incarnation
		s.report(&statev1.ReportRecord{Kind: typesv1.ReportKind_REPORT_KIND_DELETED, Spec: next.spec.Proto(), Step: next.live.ref(key).Proto(), State: next.live.state})
		// A seq of 0 in the window means that there was nothing to delete.
		done.ref, done.seq = next.incarnation, next.live.seq
		next.window = s.keepInit(next)
		s.unschedule(key, next.live)
		next.live, next.deletedAt = nil, s.now
		s.live--
	}
	if c.GetRequestId() != "" {
		// Also when nothing was deleted: a late retry must not delete what was begun since.
		next.window = next.window.add(done, s.now, s.retention.requestWindow())
	} else if !res.Deleted {
		return Result{Value: res}
	}
	s.put(next)
	if next.live == nil {
		next.deletedAt = s.now
		s.expiring.Set(next.expiry())
	}
	return Result{Value: res}
}

// keepInit puts the request that began the incarnation back into the window, if
// its steps have pushed it out: a late retry must not begin the instance again.
func (s *Shard) keepInit(rec *record) window {
	inst := rec.live
	if _, ok := rec.window.find(inst.initRequest); ok || inst.initRequest == "" {
		return rec.window
	}
	e := s.recall(rec, requestInit, 1)
	e.id, e.hash, e.at = inst.initRequest, inst.initHash, s.now
	if inst.history.has(1) {
		e.verdict, e.from = inst.history.at(1).verdict, inst.history.at(1).t.To
	} else {
		e.from = s.spec(inst.spec).definition.GetInitialState()
	}
	return rec.window.add(e, s.now, s.retention.requestWindow())
}

// seenBefore answers a request whose id the identifier's window holds, or may
// have held; done is false for a new request.
func (s *Shard) seenBefore(rec *record, id string, kind requestKind, hash uint64, asked model.Transition) (res Result, done bool) {
	if id == "" || brokenDedupe {
		return Result{}, false
	}
	e, ok := rec.window.find(id)
	switch {
	case ok && (e.kind != kind || e.hash != hash):
		return reused(id), true
	case ok:
		return Result{Value: s.firstAnswer(rec, e, asked)}, true
	case s.forgotten(rec.window, id):
		return forgotten(id), true
	}
	return Result{}, false
}

// firstAnswer rebuilds the answer to a request that was applied, with what has
// become known of its verdict since.
func (s *Shard) firstAnswer(rec *record, e seen, asked model.Transition) *StepResult {
	res := &StepResult{
		Ref:  StepRef{Key: rec.key, Incarnation: e.ref, Seq: e.seq},
		From: e.from, Action: asked.Action, State: asked.To,
		Verdict: e.verdict, Duplicate: true, Index: e.index,
	}
	if e.kind == requestInit {
		// The request need not have named the state that it began in.
		res.From = ""
		if res.State == "" {
			res.State = e.from
		}
	}
	noticed := false
	if inst := rec.live; inst != nil && inst.incarnation == e.ref {
		res.OffModel = inst.offModel
		res.RunViolation, noticed = inst.trail.violationBy(e.seq)
		if inst.history.has(e.seq) {
			st := inst.history.at(e.seq)
			res.From, res.Action, res.State = st.t.From, st.t.Action, st.t.To
			res.Verdict, res.Judgement = st.verdict, st.judgement
		}
	}
	var definition *typesv1.Specification // of an older incarnation it is not known any more
	if e.ref == rec.incarnation {
		res.Spec = rec.spec
		if sp := s.spec(rec.spec); sp != nil {
			definition, res.ModelVersion = sp.definition, sp.modelVersion
		}
	}
	if e.kind == requestInit && res.State == "" {
		res.State = definition.GetInitialState()
	}
	// A step that proves a violation is rejected as one, once its own verdict is known.
	res.Rejected = rejects(definition.GetErrorPolicy(), res.Verdict) ||
		noticed && res.Verdict != typesv1.Verdict_VERDICT_PENDING && rejects(definition.GetErrorPolicy(), typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT)
	return res
}

// rejects applies the error policy of a specification: by default only a
// deviation that breaks the equivalence is rejected.
func rejects(p *typesv1.ErrorPolicy, v typesv1.Verdict) bool {
	switch v {
	case typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT:
		return p.GetDeviationStillEquivalent() == typesv1.ErrorAction_ERROR_ACTION_REJECT
	case typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT:
		return p.GetDeviationNotEquivalent() != typesv1.ErrorAction_ERROR_ACTION_ACCEPT
	}
	return false
}

func initHash(c *statev1.InitInstance) uint64 {
	// The version is left out: the node that takes the request fills it in, and
	// a retry may meet a newer one.
	fields := []string{c.GetSpec(), c.GetInitialState(), strconv.FormatInt(c.GetEventTime(), 10)}
	for _, k := range slices.Sorted(maps.Keys(c.GetMeta())) {
		fields = append(fields, k, c.GetMeta()[k])
	}
	return hashBody(requestInit, fields...)
}

func reused(id string) Result {
	return refuse(typesv1.Reason_REASON_REQUEST_ID_REUSED, "the request id %q was used before for another request: give every request an id of its own", id)
}

func forgotten(id string) Result {
	res := refuse(typesv1.Reason_REASON_OUTCOME_UNKNOWN,
		"the request id %q is older than what is remembered: the request may have been applied before and is not applied now. Read the instance to find out; if the request is new, check the clock that made the id", id)
	res.Err.NotApplied = false
	return res
}

func historyLimit(s *typesv1.Specification) int {
	if n := s.GetHistoryLimit(); n > 0 {
		return int(n)
	}
	return spec.DefaultHistoryLimit
}
