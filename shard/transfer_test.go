package shard

import (
	"context"
	"strings"
	"testing"
	"time"

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
