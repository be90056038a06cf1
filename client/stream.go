package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// DefaultWindow is how many steps a Stream holds without WithWindow.
const DefaultWindow = 256

// maxWindow bounds WithWindow.
const maxWindow = 10_000

// StreamOption is an option of Client.Stream.
type StreamOption func(*Stream)

// WithWindow sets how many steps may be between Send and Recv, 1 to 10,000.
func WithWindow(n int) StreamOption {
	return func(s *Stream) { s.window = n }
}

// Stream records steps over one connection without waiting for each answer.
//
// Steps of one instance are applied in the order of Send: a step is sent when
// the one before it has its final result. Steps of different instances travel
// side by side, and results come in the order of completion. When the connection
// breaks, the stream goes on over another one and sends what was not answered again,
// each step with its request id. A step that gets no final result within
// Options.Timeout of its Send is given up, and with it the steps of its instance
// that were waiting behind it, which are certain not to have been applied.
//
// Send and Recv may be called at the same time, and each from many goroutines.
// A program that sends more steps than the window must receive meanwhile.
type Stream struct {
	c      *Client
	window int

	ctx    context.Context
	cancel context.CancelFunc
	// slots has an element for each step between Send and Recv.
	slots chan struct{}
	// out takes the results. It never blocks, since it is as large as slots.
	out chan *spexv1.TransitionResult
	// arrived tells the run loop about a step after none, and about the end after CloseSend.
	arrived chan struct{}
	// sendable tells the sender that ready has steps.
	sendable chan struct{}
	// done is closed when the run loop has ended.
	done chan struct{}

	// mu guards the fields below it.
	mu sync.Mutex
	// queues has the unanswered steps of each instance, the first of which may be sent.
	queues map[instanceKey][]*streamStep
	// byID has all unanswered steps.
	byID map[string]*streamStep
	// ready are steps to send, in order; some may have been given up meanwhile.
	ready []*streamStep
	// refused counts failures in a row that another node might not have.
	refused    int
	sendClosed bool
	// err is why the stream ended early.
	err error
}

// stepState is where an unanswered step is.
type stepState int

const (
	stepQueued   stepState = iota // behind another step of its instance
	stepReady                     // to be sent
	stepInFlight                  // sent over the present connection
	stepDelayed                   // failed, to be sent again after notBefore
	stepDone                      // has its final result
)

// streamStep is a step between Send and its final result.
type streamStep struct {
	req       *spexv1.TransitionRequest
	state     stepState
	deadline  time.Time
	sentAt    time.Time
	notBefore time.Time
	attempts  int
	// doubt is set once an attempt may have been applied.
	doubt bool
	last  *Error
}

// Stream opens a stream, which ends with ctx, with Close, or when everything was
// answered after CloseSend. The connection is made with the first step.
func (c *Client) Stream(ctx context.Context, opts ...StreamOption) (*Stream, error) {
	s := &Stream{
		c: c, window: DefaultWindow,
		arrived:  make(chan struct{}, 1),
		sendable: make(chan struct{}, 1),
		done:     make(chan struct{}),
		queues:   make(map[instanceKey][]*streamStep),
		byID:     make(map[string]*streamStep),
	}
	for _, o := range opts {
		o(s)
	}
	if s.window < 1 || s.window > maxWindow {
		return nil, fmt.Errorf("client: the window of a stream is %d, it must be 1 to %d", s.window, maxWindow)
	}
	s.slots = make(chan struct{}, s.window)
	s.out = make(chan *spexv1.TransitionResult, s.window)

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	c.calls.Add(1)
	c.stats.calls.Add(1)
	s.ctx, s.cancel = context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, s.cancel)
	go func() {
		defer c.calls.Done()
		defer stop()
		defer s.cancel()
		s.run()
	}()
	return s, nil
}

