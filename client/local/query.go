package local

import (
	"context"
	"sync"
	"time"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/query"
)

const (
	// deletePage is how many instances one request deletes.
	deletePage = 1000
	// deleters write at the same time, so that they share the writes to the disk.
	deleters = 64
)

// filter is what a list and a deletion by expression have in common.
type filter interface {
	GetNamespace() string
	GetSpec() string
	GetState() string
	GetWhere() string
	GetStuckNanos() int64
}

// examine looks at the instances after the given id.
func (e *engine) examine(ctx context.Context, f filter, after string, limit int) (query.Page, error) {
	s := &query.Selection{Namespace: f.GetNamespace(), Spec: f.GetSpec(), State: f.GetState(), Stuck: time.Duration(f.GetStuckNanos())}
	if f.GetWhere() != "" {
		var err error
		if s.Where, err = e.queries.Compile(f.GetWhere()); err != nil {
			return query.Page{}, query.Refusal(err)
		}
	}
	page, err := s.Examine(e.shard, e.clock(), after, limit, func() bool { return ctx.Err() != nil })
	return page, query.Refusal(err)
}

func nextPage(kind byte, p query.Page) string {
	if !p.More {
		return ""
	}
	return sealToken(kind, []byte(p.Last))
}

// DeleteMatching looks at a page of the instances and deletes what matches,
// unless it moves on before.
func (e *engine) DeleteMatching(ctx context.Context, req *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error) {
	if err := api.CheckDeleteMatching(req); err != nil {
		return nil, out(err)
	}
	after, err := openToken(deletionToken, req.PageToken)
	if err != nil {
		return nil, out(err)
	}
	if err := e.open(); err != nil {
		return nil, out(err)
	}
	page, err := e.examine(ctx, req, string(after), deletePage)
	if err != nil {
		return nil, out(err)
	}
	resp := &spexv1.DeleteMatchingResponse{
		Matched: uint64(len(page.Matched)), NextPageToken: nextPage(deletionToken, page), Examined: uint64(page.Examined),
		Unevaluated: uint64(page.Unevaluated), UnevaluatedError: page.Problem,
	}
	if req.DryRun {
		return resp, nil
	}
	resp.Deleted, err = e.deleteAll(ctx, page.Matched)
	if err != nil {
		return nil, out(err)
	}
	resp.MovedOn = resp.Matched - resp.Deleted
	return resp, nil
}

// deleteAll deletes instances that are as they were, and counts them.
func (e *engine) deleteAll(ctx context.Context, list []*fsm.InstanceView) (deleted uint64, failed error) {
	var work sync.WaitGroup
	var mu sync.Mutex // guards the results
	for w := range min(deleters, len(list)) {
		work.Go(func() {
			for i := w; i < len(list); i += deleters {
				v := list[i]
				value, err := e.write(ctx, &statev1.Command{Kind: &statev1.Command_DeleteInstance{DeleteInstance: &statev1.DeleteInstance{
					Key: v.Key.Proto(), Incarnation: v.Incarnation, LastSeq: v.Seq,
				}}})
				mu.Lock()
				if err != nil && failed == nil {
					failed = err
				}
				if err == nil && value.(*fsm.DeleteResult).Deleted {
					deleted++
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	work.Wait()
	return deleted, failed
}
