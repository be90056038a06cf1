package shard

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Leadership is given to nobody who does not answer or has halted, and asking for
// that does not hold up what is written.
func TestATransferGoesToAnHeir(t *testing.T) {
	for name, lose := range map[string]func(c *testCluster, leader, heir *testNode){
		"it is cut off": func(c *testCluster, _, heir *testNode) { c.isolate(heir.id) },
		"it has halted": func(c *testCluster, leader, heir *testNode) {
			heir.machine.poison = "poison"
			c.put(leader, "poison")
			c.eventually("the halt", func() bool { return heir.group.Status().State == StateHalted })
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := formedWithFailover(t, "a", "b", "c")
				old := c.leader()
				c.agree(nil, c.ids...)
				away, other := c.others(old.id)[0], c.others(old.id)[1]
				lose(c, old, c.nodes[away])
				begin := time.Now()
				for range 3 {
					c.put(old, "x")
					err := old.group.TransferLeadership(context.Background(), away)
					wantError(t, err, typesv1.Reason_REASON_PLACEMENT_CHANGED, true)
					if !strings.Contains(err.Error(), away) {
						t.Errorf("%v does not name %s", err, away)
					}
					voters, _ := old.group.Members()
					err = old.group.Change(context.Background(), MemberChange{Kind: TransferChange, Node: away, Voters: voters})
					wantError(t, err, typesv1.Reason_REASON_PLACEMENT_CHANGED, true)
					c.put(old, "y")
				}
				if took := time.Since(begin); took > 6*LAN().Heartbeat {
					t.Errorf("it took %v", took)
				}
				if err := old.group.TransferLeadership(context.Background(), ""); err != nil {
					t.Fatalf("to anybody: %v", err)
				}
				c.put(c.leader(other), "z")
			})
		})
	}
}

// Leadership stays where it is, at once, when nobody answers who could take over,
// though Raft would find a voter with the whole log: whoever asks, and as often.
func TestLeadershipIsHandedToAnHeirOrNobody(t *testing.T) {
	for name, lose := range map[string]func(c *testCluster, leader *testNode){
		"one is cut off, one too busy to answer": func(c *testCluster, leader *testNode) {
			others := c.others(leader.id)
			c.isolate(others[0])
			c.mu.Lock()
			defer c.mu.Unlock()
			c.askCut[others[1]] = true
		},
		"both are too busy to answer": func(c *testCluster, leader *testNode) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, id := range c.others(leader.id) {
				c.askCut[id] = true
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := formedWithFailover(t, "a", "b", "c")
				old := c.leader()
				c.agree(nil, c.ids...)
				term, _ := old.group.Leading()
				lose(c, old)
				begin := time.Now()
				for range 2 {
					for how, hand := range map[string]func(context.Context) error{
						"handing over": old.group.HandOver,
						"a transfer":   func(ctx context.Context) error { return old.group.TransferLeadership(ctx, "") },
					} {
						err := hand(context.Background())
						if fsm.ReasonOf(err) != typesv1.Reason_REASON_PLACEMENT_CHANGED {
							t.Errorf("%s: %v", how, err)
						}
					}
					c.put(old, "x")
				}
				if took := time.Since(begin); took > 4*LAN().Heartbeat {
					t.Errorf("it took %v", took)
				}
				if now, leads := old.group.Leading(); !leads || now != term {
					t.Errorf("the leader of term %d leads: %t, term %d", term, leads, now)
				}
			})
		})
	}
}
