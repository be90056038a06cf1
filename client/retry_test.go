package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// ctxIn is a context with a deadline.
func ctxIn(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestRetryScenarios sends one step to nodes that fail in scripted ways.
func TestRetryScenarios(t *testing.T) {
	all := []fault{reason(typesv1.Reason_REASON_NO_LEADER)}
	for _, tc := range []struct {
		name      string
		a, b      []fault // the scripts of two nodes
		addresses []string
		want      error // nil: the step is applied
		applied   int
		attempts  uint64
		follows   uint64
		sure      bool // NotApplied of the error
	}{
		{name: "answered at once", applied: 1, attempts: 1},
		{name: "connection lost after applying", a: []fault{dropAfter}, applied: 1, attempts: 2},
		{name: "connection lost before applying", a: []fault{dropBefore}, applied: 1, attempts: 2},
		{name: "lost twice on both nodes", a: []fault{dropAfter, dropAfter}, b: []fault{dropAfter, dropBefore}, applied: 1, attempts: 5},
		{name: "no leader for a while", a: all, b: all, applied: 1, attempts: 3},
		{name: "unavailable", a: []fault{reason(typesv1.Reason_REASON_UNAVAILABLE)}, applied: 1, attempts: 2},
		{name: "unavailable without detail", a: []fault{bare(codes.Unavailable)}, applied: 1, attempts: 2},
		{name: "queue full stays", a: []fault{reason(typesv1.Reason_REASON_QUEUE_FULL), reason(typesv1.Reason_REASON_QUEUE_FULL)},
			b: []fault{reason(typesv1.Reason_REASON_INTERNAL)}, applied: 1, attempts: 3},
		{name: "leader is followed", a: []fault{notLeader("b:1")}, applied: 1, attempts: 2, follows: 1},
		{name: "leader not among the addresses", a: []fault{notLeader("b:1")}, addresses: []string{"a:1"}, applied: 1, attempts: 2, follows: 1},
		{name: "leader that nobody serves", a: []fault{notLeader("c:1")}, applied: 1, attempts: 3, follows: 1},
		{name: "leader address is not an address", a: []fault{notLeader("b")}, applied: 1, attempts: 2},
		{name: "each names the other", a: []fault{notLeader("b:1"), notLeader("b:1"), notLeader("b:1")}, b: []fault{notLeader("a:1"), notLeader("a:1")},
			applied: 1, attempts: 6, follows: 4},
		{name: "first address is down", addresses: []string{"down:1", "b:1"}, applied: 1, attempts: 2},
		{name: "a node that hangs", a: []fault{hang}, applied: 1, attempts: 2},
		{name: "refused", a: []fault{reason(typesv1.Reason_REASON_SEQUENCE_MISMATCH)}, want: ErrSequenceMismatch, attempts: 1, sure: true},
		{name: "refused after a loss", a: []fault{dropBefore}, b: []fault{reason(typesv1.Reason_REASON_SEQUENCE_MISMATCH)}, want: ErrSequenceMismatch, attempts: 2},
		{name: "in doubt, then refused", a: []fault{inDoubt(typesv1.Reason_REASON_NO_LEADER)}, b: []fault{reason(typesv1.Reason_REASON_REQUEST_ID_REUSED)},
			want: ErrRequestIDReused, attempts: 2},
		{name: "outcome unknown is final", a: []fault{dropAfter}, b: []fault{inDoubt(typesv1.Reason_REASON_OUTCOME_UNKNOWN)}, want: ErrOutcomeUnknown, applied: 1, attempts: 2},
		{name: "internal", a: []fault{reason(typesv1.Reason_REASON_INTERNAL)}, want: ErrInternal, attempts: 1, sure: true},
		{name: "permission", a: []fault{bare(codes.PermissionDenied)}, want: ErrUnspecified, attempts: 1},
		{name: "too large", a: []fault{bare(codes.ResourceExhausted)}, want: ErrLimitExceeded, attempts: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNet("a:1", "b:1")
				defer net.stop()
				net.node("a:1").script, net.node("b:1").script = tc.a, tc.b
				addresses := tc.addresses
				if addresses == nil {
					addresses = []string{"a:1", "b:1"}
				}
				c := net.client(t, nil, addresses...)
				defer c.Close()
				resp, err := c.Transition(context.Background(), "order-1", "pay", "paid", WithRequestID("r1"))
				if tc.want == nil && (err != nil || resp.GetSeq() != 1) {
					t.Errorf("got %v, %v; want seq 1", resp, err)
				}
				if tc.want != nil {
					var e *Error
					if !errors.Is(err, tc.want) || !errors.As(err, &e) || e.RequestID != "r1" || e.NotApplied != tc.sure || uint64(e.Attempts) != tc.attempts {
						t.Errorf("got %#v; want %v, NotApplied %v", err, tc.want, tc.sure)
					}
				}
				if got := len(net.order("order-1")); got != tc.applied {
					t.Errorf("applied %d times, want %d", got, tc.applied)
				}
				st := c.Stats()
				if st.Attempts != tc.attempts || st.Retries != tc.attempts-1 || st.Follows != tc.follows || st.Calls != 1 {
					t.Errorf("stats %+v; want %d attempts, %d follows", st, tc.attempts, tc.follows)
				}
				for _, n := range net.nodes {
					for _, id := range n.requests() {
						if id != "r1" {
							t.Errorf("node %s was sent the request id %q", n.address, id)
						}
					}
				}
			})
		})
	}
}

