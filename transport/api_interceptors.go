package transport

import (
	"context"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

var healthPrefix = "/" + healthpb.Health_ServiceDesc.ServiceName + "/"

// interceptUnary is what surrounds every unary call: deadline, caller, panics,
// errors, metrics.
func (s *apiServer) interceptUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	start := s.opts.Now()
	ctx, cancel := s.withDeadline(ctx, info.FullMethod)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			resp, err = nil, s.recovered(info.FullMethod, r)
		}
		if err = s.finish(info.FullMethod, start, err); err != nil {
			resp = nil
		}
	}()
	if ctx, err = s.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// interceptStream is the same for streams.
func (s *apiServer) interceptStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	start := s.opts.Now()
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	defer func() { err = s.finish(info.FullMethod, start, err) }()
	if ctx, err = s.admit(ctx, info.FullMethod); err != nil {
		return err
	}
	switch {
	case info.FullMethod == spexv1.InstanceService_TransitionStream_FullMethodName:
		// Lives as long as the client likes; its steps have deadlines.
	case info.FullMethod == spexv1.WatchService_Watch_FullMethodName:
		return s.runUntilDrained(ctx, srv, ss, info.FullMethod, handler)
	case strings.HasPrefix(info.FullMethod, "/spex."):
		return s.runWithDeadline(ctx, srv, ss, info.FullMethod, handler)
	default:
		// Health watchers and reflection would keep a draining server from stopping.
		s.opts.Lifecycle.helpers.Go(func() {
			select {
			case <-s.opts.Lifecycle.draining:
				cancel()
			case <-ctx.Done():
			}
		})
	}
	return s.guarded(info.FullMethod, func() error { return handler(srv, &contextStream{ss, ctx}) })
}

// runWithDeadline runs the handler of an upload or download. It returns when
// the deadline has passed even if the handler is blocked in a Recv or Send,
// which only the end of the stream, that is to say our return, unblocks.
func (s *apiServer) runWithDeadline(ctx context.Context, srv any, ss grpc.ServerStream, method string, handler grpc.StreamHandler) error {
	ctx, cancel := s.withDeadline(ctx, method)
	done := make(chan error, 1)
	s.opts.Lifecycle.helpers.Go(func() {
		defer cancel()
		done <- s.guarded(method, func() error { return handler(srv, &contextStream{ss, ctx}) })
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // It finished, and cancelled the context itself.
		return err
	default:
		return ctx.Err()
	}
}

// contextStream is a stream with another context.
type contextStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *contextStream) Context() context.Context { return s.ctx }

// withDeadline gives ctx the default deadline if it has none, and caps it.
func (s *apiServer) withDeadline(ctx context.Context, method string) (context.Context, context.CancelFunc) {
	limit := s.opts.MaxTimeout
	if method == spexv1.ModelService_SealModel_FullMethodName {
		limit = s.opts.MaxSealTimeout
	}
	if _, ok := ctx.Deadline(); !ok {
		limit = min(limit, s.opts.DefaultTimeout)
	}
	return context.WithTimeout(ctx, limit)
}

// admit finds out who calls. Health checks are for probes, which have no name.
func (s *apiServer) admit(ctx context.Context, method string) (context.Context, error) {
	if strings.HasPrefix(method, healthPrefix) {
		return ctx, nil
	}
	return authenticate(ctx, s.opts.Authenticator, method)
}

// guarded runs f and turns its panic into an error.
func (s *apiServer) guarded(method string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.recovered(method, r)
		}
	}()
	return f()
}

// recovered is called in the deferred function that recovered r. What the
// handler did before it panicked is not known, so NotApplied stays unset.
func (s *apiServer) recovered(method string, r any) error {
	s.metrics.panics.Inc()
	s.opts.Logger.Error("panic in a handler of the API", "method", method, "panic", r, "stack", string(debug.Stack()))
	return &fsm.Error{
		Reason:  typesv1.Reason_REASON_INTERNAL,
		Message: "internal error: the handler panicked; the log of the node has the details",
	}
}

// finish turns err into what travels and counts the call. Only errors that are
// our fault are logged: the others are the caller's to know.
func (s *apiServer) finish(method string, start time.Time, err error) error {
	if !strings.HasPrefix(method, healthPrefix) {
		err = StatusFromError(err)
	}
	code := status.Code(err)
	s.metrics.observe(method, code, s.opts.Now().Sub(start))
	if code == codes.Internal || code == codes.Unknown {
		s.opts.Logger.Error("call of the API failed", "method", method, "error", err)
	}
	return err
}
