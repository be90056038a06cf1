package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	// reviewAttempts bounds how often a review begins anew because the model has
	// become another one meanwhile, as it does while it learns.
	reviewAttempts = 8
	// notePatience is how long a list of deviations waits for the newest notes
	// about them; after that it shows those that this node knows.
	notePatience = 2 * time.Second
)

// AcceptDeviations puts transitions into a model that stays equivalent to its
// specification with them, and answers after every shard works with a sealed model.
func (n *Node) AcceptDeviations(ctx context.Context, req *spexv1.AcceptDeviationsRequest) (*spexv1.AcceptDeviationsResponse, error) {
	for attempt := 1; ; attempt++ {
		resp, err := n.acceptOnce(ctx, req)
		if fsm.ReasonOf(err) != typesv1.Reason_REASON_MODEL_CHANGED || attempt == reviewAttempts {
			return resp, err
		}
	}
}

func (n *Node) acceptOnce(ctx context.Context, req *spexv1.AcceptDeviationsRequest) (*spexv1.AcceptDeviationsResponse, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, err
	}
	v, err := n.catalog.spec(ctx, req.GetNamespace(), req.GetSpec(), req.GetSpecVersion())
	if err != nil {
		return nil, err
	}
	if !req.GetForce() {
		if err := n.seenToDeviate(ctx, v.Key, req.GetTransitions()); err != nil {
			return nil, err
		}
	}
	before, after, err := n.compareAccepted(ctx, v, req.GetTransitions())
	if err != nil && !req.GetForce() {
		return nil, err
	}
	c := &statev1.AcceptDeviations{Spec: v.Key.Proto(), Transitions: req.GetTransitions(), Owner: req.GetOwner(), Reason: req.GetReason(), ExpiresAt: api.UnixNanos(req.GetExpiresAt())}
	if !req.GetForce() {
		if err := api.Acceptable(v.Key.Name, before, after); err != nil {
			return nil, err
		}
		c.IfVersion = v.Model.Version
	}
	res, err := n.catalog.propose(ctx, &statev1.Command{Kind: &statev1.Command_AcceptDeviations{AcceptDeviations: c}})
	if err != nil {
		return nil, err
	}
	if v.Model, err = n.adopted(ctx, v.Key, 0); err != nil {
		return nil, err
	}
	return &spexv1.AcceptDeviationsResponse{
		Model: n.checkedInfo(ctx, v), Added: uint32(res.Added), Changed: res.Changed,
		Before: before.Message(), After: after.Message(), CatalogIndex: res.Index,
	}, nil
}

// compareAccepted grades a model without transitions and with them. It gives nil
// for both when that takes too long.
func (n *Node) compareAccepted(ctx context.Context, v fsm.SpecView, list []*typesv1.Transition) (before, after *api.Comparison, err error) {
	checker := n.checker(v)
	if checker == nil {
		return nil, nil, fsm.Errorf(typesv1.Reason_REASON_MODEL_CHANGED, "the model of %q changes while it is looked at", v.Key.Name)
	}
	ctx, cancel := n.checkContext(ctx)
	defer cancel()
	type result struct{ before, after *api.Comparison }
	found := &result{} // the computation's, until done is closed
	done := n.judge.begin(found, v.Key, func() { found.before, found.after = api.Compare(checker, list) })
	select {
	case <-done:
	case <-ctx.Done():
		return nil, nil, n.unavailable("the model of %q could not be compared with its specification in time: give more time, or force the acceptance", v.Key.Name)
	}
	if found.after == nil {
		return nil, nil, fsm.Errorf(typesv1.Reason_REASON_INTERNAL, "the model of %q could not be compared with its specification: the node's log says why", v.Key.Name)
	}
	return found.before, found.after, nil
}

