package fsm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// reference says what a shard has to answer. It is written from the promises and
// not from the machine: plain maps, the whole history, nothing is ever forgotten.
type reference struct {
	index    uint64
	now      int64
	specs    map[SpecKey]*refSpec
	idents   map[Key]*refIdent
	awaiting map[StepRef]*refStep
	// timeouts and prunes count what was reported.
	timeouts, prunes int
	fail             func(format string, args ...any)
}

type refSpec struct {
	def             *typesv1.Specification
	mode            typesv1.ModelMode
	revision        uint64
	model           map[model.Transition]uint64 // with the version that brought it
	version         uint64
	learned         map[model.Transition]bool
	pending         map[model.Transition]bool
	pendingVersions uint64
	deviations      map[model.Transition]uint64
	// models and pendings are what every version was.
	models, pendings map[uint64][]model.Transition
}

// remember keeps the content of the versions that are in force.
func (sp *refSpec) remember() {
	sp.models[sp.version], sp.pendings[sp.pendingVersions] = sortedTransitions(sp.model), sortedTransitions(sp.pending)
}

type refIdent struct {
	requests    []*refRequest
	live        *refInstance
	incarnation uint64
	deletedAt   int64
	// mayBeGone is set once a tombstone was old enough to be forgotten; what
	// came before may be forgotten with it.
	mayBeGone int
}

type refInstance struct {
	incarnation uint64
	spec        SpecKey
	steps       []*refStep
	initID      string
	initBody    string
}

type refStep struct {
	ref             StepRef
	spec            SpecKey
	t               model.Transition
	verdict         typesv1.Verdict
	at, eventTime   int64
	settled         bool
	timedOut        bool
	version, before uint64 // of the model, of the pending set
}

type refRequest struct {
	id, body string
	at       int64
	index    uint64
	step     *refStep
	deleted  *DeleteResult
}

func newReference(fail func(string, ...any)) *reference {
	return &reference{specs: map[SpecKey]*refSpec{}, idents: map[Key]*refIdent{}, awaiting: map[StepRef]*refStep{}, fail: fail}
}

// begin starts the next entry.
func (r *reference) begin(index uint64, at time.Time) {
	r.index, r.now = index, max(r.now, at.UnixNano())
	for _, id := range r.idents {
		if id.live == nil && r.now-id.deletedAt >= int64(DedupeWindow) {
			id.mayBeGone = len(id.requests)
		}
	}
}

// check holds the answer to a command against what it has to be, and takes the
// command's effect over.
func (r *reference) check(cmd *statev1.Command, res Result) {
	switch kind := cmd.GetKind().(type) {
	case *statev1.Command_InitInstance:
		r.checkInit(kind.InitInstance, res)
	case *statev1.Command_Step:
		r.checkStep(kind.Step, res)
	case *statev1.Command_DeleteInstance:
		r.checkDelete(kind.DeleteInstance, res)
	case *statev1.Command_RecordVerdict:
		r.checkVerdict(kind.RecordVerdict, res)
	case *statev1.Command_SetModelMode:
		r.checkMode(kind.SetModelMode, res)
	case *statev1.Command_FireTimeout:
		r.checkFire(kind.FireTimeout, res)
	case *statev1.Command_PruneInstance:
		r.checkPrune(kind.PruneInstance, res)
	}
}

func (r *reference) ident(key *statev1.Key) *refIdent {
	k := KeyOf(key)
	if r.idents[k] == nil {
		r.idents[k] = &refIdent{}
	}
	return r.idents[k]
}

