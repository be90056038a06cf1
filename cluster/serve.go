package cluster

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"time"

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
		resp, err := r.serveInit(ctx, req.GetPrincipal(), kind.Init)
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

func (r *replica) serveInit(ctx context.Context, principal string, req *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error) {
	if err := r.leads(); err != nil {
		return nil, err
	}
	cmd := &statev1.Command{Principal: principal, Kind: &statev1.Command_InitInstance{InitInstance: &statev1.InitInstance{
		Key: &statev1.Key{Namespace: req.GetNamespace(), Id: req.GetId()}, Spec: req.GetSpec(), SpecVersion: req.GetSpecVersion(),
		InitialState: req.GetInitialState(), Meta: req.GetMeta(), RequestId: req.GetRequestId(), EventTime: unixNanos(req.GetEventTime()),
	}}}
	key := fsm.SpecKey{Namespace: req.GetNamespace(), Name: req.GetSpec(), Version: req.GetSpecVersion()}
	for attempt := 0; ; attempt++ {
		applied, err := r.write(ctx, cmd)
		reason := fsm.ReasonOf(err)
		// A model that was missing may have been imported: what the shard has
		// of the catalog follows within moments, but the caller is waiting.
		missing := reason == typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND && attempt == 0 && r.outdated(key)
		if missing || reason == typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED && attempt < 2 {
			if err := r.install(ctx, key); err != nil {
				return nil, err
			}
			if missing {
				if _, err := r.syncOnce(ctx); err != nil {
					return nil, inDoubt(err)
				}
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		return r.answer(ctx, applied.value.(*fsm.StepResult)), nil
	}
}

// outdated reports whether the catalog knows a newer mode of a model.
func (r *replica) outdated(key fsm.SpecKey) bool {
	m, ok := r.node.catalog.machine.Model(key)
	st, _ := r.machine.Spec(key)
	return ok && m.ModeRevision > st.ModeRevision
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
		res = r.awaitVerdict(ctx, res)
	}
	return stepResponse(r.id, res)
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
// instance, and the steps behind it for as long as they name the sequence
// number that they expect, since those fail by themselves when one before them fails.
func (r *replica) serveSteps(ctx context.Context, principal string, steps []*spexv1.TransitionRequest) ([]*spexv1.TransitionResult, error) {
	results := make([]*spexv1.TransitionResult, len(steps))
	failed := map[fsm.Key]bool{}
	judged, cancel := r.judgeContext(ctx)
	defer cancel()
	for left := indices(len(steps)); len(left) > 0; {
		wave, rest := nextWave(steps, left)
		if err := r.applyWave(ctx, principal, steps, wave, results, failed); err != nil {
			return nil, err
		}
		left = left[:0]
		for _, i := range rest {
			if failed[stepKey(steps[i])] {
				e := fsm.Errorf(typesv1.Reason_REASON_SEQUENCE_MISMATCH, "an earlier step of the instance in the same batch failed")
				results[i] = failure(steps[i], e)
				continue
			}
			left = append(left, i)
		}
	}
	for i, res := range results {
		if resp := res.GetResponse(); resp.GetVerdict() == typesv1.Verdict_VERDICT_PENDING {
			ref := fsm.StepRef{Key: stepKey(steps[i]), Incarnation: resp.GetIncarnation(), Seq: resp.GetSeq()}
			done := r.awaitVerdict(judged, &fsm.StepResult{Ref: ref, Verdict: resp.GetVerdict(), Duplicate: resp.GetDuplicate(), Index: resp.GetIndex()})
			if done.Verdict != typesv1.Verdict_VERDICT_PENDING {
				res.Outcome = &spexv1.TransitionResult_Response{Response: stepResponse(r.id, done)}
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

func nextWave(steps []*spexv1.TransitionRequest, left []int) (wave, rest []int) {
	begun, closed := map[fsm.Key]bool{}, map[fsm.Key]bool{}
	for _, i := range left {
		key := stepKey(steps[i])
		switch {
		case closed[key], begun[key] && steps[i].GetExpectedSeq() == 0:
			closed[key] = true
			rest = append(rest, i)
		default:
			begun[key] = true
			wave = append(wave, i)
		}
	}
	return wave, rest
}

func (r *replica) applyWave(ctx context.Context, principal string, steps []*spexv1.TransitionRequest, wave []int, results []*spexv1.TransitionResult, failed map[fsm.Key]bool) error {
	cmds := make([]*statev1.Command, len(wave))
	for n, i := range wave {
		s := steps[i]
		cmds[n] = &statev1.Command{Principal: principal, Kind: &statev1.Command_Step{Step: &statev1.Step{
			Key: &statev1.Key{Namespace: s.GetNamespace(), Id: s.GetId()}, Action: s.GetAction(), ToState: s.GetToState(),
			RequestId: s.GetRequestId(), ExpectedSeq: s.GetExpectedSeq(), EventTime: unixNanos(s.GetEventTime()), Incarnation: s.GetIncarnation(),
		}}}
	}
	applied, err := r.group.ProposeAll(ctx, cmds)
	if err != nil {
		// All steps have request ids: those that were applied answer the same again.
		return inDoubt(err)
	}
	for n, i := range wave {
		if e := applied[n].Result.Err; e != nil {
			failed[stepKey(steps[i])] = true
			results[i] = failure(steps[i], e)
			continue
		}
		res := applied[n].Result.Value.(*fsm.StepResult)
		results[i] = &spexv1.TransitionResult{RequestId: steps[i].GetRequestId(), Outcome: &spexv1.TransitionResult_Response{Response: stepResponse(r.id, res)}}
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

// prepare makes the machine fresh enough for a read, and says how fresh it is.
func (r *replica) prepare(ctx context.Context, c spexv1.Consistency, minIndex uint64) (*spexv1.ReadInfo, error) {
	info := &spexv1.ReadInfo{Shard: r.id, NodeId: r.node.cfg.Self.GetId()}
	if c == spexv1.Consistency_CONSISTENCY_STALE {
		if _, leading := r.group.Leading(); !leading {
			info.AgeNanos = age(r.node.cfg.Now(), r.group.Status().LastContact)
		}
	} else if _, err := r.group.ReadIndex(ctx); err != nil {
		return nil, err
	}
	if minIndex > 0 {
		if err := r.group.WaitApplied(ctx, minIndex); err != nil {
			return nil, err
		}
	}
	info.Index = r.machine.Applied()
	return info, nil
}

func (r *replica) instance(namespace, id string) (*fsm.InstanceView, error) {
	if v, ok := r.machine.Instance(fsm.Key{Namespace: namespace, ID: id}); ok {
		return v, nil
	}
	return nil, fsm.Errorf(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "there is no instance %q in the namespace %q", id, namespace)
}

func (r *replica) serveGet(ctx context.Context, req *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error) {
	info, err := r.prepare(ctx, req.GetConsistency(), req.GetMinIndex())
	if err != nil {
		return nil, err
	}
	v, err := r.instance(req.GetNamespace(), req.GetId())
	if err != nil {
		return nil, err
	}
	return &spexv1.GetInstanceResponse{Instance: instanceMessage(r.id, v), Read: info}, nil
}

// serveHistory pages through the kept steps; the token is the next sequence
// number with the incarnation, since a page of another incarnation would not go on.
func (r *replica) serveHistory(ctx context.Context, req *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error) {
	info, err := r.prepare(ctx, req.GetConsistency(), req.GetMinIndex())
	if err != nil {
		return nil, err
	}
	v, err := r.instance(req.GetNamespace(), req.GetId())
	if err != nil {
		return nil, err
	}
	next := v.FirstKept
	if req.GetNewestFirst() {
		next = v.Seq
	}
	if token := req.GetPageToken(); token != "" {
		incarnation, seq, ok := parseHistoryToken(token)
		if !ok {
			return nil, badToken()
		}
		if incarnation != v.Incarnation {
			return nil, fsm.Errorf(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "the instance %q was initialised again between two pages: read its history from the beginning", req.GetId())
		}
		next = seq
		if !req.GetNewestFirst() {
			next = max(next, v.FirstKept)
		}
	}
	resp := &spexv1.GetHistoryResponse{Instance: instanceMessage(r.id, v), FirstKeptSeq: v.FirstKept, Read: info}
	for len(resp.Steps) < int(req.GetPageSize()) {
		s, ok := v.Step(next)
		if !ok {
			return resp, nil
		}
		resp.Steps = append(resp.Steps, stepMessage(s))
		if req.GetNewestFirst() {
			next--
		} else {
			next++
		}
	}
	if _, ok := v.Step(next); ok {
		resp.NextPageToken = historyToken(v.Incarnation, next)
	}
	return resp, nil
}

func historyToken(incarnation, seq uint64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatUint(incarnation, 36) + "." + strconv.FormatUint(seq, 36)))
}

func parseHistoryToken(token string) (incarnation, seq uint64, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return 0, 0, false
	}
	for i, b := range raw {
		if b == '.' {
			incarnation, err1 := strconv.ParseUint(string(raw[:i]), 36, 64)
			seq, err2 := strconv.ParseUint(string(raw[i+1:]), 36, 64)
			return incarnation, seq, err1 == nil && err2 == nil
		}
	}
	return 0, 0, false
}

func badToken() error {
	return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the page_token is not one that this call gave out: leave it empty to begin")
}

// serveList answers one page of this shard: the token is the id to go on after.
func (r *replica) serveList(ctx context.Context, req *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
	info, err := r.prepare(ctx, req.GetConsistency(), 0)
	if err != nil {
		return nil, err
	}
	list, last, more := r.machine.List(req.GetNamespace(), req.GetSpec(), req.GetState(), req.GetPageToken(), int(req.GetPageSize()))
	resp := &spexv1.ListInstancesResponse{Reads: []*spexv1.ReadInfo{info}}
	for _, v := range list {
		resp.Instances = append(resp.Instances, instanceMessage(r.id, v))
	}
	if more {
		resp.NextPageToken = last
	}
	return resp, nil
}

func (r *replica) serveDeviations(ctx context.Context, req *spexv1.ListDeviationsRequest) (*spexv1.ListDeviationsResponse, error) {
	if _, err := r.prepare(ctx, req.GetConsistency(), 0); err != nil {
		return nil, err
	}
	resp := &spexv1.ListDeviationsResponse{}
	for _, d := range r.machine.Deviations(req.GetNamespace(), req.GetSpec()) {
		resp.Deviations = append(resp.Deviations, deviationMessage(d))
	}
	return resp, nil
}