// Send hands over a step and returns its request id, which its result will have.
// It waits while the window is full. The step is not changed; an empty namespace or
// request id is filled in. A request id that is still unanswered is refused.
func (s *Stream) Send(ctx context.Context, step *spexv1.TransitionRequest) (string, error) {
	if step == nil {
		return "", errors.New("client: Send of a nil step")
	}
	req := s.c.prepare(step)
	select {
	case s.slots <- struct{}{}:
	case <-s.done:
		return "", s.endErr()
	case <-ctx.Done():
		return "", fmt.Errorf("client: send: %w", ctx.Err())
	}
	if err := s.enqueue(req); err != nil {
		<-s.slots
		return "", err
	}
	return req.RequestId, nil
}

// enqueue adds a step behind those of its instance.
func (s *Stream) enqueue(req *spexv1.TransitionRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sendClosed {
		return fmt.Errorf("client: Send after CloseSend: %w", ErrClosed)
	}
	select {
	case <-s.done:
		return s.endErrLocked()
	default:
	}
	if s.byID[req.RequestId] != nil {
		return &Error{
			Reason: typesv1.Reason_REASON_REQUEST_ID_REUSED, Code: codes.InvalidArgument, RequestID: req.RequestId,
			NotApplied: true, Message: fmt.Sprintf("the request id %q is still unanswered in this stream", req.RequestId),
		}
	}
	st := &streamStep{req: req, deadline: time.Now().Add(s.c.opts.Timeout)}
	s.byID[req.RequestId] = st
	key := keyOf(req)
	s.queues[key] = append(s.queues[key], st)
	if len(s.queues[key]) == 1 {
		s.readyLocked(st)
	}
	if len(s.byID) == 1 {
		signal(s.arrived)
	}
	return nil
}

// Recv returns the next result. After CloseSend it returns io.EOF when all results
// were received. When the stream ended early it returns why, after the
// results that had come in; steps without a result then may or may not be stored.
func (s *Stream) Recv(ctx context.Context) (*spexv1.TransitionResult, error) {
	select {
	case r := <-s.out:
		<-s.slots
		return r, nil
	default:
	}
	select {
	case r := <-s.out:
		<-s.slots
		return r, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("client: receive: %w", ctx.Err())
	case <-s.done:
	}
	// What came in before the end is delivered before it.
	select {
	case r := <-s.out:
		<-s.slots
		return r, nil
	default:
		return nil, s.endErr()
	}
}

// CloseSend says that no more steps follow. Those handed over are still sent and answered.
func (s *Stream) CloseSend() {
	s.mu.Lock()
	s.sendClosed = true
	s.mu.Unlock()
	signal(s.arrived)
}

// Close ends the stream at once and waits for it. Steps without a result may or may not be stored.
func (s *Stream) Close() error {
	s.cancel()
	<-s.done
	return nil
}

// endErr is what Send and Recv return after the end.
func (s *Stream) endErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endErrLocked()
}

func (s *Stream) endErrLocked() error {
	if s.err != nil {
		return s.err
	}
	return io.EOF
}

// finished reports whether everything was answered after CloseSend.
func (s *Stream) finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sendClosed && len(s.byID) == 0
}

// unanswered is the number of steps without a final result.
func (s *Stream) unanswered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

// readyLocked puts a step at the end of those to be sent.
func (s *Stream) readyLocked(st *streamStep) {
	st.state = stepReady
	s.ready = append(s.ready, st)
	signal(s.sendable)
}

// finishLocked gives a step its final result, and lets the next of its instance go.
func (s *Stream) finishLocked(st *streamStep, r *spexv1.TransitionResult) {
	key := keyOf(st.req)
	st.state = stepDone
	delete(s.byID, st.req.RequestId)
	if rest := s.queues[key][1:]; len(rest) > 0 {
		s.queues[key] = rest
		s.readyLocked(rest[0])
	} else {
		delete(s.queues, key)
	}
	s.out <- r
	if s.sendClosed && len(s.byID) == 0 {
		signal(s.arrived)
	}
}

// signal wakes whoever waits for ch, now or next.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
