package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// instanceKey names an instance whatever its incarnation.
type instanceKey struct{ namespace, id string }

// keyOf returns the instance of a step. An empty namespace is the default one.
func keyOf(r *spexv1.TransitionRequest) instanceKey {
	return instanceKey{cmp.Or(r.GetNamespace(), "default"), r.GetId()}
}

// prepare returns a copy of a step with the namespace and request id filled in.
func (c *Client) prepare(r *spexv1.TransitionRequest) *spexv1.TransitionRequest {
	out := proto.CloneOf(r)
	if out.Namespace == "" {
		out.Namespace = c.opts.Namespace
	}
	if out.RequestId == "" {
		out.RequestId = c.opts.NewRequestID()
	}
	return out
}

// TransitionBatch records up to MaxBatch steps and returns their results in the
// order of the steps. Steps of one instance are applied in their order, and after
// one that failed the later ones of that instance are not applied; instances do
// not affect each other. Namespaces and request ids that are empty are filled in
// (the steps given are not changed); the results have the ids.
//
// Steps whose failure passes are sent again, each with its request id, together
// with the later steps of their instances. The error is nil when every step has
// its final result, be it a refusal: see ResultError. Otherwise the results still
// have the length of the batch, and a step without a final result has the error of
// its last attempt.
func (c *Client) TransitionBatch(ctx context.Context, steps []*spexv1.TransitionRequest) ([]*spexv1.TransitionResult, error) {
	if len(steps) > MaxBatch {
		return nil, &Error{
			Reason: typesv1.Reason_REASON_LIMIT_EXCEEDED, Code: codes.InvalidArgument, NotApplied: true,
			Message: fmt.Sprintf("a batch has %d steps, at most %d are allowed: send several", len(steps), MaxBatch),
		}
	}
	if len(steps) == 0 {
		return nil, nil
	}
	b := &batch{
		steps:   make([]*spexv1.TransitionRequest, len(steps)),
		results: make([]*spexv1.TransitionResult, len(steps)),
		doubt:   make([]bool, len(steps)),
	}
	for i, s := range steps {
		b.steps[i] = c.prepare(s)
		b.open = append(b.open, i)
	}
	err := c.do(ctx, call{name: "TransitionBatch", write: true}, func(ctx context.Context, ep *endpoint) (bool, error) {
		return c.sendBatch(ctx, ep, b)
	})
	if err != nil {
		b.giveUp(err)
		return b.results, err
	}
	return b.results, nil
}

// batch is a TransitionBatch under way.
type batch struct {
	steps   []*spexv1.TransitionRequest
	results []*spexv1.TransitionResult
	// doubt marks steps that an attempt without an answer may have applied.
	doubt []bool
	// open are the indexes of the steps without a final result, ascending.
	open []int
}

// sendBatch sends the open steps once. When some stay open it fails with the
// reason of the first, so that the retry loop goes on.
func (c *Client) sendBatch(ctx context.Context, ep *endpoint, b *batch) (bool, error) {
	req := &spexv1.TransitionBatchRequest{}
	for _, i := range b.open {
		req.Transitions = append(req.Transitions, b.steps[i])
	}
	var to peer.Peer
	resp, err := spexv1.NewInstanceServiceClient(ep.conn).TransitionBatch(ctx, req, grpc.Peer(&to))
	if err != nil {
		sent := to.Addr != nil
		if sent && !fromRPC(err).NotApplied {
			for _, i := range b.open {
				b.doubt[i] = true
			}
		}
		return sent, err
	}
	if len(resp.GetResults()) != len(b.open) {
		return true, fmt.Errorf("client: the server answered %d results for %d steps", len(resp.GetResults()), len(b.open))
	}
	if e := b.take(resp.GetResults()); e != nil {
		return true, e.status()
	}
	return true, nil
}

// take stores the results of the open steps and finds out which are to be sent
// again: for each instance everything from its first step whose failure passes.
// It returns the failure of the first of them.
func (b *batch) take(results []*spexv1.TransitionResult) *Error {
	var first *Error
	again := make(map[instanceKey]bool)
	var open []int
	for n, i := range b.open {
		r := results[n]
		if r.RequestId == "" {
			r.RequestId = b.steps[i].RequestId
		}
		b.results[i] = r
		key := keyOf(b.steps[i])
		if again[key] {
			open = append(open, i)
			continue
		}
		var e *Error
		if !errors.As(ResultError(r), &e) || !e.Temporary() {
			if d := r.GetError(); d != nil && b.doubt[i] {
				d.NotApplied = false
			}
			continue
		}
		if !e.NotApplied {
			b.doubt[i] = true
		}
		again[key] = true
		open = append(open, i)
		if first == nil {
			first = e
		}
	}
	b.open = open
	return first
}

// giveUp fills in results for the steps that are still open, and corrects what
// is said about steps that an earlier attempt may have applied.
func (b *batch) giveUp(err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Message: err.Error(), NotApplied: true}
	}
	for _, i := range b.open {
		r := b.results[i]
		if r.GetError() == nil {
			r = &spexv1.TransitionResult{
				RequestId: b.steps[i].RequestId,
				Outcome:   &spexv1.TransitionResult_Error{Error: e.toDetail()},
			}
			b.results[i] = r
		}
		r.GetError().NotApplied = !b.doubt[i] && (e.NotApplied || r.GetError().GetNotApplied())
	}
}
