package transport

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/api"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// floodBackend sends to a watch until the client's window is full.
type floodBackend struct {
	fakeBackend
	sent chan struct{} // gets a value for every response that is out
}

func (b *floodBackend) Watch(ctx context.Context, _ *spexv1.WatchRequest, send func(*spexv1.WatchResponse) error) error {
	for {
		if err := send(&spexv1.WatchResponse{Cursor: strings.Repeat("c", 8<<10)}); err != nil {
			return err
		}
		select {
		case b.sent <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func watchEnd(t *testing.T, stream grpc.ServerStreamingClient[spexv1.WatchResponse]) {
	t.Helper()
	for {
		if _, err := stream.Recv(); err != nil {
			if detail := ErrorFromStatus(err); status.Code(err) != codes.Unavailable || detail.Reason != typesv1.Reason_REASON_UNAVAILABLE {
				t.Errorf("the watch ended with %v, want UNAVAILABLE", err)
			}
			return
		}
	}
}

// A watch has no deadline of the server's, and ends when the node drains.
func TestWatchEndsWhenTheNodeDrains(t *testing.T) {
	h := startAPI(t, &fakeBackend{}, APIOptions{DefaultTimeout: 50 * time.Millisecond, MaxTimeout: 50 * time.Millisecond})
	stream, err := spexv1.NewWatchServiceClient(h.conn).Watch(context.Background(), &spexv1.WatchRequest{Heartbeat: durationpb.New(api.MinHeartbeat)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // longer than the deadline of other calls
		if _, err := stream.Recv(); err != nil {
			t.Fatalf("the watch ended by itself: %v", err)
		}
	}
	h.lifecycle.Drain()
	watchEnd(t, stream)
}

// A client that does not read makes the server wait, and does not keep a node
// from draining.
func TestWatchOfAClientThatDoesNotRead(t *testing.T) {
	backend := &floodBackend{sent: make(chan struct{})}
	h := startAPI(t, backend, APIOptions{})
	stream, err := spexv1.NewWatchServiceClient(h.conn).Watch(context.Background(), &spexv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for blocked := false; !blocked; {
		select {
		case <-backend.sent:
			if sent++; sent > 1<<14 {
				t.Fatal("the server has sent 128 MiB to a client that does not read")
			}
		case <-time.After(300 * time.Millisecond):
			blocked = true
		}
	}
	if sent == 0 {
		t.Fatal("nothing was sent")
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			select {
			case <-backend.sent: // what was on its way when the stream ended
			case <-h.lifecycle.draining:
				return
			}
		}
	}()
	h.lifecycle.Drain()
	<-drained
	watchEnd(t, stream)
}
