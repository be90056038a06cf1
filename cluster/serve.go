package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// serve answers a request on this replica: a write or a linearizable read if it
// leads, a stale read in any case. It never passes a request on.
func (r *replica) serve(ctx context.Context, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	switch kind := req.GetRequest().(type) {
	case *peerv1.ForwardRequest_Init:
		resp, err := r.serveInit(ctx, req.GetPrincipal(), req.GetRefused(), kind.Init)
		return &peerv1.ForwardResponse{Response: &peerv1.ForwardResponse_Init{Init: resp}}, err
	case *peerv1.ForwardRequest_Mock:
		resp, err := r.serveMock(ctx, req.GetPrincipal(), req.GetRefused(), kind.Mock)
		return &peerv1.ForwardResponse{Response: &peerv1.ForwardResponse_Init{Init: resp}}, err
	case *peerv1.ForwardRequest_Steps:
		results, err := r.serveSteps(ctx, req.GetPrincipal(), kind.Steps.GetSteps())
		return &peerv1.ForwardResponse{Response: &peerv1.ForwardResponse_Steps{Steps: &peerv1.StepBatchResult{Results: results}}}, err
	case *peerv1.ForwardRequest_Delete:
		resp, err := r.serveDelete(ctx, req.GetPrincipal(), kind.Delete)
		return &peerv1.ForwardResponse{Response: &peerv1.ForwardResponse_Delete{Delete: resp}}, err
	case *peerv1.ForwardRequest_Get:
		resp, err := r.serveGet(ctx, kind.Get)
		return &peerv1.ForwardResponse{Response: &peerv1.ForwardResponse_Get{Get: resp}}, err
	case *peerv1.ForwardRequest_History:
		resp, err := r.serveHistory(ctx, kind.History)
		return &peerv1.ForwardResponse{Response: &peerv1.ForwardResponse_History{History: resp}}, err
	case *peerv1.ForwardRequest_List:
		resp, err := r.serveList(ctx, kind.List)
		return &peerv1.ForwardResponse{Response: &peerv1.ForwardResponse_List{List: resp}}, err
	case *peerv1.ForwardRequest_Deviations:
		resp, err := r.serveDeviations(ctx, kind.Deviations)
		return &peerv1.ForwardResponse{Response: &peerv1.ForwardResponse_Deviations{Deviations: resp}}, err
	case *peerv1.ForwardRequest_DeleteMatching:
		resp, err := r.serveDeleteMatching(ctx, req.GetPrincipal(), kind.DeleteMatching)
		return &peerv1.ForwardResponse{Response: &peerv1.ForwardResponse_DeleteMatching{DeleteMatching: resp}}, err
	}
	return nil, fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "a request of an unknown kind was forwarded: the nodes run different releases")
}

