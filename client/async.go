package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Defaults of the asynchronous forms.
const (
	// DefaultAsyncBuffer is how many calls may be handed over and not answered.
	DefaultAsyncBuffer = 1024
	// DefaultAsyncWorkers is how many calls are under way at the same time.
	DefaultAsyncWorkers = 16
)

// ErrFull is returned by the asynchronous forms when the buffer is full and
// Async.FailWhenFull is set. Nothing was handed over.
var ErrFull = errors.New("client: the buffer of asynchronous calls is full")

// Async configures the asynchronous forms of Init and Transition.
type Async struct {
	// Buffer is how many calls may be handed over and not answered; 0 means DefaultAsyncBuffer.
	Buffer int
	// Workers is how many instances have a call under way at the same time; 0 means DefaultAsyncWorkers.
	Workers int
	// FailWhenFull makes a call return ErrFull when the buffer is full, instead of
	// waiting for room.
	FailWhenFull bool
	// OnError is told about every call that failed, those that were not made
	// included, after the Handler had its say: Err is never nil. It is called by
	// many goroutines at once. nil means that nobody is told but the Handler.
	OnError func(*Event)
}

// withDefaults returns a copy with every default filled in.
func (a Async) withDefaults() (Async, error) {
	if a.Buffer < 0 || a.Workers < 0 {
		return a, errors.New("client: Async.Buffer or Async.Workers is negative")
	}
	if a.Buffer == 0 {
		a.Buffer = DefaultAsyncBuffer
	}
	if a.Workers == 0 {
		a.Workers = DefaultAsyncWorkers
	}
	return a, nil
}

// asyncCall is one call that nobody waits for.
type asyncCall struct {
	event Event
	// seq counts the calls of the queue as they are handed over.
	seq uint64
	run func(ctx context.Context) error
}

// asyncQueue runs calls in the background: those of one instance one after
// another in the order in which they were handed over, those of different
// instances beside each other. Workers live only while there is something to do.
type asyncQueue struct {
	opts    Async
	handler Handler // nil when there is none
	// ctx ends with the manager.
	ctx context.Context
	// room has one element for each call that was handed over and not answered.
	room chan struct{}

	mu     sync.Mutex // guards the fields below
	closed bool
	// chains holds what waits by instance; an instance whose call is under way has an entry.
	chains map[string][]*asyncCall
	// ready are the instances whose next call may begin, in order.
	ready   []string
	workers int
	handed  uint64 // calls that were handed over
	open    int    // those of them that have no answer
	flushes []*flush
	running sync.WaitGroup
}

// flush waits for the calls up to a number.
type flush struct {
	upTo uint64
	left int           // how many of them have no answer
	done chan struct{} // closed when left is 0
}

func newAsyncQueue(ctx context.Context, opts Async, handler Handler) *asyncQueue {
	return &asyncQueue{opts: opts, handler: handler, ctx: context.WithValue(ctx, asyncMark{}, true), room: make(chan struct{}, opts.Buffer), chains: map[string][]*asyncCall{}}
}

// init hands an Init over, which do makes.
func (q *asyncQueue) init(ctx context.Context, ic initCall, do func(context.Context, initCall) (*spexv1.StepResponse, error)) error {
	return q.add(ctx, &asyncCall{
		event: Event{Operation: "Init", Spec: ic.req.Spec, ID: ic.req.Id, State: ic.req.InitialState},
		run: func(ctx context.Context) error {
			_, err := do(ctx, ic)
			return err
		},
	})
}

// transition hands a Transition over, which do makes.
func (q *asyncQueue) transition(ctx context.Context, sc stepCall, do func(context.Context, stepCall) (*spexv1.StepResponse, error)) error {
	return q.add(ctx, &asyncCall{
		event: Event{Operation: "Transition", ID: sc.req.Id, Action: sc.req.Action, State: sc.req.ToState},
		run: func(ctx context.Context) error {
			_, err := do(ctx, sc)
			return err
		},
	})
}

