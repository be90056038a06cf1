package cluster

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/model"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// InitInstance begins an instance.
func (n *Node) InitInstance(ctx context.Context, req *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error) {
	return n.beginInstance(ctx, req, func(version uint64, refused string) *peerv1.ForwardRequest {
		init := proto.CloneOf(req) // an attempt that was given up may be reading it
		init.SpecVersion = version
		return &peerv1.ForwardRequest{Refused: refused, Request: &peerv1.ForwardRequest_Init{Init: init}}
	})
}

// MockInstance puts an instance straight into a state.
func (n *Node) MockInstance(ctx context.Context, req *spexv1.MockInstanceRequest) (*spexv1.StepResponse, error) {
	return n.beginInstance(ctx, req, func(version uint64, refused string) *peerv1.ForwardRequest {
		mock := proto.CloneOf(req)
		mock.SpecVersion = version
		return &peerv1.ForwardRequest{Refused: refused, Request: &peerv1.ForwardRequest_Mock{Mock: mock}}
	})
}

// beginning is a request for an instance that may not be there yet.
type beginning interface {
	GetNamespace() string
	GetId() string
	GetSpec() string
	GetSpecVersion() uint64
	GetMinCatalogIndex() uint64
}

// beginInstance finds the version of the specification, and sends the request to its
// shard, also when the catalog lets no new instance begin: only the shard knows
// whether the request was applied before. This node's catalog may be behind. Neither
// what it refuses, nor that a shard has retired what it takes for the newest, is said
// before a linearizable read.
func (n *Node) beginInstance(ctx context.Context, req beginning, forward func(version uint64, refused string) *peerv1.ForwardRequest) (*spexv1.StepResponse, error) {
	id, err := n.router.shardOf(req.GetNamespace(), req.GetId())
	if err != nil {
		return nil, err
	}
	if index := req.GetMinCatalogIndex(); index > 0 {
		if err := n.catalog.group.WaitApplied(ctx, index); err != nil {
			return nil, err
		}
	}
	for current := false; ; current = true {
		version, refused := n.catalog.machine.VersionForNew(req.GetNamespace(), req.GetSpec(), req.GetSpecVersion())
		if current || refused == "" {
			resp, err := n.router.onShard(ctx, id, forward(version, refused))
			behind := req.GetSpecVersion() == 0 && fsm.ReasonOf(err) == typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND
			if current || !behind {
				return resp.GetInit(), err
			}
		}
		if err := n.catalog.refresh(ctx); err != nil {
			return nil, err
		}
	}
}

