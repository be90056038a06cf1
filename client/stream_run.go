package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	// streamTick is how often a stream with unanswered steps looks at its deadlines.
	streamTick = 25 * time.Millisecond
	// maxRefused is how many failures in a row that another node might not have
	// make a stream try another node.
	maxRefused = 5
)

// Why a stream leaves a connection that has not failed.
var (
	errStalled = errors.New("client: the node does not answer")
	errRefused = errors.New("client: the node refuses everything")
	errUnsent  = errors.New("client: a step could not be sent")
)

// passes reports whether a stream goes on over another connection after err.
// io.EOF is a server that ended the stream without a word.
func passes(err error) bool {
	for _, e := range []error{errStalled, errRefused, errUnsent, io.EOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return fromRPC(err).Temporary()
}

// run keeps the stream connected while it has work, until its end.
func (s *Stream) run() {
	defer close(s.done)
	for failures := 0; ; {
		if !s.awaitWork() {
			return
		}
		ep, err := s.c.pool.pick()
		if err != nil {
			s.end(err)
			return
		}
		answered, err := s.serve(ep)
		if err == nil {
			return
		}
		if s.ctx.Err() != nil {
			s.end(s.ctxErr())
			return
		}
		if !passes(err) {
			s.end(fromRPC(err))
			return
		}
		s.resend()
		if errors.Is(err, errStalled) {
			s.c.pool.unanswered(ep)
		} else {
			s.c.pool.leave(ep)
		}
		if failures++; answered {
			failures = 0
		}
		wait := s.c.backoff(failures)
		s.c.stats.reconnects.Add(1)
		s.c.opts.Logger.Info("stream will be opened again", "address", ep.address, "wait", wait, "error", err)
		s.pause(wait)
	}
}

// end keeps why the stream ended.
func (s *Stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// ctxErr is the error of a stream whose context ended.
func (s *Stream) ctxErr() error {
	if s.c.ctx.Err() != nil {
		return fmt.Errorf("client: stream: %w", ErrClosed)
	}
	return fmt.Errorf("client: stream: %w", s.ctx.Err())
}

// awaitWork waits until there are unanswered steps. It returns false at the end of the stream.
func (s *Stream) awaitWork() bool {
	for {
		if s.ctx.Err() != nil {
			s.end(s.ctxErr())
			return false
		}
		if s.finished() {
			return false
		}
		if s.unanswered() > 0 {
			return true
		}
		select {
		case <-s.arrived:
		case <-s.ctx.Done():
		}
	}
}

// pause waits before the next connection, and goes on watching deadlines.
func (s *Stream) pause(d time.Duration) {
	for d > 0 && s.ctx.Err() == nil && s.unanswered() > 0 {
		part := min(d, streamTick)
		sleep(s.ctx, part)
		d -= part
		s.tick()
	}
	s.tick()
}

// serve works over one connection until it fails, or returns nil when the stream
// is finished. It reports whether a step was answered. Its goroutines have ended
// when it returns.
func (s *Stream) serve(ep *endpoint) (answered bool, err error) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	// The bound is for the opening only; after it the ticks watch.
	var opening *time.Timer
	if t := s.c.opts.AttemptTimeout; t > 0 {
		opening = time.AfterFunc(t, cancel)
	}
	stream, err := spexv1.NewInstanceServiceClient(ep.conn).TransitionStream(ctx)
	if opening != nil && !opening.Stop() {
		return false, errStalled
	}
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	s.refused = 0
	if len(s.ready) > 0 {
		signal(s.sendable)
	}
	s.mu.Unlock()

	failed, sent := make(chan error, 1), make(chan error, 1)
	go func() { sent <- s.sendAll(ctx, stream) }()
	go func() { failed <- s.recvAll(stream, &answered) }()
	received, err := s.watch(failed)
	cancel()
	// A step that cannot be sent breaks the stream in gRPC too, and is why.
	if e := <-sent; e != nil && err != nil {
		err = e
	}
	if !received {
		<-failed
	}
	return answered, err
}

// watch waits until the connection fails, a node does not answer, or the stream
// is finished (nil). It reports whether it took the error of failed.
func (s *Stream) watch(failed <-chan error) (received bool, err error) {
	for {
		if s.finished() {
			return false, nil
		}
		var tick <-chan time.Time
		if s.unanswered() > 0 {
			tick = time.After(streamTick)
		}
		select {
		case err := <-failed:
			return true, err
		case <-s.ctx.Done():
			return false, s.ctx.Err()
		case <-s.arrived:
		case <-tick:
			if err := s.tick(); err != nil {
				return false, err
			}
		}
	}
}

// sendAll sends steps as they become ready, until the connection ends. It returns
// errUnsent when that was for a step that no connection takes.
func (s *Stream) sendAll(ctx context.Context, stream grpc.BidiStreamingClient[spexv1.TransitionRequest, spexv1.TransitionResult]) error {
	for {
		st := s.next()
		if st == nil {
			select {
			case <-s.sendable:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		err := stream.Send(st.req)
		if err == nil {
			continue
		}
		// With io.EOF the receiver learns why. Anything else is about this step,
		// for example its size.
		if e := fromRPC(err); !errors.Is(err, io.EOF) && !e.Temporary() {
			e.NotApplied = true
			s.answer(&spexv1.TransitionResult{
				RequestId: st.req.RequestId,
				Outcome:   &spexv1.TransitionResult_Error{Error: e.toDetail()},
			})
			return errUnsent
		}
		return nil
	}
}

// recvAll takes results until the connection ends, which is the error.
func (s *Stream) recvAll(stream grpc.BidiStreamingClient[spexv1.TransitionRequest, spexv1.TransitionResult], answered *bool) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		*answered = true
		s.answer(r)
	}
}

// next takes the next step to send, or nil.
func (s *Stream) next() *streamStep {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ready) > 0 {
		st := s.ready[0]
		s.ready = s.ready[1:]
		if st.state != stepReady {
			continue
		}
		st.state = stepInFlight
		st.sentAt = time.Now()
		st.attempts++
		s.c.stats.attempts.Add(1)
		if st.attempts > 1 {
			s.c.stats.retries.Add(1)
		}
		return st
	}
	return nil
}