func asError(err error) *fsm.Error {
	var e *fsm.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// write proposes one command of a client.
func (r *replica) write(ctx context.Context, cmd *statev1.Command) (shardApplied, error) {
	applied, err := r.group.Propose(ctx, cmd)
	if err != nil {
		return shardApplied{}, inDoubt(err)
	}
	if applied.Result.Err != nil {
		return shardApplied{}, applied.Result.Err
	}
	return shardApplied{applied.Index, applied.Result.Value}, nil
}

type shardApplied struct {
	index uint64
	value any
}

func (r *replica) serveInit(ctx context.Context, principal, refused string, req *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error) {
	return r.begin(ctx, req, &statev1.Command{Principal: principal, Kind: &statev1.Command_InitInstance{InitInstance: &statev1.InitInstance{
		Key: &statev1.Key{Namespace: req.GetNamespace(), Id: req.GetId()}, Spec: req.GetSpec(), SpecVersion: req.GetSpecVersion(),
		InitialState: req.GetInitialState(), Meta: req.GetMeta(), RequestId: req.GetRequestId(), EventTime: api.UnixNanos(req.GetEventTime()),
		Refused: refused,
	}}})
}

// serveMock puts an instance straight into a state.
func (r *replica) serveMock(ctx context.Context, principal, refused string, req *spexv1.MockInstanceRequest) (*spexv1.StepResponse, error) {
	return r.begin(ctx, req, &statev1.Command{Principal: principal, Kind: &statev1.Command_MockInstance{MockInstance: &statev1.MockInstance{
		Key: &statev1.Key{Namespace: req.GetNamespace(), Id: req.GetId()}, Spec: req.GetSpec(), SpecVersion: req.GetSpecVersion(),
		State: req.GetState(), Meta: req.GetMeta(), RequestId: req.GetRequestId(), Refused: refused,
	}}})
}

// begin proposes the command that begins an instance, and brings to the shard what it lacks for that.
func (r *replica) begin(ctx context.Context, req beginning, cmd *statev1.Command) (*spexv1.StepResponse, error) {
	if err := r.leads(); err != nil {
		return nil, err
	}
	key := fsm.SpecKey{Namespace: req.GetNamespace(), Name: req.GetSpec(), Version: req.GetSpecVersion()}
	for attempt := 0; ; attempt++ {
		applied, err := r.write(ctx, cmd)
		switch reason := fsm.ReasonOf(err); {
		case err == nil:
			return r.answer(ctx, applied.value.(*fsm.StepResult)), nil
		case reason == typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED && attempt < 3:
			if err := r.install(ctx, key); err != nil {
				return nil, err
			}
		case reason == typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND && attempt < 3:
			// The model may have been imported: what the shard has of the catalog
			// follows within moments, but the caller is waiting.
			exists, failed := r.catchUp(ctx, key)
			if failed != nil {
				return nil, failed
			}
			if !exists {
				return nil, err
			}
		default:
			return nil, err
		}
	}
}

// catchUp brings the shard to the catalog's mode of a model, as a linearizable
// read shows it, and says whether there is a model.
func (r *replica) catchUp(ctx context.Context, key fsm.SpecKey) (exists bool, err error) {
	if err := r.node.catalog.refresh(ctx); err != nil {
		return false, err
	}
	m, ok := r.node.catalog.machine.Model(key)
	if !ok || m.Mode == typesv1.ModelMode_MODEL_MODE_ABSENT {
		return false, nil
	}
	// It may have followed by itself meanwhile; then there is nothing to do.
	return true, notApplied(inDoubt(r.follow(ctx, []fsm.ModelStatus{m})))
}

func (r *replica) leads() error {
	if _, ok := r.group.Leading(); ok {
		return nil
	}
	e := fsm.Errorf(typesv1.Reason_REASON_NOT_LEADER, "this node does not lead shard %d", r.id)
	e.Shard = r.id
	if id, ok := r.group.Leader(); ok && id != r.node.cfg.Self.GetId() {
		e.LeaderID = id
	}
	return e
}

// answer waits for the verdict within the budget of the judge.
func (r *replica) answer(ctx context.Context, res *fsm.StepResult) *spexv1.StepResponse {
	if res.Verdict == typesv1.Verdict_VERDICT_PENDING {
		ctx, cancel := r.judgeContext(ctx)
		defer cancel()
		res = r.verdicts.Await(ctx, res, r.machine.Answer)
	}
	return api.StepResponse(r.id, res)
}

// judgeContext ends early enough before the caller's deadline for a pending
// answer to reach the caller.
func (r *replica) judgeContext(ctx context.Context) (context.Context, context.CancelFunc) {
	budget := r.node.cfg.JudgeBudget
	if deadline, ok := ctx.Deadline(); ok {
		budget = min(budget, time.Until(deadline)*3/4)
	}
	return context.WithTimeout(ctx, budget)
}

// serveSteps applies steps in waves: a wave holds the next step of each
// instance, and those behind it that cannot be applied when it is not.
func (r *replica) serveSteps(ctx context.Context, principal string, steps []*spexv1.TransitionRequest) ([]*spexv1.TransitionResult, error) {
	results := make([]*spexv1.TransitionResult, len(steps))
	failed := map[fsm.Key]*fsm.Error{}
	judged, cancel := r.judgeContext(ctx)
	defer cancel()
	for left, first := indices(len(steps)), true; len(left) > 0; first = false {
		wave, rest := nextWave(steps, left, r.nextSeq)
		if err := r.applyWave(ctx, principal, steps, wave, results, failed); err != nil {
			if e := asError(err); e != nil && e.NotApplied && !first {
				// The waves before this one were applied.
				part := *e
				part.NotApplied = false
				err = &part
			}
			return nil, err
		}
		left = left[:0]
		for _, i := range rest {
			if before := failed[stepKey(steps[i])]; before != nil {
				// The same reason, so that both are sent again or neither is.
				e := fsm.Errorf(before.Reason, "not applied, because an earlier step of the same instance failed: %s", before.Message)
				e.Shard, e.CurrentSeq = before.Shard, before.CurrentSeq
				results[i] = failure(steps[i], e)
				continue
			}
			left = append(left, i)
		}
	}
	for i, res := range results {
		if resp := res.GetResponse(); resp.GetVerdict() == typesv1.Verdict_VERDICT_PENDING {
			ref := fsm.StepRef{Key: stepKey(steps[i]), Incarnation: resp.GetIncarnation(), Seq: resp.GetSeq()}
			done := r.verdicts.Await(judged, &fsm.StepResult{Ref: ref, Verdict: resp.GetVerdict(), Duplicate: resp.GetDuplicate(), Index: resp.GetIndex()}, r.machine.Answer)
			if done.Verdict != typesv1.Verdict_VERDICT_PENDING {
				res.Outcome = &spexv1.TransitionResult_Response{Response: api.StepResponse(r.id, done)}
			}
		}
	}
	return results, nil
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// nextSeq is the sequence number that the next step of an instance gets, 0 if
// there is no such instance.
func (r *replica) nextSeq(key fsm.Key) uint64 {
	if v, ok := r.machine.Instance(key); ok {
		return v.Seq + 1
	}
	return 0
}

// nextWave splits the steps that are left into those that can be proposed
// together and the rest. A step joins the one before it of its instance when it
// fails by itself should that one fail: in a chain of expected sequence numbers
// that begins with the next one, and among steps that are past already, which
// are at most found to be there. A chain that begins elsewhere is taken step by
// step: after its first step failed because somebody else's step took the place,
// the second one could fit.
func nextWave(steps []*spexv1.TransitionRequest, left []int, nextSeq func(fsm.Key) uint64) (wave, rest []int) {
	type chain struct {
		last, next uint64
		closed     bool
	}
	chains := map[fsm.Key]*chain{}
	for _, i := range left {
		key, want := stepKey(steps[i]), steps[i].GetExpectedSeq()
		c := chains[key]
		if c == nil {
			chains[key] = &chain{last: want}
			wave = append(wave, i)
			continue
		}
		if c.next == 0 {
			c.next = max(nextSeq(key), 1)
		}
		chained := c.last >= c.next && want == c.last+1
		past := want != 0 && want < c.next && c.last != 0 && c.last < c.next
		if c.closed || !chained && !past {
			c.closed = true
			rest = append(rest, i)
			continue
		}
		c.last = want
		wave = append(wave, i)
	}
	return wave, rest
}

func (r *replica) applyWave(ctx context.Context, principal string, steps []*spexv1.TransitionRequest, wave []int, results []*spexv1.TransitionResult, failed map[fsm.Key]*fsm.Error) error {
	cmds := make([]*statev1.Command, len(wave))
	for n, i := range wave {
		s := steps[i]
		cmds[n] = &statev1.Command{Principal: principal, Kind: &statev1.Command_Step{Step: &statev1.Step{
			Key: &statev1.Key{Namespace: s.GetNamespace(), Id: s.GetId()}, Action: s.GetAction(), ToState: s.GetToState(),
			RequestId: s.GetRequestId(), ExpectedSeq: s.GetExpectedSeq(), EventTime: api.UnixNanos(s.GetEventTime()), Incarnation: s.GetIncarnation(),
		}}}
	}
	applied, err := r.group.ProposeAll(ctx, cmds)
	if err != nil {
		// All steps have request ids: those that were applied answer the same again.
		return inDoubt(err)
	}
	for n, i := range wave {
		if e := applied[n].Result.Err; e != nil {
			failed[stepKey(steps[i])] = e
			results[i] = failure(steps[i], e)
			continue
		}
		res := applied[n].Result.Value.(*fsm.StepResult)
		results[i] = &spexv1.TransitionResult{RequestId: steps[i].GetRequestId(), Outcome: &spexv1.TransitionResult_Response{Response: api.StepResponse(r.id, res)}}
	}
	return nil
}

func stepKey(s *spexv1.TransitionRequest) fsm.Key {
	return fsm.Key{Namespace: s.GetNamespace(), ID: s.GetId()}
}

func failure(s *spexv1.TransitionRequest, err error) *spexv1.TransitionResult {
	return &spexv1.TransitionResult{RequestId: s.GetRequestId(), Outcome: &spexv1.TransitionResult_Error{Error: errorDetail(err)}}
}

func (r *replica) serveDelete(ctx context.Context, principal string, req *spexv1.DeleteInstanceRequest) (*spexv1.DeleteInstanceResponse, error) {
	applied, err := r.write(ctx, &statev1.Command{Principal: principal, Kind: &statev1.Command_DeleteInstance{DeleteInstance: &statev1.DeleteInstance{
		Key: &statev1.Key{Namespace: req.GetNamespace(), Id: req.GetId()}, RequestId: req.GetRequestId(), Incarnation: req.GetIncarnation(),
	}}})
	if err != nil {
		return nil, err
	}
	res := applied.value.(*fsm.DeleteResult)
	return &spexv1.DeleteInstanceResponse{Deleted: res.Deleted, Incarnation: res.Incarnation, Index: res.Index, Duplicate: res.Duplicate}, nil
}
