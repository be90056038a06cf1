package transport

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// TransitionStream applies the steps that a client sends for as long as it
// likes. See stepStream for how.
func (s *apiServer) TransitionStream(stream grpc.BidiStreamingServer[spexv1.TransitionRequest, spexv1.TransitionResult]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	t := &stepStream{
		api:      s,
		ctx:      ctx,
		stream:   stream,
		window:   make(chan struct{}, s.opts.StreamWindow),
		arrived:  make(chan *streamStep, s.opts.StreamWindow),
		finished: make(chan *stepCall, s.opts.StreamCalls),
		lanes:    make(map[instanceKey]*lane),
	}
	// The receiver is blocked in Recv when the stream ends from our side, and
	// only our return ends that: see Lifecycle.Wait.
	s.opts.Lifecycle.helpers.Go(t.receive)
	err := t.run()
	cancel()
	t.calls.Wait()
	s.metrics.inFlight.Sub(float64(t.held))
	return err
}

// stepStream is one TransitionStream.
//
// A receiver goroutine reads steps as long as fewer than the window are
// unanswered. The handler's goroutine, the only one that touches the fields
// below `finished` and that sends, queues them by instance in lanes. It hands
// all lanes that have steps and are not busy to the backend in one call, at
// once if fewer than StreamCalls calls are under way: a lone step never waits,
// and under load the next call takes what arrived during the ones before. A
// lane is busy while a call has steps of it, which keeps the order of an
// instance. When a step fails, those behind it in its lane are answered as
// skipped, so that what the server holds of an instance is treated like a batch.
type stepStream struct {
	api      *apiServer
	ctx      context.Context
	stream   grpc.BidiStreamingServer[spexv1.TransitionRequest, spexv1.TransitionResult]
	window   chan struct{}    // holds a token for each step from before its Recv to after its answer
	arrived  chan *streamStep // closed by the receiver; never full, since the window is as large
	finished chan *stepCall   // never full, since it has room for every call
	calls    sync.WaitGroup

	recvErr error // why the receiver ended; set before arrived is closed
	lanes   map[instanceKey]*lane
	ready   []*lane // lanes with steps that are not busy, in order of arrival
	running int     // calls under way, <= StreamCalls
	held    int     // steps read and not answered, <= window
}

// streamStep is a step that has been read. refused is set if it is malformed.
type streamStep struct {
	req     *spexv1.TransitionRequest
	refused *typesv1.ErrorDetail
}

// lane holds the steps of one instance that wait, in their order.
type lane struct {
	key   instanceKey
	steps []*streamStep
	busy  bool
}

// stepCall is one call of the backend. lanes[i] is the lane of steps[i].
type stepCall struct {
	steps   []*spexv1.TransitionRequest
	lanes   []*lane
	results []*spexv1.TransitionResult
}

// receive reads steps until the client closes its side or the stream ends.
func (t *stepStream) receive() {
	defer close(t.arrived)
	for {
		select {
		case t.window <- struct{}{}:
		case <-t.ctx.Done():
			t.recvErr = t.ctx.Err()
			return
		}
		req, err := t.stream.Recv()
		if err != nil {
			t.recvErr = err
			return
		}
		step := &streamStep{req: req}
		if err := api.CheckTransition(req, t.api.opts.NewRequestID); err != nil {
			step.refused = detailFor(err)
		}
		t.arrived <- step
	}
}

// run works until the client has closed its side and every step is answered,
// or the stream cannot go on.
func (t *stepStream) run() error {
	arrived, draining := t.arrived, t.api.opts.Lifecycle.draining
	var end error
	for arrived != nil || t.running > 0 || len(t.ready) > 0 {
		select {
		case step, ok := <-arrived:
			if !ok {
				if !errors.Is(t.recvErr, io.EOF) {
					return t.recvErr
				}
				arrived = nil
				break
			}
			t.queue(step)
			t.queueArrived()
		case call := <-t.finished:
			if err := t.complete(call); err != nil {
				return err
			}
		case <-draining:
			// What is under way is finished, the rest is for another node.
			arrived, draining = nil, nil
			t.queueArrived()
			end = fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE,
				"the node is stopping; send the steps that were not answered to another node, with the same request ids")
			if err := t.refuseQueued(detailFor(end)); err != nil {
				return err
			}
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
		if err := t.dispatch(); err != nil {
			return err
		}
	}
	return end
}

