package local

import (
	"context"
	"time"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// reviewAttempts bounds how often a review begins anew because the model has
// become another one meanwhile, as it does while it learns.
const reviewAttempts = 8

// AcceptDeviations puts transitions into a model that stays equivalent to its
// specification with them.
func (e *engine) AcceptDeviations(ctx context.Context, req *spexv1.AcceptDeviationsRequest) (*spexv1.AcceptDeviationsResponse, error) {
	if err := api.CheckAccept(req); err != nil {
		return nil, out(err)
	}
	for attempt := 1; ; attempt++ {
		resp, err := e.acceptOnce(ctx, req)
		if fsm.ReasonOf(err) != typesv1.Reason_REASON_MODEL_CHANGED || attempt == reviewAttempts {
			return resp, out(err)
		}
	}
}

func (e *engine) acceptOnce(ctx context.Context, req *spexv1.AcceptDeviationsRequest) (*spexv1.AcceptDeviationsResponse, error) {
	v, err := e.spec(&req.Namespace, "spec", req.Spec, req.SpecVersion)
	if err != nil {
		return nil, err
	}
	if !req.Force {
		if err := e.seenToDeviate(v.Key, req.Transitions); err != nil {
			return nil, err
		}
	}
	before, after, err := e.compareAccepted(ctx, v, req.Transitions)
	if err != nil && !req.Force {
		return nil, err
	}
	c := &statev1.AcceptDeviations{Spec: v.Key.Proto(), Transitions: req.Transitions, Owner: req.Owner, Reason: req.Reason, ExpiresAt: api.UnixNanos(req.ExpiresAt)}
	if !req.Force {
		if err := api.Acceptable(v.Key.Name, before, after); err != nil {
			return nil, err
		}
		c.IfVersion = v.Model.Version
	}
	res, err := e.changeCatalog(ctx, &statev1.Command{Kind: &statev1.Command_AcceptDeviations{AcceptDeviations: c}})
	if err != nil {
		return nil, err
	}
	v.Model, _ = e.catalog.Model(v.Key)
	return &spexv1.AcceptDeviationsResponse{
		Model: e.modelInfo(ctx, v, true), Added: uint32(res.Added), Changed: res.Changed,
		Before: before.Message(), After: after.Message(), CatalogIndex: res.Index,
	}, nil
}

// changeCatalog applies a command to the catalog and has the shard follow.
func (e *engine) changeCatalog(ctx context.Context, cmd *statev1.Command) (*fsm.CatalogResult, error) {
	var res *fsm.CatalogResult
	err := e.alone(ctx, func() error {
		value, err := e.one(toCatalog, cmd)
		if err != nil {
			return err
		}
		res = value.(*fsm.CatalogResult)
		return e.sync()
	})
	if err != nil {
		return nil, err // the function may still be running
	}
	return res, nil
}

// compareAccepted grades a model without transitions and with them.
func (e *engine) compareAccepted(ctx context.Context, v fsm.SpecView, list []*typesv1.Transition) (before, after *api.Comparison, err error) {
	checker := e.checker(v)
	if checker == nil {
		return nil, nil, fsm.Errorf(typesv1.Reason_REASON_MODEL_CHANGED, "the model of %q changes while it is looked at", v.Key.Name)
	}
	found := &struct{ before, after *api.Comparison }{}
	if !e.beside(ctx, v.Key, func() { found.before, found.after = api.Compare(checker, list) }) {
		if err := ctx.Err(); err != nil {
			return nil, nil, client.GivenUp(err, true)
		}
		err := fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "the model of %q could not be compared with its specification in time: give more time, or force the acceptance", v.Key.Name)
		err.NotApplied = true
		return nil, nil, err
	}
	return found.before, found.after, nil
}

// seenToDeviate refuses transitions that nobody has seen to deviate. What the
// catalog does not have yet, the shard has.
func (e *engine) seenToDeviate(key fsm.SpecKey, list []*typesv1.Transition) error {
	open := api.Unseen(e.catalog, key, list)
	if len(open) == 0 {
		return nil
	}
	var known []*spexv1.DeviationInfo
	for _, d := range e.shard.Deviations(key.Namespace, key.Name) {
		known = append(known, api.Deviation(d))
	}
	return api.NotSeen(key, open, known)
}

// RejectDeviations notes that deviations were looked at and are wrong.
func (e *engine) RejectDeviations(ctx context.Context, req *spexv1.RejectDeviationsRequest) (*spexv1.RejectDeviationsResponse, error) {
	if err := api.CheckReject(req); err != nil {
		return nil, out(err)
	}
	v, err := e.spec(&req.Namespace, "spec", req.Spec, req.SpecVersion)
	if err == nil {
		err = e.seenToDeviate(v.Key, req.Transitions)
	}
	if err != nil {
		return nil, out(err)
	}
	res, err := e.changeCatalog(ctx, &statev1.Command{Kind: &statev1.Command_RejectDeviations{RejectDeviations: &statev1.RejectDeviations{
		Spec: v.Key.Proto(), Transitions: req.Transitions, Owner: req.Owner, Reason: req.Reason,
	}}})
	if err != nil {
		return nil, out(err)
	}
	v.Model, _ = e.catalog.Model(v.Key)
	return &spexv1.RejectDeviationsResponse{Model: e.modelInfo(ctx, v, true), Changed: res.Changed, CatalogIndex: res.Index}, nil
}

// ListModelHistory tells what happened to a model, newest first.
func (e *engine) ListModelHistory(ctx context.Context, req *spexv1.ListModelHistoryRequest) (*spexv1.ListModelHistoryResponse, error) {
	if err := api.CheckModelHistory(req); err != nil {
		return nil, out(err)
	}
	v, err := e.spec(&req.Namespace, "spec", req.Spec, req.SpecVersion)
	if err != nil {
		return nil, out(err)
	}
	events, m, _ := e.catalog.ModelHistory(v.Key)
	v.Model = m
	return api.History(e.modelInfo(ctx, v, false), events, req.Limit), nil
}

// withdraw takes out of the models what was accepted until a time that is over.
// Apply decides by the time of the log; a model that is being sealed keeps it.
func (e *engine) withdraw() {
	for _, m := range e.catalog.Models() {
		if m.NextExpiry.IsZero() || m.Mode == typesv1.ModelMode_MODEL_MODE_SEALING || !e.opts.Now().After(m.NextExpiry) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		_, err := e.changeCatalog(ctx, &statev1.Command{Principal: "spex/review", Kind: &statev1.Command_WithdrawAcceptances{WithdrawAcceptances: &statev1.WithdrawAcceptances{Spec: m.Key.Proto()}}})
		cancel()
		switch {
		case err == nil:
			e.opts.Logger.Info("what was accepted for a time is withdrawn", "namespace", m.Key.Namespace, "spec", m.Key.Name, "version", m.Key.Version)
		case asError(err) != errClosed:
			e.opts.Logger.Error("what was accepted for a time could not be withdrawn; it will be tried again", "spec", m.Key.Name, "error", err)
		}
	}
}
