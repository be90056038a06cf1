package inproc

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
)

// TestTheLeadersClockIsOff: the clock of the node that leads a shard is set two
// hours forward. It prunes nothing before the time, stamps nothing with the wrong
// time, raises an alarm that every node shows, and goes on when it is mended.
func TestTheLeadersClockIsOff(t *testing.T) {
	t.Parallel()
	var ahead [3]atomic.Int64
	c := Start(t, Options{Shards: 1, Configure: func(node int, cfg *transport.ServerConfig) {
		cfg.Hooks.Now = func() time.Time { return time.Now().Add(time.Duration(ahead[node].Load())) }
	}})
	cl := c.Client()
	def := pingPong("timed")
	def.TransitionTimeout, def.PruneTimeout = durationpb.New(time.Hour), durationpb.New(time.Hour)
	def.PrunableStates = &typesv1.PrunableStates{Kind: typesv1.PrunableStates_KIND_ALL}
	apply(t, cl, def)
	mustInit(t, cl, "timed", "waits")

	leader := c.Leader(0, 1)
	ahead[leader].Store(int64(2 * time.Hour))
	node := func(ask int) (found *spexv1.NodeStatus) {
		for _, n := range c.Status(ask).GetNodes() {
			if c.Node(n.GetId()) == leader {
				found = n
			}
		}
		return found
	}
	Eventually(t, "the alarm", func() bool { return len(node((leader+1)%3).GetAlarms()) == 1 })
	st := node(leader)
	if off := st.GetClockOffset().AsDuration() - 2*time.Hour; off.Abs() > time.Minute || !strings.Contains(st.GetAlarms()[0], "ahead of the median") {
		t.Errorf("the status of the node is %v", st)
	}
	for _, n := range c.Status(leader).GetNodes() {
		if c.Node(n.GetId()) != leader && (len(n.GetAlarms()) > 0 || n.GetClockOffset().AsDuration().Abs() > time.Minute) {
			t.Errorf("a node whose clock is right: %v", n)
		}
	}
	// On a slow machine it may lose the lead: then it gets it back, and all of it counts
	// from there.
	for turn, led := 0, false; !led; turn++ {
		if turn == 10 {
			t.Fatal("the node whose clock is off never leads for two seconds: nothing is known of what it would do")
		}
		term := leadAs(t, c, leader)
		move := [][]string{{"ping", "right"}, {"pong", "left"}}[turn%2]
		resp := step(t, cl, "waits", move[0], move[1])
		time.Sleep(2 * time.Second) // the timers look at the clock every second
		got, err := cl.Get(testContext(t), "waits")
		if err != nil || got.GetInstance().GetTimedOut() {
			t.Fatalf("an hour was over at once: %v, %v", got, err)
		}
		if d := time.Since(got.GetInstance().GetUpdatedAt().AsTime()).Abs(); d > time.Minute {
			t.Errorf("step %d is stamped %v away from the time", resp.GetSeq(), d)
		}
		shard := c.Status(leader).GetShards()[0]
		led = c.Node(shard.GetLeader()) == leader && shard.GetTerm() == term
	}
	ahead[leader].Store(0)
	Eventually(t, "the end of the alarm", func() bool { return len(node(leader).GetAlarms()) == 0 })

	// All clocks go on by two hours together: then the time is over.
	for i := range ahead {
		ahead[i].Store(int64(2 * time.Hour))
	}
	Eventually(t, "the instance to be pruned", func() bool {
		_, err := cl.Get(testContext(t), "waits")
		return errors.Is(err, client.ErrInstanceNotFound)
	})
}

// leadAs has a node lead shard 1, and returns the term in which it does.
func leadAs(t *testing.T, c *Cluster, node int) (term uint64) {
	t.Helper()
	id, admin := c.Server(node).NodeID(), c.Client()
	Eventually(t, "the node to lead shard 1", func() bool {
		shard := c.Status(node).GetShards()[0]
		if term = shard.GetTerm(); shard.GetLeader() == id {
			return true
		}
		_, _ = admin.TransferLeadership(testContext(t), 1, id) // it is tried again
		return false
	})
	return term
}