// Transitions applies steps, each on the leader of its shard, all shards at once.
func (n *Node) Transitions(ctx context.Context, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult {
	results := make([]*spexv1.TransitionResult, len(steps))
	byShard := map[uint32][]int{}
	for i, s := range steps {
		id, err := n.router.shardOf(s.GetNamespace(), s.GetId())
		if err != nil {
			results[i] = failure(s, err)
			continue
		}
		byShard[id] = append(byShard[id], i)
	}
	var work sync.WaitGroup
	for id, list := range byShard {
		work.Add(1)
		go func() {
			defer work.Done()
			batch := make([]*spexv1.TransitionRequest, len(list))
			for k, i := range list {
				batch[k] = steps[i]
			}
			resp, err := n.router.onShard(ctx, id, &peerv1.ForwardRequest{Request: &peerv1.ForwardRequest_Steps{Steps: &peerv1.StepBatch{Steps: batch}}})
			if err == nil && len(resp.GetSteps().GetResults()) != len(list) {
				err = fsm.Errorf(typesv1.Reason_REASON_INTERNAL, "the leader of shard %d answered %d of %d steps", id, len(resp.GetSteps().GetResults()), len(list))
			}
			for k, i := range list {
				if err != nil {
					results[i] = failure(steps[i], err)
				} else {
					results[i] = resp.GetSteps().GetResults()[k]
				}
			}
		}()
	}
	work.Wait()
	return results
}

// DeleteInstance ends an instance.
func (n *Node) DeleteInstance(ctx context.Context, req *spexv1.DeleteInstanceRequest) (*spexv1.DeleteInstanceResponse, error) {
	id, err := n.router.shardOf(req.GetNamespace(), req.GetId())
	if err != nil {
		return nil, err
	}
	resp, err := n.router.onShard(ctx, id, &peerv1.ForwardRequest{Request: &peerv1.ForwardRequest_Delete{Delete: req}})
	return resp.GetDelete(), err
}

func stale(c spexv1.Consistency) bool { return c == spexv1.Consistency_CONSISTENCY_STALE }

// GetInstance reads an instance without its history.
func (n *Node) GetInstance(ctx context.Context, req *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error) {
	id, err := n.router.shardOf(req.GetNamespace(), req.GetId())
	if err != nil {
		return nil, err
	}
	resp, err := n.router.read(ctx, id, stale(req.GetConsistency()), &peerv1.ForwardRequest{Request: &peerv1.ForwardRequest_Get{Get: req}})
	return resp.GetGet(), err
}

// GetHistory reads a page of an instance's history.
func (n *Node) GetHistory(ctx context.Context, req *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error) {
	id, err := n.router.shardOf(req.GetNamespace(), req.GetId())
	if err != nil {
		return nil, err
	}
	resp, err := n.router.read(ctx, id, stale(req.GetConsistency()), &peerv1.ForwardRequest{Request: &peerv1.ForwardRequest_History{History: req}})
	return resp.GetHistory(), err
}

// listShare of the time that is left is what one shard of a list may take.
const listShare = 3

// ListInstances goes through the shards in order until the page is full. A shard
// that does not answer is named, and the list goes on with the next one.
func (n *Node) ListInstances(ctx context.Context, req *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
	shards := n.catalog.machine.Cluster().Shards
	if shards == 0 {
		return nil, n.unavailable("this node does not have the catalog yet: try again, or ask another node")
	}
	id, after, ok := parseListToken(req.GetPageToken())
	if !ok || id > shards {
		return nil, badToken()
	}
	if _, err := n.selection(req); err != nil {
		return nil, err
	}
	resp := &spexv1.ListInstancesResponse{}
	size := int(req.GetPageSize())
	paced, cancel := answerContext(ctx)
	defer cancel()
	for ; id <= shards; id, after = id+1, "" {
		for {
			page := &spexv1.ListInstancesRequest{
				Namespace: req.GetNamespace(), Spec: req.GetSpec(), State: req.GetState(), Consistency: req.GetConsistency(),
				PageSize: uint32(size - len(resp.Instances)), PageToken: after, Where: req.GetWhere(), StuckNanos: req.GetStuckNanos(),
			}
			// A shard that does not answer must leave time for the others.
			call, cancel := shareOf(ctx, listShare)
			answer, err := n.router.read(call, id, stale(req.GetConsistency()), &peerv1.ForwardRequest{Request: &peerv1.ForwardRequest_List{List: page}})
			cancel()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			list := answer.GetList()
			if err == nil && filtered(req) && uint64(len(list.GetInstances())) > list.GetExamined() {
				err = fsm.Errorf(typesv1.Reason_REASON_FEATURE_LEVEL, "a node of shard %d does not know expressions: it runs an older release", id)
			}
			if err != nil && refusesFilter(err) {
				return nil, err
			}
			if err != nil {
				resp.Failures = append(resp.Failures, &spexv1.ShardFailure{Shard: id, Error: errorDetail(err)})
				break
			}
			addList(resp, list)
			after = list.GetNextPageToken()
			enough := filtered(req) && (resp.Examined >= maxCallExamined || paced.Err() != nil)
			if len(resp.Instances) >= size || enough {
				if after != "" {
					resp.NextPageToken = listToken(id, after)
				} else if id < shards {
					resp.NextPageToken = listToken(id+1, "")
				}
				return resp, nil
			}
			if after == "" {
				break
			}
		}
	}
	return resp, nil
}

func addList(sum, page *spexv1.ListInstancesResponse) {
	sum.Instances = append(sum.Instances, page.GetInstances()...)
	sum.Reads = append(sum.Reads, page.GetReads()...)
	sum.Examined += page.GetExamined()
	if sum.Unevaluated += page.GetUnevaluated(); sum.UnevaluatedError == "" {
		sum.UnevaluatedError = page.GetUnevaluatedError()
	}
}

func listToken(id uint32, after string) string {
	return base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint32(nil, id), after...))
}

