package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// testFailover is the way of one node to the others' Lost, to their processes
// and to its own Raft.
type testFailover struct {
	c    *testCluster
	from string
	// told, if set, is called when Raft on a node has taken the word to campaign.
	told func(id string)
}

func (f testFailover) AskLost(ctx context.Context, to string, group uint32, leader string, term uint64) (Lost, error) {
	f.c.mu.Lock()
	cut := f.c.cut[[2]string{f.from, to}] || f.c.cut[[2]string{to, f.from}] || f.c.askCut[to]
	f.c.mu.Unlock()
	if cut {
		return Lost{}, errors.New("cut off")
	}
	return f.c.nodes[to].group.Lost(ctx, leader, term), nil
}

// Gone is true for a node whose group was closed: its machine would refuse.
func (f testFailover) Gone(_ context.Context, id string) bool {
	return f.c.nodes[id].group.ctx.Err() != nil
}

func (f testFailover) Deliver(_ context.Context, _ uint32, message any) (any, error) {
	id, self, trans := raft.ServerID(f.from), raft.ServerAddress(f.from), f.c.nodes[f.from].trans.InmemTransport
	trans.Connect(self, trans)
	switch m := message.(type) {
	case *raft.AppendEntriesRequest:
		var resp raft.AppendEntriesResponse
		return &resp, trans.AppendEntries(id, self, m, &resp)
	case *raft.TimeoutNowRequest:
		var resp raft.TimeoutNowResponse
		err := trans.TimeoutNow(id, self, m, &resp)
		if f.told != nil {
			f.told(f.from)
		}
		return &resp, err
	}
	return nil, fmt.Errorf("not prepared for %T", message)
}

// withFailover gives every node of a cluster a Failover.
func withFailover(c **testCluster) func(*Config) {
	return func(cfg *Config) { cfg.Failover = testFailover{c: *c, from: cfg.NodeID} }
}

// formedWithFailover is newFormed with Failover.
func formedWithFailover(t *testing.T, ids ...string) *testCluster {
	t.Helper()
	c := emptyCluster(t, nil, ids...)
	c.configure = withFailover(&c)
	c.form()
	return c
}

// form starts all nodes of an empty cluster, and makes them voters.
func (c *testCluster) form() {
	c.t.Helper()
	for _, id := range c.ids {
		c.nodes[id] = &testNode{id: id, stores: memoryStores()}
	}
	for _, id := range c.ids {
		c.start(id)
	}
	c.bootstrap(c.ids, nil)
}

// replaced is how long it takes until another node than the old leader leads.
func (c *testCluster) replaced(old string) time.Duration {
	c.t.Helper()
	begin := time.Now()
	c.leader(c.others(old)...)
	return time.Since(begin)
}

// A leader whose process ended is replaced within twice Timing.Refused, round
// after round, by the node with the longest log; one that only fell silent
// soon after Timing.Silent. Raft alone would take up to three heartbeat timeouts,
// and one more for each split vote.
func TestALostLeaderIsReplacedSoon(t *testing.T) {
	for name, tc := range map[string]struct {
		lose func(c *testCluster, id string)
		min  time.Duration
		max  time.Duration
	}{
		"its process ended": {(*testCluster).crash, 0, 2 * LAN().Refused},
		"it fell silent":    {(*testCluster).isolate, LAN().Silent - LAN().Heartbeat/5, LAN().Silent + LAN().Refused},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				bubble(t, func(t *testing.T) {
					c := formedWithFailover(t, "a", "b", "c")
					old := c.leader()
					c.put(old, "x")
					time.Sleep(5 * time.Second)
					// One follower misses what the other has.
					behind := c.others(old.id)[0]
					c.block(old.id, behind)
					c.put(old, "y")
					begin := time.Now()
					tc.lose(c, old.id)
					closed := time.Since(begin) // closing is not the loss of the leader
					took := c.replaced(old.id) + closed
					if took > tc.max+closed || took < tc.min {
						t.Errorf("a new leader took %v, want %v to %v", took, tc.min, tc.max)
					}
					if next := c.leader(c.others(old.id)...); next.id == behind {
						t.Errorf("%s leads although it lacks an entry", next.id)
					} else if got := next.machine.values(); !slices.Equal(got, []string{"x", "y"}) {
						t.Errorf("the new leader has %v", got)
					}
				})
			}
		})
	}
}

