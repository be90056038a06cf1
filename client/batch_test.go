package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// steps makes a batch: "x1 y1 x2" are three steps of the instances x and y.
func steps(names ...string) []*spexv1.TransitionRequest {
	var out []*spexv1.TransitionRequest
	for _, n := range names {
		out = append(out, &spexv1.TransitionRequest{Id: n[:1], Action: n, ToState: n, RequestId: n})
	}
	return out
}

func TestBatch(t *testing.T) {
	noLeader, mismatch := reason(typesv1.Reason_REASON_NO_LEADER), reason(typesv1.Reason_REASON_SEQUENCE_MISMATCH)
	for _, tc := range []struct {
		name   string
		a, b   []fault
		x, y   []string // what is applied to the instances
		failed []string // the steps whose result is an error
		seen   []string // what the second node is asked
	}{
		{name: "all good", x: []string{"x1", "x2", "x3"}, y: []string{"y1", "y2"}},
		{name: "only what failed is sent again, with what follows it", a: []fault{noLeader}, x: []string{"x1", "x2", "x3"}, y: []string{"y1", "y2"},
			seen: []string{"x1", "x2", "x3"}},
		{name: "in the middle of an instance", a: []fault{nil, nil, noLeader}, x: []string{"x1", "x2", "x3"}, y: []string{"y1", "y2"}, seen: []string{"x2", "x3"}},
		{name: "two instances", a: []fault{nil, noLeader, noLeader}, x: []string{"x1", "x2", "x3"}, y: []string{"y1", "y2"}, seen: []string{"y1", "x2", "y2", "x3"}},
		{name: "refused for good", a: []fault{mismatch}, y: []string{"y1", "y2"}, failed: []string{"x1", "x2", "x3"}},
		{name: "refused at the second try", a: []fault{noLeader}, b: []fault{mismatch}, y: []string{"y1", "y2"}, failed: []string{"x1", "x2", "x3"}, seen: []string{"x1"}},
		{name: "lost in the middle", a: []fault{nil, nil, dropAfter}, x: []string{"x1", "x2", "x3"}, y: []string{"y1", "y2"},
			seen: []string{"x1", "y1", "x2", "y2", "x3"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNet("a:1", "b:1")
				defer net.stop()
				net.node("a:1").script, net.node("b:1").script = tc.a, tc.b
				c := net.client(t, nil, "a:1", "b:1")
				defer c.Close()
				batch := steps("x1", "y1", "x2", "y2", "x3")
				results, err := c.TransitionBatch(context.Background(), batch)
				if err != nil || len(results) != len(batch) {
					t.Fatalf("got %v, %v", results, err)
				}
				for i, r := range results {
					name := batch[i].RequestId
					if r.GetRequestId() != name || (ResultError(r) != nil) != slices.Contains(tc.failed, name) {
						t.Errorf("result %d: %v", i, r)
					}
				}
				if !slices.Equal(net.order("x"), tc.x) || !slices.Equal(net.order("y"), tc.y) {
					t.Errorf("applied %v and %v", net.order("x"), net.order("y"))
				}
				if got := net.node("b:1").requests(); !slices.Equal(got, tc.seen) {
					t.Errorf("the second node was asked %v, want %v", got, tc.seen)
				}
			})
		})
	}
}

// When the deadline passes, every step has a result that says what is certain.
func TestBatchGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		// x is in doubt from the first attempt on; y never was.
		script := []fault{inDoubt(typesv1.Reason_REASON_NO_LEADER), nil, reason(typesv1.Reason_REASON_NO_LEADER)}
		for range 1000 {
			script = append(script, reason(typesv1.Reason_REASON_NO_LEADER))
		}
		net.node("a:1").script = script
		c := net.client(t, nil, "a:1")
		defer c.Close()
		results, err := c.TransitionBatch(ctxIn(t, time.Second), steps("x1", "z1", "y1"))
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrNoLeader) || len(results) != 3 {
			t.Fatalf("got %v, %v", results, err)
		}
		if x := results[0].GetError(); x == nil || x.NotApplied {
			t.Errorf("x: %v", results[0])
		}
		if results[1].GetResponse() == nil {
			t.Errorf("z: %v", results[1])
		}
		if y := results[2].GetError(); y == nil || !y.NotApplied || results[2].RequestId != "y1" {
			t.Errorf("y: %v", results[2])
		}
	})
}

