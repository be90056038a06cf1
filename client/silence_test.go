package client

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// frozenConn is a connection of a node that reads nothing while it is frozen, as
// a process that was stopped: connections stay, and nothing is answered.
type frozenConn struct {
	net.Conn
	node *fakeNode
}

func (c frozenConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.node.mu.Lock()
	thawed := c.node.thawed
	c.node.mu.Unlock()
	if thawed != nil {
		<-thawed
	}
	return n, err
}

// freeze stops a node until the returned function is called.
func (n *fakeNode) freeze() (thaw func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	thawed := make(chan struct{})
	n.thawed = thawed
	return func() {
		n.mu.Lock()
		n.thawed = nil
		n.mu.Unlock()
		close(thawed)
	}
}

// slow answers well after a while.
func slow(d time.Duration) fault {
	return func(_ *fakeNode, apply func()) error {
		time.Sleep(d)
		apply()
		return nil
	}
}

// pay sends one step with a deadline and returns how long it took.
func pay(t *testing.T, c *Client, id string, deadline time.Duration) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	_, err := c.Transition(ctxIn(t, deadline), id, "pay", "paid", WithRequestID(id))
	return time.Since(start), err
}

// A call has time for a second node when the first one hangs, later calls do not
// ask the first one, and when it goes on it is used again.
func TestAHungNodeIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1", "b:1")
		defer net.stop()
		c := net.client(t, func(o *Options) { o.Spread = true }, "a:1", "b:1")
		defer c.Close()
		for range 2 { // both are connected
			if _, err := c.Version(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		thaw := net.node("a:1").freeze()
		took, err := pay(t, c, "order-0", 2*time.Second)
		if err != nil || took < lifeAfter+lifeWithin || took > 1600*time.Millisecond {
			t.Errorf("the first call: %v after %v", err, took)
		}
		for i := range 20 {
			if took, err := pay(t, c, "order", 2*time.Second); err != nil || took != 0 {
				t.Fatalf("call %d after it: %v after %v", i, err, took)
			}
			time.Sleep(time.Second)
		}
		thaw()
		time.Sleep(lifeWithin + lifeAgain)
		got := map[string]int{}
		for range 10 {
			v, err := c.Version(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got[v.GetVersion()]++
		}
		if got["a:1"] != 5 || got["b:1"] != 5 {
			t.Errorf("calls when it goes on: %v, want them spread again", got)
		}
		if n := len(net.order("order-0")); n != 1 {
			t.Errorf("the first call was applied %d times", n)
		}
	})
}

// A call whose own deadline ends at a hung node fails; the ones after it do not,
// however short their deadlines are.
func TestADeadlineAtAHungNode(t *testing.T) {
	for _, deadline := range []time.Duration{50 * time.Millisecond, 400 * time.Millisecond, time.Second} {
		t.Run(deadline.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNet("a:1", "b:1")
				defer net.stop()
				defer net.node("a:1").freeze()()
				c := net.client(t, nil, "a:1", "b:1")
				defer c.Close()
				var e *Error
				if took, err := pay(t, c, "order-0", deadline); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || took != deadline {
					t.Errorf("the first call: %v after %v", err, took)
				}
				for i := range 10 {
					if took, err := pay(t, c, "order", deadline); err != nil || took != 0 {
						t.Errorf("call %d after it: %v after %v", i, err, took)
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// A node that is slow but lives is not disturbed, nor is one that has closed its
// listener and answers what it has taken.
func TestASlowNodeIsNotLeft(t *testing.T) {
	for _, stopping := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			net := newNet("a:1", "b:1")
			defer net.stop()
			net.node("a:1").script = []fault{slow(7 * time.Second)}
			c := net.client(t, nil, "a:1", "b:1")
			defer c.Close()
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				time.Sleep(100 * time.Millisecond)
				if stopping {
					net.node("a:1").srv.GracefulStop()
				}
			}()
			if took, err := pay(t, c, "order-0", 8*time.Second); err != nil || took != 7*time.Second {
				t.Errorf("stopping %v: %v after %v", stopping, err, took)
			}
			<-stopped
			if st := c.Stats(); st.Attempts != 1 {
				t.Errorf("stopping %v: %d attempts", stopping, st.Attempts)
			}
		})
	}
}

// The hint that a hung node leads is not followed.
func TestAHungLeaderIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1", "b:1")
		defer net.stop()
		defer net.node("b:1").freeze()()
		for range 3 {
			net.node("a:1").script = append(net.node("a:1").script, notLeader("b:1"))
		}
		c := net.client(t, nil, "a:1")
		defer c.Close()
		if took, err := pay(t, c, "order-0", 3*time.Second); err != nil || took > 2*time.Second {
			t.Errorf("%v after %v, want it applied once the leader is known to hang", err, took)
		}
		if st := c.Stats(); st.Follows != 1 {
			t.Errorf("the hung leader was asked %d times", st.Follows)
		}
	})
}

// Without another node to ask, a call waits for the one that hangs.
func TestTheOnlyNodeIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		thaw := net.node("a:1").freeze()
		c := net.client(t, nil, "a:1")
		defer c.Close()
		time.AfterFunc(6*time.Second, thaw)
		if took, err := pay(t, c, "order-0", 8*time.Second); err != nil || took != 6*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if st := c.Stats(); st.Attempts != 1 {
			t.Errorf("%d attempts", st.Attempts)
		}
	})
}

// A client that is closed while it asks for signs of life leaves nothing running.
func TestCloseWhileANodeHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1", "b:1")
		defer net.stop()
		defer net.node("a:1").freeze()()
		net.node("b:1").script = []fault{reason(typesv1.Reason_REASON_INTERNAL)}
		c := net.client(t, nil, "a:1", "b:1")
		if _, err := pay(t, c, "order-0", 5*time.Second); !errors.Is(err, ErrInternal) {
			t.Errorf("got %v", err)
		}
		start := time.Now()
		if err := c.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
