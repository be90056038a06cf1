package transport

import (
	"context"

	"google.golang.org/grpc"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// watchServer serves WatchService. It is a type of its own, since the name of
// the method is short.
type watchServer struct {
	spexv1.UnimplementedWatchServiceServer
	api *apiServer
}

// Watch streams reports until the caller ends it or the node drains.
func (s *watchServer) Watch(req *spexv1.WatchRequest, stream grpc.ServerStreamingServer[spexv1.WatchResponse]) error {
	if err := api.CheckWatch(req); err != nil {
		return err
	}
	return s.api.backend.Watch(stream.Context(), req, stream.Send)
}

// runUntilDrained runs the handler of a stream that lives as long as its client
// likes. It returns when the node drains or the stream ends, even if the handler
// is blocked in a Send to a client that does not read, which our return unblocks.
func (s *apiServer) runUntilDrained(ctx context.Context, srv any, ss grpc.ServerStream, method string, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	s.opts.Lifecycle.helpers.Go(func() {
		defer cancel()
		done <- s.guarded(method, func() error { return handler(srv, &contextStream{ss, ctx}) })
	})
	select {
	case err := <-done:
		return err
	case <-ss.Context().Done():
		cancel()
		return ss.Context().Err()
	case <-s.opts.Lifecycle.draining:
		cancel()
		return fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "the node is stopping: go on with the last cursor on another node")
	}
}