// handled checks the answer to a request that was seen before or may be refused
// for its age, and is false for one that has to be treated as new.
func (r *reference) handled(id *refIdent, reqID, body string, res Result) bool {
	if reqID == "" {
		return false
	}
	ms, timed := requestTime(reqID)
	evicted := false // whether one that is as new may have been forgotten
	for i, req := range id.requests {
		// Remembered: what is younger than a day, and the last 64 of an
		// identifier whose tombstone cannot have been forgotten.
		young := r.now-req.at < int64(DedupeWindow)
		must := young || i >= len(id.requests)-MinRemembered && i >= id.mayBeGone
		if !must {
			other, t := requestTime(req.id)
			evicted = evicted || t && other >= ms
		}
		if req.id != reqID || slices.ContainsFunc(id.requests[i+1:], func(later *refRequest) bool { return later.id == reqID }) {
			// Of two with one id, the first was forgotten before the second was taken.
			continue
		}
		reason := ReasonOf(asErr(res))
		switch {
		case !must && timed && reason == typesv1.Reason_REASON_OUTCOME_UNKNOWN:
			return true
		case !must && !timed && !isDuplicate(res) && reason != typesv1.Reason_REASON_REQUEST_ID_REUSED:
			continue // forgotten, and taken for a new one
		case req.body != body:
			r.expect(res, typesv1.Reason_REASON_REQUEST_ID_REUSED)
		default:
			r.sameAnswer(req, res)
		}
		return true
	}
	if timed && r.now/int64(time.Millisecond)-ms >= DedupeWindow.Milliseconds() {
		r.expect(res, typesv1.Reason_REASON_OUTCOME_UNKNOWN)
		return true
	}
	return timed && evicted && ReasonOf(asErr(res)) == typesv1.Reason_REASON_OUTCOME_UNKNOWN
}

func isDuplicate(res Result) bool {
	switch v := res.Value.(type) {
	case *StepResult:
		return v.Duplicate
	case *DeleteResult:
		return v.Duplicate
	}
	return false
}

func (r *reference) sameAnswer(req *refRequest, res Result) {
	switch v := res.Value.(type) {
	case *DeleteResult:
		want := *req.deleted
		want.Duplicate = true
		if *v != want {
			r.fail("a repeated delete got %+v, first %+v", *v, *req.deleted)
		}
	case *StepResult:
		s := req.step
		if v.Ref != s.ref || v.From != s.t.From || v.Action != s.t.Action || v.Verdict != s.verdict || !v.Duplicate || v.Index != req.index {
			r.fail("a repeated request got %s, its step is %+v of index %d", describe(res), *s, req.index)
		}
		if v.State != s.t.To && (v.State != "" || s.ref.Seq != 1) {
			r.fail("a repeated request got %s, its step is %+v", describe(res), *s)
		}
	default:
		r.fail("a repeated request got %s", describe(res))
	}
}

func (r *reference) expect(res Result, reason typesv1.Reason) {
	if ReasonOf(asErr(res)) != reason {
		r.fail("got %s, want %s", describe(res), reason)
	}
}

func (r *reference) checkInit(c *statev1.InitInstance, res Result) {
	id, body := r.ident(c.GetKey()), fmt.Sprint("init ", c.GetSpec(), c.GetInitialState(), c.GetEventTime(), c.GetMeta())
	if in := id.live; in != nil && c.GetRequestId() != "" && in.initID == c.GetRequestId() {
		if in.initBody != body {
			r.expect(res, typesv1.Reason_REASON_REQUEST_ID_REUSED)
		} else if v, found := res.Value.(*StepResult); !found || !v.Duplicate || v.Ref != in.steps[0].ref {
			r.fail("the request that began the instance got %s", describe(res))
		}
		return
	}
	if r.handled(id, c.GetRequestId(), body, res) {
		return
	}
	key := SpecKey{c.GetKey().GetNamespace(), c.GetSpec(), c.GetSpecVersion()}
	sp := r.specs[key]
	switch {
	case id.live != nil:
		r.expect(res, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_ALREADY_IN_USE)
		return
	case sp == nil || sp.def == nil:
		r.expect(res, typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED)
		return
	case sp.mode == absent:
		r.expect(res, typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND)
		return
	}
	v, found := res.Value.(*StepResult)
	if !found || v.Ref.Incarnation < r.index || v.Ref.Incarnation <= id.incarnation {
		r.fail("a new instance got %s after incarnation %d", describe(res), id.incarnation)
		return
	}
	id.incarnation = v.Ref.Incarnation
	id.live = &refInstance{incarnation: v.Ref.Incarnation, spec: key, initID: c.GetRequestId(), initBody: body}
	to := cmp.Or(c.GetInitialState(), sp.def.GetInitialState())
	r.take(KeyOf(c.GetKey()), id, model.Init(to), c.GetRequestId(), body, c.GetEventTime(), v)
}