// A transfer of leadership holds up its group, so one that failed is not asked for
// again; a node that does not know the leader is not a failure.
func TestATransferIsNotRepeated(t *testing.T) {
	for _, tc := range []struct {
		name     string
		script   []fault
		want     error // nil: the leadership moved
		attempts uint64
		sure     bool
	}{
		{"it may have been made", []fault{inDoubt(typesv1.Reason_REASON_UNAVAILABLE)}, ErrUnavailable, 1, false},
		{"a proxy answered", []fault{bare(codes.Unavailable)}, ErrUnavailable, 1, false},
		{"the heir is down", []fault{reason(typesv1.Reason_REASON_PLACEMENT_CHANGED)}, ErrPlacementChanged, 1, true},
		{"no leader for a moment", []fault{reason(typesv1.Reason_REASON_NO_LEADER)}, nil, 2, false},
		{"refused before it was tried", []fault{reason(typesv1.Reason_REASON_UNAVAILABLE)}, nil, 2, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNet("a:1")
				defer net.stop()
				net.node("a:1").script = tc.script
				c := net.client(t, nil, "a:1")
				defer c.Close()
				resp, err := c.TransferLeadership(context.Background(), 3, "n2")
				var e *Error
				if tc.want == nil && (err != nil || resp.GetTo() != "n2") || tc.want != nil && (!errors.Is(err, tc.want) || !errors.As(err, &e) || e.NotApplied != tc.sure) {
					t.Errorf("got %v, %v; want %v, NotApplied %t", resp, err, tc.want, tc.sure)
				}
				if got := c.Stats().Attempts; got != tc.attempts {
					t.Errorf("%d attempts, want %d", got, tc.attempts)
				}
			})
		})
	}
}

// A retry must never be a new request (I2), also when the client made the id.
func TestRetryKeepsGeneratedRequestID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1", "b:1")
		defer net.stop()
		net.node("a:1").script = []fault{dropAfter, dropAfter, dropAfter}
		net.node("b:1").script = []fault{dropAfter, reason(typesv1.Reason_REASON_NO_LEADER)}
		c := net.client(t, nil, "a:1", "b:1")
		defer c.Close()
		ctx := context.Background()
		if _, err := c.Init(ctx, "orders", "order-1"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Transition(ctx, "order-1", "pay", "paid"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Delete(ctx, "order-1"); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, a := range []string{"a:1", "b:1"} {
			ids = append(ids, net.node(a).requests()...)
		}
		slices.Sort(ids)
		distinct := slices.Compact(slices.Clone(ids))
		if len(ids) != 8 || len(distinct) != 3 || len(net.order("order-1")) != 3 {
			t.Errorf("%d requests with %d ids, %d applied; want 8, 3, 3", len(ids), len(distinct), len(net.order("order-1")))
		}
	})
}

