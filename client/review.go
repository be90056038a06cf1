package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Review is a decision about deviations of one version of a specification.
type Review struct {
	Spec string
	// SpecVersion is the version of the specification; 0 means the newest.
	SpecVersion uint64
	// Transitions are 1 to 100. An initialisation has an empty From and the
	// action __initialisation__.
	Transitions []*typesv1.Transition
	// Owner says who answers for the decision and Reason why, in up to 256 and
	// 1,024 bytes. Neither may be empty.
	Owner, Reason string
}

// Acceptance is a Review that puts its transitions into the model.
type Acceptance struct {
	Review
	// Expires is when the transitions are taken out of the model again, unless
	// they are accepted anew; the zero time means never.
	Expires time.Time
	// Force accepts also what makes the model not equivalent to its
	// specification, and what nobody has seen deviate.
	Force bool
}

func (a Acceptance) request(namespace string) *spexv1.AcceptDeviationsRequest {
	req := &spexv1.AcceptDeviationsRequest{
		Namespace: namespace, Spec: a.Spec, SpecVersion: a.SpecVersion, Transitions: a.Transitions, Owner: a.Owner, Reason: a.Reason, Force: a.Force,
	}
	if !a.Expires.IsZero() {
		req.ExpiresAt = timestamppb.New(a.Expires)
	}
	return req
}

func (r Review) request(namespace string) *spexv1.RejectDeviationsRequest {
	return &spexv1.RejectDeviationsRequest{
		Namespace: namespace, Spec: r.Spec, SpecVersion: r.SpecVersion, Transitions: r.Transitions, Owner: r.Owner, Reason: r.Reason,
	}
}

func historyRequest(namespace, spec string, specVersion uint64, limit int) *spexv1.ListModelHistoryRequest {
	return &spexv1.ListModelHistoryRequest{Namespace: namespace, Spec: spec, SpecVersion: specVersion, Limit: uint32(max(0, limit))}
}

// AcceptDeviations puts deviating transitions into the model, and returns when
// every shard works with it. It fails with ErrModelNotEquivalent, unless it is
// forced, when the model would not be equivalent to its specification with
// them, and with ErrDeviationNotFound when no step has deviated so. Doing it
// twice is the same as once.
func (c *Client) AcceptDeviations(ctx context.Context, a Acceptance) (*spexv1.AcceptDeviationsResponse, error) {
	req := a.request(c.opts.Namespace)
	cl := call{name: "AcceptDeviations", write: true, unbounded: true}
	resp, err := unary(ctx, c, cl, req, func(ep *endpoint) rpc[spexv1.AcceptDeviationsRequest, spexv1.AcceptDeviationsResponse] {
		return spexv1.NewModelServiceClient(ep.conn).AcceptDeviations
	})
	if err != nil {
		return nil, err
	}
	c.sawCatalog(resp.GetCatalogIndex())
	return resp, nil
}

// RejectDeviations notes that deviations were looked at and are wrong. It does
// not change the model: such steps deviate as before, and do not count as
// unreviewed any more. Doing it twice is the same as once.
func (c *Client) RejectDeviations(ctx context.Context, r Review) (*spexv1.RejectDeviationsResponse, error) {
	req := r.request(c.opts.Namespace)
	cl := call{name: "RejectDeviations", write: true}
	resp, err := unary(ctx, c, cl, req, func(ep *endpoint) rpc[spexv1.RejectDeviationsRequest, spexv1.RejectDeviationsResponse] {
		return spexv1.NewModelServiceClient(ep.conn).RejectDeviations
	})
	if err != nil {
		return nil, err
	}
	c.sawCatalog(resp.GetCatalogIndex())
	return resp, nil
}

// ModelHistory reads what happened to the model of a version of a
// specification, 0 being the newest: up to limit events, newest first, and for 0
// all that are kept, which are the last 100.
func (c *Client) ModelHistory(ctx context.Context, spec string, specVersion uint64, limit int) (*spexv1.ListModelHistoryResponse, error) {
	req := historyRequest(c.opts.Namespace, spec, specVersion, limit)
	return unary(ctx, c, call{name: "ListModelHistory"}, req, func(ep *endpoint) rpc[spexv1.ListModelHistoryRequest, spexv1.ListModelHistoryResponse] {
		return spexv1.NewModelServiceClient(ep.conn).ListModelHistory
	})
}

// ReplaceModel is ImportModel that takes everything else out of the model.
func (c *Client) ReplaceModel(ctx context.Context, spec string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error) {
	return c.importModel(ctx, "ReplaceModel", spexv1.ImportMode_IMPORT_MODE_REPLACE, spec, learning, transitions)
}