func (r *reference) checkStep(c *statev1.Step, res Result) {
	id, body := r.ident(c.GetKey()), fmt.Sprint("step ", c.GetAction(), "/", c.GetToState(), c.GetEventTime())
	if r.handled(id, c.GetRequestId(), body, res) {
		return
	}
	in := id.live
	if in == nil || c.GetIncarnation() != 0 && c.GetIncarnation() != in.incarnation {
		r.expect(res, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND)
		return
	}
	v, isStep := res.Value.(*StepResult)
	next := uint64(len(in.steps) + 1)
	if want := c.GetExpectedSeq(); want != 0 && want != next {
		kept := max(1, len(in.steps)+1-historyLimit(r.specs[in.spec].def))
		same := want > 1 && want < next && (want < uint64(kept) || in.steps[want-1].t.Action == c.GetAction() && in.steps[want-1].t.To == c.GetToState())
		if !same {
			r.expect(res, typesv1.Reason_REASON_SEQUENCE_MISMATCH)
		} else if !isStep || !v.Duplicate || v.Ref != in.steps[want-1].ref {
			r.fail("step %d has passed, and got %s", want, describe(res))
		}
		return
	}
	if !isStep {
		r.fail("a new step got %s", describe(res))
		return
	}
	t := model.Transition{From: in.steps[len(in.steps)-1].t.To, Action: c.GetAction(), To: c.GetToState()}
	r.take(KeyOf(c.GetKey()), id, t, c.GetRequestId(), body, c.GetEventTime(), v)
}

// take stores a step and checks its answer.
func (r *reference) take(key Key, id *refIdent, t model.Transition, reqID, body string, eventTime int64, v *StepResult) {
	in := id.live
	sp := r.specs[in.spec]
	st := &refStep{ref: StepRef{key, in.incarnation, uint64(len(in.steps) + 1)}, spec: in.spec, t: t, verdict: ok, at: r.now, eventTime: eventTime}
	_, known := sp.model[t]
	switch {
	case known, sp.mode != sealed && sp.learned[t]:
	case sp.mode == learning:
		sp.learned[t] = true
	default:
		st.verdict = waiting
		st.settled, st.version, st.before = sp.mode == sealed, sp.version, sp.pendingVersions
		r.awaiting[st.ref] = st
	}
	in.steps = append(in.steps, st)
	if v.Ref != st.ref || v.From != t.From || v.Action != t.Action || v.State != t.To || v.Verdict != st.verdict || v.Duplicate || v.Index != r.index || v.Spec != in.spec {
		r.fail("a new step got %s, want %+v", describe(Result{Value: v}), *st)
	}
	if reqID != "" {
		id.requests = append(id.requests, &refRequest{id: reqID, body: body, at: r.now, index: r.index, step: st})
	}
}

func (r *reference) checkDelete(c *statev1.DeleteInstance, res Result) {
	id, body := r.ident(c.GetKey()), fmt.Sprint("delete ", c.GetIncarnation())
	if r.handled(id, c.GetRequestId(), body, res) {
		return
	}
	want := DeleteResult{Index: r.index}
	if id.live != nil && (c.GetIncarnation() == 0 || c.GetIncarnation() == id.live.incarnation) {
		want.Deleted, want.Incarnation = true, id.live.incarnation
		id.live = nil
	}
	if v, found := res.Value.(*DeleteResult); !found || *v != want {
		r.fail("a delete got %s, want %+v", describe(res), want)
	}
	if id.live == nil && (want.Deleted || c.GetRequestId() != "") {
		id.deletedAt = r.now
	}
	if c.GetRequestId() != "" {
		id.requests = append(id.requests, &refRequest{id: c.GetRequestId(), body: body, at: r.now, index: r.index, deleted: &want})
	}
}

