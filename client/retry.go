package client

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// maxFollows is how often in a row a named leader is asked without a wait, so
// that nodes that name each other do not make the client spin.
const maxFollows = 3

// call describes one call of the API to the retry loop.
type call struct {
	name string
	// write is set when an attempt may change something, so that it matters
	// whether a failed one was sent.
	write bool
	// once is set for a write whose every attempt is felt: it is not repeated when it
	// may have been applied, or when it would only wait for the cluster to change.
	once bool
	// requestID is the request id of a write that has one.
	requestID string
	// unbounded is set for calls that rightly take long: only the caller's
	// deadline bounds an attempt.
	unbounded bool
}

// attempt sends a request once to one endpoint. It reports whether the request
// may have left this process; when in doubt it says yes.
type attempt func(ctx context.Context, ep *endpoint) (sent bool, err error)

// rpc is a generated unary method.
type rpc[Req, Resp any] = func(context.Context, *Req, ...grpc.CallOption) (*Resp, error)

// unary makes a unary call with retries.
func unary[Req, Resp any](ctx context.Context, c *Client, cl call, req *Req, method func(*endpoint) rpc[Req, Resp]) (*Resp, error) {
	var resp *Resp
	err := c.do(ctx, cl, func(ctx context.Context, ep *endpoint) (bool, error) {
		// gRPC fills in the peer when it opens a stream for the call. Without one
		// nothing was sent, and nothing can have been applied.
		var to peer.Peer
		r, err := method(ep)(ctx, req, grpc.Peer(&to))
		if m, ok := any(req).(proto.Message); ok && status.Code(err) == codes.Internal {
			if _, bad := proto.Marshal(m); bad != nil { // a stream was opened, and nothing sent
				return false, status.Errorf(codes.InvalidArgument, "the request cannot be sent: %v", bad)
			}
		}
		if err != nil {
			return to.Addr != nil, err
		}
		resp = r
		return true, nil
	})
	return resp, err
}

// do runs attempts until one succeeds, one fails for good, or ctx ends. All its
// errors are *Error, but the ErrClosed of a client that is closed already.
func (c *Client) do(ctx context.Context, cl call, try attempt) error {
	c.stats.calls.Add(1)
	ctx, done, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	err = c.attempts(ctx, cl, try)
	if err != nil {
		c.stats.failures.Add(1)
	}
	return err
}

// progress is what the attempts of one call have shown so far.
type progress struct {
	attempts int
	// doubt is set once an attempt may have been applied.
	doubt bool
	// last is the newest failure with a reason, else the newest failure.
	last *Error
}

// attempts is the loop of do, within a registered call.
func (c *Client) attempts(ctx context.Context, cl call, try attempt) error {
	var (
		p       progress
		next    *endpoint
		follows int
	)
	for {
		if ctx.Err() != nil {
			return c.gaveUp(ctx, cl, &p)
		}
		ep := next
		if next = nil; ep == nil {
			var err error
			if ep, err = c.pool.pick(); err != nil {
				return err
			}
		}
		p.attempts++
		c.stats.attempts.Add(1)
		if p.attempts > 1 {
			c.stats.retries.Add(1)
		}
		e := c.tryOnce(ctx, cl, ep, try, &p)
		if e == nil {
			return nil
		}
		if e.unanswered() {
			c.pool.unanswered(ep)
		}
		if ctx.Err() != nil {
			return c.gaveUp(ctx, cl, &p)
		}
		if !c.worthRetrying(ep, e) || cl.once && (p.doubt || e.stay()) {
			return e
		}
		if leader := c.leaderOf(ep, e); leader != nil && follows < maxFollows {
			follows++
			c.stats.follows.Add(1)
			next = leader
			continue
		}
		follows = 0
		if !e.stay() {
			c.pool.leave(ep)
		}
		wait := c.backoff(p.attempts - 1)
		c.opts.Logger.Debug("call will be retried", "call", cl.name, "address", ep.address, "attempt", p.attempts, "wait", wait, "error", e)
		sleep(ctx, wait)
	}
}

// tryOnce runs one attempt and takes its failure into account.
func (c *Client) tryOnce(ctx context.Context, cl call, ep *endpoint, try attempt, p *progress) *Error {
	sent, err := c.tryWatched(ctx, cl, ep, try)
	if err == nil {
		return nil
	}
	e := fromRPC(err)
	// Only the server's word, or not having sent it, excludes that it was applied.
	if cl.write && sent && !e.NotApplied {
		p.doubt = true
	}
	e.NotApplied = !p.doubt
	e.RequestID = cl.requestID
	e.Attempts = p.attempts
	if e.Reason != 0 || p.last == nil || p.last.Reason == 0 {
		p.last = e
	}
	return e
}

// tryWatched runs one attempt, until its time is over or its node gives no sign of life.
func (c *Client) tryWatched(ctx context.Context, cl call, ep *endpoint, try attempt) (sent bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if c.opts.AttemptTimeout > 0 && !cl.unbounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.opts.AttemptTimeout)
		defer cancel()
	}
	stop := c.pool.watch(ctx, ep, func() { end(errHung) })
	sent, err = try(ctx, ep)
	hung := status.Code(err) == codes.Canceled && context.Cause(ctx) == errHung
	end(nil)
	stop()
	if hung {
		err = status.Errorf(codes.DeadlineExceeded, "%s gives no sign of life", ep.address)
	}
	return sent, err
}

// worthRetrying reports whether another attempt may succeed.
func (c *Client) worthRetrying(ep *endpoint, e *Error) bool {
	if e.Temporary() {
		return true
	}
	// The address of a leader was for others, if it does not serve our API.
	return e.Code == codes.Unimplemented && c.pool.isLearned(ep)
}

// leaderOf returns the endpoint of the leader that a failure names, if it is another than ep.
func (c *Client) leaderOf(ep *endpoint, e *Error) *endpoint {
	if e.LeaderAddress == "" || e.LeaderAddress == ep.address {
		return nil
	}
	return c.pool.follow(e.LeaderAddress)
}

// gaveUp makes the error of a call whose context ended.
func (c *Client) gaveUp(ctx context.Context, cl call, p *progress) error {
	cause := ctx.Err()
	if c.ctx.Err() != nil {
		cause = ErrClosed
	}
	e := GivenUp(cause, !p.doubt)
	e.RequestID, e.Attempts = cl.requestID, p.attempts
	e.Message = fmt.Sprintf("%s: gave up after %d attempts: %v", cl.name, p.attempts, cause)
	if p.last != nil {
		e.Reason, e.Shard = p.last.Reason, p.last.Shard
		e.LeaderID, e.LeaderAddress = p.last.LeaderID, p.last.LeaderAddress
		e.Message += ": " + p.last.Message
		e.causes = append(e.causes, p.last.causes...)
	}
	return e
}

// backoff returns the n-th wait (n from 0): full jitter under an exponential bound.
func (c *Client) backoff(n int) time.Duration {
	bound := c.opts.BackoffBase
	for i := 0; i < n && bound < c.opts.BackoffMax; i++ {
		bound *= 2
	}
	bound = min(bound, c.opts.BackoffMax)
	return time.Duration(c.opts.random() * float64(bound))
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
