package transport

import (
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
)

// Close stops the node in the order in which the rest of the cluster notices
// least: no new work, leaderships handed on, answers out, then the connections,
// gossip and the files. What is not done when ctx ends is cut off.
func (s *Server) Close(ctx context.Context) error {
	s.closing.Do(func() { s.closed = s.close(ctx) })
	return s.closed
}

func (s *Server) close(ctx context.Context) error {
	s.stop()
	s.lifecycle.Drain()
	if s.ran != nil {
		<-s.ran
	}
	var errs []error
	s.retire(ctx)
	if s.http != nil {
		s.closeHTTP(ctx)
	}
	if s.api != nil {
		stopGRPC(ctx, s.api)
		s.lifecycle.Wait()
	}
	if s.gate.open.Load() {
		errs = append(errs, s.gate.Node.Close(ctx))
	}
	if s.net != nil {
		errs = append(errs, s.net.Close())
	}
	if s.peer != nil {
		s.peer.Stop()
	}
	for _, l := range []net.Listener{s.listener, s.peerListener} {
		if l != nil {
			_ = l.Close() // closed by its server, if that had begun
		}
	}
	if s.gossip != nil {
		_ = s.gossip.Leave(ctx)
		errs = append(errs, s.gossip.Shutdown(ctx))
	}
	s.tasks.Wait()
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.identity != nil {
		errs = append(errs, s.identity.Close())
	}
	return errors.Join(errs...)
}

// retirePatience bounds the moving of leaderships when the node stops. What was
// not moved by then is moved when the groups are closed, or found lost by the others.
const retirePatience = 3 * time.Second

// retire moves leadership away while the node serves, so that requests which still
// come are passed on to the new leaders.
func (s *Server) retire(ctx context.Context) {
	if !s.gate.open.Load() {
		return
	}
	s.net.Retire()
	ctx, cancel := context.WithTimeout(ctx, retirePatience)
	defer cancel()
	if err := s.gate.Node.Retire(ctx); err != nil {
		s.log.Warn("not every leadership was moved before the stop", "error", err)
	}
}

// stopPatience is how long calls may take to finish once their listener is closed.
const stopPatience = 2 * time.Second

func (s *Server) closeHTTP(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	s.http.close(ctx)
}

// stopGRPC lets calls finish for a while.
func stopGRPC(ctx context.Context, g *grpc.Server) {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		g.Stop()
		<-done
	}
}
