package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// throughStream sends steps over a stream and returns the results in their order of arrival.
func throughStream(c *Client, batch []*spexv1.TransitionRequest) ([]*spexv1.TransitionResult, error) {
	ctx := context.Background()
	s, err := c.Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for _, r := range batch {
		if _, err := s.Send(ctx, r); err != nil {
			return nil, err
		}
	}
	s.CloseSend()
	var out []*spexv1.TransitionResult
	for {
		r, err := s.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
}

func TestStream(t *testing.T) {
	noLeader := reason(typesv1.Reason_REASON_NO_LEADER)
	for _, tc := range []struct {
		name       string
		a, b       []fault
		failed     []string
		x          []string
		reconnects uint64
	}{
		{name: "all good", x: []string{"x1", "x2", "x3"}},
		{name: "dropped after applying", a: []fault{nil, dropAfter}, x: []string{"x1", "x2", "x3"}, reconnects: 1},
		{name: "dropped before applying", a: []fault{dropBefore}, b: []fault{dropBefore}, x: []string{"x1", "x2", "x3"}, reconnects: 2},
		{name: "a failure that passes does not let the next overtake", a: []fault{noLeader, noLeader, noLeader}, x: []string{"x1", "x2", "x3"}},
		{name: "a node that refuses all is left", a: []fault{noLeader, noLeader, noLeader, noLeader, noLeader, noLeader, noLeader, noLeader},
			x: []string{"x1", "x2", "x3"}, reconnects: 1},
		{name: "a node that hangs is left", a: []fault{nil, nil, hang}, x: []string{"x1", "x2", "x3"}, reconnects: 1},
		{name: "a refusal is a result", a: []fault{reason(typesv1.Reason_REASON_SEQUENCE_MISMATCH)}, failed: []string{"x1"}, x: []string{"x2", "x3"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNet("a:1", "b:1")
				defer net.stop()
				net.node("a:1").script, net.node("b:1").script = tc.a, tc.b
				c := net.client(t, nil, "a:1", "b:1")
				defer c.Close()
				results, err := throughStream(c, steps("x1", "x2", "x3"))
				if err != nil || len(results) != 3 {
					t.Fatalf("got %v, %v", results, err)
				}
				for i, r := range results {
					if want := fmt.Sprint("x", i+1); r.GetRequestId() != want || (ResultError(r) != nil) != slices.Contains(tc.failed, want) {
						t.Errorf("result %d: %v", i, r)
					}
				}
				if !slices.Equal(net.order("x"), tc.x) || c.Stats().Reconnects != tc.reconnects {
					t.Errorf("applied %v with %d reconnects", net.order("x"), c.Stats().Reconnects)
				}
			})
		})
	}
}

// An instance without a leader does not hold up the others.
func TestStreamInstancesAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		net.node("a:1").script = []fault{reason(typesv1.Reason_REASON_NO_LEADER)}
		c := net.client(t, nil, "a:1")
		defer c.Close()
		results, err := throughStream(c, steps("x1", "x2", "y1", "z1"))
		if err != nil || len(results) != 4 {
			t.Fatalf("got %v, %v", results, err)
		}
		var got []string
		for _, r := range results {
			got = append(got, r.GetRequestId())
		}
		if want := []string{"y1", "z1", "x1", "x2"}; !slices.Equal(got, want) {
			t.Errorf("answered in the order %v, want %v", got, want)
		}
	})
}

