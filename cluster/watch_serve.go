package cluster

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/signal"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/shard/store"
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

// reportSource is a replica of a shard or of the catalog on this node, as far as
// its reports go.
type reportSource struct {
	id      uint32
	node    *Node
	group   group
	machine interface {
		Reports(after uint64, filter fsm.ReportFilter, limit int) fsm.ReportPage
		LastReport() uint64
	}
	// reported fires when there may be more.
	reported *signal.Broadcast
	// closing is closed when the replica is.
	closing <-chan struct{}
	// explain completes the message of a report; nil when there is nothing to add.
	explain func(*statev1.ReportRecord, *spexv1.Report)
}

// reportSource finds the source of a group's reports here, 0 being the catalog, or
// says why there is none.
func (n *Node) reportSource(id uint32) (*reportSource, error) {
	if id == store.CatalogGroup {
		return &reportSource{
			id: id, node: n, group: n.catalog.group, machine: n.catalog.machine, reported: &n.catalog.changes, closing: n.ctx.Done(),
		}, nil
	}
	r, err := n.replica(id)
	if r == nil {
		return nil, n.notHere(id, err)
	}
	return &reportSource{
		id: id, node: n, group: r.group, machine: r.machine, reported: &r.reported, closing: r.ctx.Done(),
		explain: func(rec *statev1.ReportRecord, m *spexv1.Report) {
			m.RunViolation = r.machine.RunViolation(fsm.SpecKeyOf(rec.GetSpec()), rec.GetRunViolation())
		},
	}, nil
}

// serve answers from what this replica has applied, which is committed, and waits
// for news if there are none. It is the same on every replica: one that is behind
// answers later.
func (r *reportSource) serve(ctx context.Context, req *peerv1.ReadReportsRequest) (*peerv1.ReadReportsResponse, error) {
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
			return r.answer(after, page), nil
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
		case <-r.closing:
			return nil, r.node.unavailable("group %d is being closed on this node", r.id)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// believable refuses to say that there is nothing new when this replica could not know.
func (r *reportSource) believable() error {
	st := r.group.Status()
	if st.Halted != nil {
		e := fsm.Errorf(typesv1.Reason_REASON_GROUP_HALTED, "group %d halted on this node", r.id)
		e.Shard = r.id
		return e
	}
	if old := time.Duration(age(r.node.cfg.Now(), st.LastContact)); !st.Leading && old > watchFresh {
		e := fsm.Errorf(typesv1.Reason_REASON_NO_LEADER, "the replica of group %d on this node has no contact to a leader", r.id)
		e.Shard = r.id
		return e
	}
	return nil
}

// answer turns a page into an answer, and ends it early when it gets large.
func (r *reportSource) answer(after uint64, page fsm.ReportPage) *peerv1.ReadReportsResponse {
	resp := &peerv1.ReadReportsResponse{ThroughId: page.Through}
	size := 0
	for i, rec := range page.Reports {
		m := api.Report(r.id, rec)
		if r.explain != nil {
			r.explain(rec, m)
		}
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
