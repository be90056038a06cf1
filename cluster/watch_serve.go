package cluster

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	// watchPage and watchPageBytes bound what one read of a shard's reports brings.
	watchPage      = 256
	watchPageBytes = 1 << 20
	// watchWait is how long a read waits for a report.
	watchWait = 5 * time.Second
	// watchFresh is how long a replica may have been without its leader and still
	// be believed when it says that there is nothing new.
	watchFresh = 5 * time.Second
)

// serveReports answers from what this replica has applied, which is committed,
// and waits for news if there are none. It is the same on every replica: one
// that is behind answers later.
func (r *replica) serveReports(ctx context.Context, req *peerv1.ReadReportsRequest) (*peerv1.ReadReportsResponse, error) {
	if req.AfterId == nil {
		if err := r.believable(); err != nil {
			return nil, err
		}
		return &peerv1.ReadReportsResponse{ThroughId: r.machine.LastReport()}, nil
	}
	filter := fsm.ReportFilter{Namespace: req.GetNamespace(), Specs: req.GetSpecs(), Kinds: req.GetKinds(), Since: req.GetSince()}
	limit := min(max(int(req.GetLimit()), 1), watchPage)
	timer := time.NewTimer(min(time.Duration(req.GetWaitNanos()), watchWait))
	defer timer.Stop()
	for after, waited := req.GetAfterId(), false; ; {
		changed := r.reported.Changed()
		page := r.machine.Reports(after, filter, limit)
		if len(page.Reports) > 0 || len(page.Gaps) > 0 {
			return r.reportAnswer(after, page), nil
		}
		after = page.Through
		if page.More && ctx.Err() == nil {
			continue
		}
		if err := r.believable(); err != nil {
			return nil, err
		}
		if waited {
			return &peerv1.ReadReportsResponse{ThroughId: after}, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			waited = true
		case <-r.ctx.Done():
			return nil, r.node.unavailable("shard %d is being closed on this node", r.id)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// believable refuses to say that there is nothing new when this replica could not know.
func (r *replica) believable() error {
	st := r.group.Status()
	if st.Halted != nil {
		e := fsm.Errorf(typesv1.Reason_REASON_GROUP_HALTED, "shard %d halted on this node", r.id)
		e.Shard = r.id
		return e
	}
	if old := time.Duration(age(r.node.cfg.Now(), st.LastContact)); !st.Leading && old > watchFresh {
		e := fsm.Errorf(typesv1.Reason_REASON_NO_LEADER, "the replica of shard %d on this node has no contact to a leader", r.id)
		e.Shard = r.id
		return e
	}
	return nil
}

// reportAnswer turns a page into an answer, and ends it early when it gets large.
func (r *replica) reportAnswer(after uint64, page fsm.ReportPage) *peerv1.ReadReportsResponse {
	resp := &peerv1.ReadReportsResponse{ThroughId: page.Through}
	size := 0
	for i, rec := range page.Reports {
		m := api.Report(r.id, rec)
		m.RunViolation = r.machine.RunViolation(fsm.SpecKeyOf(rec.GetSpec()), rec.GetRunViolation())
		if size += proto.Size(m); size > watchPageBytes && i > 0 {
			resp.ThroughId = page.Reports[i-1].GetId()
			break
		}
		resp.Reports = append(resp.Reports, m)
	}
	for _, g := range page.Gaps {
		if through := min(g.Through, resp.GetThroughId()); through > after {
			resp.Gaps = append(resp.Gaps, &spexv1.ReportGap{Shard: r.id, AfterId: g.After, ThroughId: through, Kinds: g.Kinds})
		}
	}
	return resp
}
