package inproc

import (
	"context"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
)

// shortRoute makes requests give up soon.
func shortRoute(_ int, cfg *transport.ServerConfig) { cfg.RouteBudget = 1500 * time.Millisecond }

// TestMinority: a leader that was cut off refuses writes and linearizable reads
// soon, and so does a follower; both answer stale reads and say how old they
// are, and deny nothing that the catalog may hold meanwhile. The majority goes on.
func TestMinority(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 1, Configure: shortRoute})
	cl := c.Client()
	apply(t, cl, pingPong("minority"))
	mustInit(t, cl, "minority", "minority-a")
	old := c.Leader(0, 1)
	rest := []int{(old + 1) % 3, (old + 2) % 3}
	c.Partition(rest)

	api := spexv1.NewInstanceServiceClient(raw(t, c, old))
	refused := func(what string, call func(context.Context) error) {
		t.Helper()
		within(t, 5*time.Second, what, func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			d := detail(call(ctx))
			if d.GetReason() != typesv1.Reason_REASON_NO_LEADER && d.GetReason() != typesv1.Reason_REASON_UNAVAILABLE {
				t.Fatalf("%s at the minority: %v", what, d)
			}
			if a := d.GetLeaderAddress(); a != "" {
				t.Fatalf("%s: the error sends clients to %s", what, a)
			}
		})
	}
	refused("a write", func(ctx context.Context) error {
		return second(api.Transition(ctx, transition("minority-a", "ping", "right", 2)))
	})
	refused("a read", func(ctx context.Context) error {
		return second(api.GetInstance(ctx, &spexv1.GetInstanceRequest{Id: "minority-a"}))
	})
	refused("an initialisation by an unknown specification", func(ctx context.Context) error {
		return second(api.InitInstance(ctx, &spexv1.InitInstanceRequest{Id: "minority-b", Spec: "perhaps"}))
	})
	got, err := c.Client(old).Get(testContext(t), "minority-a", client.Stale())
	if err != nil || got.GetInstance().GetSeq() != 1 || got.GetRead().GetAgeNanos() <= 0 {
		t.Fatalf("stale read at the minority: %v, %v", got, err)
	}

	// The majority elects a leader, and learns what the minority must not deny.
	most := c.Client(rest...)
	apply(t, most, pingPong("perhaps"))
	if resp := step(t, most, "minority-a", "other", "left"); resp.GetSeq() != 2 {
		t.Fatalf("the write that the minority refused took a place: %v", resp)
	}
	c.Heal()
	Eventually(t, "the old leader to serve again", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		in, err := api.GetInstance(ctx, &spexv1.GetInstanceRequest{Id: "minority-a"})
		return err == nil && in.GetInstance().GetSeq() == 2
	})
	mustInit(t, c.Client(old), "perhaps", "minority-b")
	for _, s := range history(t, c.Client(old), "minority-a") {
		if s.GetAction() == "ping" {
			t.Fatal("a write that was refused for good was applied")
		}
	}
}

// TestNoQuorum: a follower without a majority in sight answers quickly, within
// short deadlines too, and says what is missing; status works all the same.
func TestNoQuorum(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 2, Configure: shortRoute})
	cl := c.Client()
	apply(t, cl, pingPong("alone"))
	mustInit(t, cl, "alone", "alone-a")
	c.Partition() // everybody is alone
	cc := raw(t, c, 1)
	api := spexv1.NewInstanceServiceClient(cc)
	for _, timeout := range []time.Duration{300 * time.Millisecond, time.Second, 20 * time.Second} {
		within(t, 5*time.Second, "a write without a quorum", func() {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			_, err := api.Transition(ctx, transition("alone-a", "ping", "right", 2))
			if err == nil {
				t.Fatal("a write without a quorum was acknowledged")
			}
			if d := detail(err); timeout > 5*time.Second && d.GetReason() != typesv1.Reason_REASON_NO_LEADER && d.GetReason() != typesv1.Reason_REASON_UNAVAILABLE {
				t.Fatalf("error %v", err)
			}
		})
		within(t, 5*time.Second, "a read without a quorum", func() {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			_, err := api.GetInstance(ctx, &spexv1.GetInstanceRequest{Id: "alone-a"})
			// A read cannot have changed anything.
			if d := detail(err); err == nil || timeout > 5*time.Second && (d.GetReason() != typesv1.Reason_REASON_NO_LEADER || !d.GetNotApplied()) {
				t.Fatalf("error %v (%v)", err, d)
			}
		})
	}
	st := c.Status(1)
	for _, n := range st.GetNodes() {
		if want := n.GetId() == c.Server(1).NodeID(); n.GetReachable() != want {
			t.Fatalf("node %s is reachable: %v", n.GetName(), n.GetReachable())
		}
	}
	c.Heal()
	mustInit(t, c.Client(), "alone", "alone-b")
}

// TestFailover: a node vanishes without a word; every call of a client at the
// other nodes succeeds, and it catches up when it comes back.
func TestFailover(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{})
	cl := c.Client()
	apply(t, cl, pingPong("failover"))
	for i := range 8 {
		mustInit(t, cl, "failover", inShard(t, 4, uint32(i%4+1), "failover", i/4))
	}
	victim := c.Leader(0, 0)
	id := c.Server(victim).NodeID()
	rest := c.Client((victim+1)%3, (victim+2)%3)
	c.Kill(victim)
	for i := range 8 {
		step(t, rest, inShard(t, 4, uint32(i%4+1), "failover", i/4), "ping", "right")
	}
	st := c.Status((victim + 1) % 3)
	for _, n := range st.GetNodes() {
		if n.GetId() == id && (n.GetReachable() || n.GetLeaders() > 0) {
			t.Fatalf("the node that is gone: %v", n)
		}
	}
	if s := c.Launch(victim); s.NodeID() != id {
		t.Fatalf("node %s came back as %s", id, s.NodeID())
	}
	c.AwaitReady(victim)
	awaitAgreement(t, c, victim)
}