// seenToDeviate refuses transitions that nobody has seen to deviate, which is
// what a typing error looks like. What a shard has not handed over yet, or
// cannot since the catalog has its fill, is asked of the shards.
func (n *Node) seenToDeviate(ctx context.Context, key fsm.SpecKey, list []*typesv1.Transition) error {
	open := api.Unseen(n.catalog.machine, key, list)
	if len(open) == 0 {
		return nil
	}
	resp, err := n.ListDeviations(ctx, &spexv1.ListDeviationsRequest{
		Namespace: key.Namespace, Spec: key.Name, Consistency: spexv1.Consistency_CONSISTENCY_LINEARIZABLE, Limit: fsm.MaxDeviations,
	})
	if err != nil {
		return err
	}
	err = api.NotSeen(key, open, resp.GetDeviations())
	if err != nil && (len(resp.GetFailures()) > 0 || resp.GetTruncated()) {
		return n.unavailable("not all shards could tell their deviations: try again (of those that are known: %v)", err)
	}
	return err
}

// RejectDeviations notes that deviations were looked at and are wrong.
func (n *Node) RejectDeviations(ctx context.Context, req *spexv1.RejectDeviationsRequest) (*spexv1.RejectDeviationsResponse, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, err
	}
	v, err := n.catalog.spec(ctx, req.GetNamespace(), req.GetSpec(), req.GetSpecVersion())
	if err != nil {
		return nil, err
	}
	if err := n.seenToDeviate(ctx, v.Key, req.GetTransitions()); err != nil {
		return nil, err
	}
	res, err := n.catalog.propose(ctx, &statev1.Command{Kind: &statev1.Command_RejectDeviations{RejectDeviations: &statev1.RejectDeviations{
		Spec: v.Key.Proto(), Transitions: req.GetTransitions(), Owner: req.GetOwner(), Reason: req.GetReason(),
	}}})
	if err != nil {
		return nil, err
	}
	if m, ok := n.catalog.machine.Model(v.Key); ok {
		v.Model = m
	}
	return &spexv1.RejectDeviationsResponse{Model: n.checkedInfo(ctx, v), Changed: res.Changed, CatalogIndex: res.Index}, nil
}

// ListModelHistory tells what happened to a model, newest first.
func (n *Node) ListModelHistory(ctx context.Context, req *spexv1.ListModelHistoryRequest) (*spexv1.ListModelHistoryResponse, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, err
	}
	v, err := n.catalog.spec(ctx, req.GetNamespace(), req.GetSpec(), req.GetSpecVersion())
	if err != nil {
		return nil, err
	}
	events, m, _ := n.catalog.machine.ModelHistory(v.Key)
	v.Model = m
	return api.History(n.modelInfo(ctx, v, false), events, req.GetLimit()), nil
}

// noteRejections adds to deviations what was noted about them, and what the
// catalog found that they do together. The shards' answer is worth more than the newest notes: without the catalog's leader those
// that this node has must do.
func (n *Node) noteRejections(ctx context.Context, req *spexv1.ListDeviationsRequest, list []*spexv1.DeviationInfo) {
	if len(list) == 0 {
		return
	}
	if !stale(req.GetConsistency()) {
		short, cancel := context.WithTimeout(ctx, notePatience)
		defer cancel()
		if err := n.catalog.refresh(short); err != nil && !errors.Is(err, context.Canceled) {
			n.log.Info("deviations are listed with older notes", "error", err)
		}
	}
	for _, d := range list {
		api.Note(n.catalog.machine, fsm.SpecKey{Namespace: req.GetNamespace(), Name: d.GetSpec(), Version: d.GetSpecVersion()}, d)
	}
}

// withdraw proposes to take out of a model what was accepted until a time that
// is over by this node's clock; whether it is by the log's, Apply decides.
func (c *catalog) withdraw(ctx context.Context, m fsm.ModelStatus) {
	if m.NextExpiry.IsZero() || m.Mode == typesv1.ModelMode_MODEL_MODE_SEALING || !c.node.clock.Now().After(m.NextExpiry) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.node.cfg.RouteBudget)
	defer cancel()
	_, err := c.propose(ctx, &statev1.Command{Principal: "spex/review", Kind: &statev1.Command_WithdrawAcceptances{WithdrawAcceptances: &statev1.WithdrawAcceptances{Spec: m.Key.Proto()}}})
	if err != nil && ctx.Err() == nil {
		c.node.log.Warn("could not withdraw what was accepted for a time", "spec", m.Key.Name, "version", m.Key.Version, "error", err)
		return
	}
	if err == nil {
		c.node.log.Info("what was accepted for a time is withdrawn", "namespace", m.Key.Namespace, "spec", m.Key.Name, "version", m.Key.Version)
	}
}