// With nobody there, a call ends at its deadline with what it knows.
func TestGivesUpAtDeadline(t *testing.T) {
	for _, tc := range []struct {
		name   string
		script fault
		sure   bool
		reason typesv1.Reason
	}{
		{"nobody listens", nil, true, typesv1.Reason_REASON_UNAVAILABLE},
		{"no leader", reason(typesv1.Reason_REASON_NO_LEADER), true, typesv1.Reason_REASON_NO_LEADER},
		{"lost", dropBefore, false, typesv1.Reason_REASON_UNAVAILABLE},
		{"hangs", hang, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNet("a:1")
				defer net.stop()
				address := "down:1"
				if tc.script != nil {
					address = "a:1"
					for range 1000 {
						net.node("a:1").script = append(net.node("a:1").script, tc.script)
					}
				}
				c := net.client(t, nil, address)
				defer c.Close()
				start := time.Now()
				_, err := c.Transition(ctxIn(t, 5*time.Second), "order-1", "pay", "paid")
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("took %v", took)
				}
				var e *Error
				if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) || e.NotApplied != tc.sure || e.Reason != tc.reason || e.RequestID == "" {
					t.Errorf("got %#v", err)
				}
				// Without a deadline of its own, a call has the default one.
				start = time.Now()
				_, err = c.Get(context.Background(), "order-1")
				if took := time.Since(start); took != DefaultTimeout || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("took %v: %v", took, err)
				}
			})
		})
	}
}

// The waits follow the exponential bound, with the jitter of the options.
func TestBackoffBounds(t *testing.T) {
	c := &Client{opts: Options{BackoffBase: 10 * time.Millisecond, BackoffMax: time.Second}}
	for _, r := range []float64{0, 0.25, 0.999} {
		c.opts.random = func() float64 { return r }
		bound := 10 * time.Millisecond
		for n := range 20 {
			if got, want := c.backoff(n), time.Duration(r*float64(min(bound, time.Second))); got != want {
				t.Errorf("backoff(%d) with %v: %v, want %v", n, r, got, want)
			}
			bound *= 2
		}
	}
	c.opts.random = func() float64 { return 1 }
	if got := c.backoff(1 << 20); got != time.Second {
		t.Errorf("backoff of a large count: %v", got)
	}
}

// One connection for each address, kept over calls.
func TestConnectionsAreReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1", "b:1", "c:1")
		defer net.stop()
		c := net.client(t, func(o *Options) { o.Spread = true }, "a:1", "b:1", "c:1", "a:1")
		defer c.Close()
		got := make(map[string]int)
		for range 9 {
			v, err := c.Version(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			got[v.GetVersion()]++
		}
		for a, n := range net.nodes {
			if got[a] != 3 || n.dials != 1 {
				t.Errorf("%s: %d calls over %d connections, want 3 over 1", a, got[a], n.dials)
			}
		}
	})
}

// Close ends calls in flight, waits for them, and later calls are refused.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		net.node("a:1").script = []fault{hang}
		c := net.client(t, nil, "a:1")
		got := make(chan error, 1)
		go func() {
			_, err := c.Transition(context.Background(), "order-1", "pay", "paid")
			got <- err
		}()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		var e *Error
		if err := <-got; !errors.Is(err, ErrClosed) || !errors.As(err, &e) || e.NotApplied {
			t.Errorf("got %#v", err)
		}
		if _, err := c.Get(context.Background(), "x"); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if _, err := c.Stream(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
	})
}
