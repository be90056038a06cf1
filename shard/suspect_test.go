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
	c.open()
	c.bootstrap(c.ids, nil)
}

// open starts all nodes of an empty cluster.
func (c *testCluster) open() {
	c.t.Helper()
	for _, id := range c.ids {
		c.nodes[id] = &testNode{id: id, stores: memoryStores()}
	}
	for _, id := range c.ids {
		c.start(id)
	}
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

// A group whose voters have not heard of a leader since they were started, be it new or
// not, does not wait for Raft's timers: they find that out together, and there is one election.
func TestAGroupThatNobodyLeadsElectsSoon(t *testing.T) {
	for name, tc := range map[string]struct {
		// prepare returns the last term that the group was led in.
		prepare func(c *testCluster) (term uint64)
		among   []string
	}{
		"new, begun by one node at once": {func(c *testCluster) uint64 { return bootstrapTerm }, []string{"b"}},
		"new, begun by one node later": {func(c *testCluster) uint64 {
			time.Sleep(time.Minute)
			return bootstrapTerm
		}, []string{"b"}},
		"all were started again":           {func(c *testCluster) uint64 { return c.stopAll("a", "b", "c") }, []string{"a", "b", "c"}},
		"a majority was, the rest is gone": {func(c *testCluster) uint64 { return c.stopAll("b", "c") }, []string{"b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				bubble(t, func(t *testing.T) {
					c := emptyCluster(t, nil, "a", "b", "c")
					c.configure = withFailover(&c)
					c.open()
					last := tc.prepare(c)
					begin := time.Now()
					if last == bootstrapTerm {
						c.bootstrap([]string{"b", "a", "c"}, nil)
					}
					leader := c.leader(tc.among...)
					if took := time.Since(begin); took > 2*LAN().Refused {
						t.Errorf("a leader took %v", took)
					}
					if term, _ := leader.group.Leading(); term != last+1 {
						t.Errorf("the leader's term is %d, after %d: that was not one election", term, last)
					}
				})
			}
		})
	}
}

// stopAll forms the group, ends all its nodes at once and starts some again; it returns the
// term that was led in.
func (c *testCluster) stopAll(again ...string) (term uint64) {
	c.t.Helper()
	c.bootstrap(c.ids, nil)
	c.put(c.leader(), "x")
	c.agree([]string{"x"}, c.ids...)
	term, _ = c.leader().group.Leading()
	for _, id := range c.ids {
		c.isolate(id)
	}
	for _, id := range c.ids {
		c.stopGroup(c.nodes[id].group)
	}
	c.heal()
	for _, id := range c.ids {
		if !slices.Contains(again, id) {
			c.isolate(id)
		}
	}
	for _, id := range again {
		c.start(id)
	}
	return term
}

// Nodes that were started again and have not heard of the leader yet leave it alone, be
// they a majority, as it says that it leads.
func TestWhoWasStartedAgainLeavesTheLeaderAlone(t *testing.T) {
	for name, again := range map[string]int{"one": 1, "a majority": 2} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := emptyCluster(t, nil, "a", "b", "c")
				c.configure = func(cfg *Config) {
					cfg.Failover = testFailover{c: c, from: cfg.NodeID}
					// The leader does not give up by itself meanwhile.
					cfg.Timing.Heartbeat, cfg.Timing.Election, cfg.Timing.LeaderLease = 10*time.Second, 10*time.Second, 10*time.Second
				}
				c.form()
				c.agree(nil, c.ids...)
				leader := c.leader()
				term, _ := leader.group.Leading()
				started := c.others(leader.id)[:again]
				for _, id := range started {
					c.crash(id)
				}
				c.heal()
				for _, id := range started {
					c.setDeaf(id, true)
					c.start(id)
				}
				time.Sleep(3 * time.Second)
				for _, id := range started {
					if !c.nodes[id].group.unled() {
						t.Errorf("%s has heard of the leader", id)
					}
					c.setDeaf(id, false)
				}
				time.Sleep(10 * time.Second)
				if now, leads := leader.group.Leading(); !leads || now != term {
					t.Errorf("the leader of term %d leads: %t, term %d", term, leads, now)
				}
				c.agree(nil, c.ids...)
			})
		})
	}
}