// queueArrived queues what has arrived without waiting for more.
func (t *stepStream) queueArrived() {
	for {
		select {
		case step, ok := <-t.arrived:
			if !ok {
				return // run sees it again
			}
			t.queue(step)
		default:
			return
		}
	}
}

func (t *stepStream) queue(step *streamStep) {
	t.held++
	t.api.metrics.inFlight.Inc()
	key := keyOf(step.req)
	l := t.lanes[key]
	if l == nil {
		l = &lane{key: key}
		t.lanes[key] = l
	}
	l.steps = append(l.steps, step)
	if !l.busy && len(l.steps) == 1 {
		t.ready = append(t.ready, l)
	}
}

// dispatch hands what is ready to the backend, as far as calls are free.
func (t *stepStream) dispatch() error {
	for t.running < t.api.opts.StreamCalls && len(t.ready) > 0 {
		call := new(stepCall)
		for len(t.ready) > 0 && len(call.steps) < spec.MaxBatch {
			l := t.ready[0]
			t.ready = t.ready[1:]
			if refused := l.steps[0].refused; refused != nil {
				if err := t.fail(l, refused); err != nil {
					return err
				}
				continue
			}
			for len(l.steps) > 0 && l.steps[0].refused == nil && len(call.steps) < spec.MaxBatch {
				call.steps = append(call.steps, l.steps[0].req)
				call.lanes = append(call.lanes, l)
				l.steps = l.steps[1:]
			}
			l.busy = true
		}
		if len(call.steps) > 0 {
			t.running++
			t.calls.Go(func() { t.call(call) })
		}
	}
	return nil
}

// call asks the backend. A step has the default deadline, within the stream's.
func (t *stepStream) call(c *stepCall) {
	ctx, cancel := context.WithTimeout(t.ctx, t.api.opts.DefaultTimeout)
	defer cancel()
	c.results = t.api.callSteps(ctx, spexv1.InstanceService_TransitionStream_FullMethodName, c.steps)
	t.finished <- c
}

// complete answers the steps of a call and frees their lanes.
func (t *stepStream) complete(c *stepCall) error {
	t.running--
	failed := make(map[*lane]*typesv1.ErrorDetail)
	for i, result := range c.results {
		if err := t.answer(result); err != nil {
			return err
		}
		if d := result.GetError(); d != nil && failed[c.lanes[i]] == nil {
			failed[c.lanes[i]] = d
		}
	}
	for _, l := range c.lanes {
		if !l.busy {
			continue // it had several steps in the call
		}
		l.busy = false
		if d := failed[l]; d != nil {
			if err := t.skip(l, d); err != nil {
				return err
			}
			continue
		}
		if len(l.steps) == 0 {
			delete(t.lanes, l.key)
			continue
		}
		t.ready = append(t.ready, l)
	}
	return nil
}

// fail answers the first step of a lane with d, and those behind it as skipped.
func (t *stepStream) fail(l *lane, d *typesv1.ErrorDetail) error {
	first := l.steps[0]
	l.steps = l.steps[1:]
	if err := t.answer(failedStep(first.req, d)); err != nil {
		return err
	}
	return t.skip(l, d)
}

// skip answers all steps of a lane, whose last step failed with d, and forgets the lane.
func (t *stepStream) skip(l *lane, d *typesv1.ErrorDetail) error {
	delete(t.lanes, l.key)
	for _, step := range l.steps {
		if err := t.answer(failedStep(step.req, skippedAfter(d))); err != nil {
			return err
		}
	}
	l.steps = nil
	return nil
}

// refuseQueued answers every step that no call has with d.
func (t *stepStream) refuseQueued(d *typesv1.ErrorDetail) error {
	t.ready = nil
	for _, l := range t.lanes {
		for _, step := range l.steps {
			if err := t.answer(failedStep(step.req, d)); err != nil {
				return err
			}
		}
		l.steps = nil
	}
	return nil
}

// answer sends one result and makes room for the next step. It blocks while
// the client does not read its answers, which in the end stops the reading.
func (t *stepStream) answer(r *spexv1.TransitionResult) error {
	if err := t.stream.Send(r); err != nil {
		return err
	}
	t.api.metrics.step(r)
	t.api.metrics.inFlight.Dec()
	t.held--
	<-t.window
	return nil
}