// answer takes a result: a failure that passes makes the step wait for another
// attempt, anything else is final.
func (s *Stream) answer(r *spexv1.TransitionResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byID[r.GetRequestId()]
	if st == nil || st.state == stepQueued {
		return
	}
	var e *Error
	if errors.As(ResultError(r), &e) && e.Temporary() {
		if !e.NotApplied {
			st.doubt = true
		}
		if !e.stay() {
			s.refused++
		}
		st.last = e
		st.state = stepDelayed
		st.notBefore = time.Now().Add(s.c.backoff(st.attempts - 1))
		return
	}
	s.refused = 0
	if d := r.GetError(); d != nil && st.doubt {
		d.NotApplied = false
	}
	s.finishLocked(st, r)
}

// tick lets steps that have waited go, gives up those past their deadline, and
// tells when the connection is to be left.
func (s *Stream) tick() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var err error
	for key, queue := range s.queues {
		// The first step of a queue has the earliest deadline, and is the only one sent.
		st := queue[0]
		switch {
		case !now.Before(st.deadline):
			s.giveUpLocked(key)
		case st.state == stepDelayed && !now.Before(st.notBefore):
			s.readyLocked(st)
		case st.state == stepInFlight && s.c.opts.AttemptTimeout > 0 && now.Sub(st.sentAt) > s.c.opts.AttemptTimeout:
			err = errStalled
		}
	}
	if s.refused >= maxRefused {
		err = errRefused
	}
	return err
}

// giveUpLocked gives all steps of an instance their final result: the first
// failed for too long, and the others must not be applied without it.
func (s *Stream) giveUpLocked(key instanceKey) {
	first := s.queues[key][0]
	if first.state == stepInFlight {
		first.doubt = true
	}
	e := &Error{NotApplied: !first.doubt, Message: fmt.Sprintf("gave up after %d attempts in %v", first.attempts, s.c.opts.Timeout)}
	if first.last != nil {
		e.Reason, e.Shard = first.last.Reason, first.last.Shard
		e.Message += ": " + first.last.Message
	}
	if e.Reason == 0 {
		e.Reason = typesv1.Reason_REASON_UNAVAILABLE
	}
	for n, st := range s.queues[key] {
		if n == 1 {
			e = &Error{
				Reason: e.Reason, NotApplied: true,
				Message: fmt.Sprintf("not sent, since the step %s before it was given up", first.req.RequestId),
			}
		}
		s.finishLocked(st, &spexv1.TransitionResult{
			RequestId: st.req.RequestId,
			Outcome:   &spexv1.TransitionResult_Error{Error: e.toDetail()},
		})
	}
}

// resend makes everything that was sent and not answered ready again.
func (s *Stream) resend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var again []*streamStep
	for _, st := range s.byID {
		if st.state == stepInFlight {
			st.doubt = true
			st.state = stepReady
			again = append(again, st)
		}
	}
	slices.SortFunc(again, func(a, b *streamStep) int { return a.sentAt.Compare(b.sentAt) })
	s.ready = append(again, s.ready...)
}