// add hands a call over, and waits for room until ctx ends unless it is to fail.
func (q *asyncQueue) add(ctx context.Context, call *asyncCall) error {
	select {
	case q.room <- struct{}{}:
	default:
		if q.opts.FailWhenFull {
			return ErrFull
		}
		select {
		case q.room <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("client: wait for room among the asynchronous calls: %w", context.Cause(ctx))
		case <-q.ctx.Done():
			return ErrClosed
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		<-q.room
		return ErrClosed
	}
	id := call.event.ID
	chain, busy := q.chains[id]
	q.chains[id] = append(chain, call)
	q.handed++
	q.open++
	call.seq = q.handed
	if busy {
		return nil
	}
	q.ready = append(q.ready, id)
	if q.workers < q.opts.Workers {
		q.workers++
		q.running.Go(q.work)
	}
	return nil
}

// work runs calls until none is ready.
func (q *asyncQueue) work() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) > 0 {
		id := q.ready[0]
		q.ready = q.ready[1:]
		call := q.chains[id][0]
		q.mu.Unlock()
		err := q.run(call)
		q.mu.Lock()
		chain := q.chains[id][1:]
		q.doneLocked(call)
		if len(chain) == 0 {
			delete(q.chains, id)
			continue
		}
		if err != nil && !isDeviation(err) {
			// What was meant to follow a step that is not there must not be stored.
			delete(q.chains, id)
			q.mu.Unlock()
			for _, c := range chain {
				q.refuse(c, skipped(err))
			}
			q.mu.Lock()
			q.doneLocked(chain...)
			continue
		}
		q.chains[id] = chain
		q.ready = append(q.ready, id)
	}
	q.workers--
}

// run makes a call and reports its error.
func (q *asyncQueue) run(call *asyncCall) error {
	if q.ctx.Err() != nil {
		return q.refuse(call, ErrClosed)
	}
	err := call.run(q.ctx) // which asks the handler
	q.report(call, err)
	return err
}

// refuse reports a call that is not made, and returns what the handler says of it.
func (q *asyncQueue) refuse(call *asyncCall, err error) error {
	err = q.handler.decide(q.ctx, call.event, err)
	q.report(call, err)
	return err
}

func (q *asyncQueue) report(call *asyncCall, err error) {
	if err == nil || q.opts.OnError == nil {
		return
	}
	e := call.event
	e.Async, e.Err = true, err
	var d *DeviationError
	if errors.As(err, &d) {
		e.Response = d.Response
	}
	q.opts.OnError(&e)
}

// skipped is the error of a call behind one of its instance that failed.
func skipped(before error) error {
	e := &Error{NotApplied: true, Message: "not sent, since an earlier call for the same instance failed: " + before.Error(), causes: []error{before}}
	var b *Error
	if errors.As(before, &b) {
		e.Reason, e.Code, e.Message = b.Reason, b.Code, "not sent, since an earlier call for the same instance failed: "+b.Message
	}
	return e
}

func isDeviation(err error) bool {
	var d *DeviationError
	return errors.As(err, &d)
}

// doneLocked notes that calls have their answers.
func (q *asyncQueue) doneLocked(calls ...*asyncCall) {
	q.open -= len(calls)
	for _, call := range calls {
		<-q.room
		for _, f := range q.flushes {
			if call.seq > f.upTo {
				continue
			}
			if f.left--; f.left == 0 {
				close(f.done)
			}
		}
	}
	q.flushes = slices.DeleteFunc(q.flushes, func(f *flush) bool { return f.left == 0 })
}

// flush waits until everything that was handed over before has its answer.
func (q *asyncQueue) flush(ctx context.Context) error {
	q.mu.Lock()
	if q.open == 0 {
		q.mu.Unlock()
		return nil
	}
	f := &flush{upTo: q.handed, left: q.open, done: make(chan struct{})}
	q.flushes = append(q.flushes, f)
	q.mu.Unlock()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("client: flush: %w", context.Cause(ctx))
	}
}

// close takes no more calls and waits for those that were handed over; ctx has
// ended, so that they end at once.
func (q *asyncQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.running.Wait()
}

// InitAsync hands an Init over and returns at once. The calls of one instance,
// InitAsync and TransitionAsync alike, are made in the order in which they were
// handed over, each after the answer to the one before; different instances do
// not wait for each other. When one fails, those of its instance that wait behind
// it are not made and fail with the same reason, unless the Handler overrides it;
// a deviation is stored and no failure. Options.Handler and Options.Async.OnError
// learn of every call that failed, those that were not made included.
//
// When Async.Buffer calls have no answer yet it waits for room until ctx ends, or
// returns ErrFull. ctx bounds nothing else: the call itself has Options.Timeout.
func (c *Client) InitAsync(ctx context.Context, spec, id string, opts ...InitOption) error {
	return c.async.init(ctx, c.requests().init(spec, id, opts), c.init)
}

// TransitionAsync hands a Transition over and returns at once; see InitAsync.
func (c *Client) TransitionAsync(ctx context.Context, id, action, state string, opts ...StepOption) error {
	return c.async.transition(ctx, c.requests().step(id, action, state, opts), c.transition)
}

// Flush waits until every asynchronous call that was handed over before has its
// answer, however many are handed over while it waits. What the answers are, the
// Handler and Async.OnError are told.
func (c *Client) Flush(ctx context.Context) error { return c.async.flush(ctx) }