// What cannot be recorded in time gets a result that says what is certain, and
// takes the steps behind it along.
func TestStreamGivesUp(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault fault
		sure  bool
	}{
		{"refused all the time", reason(typesv1.Reason_REASON_NO_LEADER), true},
		{"lost all the time", dropBefore, false},
		{"never answered", hang, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNet("a:1")
				defer net.stop()
				for range 10_000 {
					net.node("a:1").script = append(net.node("a:1").script, tc.fault)
				}
				c := net.client(t, nil, "a:1")
				defer c.Close()
				start := time.Now()
				results, err := throughStream(c, steps("x1", "x2"))
				if err != nil || len(results) != 2 {
					t.Fatalf("got %v, %v", results, err)
				}
				if took := time.Since(start); took < DefaultTimeout || took > DefaultTimeout+2*streamTick {
					t.Errorf("took %v", took)
				}
				first, second := results[0].GetError(), results[1].GetError()
				if first == nil || first.NotApplied != tc.sure || first.Reason == 0 {
					t.Errorf("first: %v", results[0])
				}
				if second == nil || !second.NotApplied || results[1].RequestId != "x2" || !strings.Contains(second.Message, "x1") {
					t.Errorf("second: %v", results[1])
				}
			})
		})
	}
}

// The window bounds what is under way, and Recv makes room.
func TestStreamWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		c := net.client(t, nil, "a:1")
		defer c.Close()
		s, err := c.Stream(context.Background(), WithWindow(2))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx := context.Background()
		for _, r := range steps("x1", "y1") {
			if _, err := s.Send(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Send(ctxIn(t, time.Second), steps("z1")[0]); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a step beyond the window: %v", err)
		}
		if _, err := s.Recv(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Send(ctxIn(t, time.Second), steps("z1")[0]); err != nil {
			t.Errorf("after Recv: %v", err)
		}
	})
}

func TestStreamMisuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		net.node("a:1").script = []fault{hang}
		c := net.client(t, nil, "a:1")
		defer c.Close()
		ctx := context.Background()
		s, err := c.Stream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Send(ctx, nil); err == nil {
			t.Error("a nil step is accepted")
		}
		id, err := s.Send(ctx, &spexv1.TransitionRequest{Id: "x"})
		if err != nil || id == "" {
			t.Fatal(id, err)
		}
		if _, err := s.Send(ctx, &spexv1.TransitionRequest{Id: "y", RequestId: id}); !errors.Is(err, ErrRequestIDReused) {
			t.Errorf("a request id that is under way: %v", err)
		}
		if _, err := s.Recv(ctxIn(t, time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nothing to receive: %v", err)
		}
		s.CloseSend()
		if _, err := s.Send(ctx, &spexv1.TransitionRequest{Id: "y"}); !errors.Is(err, ErrClosed) {
			t.Errorf("send after CloseSend: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := s.Recv(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("receive after Close: %v", err)
		}
	})
}

// What ends the stream itself, and does not pass, reaches Recv.
func TestStreamEndsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		net.node("a:1").script = []fault{nil, bare(codes.PermissionDenied)}
		c := net.client(t, nil, "a:1")
		defer c.Close()
		results, err := throughStream(c, steps("x1", "x2"))
		var e *Error
		if len(results) != 1 || !errors.As(err, &e) || e.Code != codes.PermissionDenied {
			t.Errorf("got %v, %v", results, err)
		}
	})
}

// A step that no message can carry is refused, and the stream goes on without it.
func TestStreamStepTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		c := net.client(t, func(o *Options) { o.MaxMessageBytes = 1000 }, "a:1")
		defer c.Close()
		batch := steps("x1", "y1", "z1")
		batch[1].ToState = strings.Repeat("s", 2000)
		results, err := throughStream(c, batch)
		if err != nil || len(results) != 3 {
			t.Fatalf("got %v, %v", results, err)
		}
		for _, r := range results {
			if err := ResultError(r); (err != nil) != (r.GetRequestId() == "y1") || err != nil && !errors.Is(err, ErrLimitExceeded) {
				t.Errorf("%s: %v", r.GetRequestId(), err)
			}
		}
	})
}

// Closing the client ends its streams.
func TestClientCloseEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		c := net.client(t, nil, "a:1")
		s, err := c.Stream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Send(context.Background(), steps("x1")[0]); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Recv(context.Background()); err != nil || r.GetResponse() == nil {
			t.Fatal(r, err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if _, err := s.Send(context.Background(), steps("x2")[0]); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
