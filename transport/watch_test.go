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

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func TestNormalizeWatch(t *testing.T) {
	names := make([]string, MaxWatchSpecs+1)
	for i := range names {
		names[i] = "s"
	}
	for what, c := range map[string]struct {
		req  *spexv1.WatchRequest
		want string // in the error; empty for none
	}{
		"nothing":            {&spexv1.WatchRequest{}, ""},
		"everything":         {&spexv1.WatchRequest{AllNamespaces: true, Specs: []string{"a/b"[:1]}, Kinds: []typesv1.ReportKind{typesv1.ReportKind_REPORT_KIND_PRUNED}, From: spexv1.WatchRequest_FROM_OLDEST}, ""},
		"a cursor":           {&spexv1.WatchRequest{Cursor: "x"}, ""},
		"both namespaces":    {&spexv1.WatchRequest{AllNamespaces: true, Namespace: "a"}, "all_namespaces"},
		"a bad namespace":    {&spexv1.WatchRequest{Namespace: "a\n"}, "namespace"},
		"a bad spec":         {&spexv1.WatchRequest{Specs: []string{"ok", "a/b"}}, "specs[1]"},
		"too many specs":     {&spexv1.WatchRequest{Specs: names}, "specs has 101 names"},
		"an unknown kind":    {&spexv1.WatchRequest{Kinds: []typesv1.ReportKind{77}}, "kinds[0]"},
		"no kind":            {&spexv1.WatchRequest{Kinds: []typesv1.ReportKind{0}}, "kinds[0]"},
		"too many kinds":     {&spexv1.WatchRequest{Kinds: make([]typesv1.ReportKind, 100)}, "kinds has 100"},
		"an unknown start":   {&spexv1.WatchRequest{From: 9}, "from"},
		"start and cursor":   {&spexv1.WatchRequest{From: spexv1.WatchRequest_FROM_NOW, Cursor: "x"}, "from"},
		"a long cursor":      {&spexv1.WatchRequest{Cursor: strings.Repeat("x", MaxCursorBytes+1)}, "cursor"},
		"a short heartbeat":  {&spexv1.WatchRequest{Heartbeat: durationpb.New(time.Millisecond)}, "heartbeat"},
		"a long heartbeat":   {&spexv1.WatchRequest{Heartbeat: durationpb.New(time.Hour)}, "heartbeat"},
		"a broken heartbeat": {&spexv1.WatchRequest{Heartbeat: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "heartbeat"},
	} {
		err := normalizeWatch(c.req)
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", what, err, c.want)
		case c.want == "" && (c.req.Heartbeat.AsDuration() != DefaultHeartbeat || (c.req.Namespace == "") != c.req.AllNamespaces):
			t.Errorf("%s is not completed: %v", what, c.req)
		}
	}
}

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
	stream, err := spexv1.NewWatchServiceClient(h.conn).Watch(context.Background(), &spexv1.WatchRequest{Heartbeat: durationpb.New(MinHeartbeat)})
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