func parseListToken(token string) (id uint32, after string, ok bool) {
	if token == "" {
		return 1, "", true
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < 4 {
		return 0, "", false
	}
	id = binary.BigEndian.Uint32(raw)
	return id, string(raw[4:]), id > 0
}

// ListDeviations gathers the distinct deviations of all shards and adds up what
// is the same transition.
func (n *Node) ListDeviations(ctx context.Context, req *spexv1.ListDeviationsRequest) (*spexv1.ListDeviationsResponse, error) {
	shards := n.catalog.machine.Cluster().Shards
	if shards == 0 {
		return nil, n.unavailable("this node does not have the catalog yet: try again, or ask another node")
	}
	ctx, cancel := answerContext(ctx)
	defer cancel()
	answers := make([]*spexv1.ListDeviationsResponse, shards)
	failures := make([]error, shards)
	var work sync.WaitGroup
	for i := range shards {
		work.Add(1)
		go func() {
			defer work.Done()
			ask := &spexv1.ListDeviationsRequest{Namespace: req.GetNamespace(), Spec: req.GetSpec(), Consistency: req.GetConsistency(), Limit: req.GetLimit()}
			resp, err := n.router.read(ctx, i+1, stale(req.GetConsistency()), &peerv1.ForwardRequest{Request: &peerv1.ForwardRequest_Deviations{Deviations: ask}})
			answers[i], failures[i] = resp.GetDeviations(), err
		}()
	}
	work.Wait()
	resp := &spexv1.ListDeviationsResponse{}
	merged := map[deviationKey]*spexv1.DeviationInfo{}
	for i := range shards {
		if failures[i] != nil {
			resp.Failures = append(resp.Failures, &spexv1.ShardFailure{Shard: i + 1, Error: errorDetail(failures[i])})
			continue
		}
		resp.Truncated = resp.Truncated || answers[i].GetTruncated()
		for _, d := range answers[i].GetDeviations() {
			key := deviationKey{d.GetSpec(), d.GetSpecVersion(), model.Transition{From: d.GetTransition().GetFrom(), Action: d.GetTransition().GetAction(), To: d.GetTransition().GetTo()}}
			if old := merged[key]; old != nil {
				mergeDeviation(old, d)
			} else {
				merged[key] = d
			}
		}
	}
	for _, d := range merged {
		resp.Deviations = append(resp.Deviations, d)
	}
	slices.SortFunc(resp.Deviations, compareDeviations)
	if limit := int(req.GetLimit()); len(resp.Deviations) > limit {
		resp.Deviations, resp.Truncated = resp.Deviations[:limit], true
	}
	n.noteRejections(ctx, req, resp.Deviations)
	boundDeviations(resp)
	return resp, nil
}

// answerContext ends early enough before ctx for an answer that something is
// missing to reach the caller.
func answerContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, time.Until(deadline)*3/4)
	}
	return context.WithCancel(ctx)
}

type deviationKey struct {
	spec       string
	version    uint64
	transition model.Transition
}

func mergeDeviation(into, d *spexv1.DeviationInfo) {
	into.Count += d.GetCount()
	if d.GetFirstTime().AsTime().Before(into.GetFirstTime().AsTime()) {
		into.FirstInstance, into.FirstTime = d.GetFirstInstance(), d.GetFirstTime()
	}
	if d.GetLastTime().AsTime().After(into.GetLastTime().AsTime()) {
		into.LastInstance, into.LastTime = d.GetLastInstance(), d.GetLastTime()
	}
	// The verdicts are ordered by how much they accuse.
	if d.GetVerdict() > into.GetVerdict() {
		into.Verdict, into.Reason, into.Explanation, into.Grade = d.GetVerdict(), d.GetReason(), d.GetExplanation(), d.GetGrade()
	}
}

func compareDeviations(a, b *spexv1.DeviationInfo) int {
	ta, tb := a.GetTransition(), b.GetTransition()
	return cmp.Or(
		-cmp.Compare(a.GetCount(), b.GetCount()),
		cmp.Compare(a.GetSpec(), b.GetSpec()), cmp.Compare(a.GetSpecVersion(), b.GetSpecVersion()),
		cmp.Compare(ta.GetFrom(), tb.GetFrom()), cmp.Compare(ta.GetAction(), tb.GetAction()), cmp.Compare(ta.GetTo(), tb.GetTo()),
	)
}
