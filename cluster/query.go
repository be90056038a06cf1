package cluster

import (
	"context"
	"time"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/query"
)

const (
	// maxCallExamined is how many instances one call looks at, over all shards,
	// before it answers with what it has.
	maxCallExamined = 100_000
	// deletePage is how many instances a shard deletes for one request between nodes.
	deletePage = 500
)

// filter is what a list and a deletion by expression have in common.
type filter interface {
	GetNamespace() string
	GetSpec() string
	GetState() string
	GetWhere() string
	GetStuckNanos() int64
}

// selection compiles a filter. The error is one of the caller's.
func (n *Node) selection(f filter) (*query.Selection, error) {
	s := &query.Selection{Namespace: f.GetNamespace(), Spec: f.GetSpec(), State: f.GetState(), Stuck: time.Duration(f.GetStuckNanos())}
	if f.GetWhere() == "" {
		return s, nil
	}
	var err error
	if s.Where, err = n.queries.Compile(f.GetWhere()); err != nil {
		return nil, query.Refusal(err)
	}
	return s, nil
}

// filtered says whether an answer comes from looking at instances one by one.
func filtered(f filter) bool { return f.GetWhere() != "" || f.GetStuckNanos() > 0 }

// refusesFilter tells errors that every shard would answer with.
func refusesFilter(err error) bool {
	reason := fsm.ReasonOf(err)
	return reason == typesv1.Reason_REASON_INVALID_ARGUMENT || reason == typesv1.Reason_REASON_LIMIT_EXCEEDED
}

// examine has this replica look at its instances. It stops in time for the
// answer to reach the caller.
func (r *replica) examine(ctx context.Context, f filter, after string, limit int) (query.Page, error) {
	s, err := r.node.selection(f)
	if err != nil {
		return query.Page{}, err
	}
	ctx, cancel := answerContext(ctx)
	defer cancel()
	page, err := s.Examine(r.machine, r.node.cfg.Now(), after, limit, func() bool { return ctx.Err() != nil })
	return page, query.Refusal(err)
}

// DeleteMatching goes through the shards in order, and answers when all are
// through or when it has done enough for one call.
func (n *Node) DeleteMatching(ctx context.Context, req *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error) {
	shards := n.catalog.machine.Cluster().Shards
	if shards == 0 {
		return nil, n.unavailable("this node does not have the catalog yet: try again, or ask another node")
	}
	if _, err := n.selection(req); err != nil {
		return nil, err
	}
	id, after, ok := parseListToken(req.GetPageToken())
	if !ok || id > shards {
		return nil, badToken()
	}
	resp := &spexv1.DeleteMatchingResponse{}
	paced, cancel := answerContext(ctx)
	defer cancel()
	for id <= shards {
		page := &spexv1.DeleteMatchingRequest{
			Namespace: req.GetNamespace(), Spec: req.GetSpec(), State: req.GetState(),
			Where: req.GetWhere(), StuckNanos: req.GetStuckNanos(), DryRun: req.GetDryRun(), PageToken: after,
		}
		call, cancel := shareOf(ctx, listShare)
		answer, err := n.router.onShard(call, id, &peerv1.ForwardRequest{Request: &peerv1.ForwardRequest_DeleteMatching{DeleteMatching: page}})
		cancel()
		// What was deleted before must not be hidden behind the error.
		if err != nil && refusesFilter(err) && resp.Deleted == 0 {
			return nil, err
		}
		after = answer.GetDeleteMatching().GetNextPageToken()
		if err != nil {
			resp.Failures = append(resp.Failures, &spexv1.ShardFailure{Shard: id, Error: errorDetail(err)})
		} else {
			addDeletions(resp, answer.GetDeleteMatching())
		}
		if after == "" {
			id++
		}
		if id <= shards && (resp.Examined >= maxCallExamined || paced.Err() != nil) {
			resp.NextPageToken = listToken(id, after)
			break
		}
	}
	return resp, nil
}

func addDeletions(sum, page *spexv1.DeleteMatchingResponse) {
	sum.Matched += page.GetMatched()
	sum.Deleted += page.GetDeleted()
	sum.MovedOn += page.GetMovedOn()
	sum.Examined += page.GetExamined()
	if sum.Unevaluated += page.GetUnevaluated(); sum.UnevaluatedError == "" {
		sum.UnevaluatedError = page.GetUnevaluatedError()
	}
}

// serveDeleteMatching looks at a page of this shard and deletes what matches. A
// deletion names the step that was the last one then, and does nothing to an
// instance that has moved on, so that the whole may be asked for again: what was
// deleted is not found any more.
func (r *replica) serveDeleteMatching(ctx context.Context, principal string, req *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error) {
	if err := r.leads(); err != nil {
		return nil, err
	}
	if _, err := r.prepare(ctx, spexv1.Consistency_CONSISTENCY_LINEARIZABLE, 0); err != nil {
		return nil, err
	}
	page, err := r.examine(ctx, req, req.GetPageToken(), deletePage)
	if err != nil {
		return nil, err
	}
	resp := &spexv1.DeleteMatchingResponse{
		Matched: uint64(len(page.Matched)), Examined: uint64(page.Examined),
		Unevaluated: uint64(page.Unevaluated), UnevaluatedError: page.Problem,
	}
	if page.More {
		resp.NextPageToken = page.Last
	}
	if req.GetDryRun() {
		return resp, nil
	}
	if hook := r.node.cfg.BeforeDelete; hook != nil {
		hook(page.Matched)
	}
	cmds := make([]*statev1.Command, len(page.Matched))
	for i, v := range page.Matched {
		cmds[i] = &statev1.Command{Principal: principal, Kind: &statev1.Command_DeleteInstance{DeleteInstance: &statev1.DeleteInstance{
			Key: v.Key.Proto(), Incarnation: v.Incarnation, LastSeq: v.Seq,
		}}}
	}
	applied, err := r.group.ProposeAll(ctx, cmds)
	if err != nil {
		return nil, inDoubt(err)
	}
	for _, a := range applied {
		if a.Result.Err != nil {
			return nil, inDoubt(a.Result.Err)
		}
		if a.Result.Value.(*fsm.DeleteResult).Deleted {
			resp.Deleted++
		} else {
			resp.MovedOn++
		}
	}
	return resp, nil
}
