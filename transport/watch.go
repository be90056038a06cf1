package transport

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// Limits and defaults of Watch.
const (
	// DefaultHeartbeat is the longest silence of a watch that names none.
	DefaultHeartbeat = 10 * time.Second
	// MinHeartbeat and MaxHeartbeat bound what a watch may ask for.
	MinHeartbeat, MaxHeartbeat = 100 * time.Millisecond, time.Minute
	// MaxWatchSpecs bounds the specifications that a watch names.
	MaxWatchSpecs = 100
	// MaxCursorBytes bounds a cursor: that of a cluster with as many shards as
	// there can be is shorter.
	MaxCursorBytes = 32 << 10
)

// Limits and default of ServerConfig.ReportRetention.
const (
	DefaultReportRetention = fsm.DefaultReportRetention
	MinReportRetention     = fsm.MinReportRetention
	MaxReportRetention     = fsm.MaxReportRetention
)

// watchServer serves WatchService. It is a type of its own, since the name of
// the method is short.
type watchServer struct {
	spexv1.UnimplementedWatchServiceServer
	api *apiServer
}

// Watch streams reports until the caller ends it or the node drains.
func (s *watchServer) Watch(req *spexv1.WatchRequest, stream grpc.ServerStreamingServer[spexv1.WatchResponse]) error {
	if err := normalizeWatch(req); err != nil {
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

// normalizeWatch completes and checks a watch.
func normalizeWatch(r *spexv1.WatchRequest) error {
	var c checks
	if !r.AllNamespaces {
		c.namespace(&r.Namespace)
	} else if r.Namespace != "" {
		c.add(malformed("namespace", "is set although all_namespaces is", "set one of them"))
	}
	if len(r.Specs) > MaxWatchSpecs {
		c.add(overLimit("specs", fmt.Sprintf("has %d names, the limit is %d", len(r.Specs), MaxWatchSpecs), "leave it empty for all, and pick on your side"))
	} else {
		for i, name := range r.Specs {
			c.add(spec.CheckSpecName(fmt.Sprintf("specs[%d]", i), name))
		}
	}
	if len(r.Kinds) > len(typesv1.ReportKind_name) {
		c.add(overLimit("kinds", fmt.Sprintf("has %d entries, more than there are kinds", len(r.Kinds)), "name each kind once"))
	} else {
		for i, k := range r.Kinds {
			if _, known := typesv1.ReportKind_name[int32(k)]; !known || k == typesv1.ReportKind_REPORT_KIND_UNSPECIFIED {
				c.add(malformed(fmt.Sprintf("kinds[%d]", i), fmt.Sprintf("has the unknown value %d", int32(k)), "see ReportKind for those that there are"))
			}
		}
	}
	c.watchStart(r)
	c.heartbeat(&r.Heartbeat)
	return c.err
}

func (c *checks) watchStart(r *spexv1.WatchRequest) {
	switch r.From {
	case spexv1.WatchRequest_FROM_UNSPECIFIED, spexv1.WatchRequest_FROM_NOW, spexv1.WatchRequest_FROM_OLDEST:
	default:
		c.add(malformed("from", fmt.Sprintf("has the unknown value %d", int32(r.From)), "use NOW (1) or OLDEST (2)"))
	}
	switch {
	case r.Cursor != "" && r.From != spexv1.WatchRequest_FROM_UNSPECIFIED:
		c.add(malformed("from", "is set although there is a cursor", "set one of them"))
	case len(r.Cursor) > MaxCursorBytes:
		c.add(overLimit("cursor", fmt.Sprintf("is %d bytes long, the limit is %d", len(r.Cursor), MaxCursorBytes), "pass the cursor of an earlier response"))
	}
}

func (c *checks) heartbeat(v **durationpb.Duration) {
	if *v == nil {
		*v = durationpb.New(DefaultHeartbeat)
		return
	}
	d := (*v).AsDuration()
	if (*v).CheckValid() != nil || d < MinHeartbeat || d > MaxHeartbeat {
		c.add(malformed("heartbeat", fmt.Sprintf("is %v", d), fmt.Sprintf("give a duration from %v to %v", MinHeartbeat, MaxHeartbeat)))
	}
}
