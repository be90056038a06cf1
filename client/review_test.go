package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// The fake repeats what it was asked in the fields of its answer, so
// that the tests see requests as they arrive.
func (n *fakeNode) AcceptDeviations(_ context.Context, r *spexv1.AcceptDeviationsRequest) (*spexv1.AcceptDeviationsResponse, error) {
	if r.Owner == "nobody" {
		return nil, detailed(codes.FailedPrecondition, &typesv1.ErrorDetail{Reason: typesv1.Reason_REASON_MODEL_NOT_EQUIVALENT, Message: "scripted", NotApplied: true})
	}
	err := n.handle("", func() {})
	return &spexv1.AcceptDeviationsResponse{
		Added: uint32(len(r.Transitions)), Changed: r.Force, CatalogIndex: uint64(46 + r.SpecVersion), Model: &spexv1.ModelInfo{Spec: r.Namespace + "/" + r.Spec + "/" + r.Reason},
		Before: &spexv1.ModelGrade{Grade: r.ExpiresAt.AsTime().Format(time.RFC3339)},
	}, err
}

func (n *fakeNode) RejectDeviations(_ context.Context, r *spexv1.RejectDeviationsRequest) (*spexv1.RejectDeviationsResponse, error) {
	err := n.handle("", func() {})
	return &spexv1.RejectDeviationsResponse{CatalogIndex: 48, Model: &spexv1.ModelInfo{Spec: r.Spec + "/" + r.Owner + "/" + r.Reason, Transitions: uint32(len(r.Transitions))}}, err
}

func (n *fakeNode) ListModelHistory(_ context.Context, r *spexv1.ListModelHistoryRequest) (*spexv1.ListModelHistoryResponse, error) {
	err := n.handle("", func() {})
	return &spexv1.ListModelHistoryResponse{Model: &spexv1.ModelInfo{Spec: r.Spec, SpecVersion: r.SpecVersion}, Events: []*spexv1.ModelEvent{{Added: r.Limit}}}, err
}

// Reviews carry all that was said, are sent again when a node goes away, and
// refusals match their sentinel.
func TestReviews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1", "b:1")
		defer net.stop()
		c := net.client(t, nil, "a:1", "b:1")
		defer c.Close()
		ctx := context.Background()
		review := Review{Spec: "orders", SpecVersion: 1, Owner: "ops", Reason: "why", Transitions: []*typesv1.Transition{{From: "s", Action: "a", To: "t"}}}
		ends := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		net.node("a:1").script = []fault{dropAfter}
		net.node("b:1").script = []fault{reason(typesv1.Reason_REASON_MODEL_CHANGED)}

		accepted, err := c.AcceptDeviations(ctx, Acceptance{Review: review, Expires: ends, Force: true})
		if err != nil || accepted.GetAdded() != 1 || !accepted.GetChanged() || accepted.GetModel().GetSpec() != "default/orders/why" && accepted.GetModel().GetSpec() != "/orders/why" ||
			accepted.GetBefore().GetGrade() != "2030-01-02T03:04:05Z" || c.CatalogIndex() != 47 {
			t.Errorf("accepted: %v, %v, catalog index %d", accepted, err, c.CatalogIndex())
		}
		rejected, err := c.RejectDeviations(ctx, review)
		if err != nil || rejected.GetModel().GetSpec() != "orders/ops/why" || rejected.GetModel().GetTransitions() != 1 || c.CatalogIndex() != 48 {
			t.Errorf("rejected: %v, %v", rejected, err)
		}
		history, err := c.ModelHistory(ctx, "orders", 2, 7)
		if err != nil || history.GetModel().GetSpecVersion() != 2 || history.GetEvents()[0].GetAdded() != 7 {
			t.Errorf("history: %v, %v", history, err)
		}
		review.Owner = "nobody"
		if _, err := c.AcceptDeviations(ctx, Acceptance{Review: review}); !errors.Is(err, ErrModelNotEquivalent) {
			t.Errorf("refused with %v", err)
		}
	})
}

// ReplaceModel says so in the first piece, and ImportModel that it merges.
func TestReplaceModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		var modes []spexv1.ImportMode
		net.node("a:1").importPart = func(r *spexv1.ImportModelRequest) { modes = append(modes, proto.CloneOf(r).GetMode()) }
		c := net.client(t, nil, "a:1")
		defer c.Close()
		ctx := context.Background()
		if _, err := c.ReplaceModel(ctx, "orders", true, nil); err != nil {
			t.Error(err)
		}
		if _, err := c.ImportModel(ctx, "orders", true, nil); err != nil {
			t.Error(err)
		}
		if want := []spexv1.ImportMode{spexv1.ImportMode_IMPORT_MODE_REPLACE, spexv1.ImportMode_IMPORT_MODE_MERGE}; !slices.Equal(modes, want) {
			t.Errorf("modes %v, want %v", modes, want)
		}
	})
}