func (r *reference) checkVerdict(c *statev1.RecordVerdict, res Result) {
	st, j := r.awaiting[StepRefOf(c.GetStep())], c.GetJudgement()
	fits := st != nil && st.settled && j.GetModelVersion() == st.version && j.GetPendingVersion() == st.before && j.GetSpecVersion() == st.spec.Version
	if v, found := res.Value.(*VerdictResult); !found || v.First != fits {
		r.fail("a verdict on %+v got %s", st, describe(res))
	}
	if !fits {
		return
	}
	delete(r.awaiting, st.ref)
	st.verdict = j.GetVerdict()
	if st.verdict == ok {
		return
	}
	sp := r.specs[st.spec]
	if _, accepted := sp.model[st.t]; accepted {
		return
	}
	sp.deviations[st.t]++
	if st.verdict == still && j.GetWithPending() != not && !sp.pending[st.t] {
		sp.pending[st.t] = true
		sp.pendingVersions++
		sp.remember()
	}
}

func (r *reference) checkMode(c *statev1.SetModelMode, res Result) {
	sp := r.specs[SpecKeyOf(c.GetSpec())]
	if c.GetModeRevision() <= sp.revision {
		if v, found := res.Value.(*ModeResult); !found || v.Changed {
			r.fail("an old mode got %s", describe(res))
		}
		return
	}
	if c.GetMode() == sealed && sp.version < c.GetModelVersion() {
		r.expect(res, typesv1.Reason_REASON_MODEL_MODE)
		return
	}
	sp.mode, sp.revision = c.GetMode(), c.GetModeRevision()
	var settled []StepRef
	for _, ref := range r.awaitingRefs() {
		st := r.awaiting[ref]
		if st.settled || st.spec != SpecKeyOf(c.GetSpec()) || sp.mode == sealing {
			continue
		}
		if _, known := sp.model[st.t]; !known && sp.mode == sealed {
			st.settled, st.version, st.before = true, sp.version, sp.pendingVersions
			continue
		} else if !known {
			sp.learned[st.t] = true
		}
		st.verdict = ok
		delete(r.awaiting, ref)
		settled = append(settled, ref)
	}
	if v, found := res.Value.(*ModeResult); !found || !v.Changed || !slices.Equal(v.Settled, settled) {
		r.fail("a change of mode got %s, want %v", describe(res), settled)
	}
}

func (r *reference) awaitingRefs() []StepRef {
	var refs []StepRef
	for ref := range r.awaiting {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, StepRef.Compare)
	return refs
}

// install and extend are how the test itself brings models.
func (r *reference) install(key SpecKey, def *typesv1.Specification, mode typesv1.ModelMode) {
	r.specs[key] = &refSpec{
		def: def, mode: mode, revision: 1, model: map[model.Transition]uint64{}, learned: map[model.Transition]bool{},
		pending: map[model.Transition]bool{}, deviations: map[model.Transition]uint64{},
		models: map[uint64][]model.Transition{}, pendings: map[uint64][]model.Transition{},
	}
	r.specs[key].remember()
}

// extend brings transitions, and takes all others out if they are complete.
func (r *reference) extend(key SpecKey, version uint64, transitions []model.Transition, complete bool) {
	sp := r.specs[key]
	sp.version = version
	defer sp.remember()
	if complete {
		maps.DeleteFunc(sp.model, func(t model.Transition, _ uint64) bool { return !slices.Contains(transitions, t) })
	}
	if slices.ContainsFunc(transitions, func(t model.Transition) bool { return sp.pending[t] }) {
		sp.pendingVersions++
	}
	for _, t := range transitions {
		if _, known := sp.model[t]; !known {
			sp.model[t] = version
		}
		delete(sp.learned, t)
		delete(sp.pending, t)
		delete(sp.deviations, t)
	}
}