// A node whose own timer made it a candidate, and who was refused by a voter that
// still believes in the leader, campaigns at once all the same: Raft alone forgets
// that it was told to, and waits an election timeout or two. In a term that has
// passed it does nothing.
func TestACandidateCampaignsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := emptyCluster(t, nil, "a", "b", "c")
		c.configure = func(cfg *Config) {
			cfg.Failover = testFailover{c: c, from: cfg.NodeID}
			cfg.Timing.Refused, cfg.Timing.Silent = time.Hour, time.Hour // nobody but Raft looks
		}
		c.form()
		old := c.leader()
		term, _ := old.group.Leading()
		heir := c.nodes[c.others(old.id)[0]]
		c.agree(nil, c.ids...)
		c.block(old.id, heir.id)
		c.eventually("a candidate", func() bool { return heir.group.raft.State() == raft.Candidate })
		time.Sleep(10 * time.Millisecond) // it was refused
		if err := heir.group.campaign(t.Context(), term-1); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Millisecond)
		if now, leads := old.group.Leading(); !leads || now != term {
			t.Errorf("a campaign of a past term ended the leader's: leads %t, term %d", leads, now)
		}
		begin := time.Now()
		if err := heir.group.campaign(t.Context(), term); err != nil {
			t.Error(err)
		}
		c.leader(heir.id)
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// slowStable takes its time to keep a term, as a disk does.
type slowStable struct{ raft.StableStore }

func (s slowStable) SetUint64(key []byte, v uint64) error {
	time.Sleep(20 * time.Millisecond)
	return s.StableStore.SetUint64(key, v)
}

// A node that campaigned holds back for a while, but no longer than until its
// election gave a leader: one that is asked about the lost leader in the very
// moment in which it campaigns, while its disk keeps the new term, is as quick the
// next time. It once slept through its own leadership, and then campaigned in the
// same moment as the one who had waited for it.
func TestWhoHasLedCampaignsAgainAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := emptyCluster(t, nil, "a", "b", "c")
		c.configure = func(cfg *Config) {
			cfg.Failover = testFailover{c: c, from: cfg.NodeID, told: func(id string) { signal(c.nodes[id].group.suspectWake) }}
			cfg.Stores.Stable = slowStable{cfg.Stores.Stable}
		}
		c.form()
		old := c.leader().id
		lose := func() (next *testNode) {
			t.Helper()
			time.Sleep(time.Second)
			c.crash(old)
			if took := c.replaced(old); took > 2*LAN().Refused {
				t.Errorf("a new leader took %v", took)
			}
			next = c.leader(c.others(old)...)
			c.heal()
			c.start(old)
			return next
		}
		heir := lose()
		c.put(heir, "x")
		c.agree([]string{"x"}, c.ids...)
		if err := heir.group.TransferLeadership(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		c.leader(old)
		if again := lose(); again.id != heir.id {
			t.Errorf("%s leads after %s did, who comes first", again.id, heir.id)
		}
	})
}

// A follower that hears nothing while the others do leaves the leader alone; and
// so does one that is cut off from everybody, however long.
func TestAHeardLeaderIsLeftAlone(t *testing.T) {
	for name, cut := range map[string]func(c *testCluster, leader, follower string){
		"one follower does not hear the leader": func(c *testCluster, leader, follower string) { c.block(leader, follower) },
		"one follower is cut off":               func(c *testCluster, _, follower string) { c.isolate(follower) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := formedWithFailover(t, "a", "b", "c")
				old := c.leader()
				term, _ := old.group.Leading()
				cut(c, old.id, c.others(old.id)[0])
				time.Sleep(time.Minute)
				c.heal()
				time.Sleep(10 * time.Second)
				if now, leads := old.group.Leading(); !leads || now != term {
					t.Errorf("the leader of term %d leads: %t, term %d", term, leads, now)
				}
			})
		})
	}
}

// Handing over waits for what is in flight, holds what comes meanwhile, and picks
// a voter that answers.
func TestHandOverPicksAVoterThatAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := formedWithFailover(t, "a", "b", "c")
		old := c.leader()
		c.put(old, "x")
		away := c.others(old.id)[0]
		c.isolate(away)
		begin := time.Now()
		if err := old.group.HandOver(context.Background()); err != nil {
			t.Fatal(err)
		}
		next := c.leader(c.others(old.id, away)...)
		if took := time.Since(begin); took > LAN().Heartbeat {
			t.Errorf("it took %v", took)
		}
		c.put(next, "y")
		if err := old.group.HandOver(context.Background()); err != nil {
			t.Errorf("on a node that does not lead: %v", err)
		}
	})
}
