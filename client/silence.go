package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const (
	// lifeAfter is how long an attempt may be without an answer before its node is
	// asked for a sign of life, and then again.
	lifeAfter = 500 * time.Millisecond
	// lifeWithin is how long a node has for the sign of life, which costs it nothing.
	// With lifeAfter it leaves a call of two seconds time for another node.
	lifeWithin = time.Second
	// lifeAgain is the pause before a node that gave none is asked again.
	lifeAgain = time.Second
)

// errHung ends an attempt at a node that gives no sign of life.
var errHung = errors.New("client: the node gives no sign of life")

// look is one endpoint being asked for a sign of life, until it gives one.
type look struct {
	// first is closed after the first asking, when alive says whether it was answered.
	first chan struct{}
	alive bool
}

// watch calls end when ep, which ctx belongs to an attempt at, gives no sign of
// life, so that a call whose node hangs has time left for another one. A node that
// is slow is not disturbed. There is nothing to watch when no other node can be
// asked. The caller ends ctx and then calls stop, which waits.
func (p *pool) watch(ctx context.Context, ep *endpoint, end func()) (stop func()) {
	if !p.replaceable(ep) {
		return func() {}
	}
	done := make(chan struct{})
	timer := time.AfterFunc(lifeAfter, func() {
		defer close(done)
		for p.alive(ctx, ep) {
			if sleep(ctx, lifeAfter); ctx.Err() != nil {
				return
			}
		}
		end()
	})
	return func() {
		if !timer.Stop() {
			<-done
		}
	}
}

// unanswered takes into account that an attempt at ep ended without an answer in
// its time: later calls go elsewhere, and nobody comes back if ep hangs.
func (p *pool) unanswered(ep *endpoint) {
	p.leave(ep)
	if p.replaceable(ep) {
		p.lookAt(ep)
	}
}

// replaceable reports whether another endpoint could do what ep does not.
func (p *pool) replaceable(ep *endpoint) bool {
	return len(p.configured) > 1 || p.isLearned(ep)
}

// alive asks ep for a sign of life, together with everybody who asks at the time.
// When ctx ends before that is known it says yes.
func (p *pool) alive(ctx context.Context, ep *endpoint) bool {
	l := p.lookAt(ep)
	if l == nil {
		return true
	}
	select {
	case <-l.first:
		return l.alive
	case <-ctx.Done():
		return true
	}
}

// lookAt begins to ask ep for a sign of life, if nobody does. It returns nil
// once the pool is closed.
func (p *pool) lookAt(ep *endpoint) *look {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	if ep.looked == nil {
		l := &look{first: make(chan struct{})}
		ep.looked = l
		p.tasks.Go(func() { p.await(ep, l) })
	}
	return ep.looked
}

// await asks ep until it gives a sign of life, or the pool is closed.
func (p *pool) await(ep *endpoint, l *look) {
	l.alive = p.ask(ep, true)
	for alive := l.alive; ; alive = p.ask(ep, false) {
		p.mu.Lock()
		if ep.hung = !alive; alive {
			ep.looked = nil
		}
		p.mu.Unlock()
		select {
		case <-l.first:
		default:
			close(l.first)
		}
		if alive {
			return
		}
		if sleep(p.ctx, lifeAgain); p.ctx.Err() != nil {
			return
		}
	}
}

// ask asks ep once whether it lives. Any answer is a yes, whatever it says. Without
// a connection it stays at what was believed before: the node may have closed its
// listener and be about to answer what it has taken.
func (p *pool) ask(ep *endpoint, before bool) bool {
	ctx, cancel := context.WithTimeout(p.ctx, lifeWithin)
	defer cancel()
	_, err := healthpb.NewHealthClient(ep.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Canceled:
		return false
	case codes.Unavailable:
		return before
	}
	return true
}