// The default namespace is one, by name and without.
func TestDefaultNamespaceIsOneInstance(t *testing.T) {
	a, b := &spexv1.TransitionRequest{Id: "x"}, &spexv1.TransitionRequest{Id: "x", Namespace: "default"}
	if keyOf(a) != keyOf(b) || keyOf(a) == keyOf(&spexv1.TransitionRequest{Id: "x", Namespace: "shop"}) {
		t.Error("wrong keys")
	}
}

func TestBatchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		c := net.client(t, nil, "a:1")
		defer c.Close()
		if r, err := c.TransitionBatch(context.Background(), nil); r != nil || err != nil {
			t.Errorf("empty batch: %v, %v", r, err)
		}
		many := make([]*spexv1.TransitionRequest, MaxBatch+1)
		for i := range many {
			many[i] = &spexv1.TransitionRequest{Id: "x"}
		}
		if _, err := c.TransitionBatch(context.Background(), many); !errors.Is(err, ErrLimitExceeded) {
			t.Errorf("too large: %v", err)
		}
		if _, err := c.TransitionBatch(context.Background(), many[:MaxBatch]); err != nil {
			t.Errorf("largest: %v", err)
		}
		if many[0].RequestId != "" || len(net.order("x")) != MaxBatch {
			t.Errorf("request changed to %v, %d applied", many[0], len(net.order("x")))
		}
	})
}

// Whatever passes that fails, and however often, every step of a batch or a stream is
// applied exactly once and in the order of its instance.
func TestOrderUnderRandomFaults(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		faults := []fault{nil, nil, nil, reason(typesv1.Reason_REASON_NO_LEADER), inDoubt(typesv1.Reason_REASON_UNAVAILABLE),
			reason(typesv1.Reason_REASON_QUEUE_FULL), notLeader("b:1"), notLeader("c:1"), dropAfter, dropBefore, hang}
		script := rapid.SliceOfN(rapid.IntRange(0, len(faults)-1), 0, 12)
		scripts := map[string][]int{"a:1": script.Draw(rt, "a"), "b:1": script.Draw(rt, "b")}
		count := rapid.IntRange(1, 12).Draw(rt, "steps")
		stream := rapid.Bool().Draw(rt, "stream")
		want := make(map[string][]string)
		var batch []*spexv1.TransitionRequest
		for i := range count {
			id := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(rt, "instance")
			name := fmt.Sprint(id, i)
			want[id] = append(want[id], name)
			batch = append(batch, &spexv1.TransitionRequest{Id: id, Action: name, ToState: name, RequestId: name})
		}
		synctest.Test(t, func(t *testing.T) {
			net := newNet("a:1", "b:1")
			defer net.stop()
			for a, numbers := range scripts {
				for _, n := range numbers {
					net.node(a).script = append(net.node(a).script, faults[n])
				}
			}
			c := net.client(t, func(o *Options) { o.Timeout = time.Hour }, "a:1", "b:1")
			defer c.Close()
			var results []*spexv1.TransitionResult
			var err error
			if stream {
				results, err = throughStream(c, batch)
			} else {
				results, err = c.TransitionBatch(context.Background(), batch)
			}
			if err != nil || len(results) != count {
				t.Fatalf("%d results: %v", len(results), err)
			}
			for _, r := range results {
				if r.GetResponse() == nil {
					t.Errorf("result %v", r)
				}
			}
			for id, names := range want {
				if got := net.order(id); !slices.Equal(got, names) {
					t.Errorf("%s: applied %v, want %v", id, got, names)
				}
			}
		})
		if t.Failed() {
			rt.FailNow()
		}
	})
}
