package client

import (
	"context"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Event is what a Handler is told about one call.
type Event struct {
	// Operation is the method: Init, Transition, Delete, DeleteMatching or Mock. The
	// asynchronous forms have the name of the other.
	Operation string
	// Async is set when nobody waits for the call.
	Async bool
	// Spec is set for Init and Mock, for DeleteMatching if the filter has one, and
	// from the response for the rest.
	Spec string
	// ID is the identifier of the instance; empty for DeleteMatching.
	ID string
	// Action is empty unless the operation is Transition; State is where the step
	// leads, and empty for an Init into the specification's initial state.
	Action, State string
	// Response is nil when nothing was stored, and for Delete.
	Response *spexv1.StepResponse
	// Err is what the call returns unless the handler says otherwise. It is nil for
	// a deviation that the policy of the specification accepts.
	Err error
}

// Deviates reports whether the step is stored and deviates from the model,
// accepted or not.
func (e *Event) Deviates() bool { return deviates(e.Response) }

// Handler is called for every call that failed and for every step that deviates,
// in this process and after the step was stored, and decides what the call
// returns: Err unchanged leaves it to the policy of the specification, nil
// overrides an error, another error replaces it. An asynchronous call that is not
// made, since one before it failed or the manager is closed, has failed as well.
// The handler runs on the goroutine of the caller, or on one of the manager's for
// the asynchronous forms, so that it may be called by many at once; it may use the
// manager, but Flush from an asynchronous call would wait for itself.
//
// Batches and streams have results of their own and no handler.
type Handler func(ctx context.Context, e *Event) error

// decide asks the handler, which may be nil, when there is something to decide.
func (h Handler) decide(ctx context.Context, e Event, err error) error {
	if h == nil || err == nil && !deviates(e.Response) {
		return err
	}
	if e.Spec == "" {
		e.Spec = e.Response.GetSpec()
	}
	e.Async, e.Err = isAsync(ctx), err
	return h(ctx, &e)
}

type asyncMark struct{}

func isAsync(ctx context.Context) bool { return ctx.Value(asyncMark{}) != nil }
