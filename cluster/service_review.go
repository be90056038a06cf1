package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/model"
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
	c := &statev1.AcceptDeviations{Spec: v.Key.Proto(), Transitions: req.GetTransitions(), Owner: req.GetOwner(), Reason: req.GetReason(), ExpiresAt: unixNanos(req.GetExpiresAt())}
	if !req.GetForce() {
		if err := acceptable(v.Key.Name, before, after); err != nil {
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
		Before: gradeMessage(before), After: gradeMessage(after), CatalogIndex: res.Index,
	}, nil
}

// comparison is how a model compares with its specification.
type comparison struct {
	equivalent bool
	model.Graded
}

// compareAccepted grades a model without transitions and with them. It gives nil
// for both when that takes too long.
func (n *Node) compareAccepted(ctx context.Context, v fsm.SpecView, list []*typesv1.Transition) (before, after *comparison, err error) {
	checker := n.checker(v)
	if checker == nil {
		return nil, nil, fsm.Errorf(typesv1.Reason_REASON_MODEL_CHANGED, "the model of %q changes while it is looked at", v.Key.Name)
	}
	ctx, cancel := n.checkContext(ctx)
	defer cancel()
	grade := func(c *model.Checker) *comparison {
		eq, _ := c.Equivalent()
		return &comparison{eq, c.Grade()}
	}
	type result struct{ before, after *comparison }
	found := &result{} // the computation's, until done is closed
	done := n.judge.begin(found, v.Key, func() {
		found.before = grade(checker)
		found.after = grade(checker.With(modelTransitions(list)))
	})
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

// acceptable refuses what would make a model not equivalent. A model that has
// not shown everything yet is not to blame on a transition: it may grow as long
// as it does nothing that the specification does not.
func acceptable(name string, before, after *comparison) error {
	if after.equivalent || before.Incomplete() && after.Incomplete() {
		return nil
	}
	trace := ""
	if len(after.Trace) > 0 {
		trace = fmt.Sprintf(": it could do %s, which the specification does not allow", strings.Join(after.Trace, ", "))
	}
	return fsm.Errorf(typesv1.Reason_REASON_MODEL_NOT_EQUIVALENT,
		"the model of %q would not be equivalent to its specification (grade before %s, after %s)%s. Reject the deviation, change the specification, or force the acceptance",
		name, before.word(), after.word(), trace)
}

// word is the grade for people, which is empty without exactly one initialisation.
func (c *comparison) word() string {
	if c.Grade == "" {
		return "none, for want of exactly one initialisation"
	}
	return string(c.Grade)
}

func gradeMessage(c *comparison) *spexv1.ModelGrade {
	if c == nil {
		return nil
	}
	return &spexv1.ModelGrade{Equivalent: c.equivalent, Grade: string(c.Grade), Trace: c.Trace}
}

func modelTransitions(list []*typesv1.Transition) []model.Transition {
	out := make([]model.Transition, len(list))
	for i, t := range list {
		out[i] = model.Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()}
	}
	return out
}

// seenToDeviate refuses transitions that nobody has seen to deviate, which is
// what a typing error looks like. What a shard has not handed over yet, or
// cannot since the catalog has its fill, is asked of the shards.
func (n *Node) seenToDeviate(ctx context.Context, key fsm.SpecKey, list []*typesv1.Transition) error {
	var open []model.Transition
	for _, t := range modelTransitions(list) {
		if _, reviewed := n.catalog.machine.Review(key, t); !reviewed && !n.catalog.machine.Deviated(key, t) {
			open = append(open, t)
		}
	}
	if len(open) > 0 {
		content, _, _ := n.catalog.machine.ModelTransitions(key)
		open = slices.DeleteFunc(open, func(t model.Transition) bool { return slices.Contains(content, t) })
	}
	if len(open) == 0 {
		return nil
	}
	resp, err := n.ListDeviations(ctx, &spexv1.ListDeviationsRequest{
		Namespace: key.Namespace, Spec: key.Name, Consistency: spexv1.Consistency_CONSISTENCY_LINEARIZABLE, Limit: fsm.MaxDeviations,
	})
	if err != nil {
		return err
	}
	for _, d := range resp.GetDeviations() {
		if d.GetSpecVersion() == key.Version {
			seen := modelTransitions([]*typesv1.Transition{d.GetTransition()})[0]
			open = slices.DeleteFunc(open, func(t model.Transition) bool { return t == seen })
		}
	}
	switch {
	case len(open) == 0:
		return nil
	case len(resp.GetFailures()) > 0 || resp.GetTruncated():
		return n.unavailable("%s is not among the deviations of %q that are known here, and not all shards could tell theirs: try again", open[0], key.Name)
	}
	return fsm.Errorf(typesv1.Reason_REASON_DEVIATION_NOT_FOUND, "no step of version %d of %q has deviated by %s: `spex deviations --spec %s` lists those that have", key.Version, key.Name, open[0], key.Name)
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
	resp := &spexv1.ListModelHistoryResponse{Model: n.modelInfo(ctx, v, false)}
	// When the history is full, something may have gone already.
	resp.Truncated = len(events) == fsm.MaxModelEvents
	for _, e := range slices.Backward(events) {
		if len(resp.Events) == int(req.GetLimit()) {
			resp.Truncated = true
			break
		}
		resp.Events = append(resp.Events, eventMessage(e))
	}
	return resp, nil
}

func eventMessage(e *statev1.ModelEvent) *spexv1.ModelEvent {
	return &spexv1.ModelEvent{
		Kind: e.GetKind(), Time: timestamppb.New(time.Unix(0, e.GetTime())), FirstTime: timestampOf(e.GetFirstTime()),
		Version: e.GetVersion(), ModeRevision: e.GetModeRevision(), Added: e.GetAdded(), Removed: e.GetRemoved(),
		Principal: e.GetPrincipal(), Owner: e.GetOwner(), Reason: e.GetReason(), ExpiresAt: timestampOf(e.GetExpiresAt()), Transitions: e.GetTransitions(),
	}
}

// timestampOf is nil for 0.
func timestampOf(nanos int64) *timestamppb.Timestamp {
	if nanos == 0 {
		return nil
	}
	return timestamppb.New(time.Unix(0, nanos))
}

// noteRejections adds to deviations what was noted about them, and what the
// catalog found that they do together. The shards'
// answer is worth more than the newest notes: without the catalog's leader those
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
		key := fsm.SpecKey{Namespace: req.GetNamespace(), Name: d.GetSpec(), Version: d.GetSpecVersion()}
		t := modelTransitions([]*typesv1.Transition{d.GetTransition()})[0]
		d.Joint = n.catalog.machine.Joint(key, t)
		r, ok := n.catalog.machine.Review(key, t)
		if ok && !r.Accepted {
			d.Rejection = &spexv1.Rejection{Owner: r.Owner, Reason: r.Reason, Principal: r.Principal, Time: timestamppb.New(r.At)}
		}
	}
}

// withdraw proposes to take out of a model what was accepted until a time that
// is over by this node's clock; whether it is by the log's, Apply decides.
func (c *catalog) withdraw(ctx context.Context, m fsm.ModelStatus) {
	if m.NextExpiry.IsZero() || m.Mode == typesv1.ModelMode_MODEL_MODE_SEALING || !c.node.cfg.Now().After(m.NextExpiry) {
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
