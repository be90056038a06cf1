package shard

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// returned makes a node's replica again after it was deleted: empty.
func (c *testCluster) returned(id string, knows bool) {
	c.t.Helper()
	c.crash(id)
	c.nodes[id].stores = memoryStores()
	c.nodes[id].stores.Returned = knows
	c.heal()
	c.start(id)
}

// A voter that has forgotten what it acknowledged would elect a candidate that
// lacks it, as Raft grants votes while its log is empty. One that knows that it
// was here before does not, but votes again when it has caught up, and after a
// restart still.
func TestAReplicaThatWasDeletedHereDoesNotVote(t *testing.T) {
	for name, knows := range map[string]bool{"Raft alone": false, "returned": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := formedWithFailover(t, "a", "b", "c")
				old := c.leader()
				c.put(old, "x")
				behind, emptied := c.others(old.id)[0], c.others(old.id)[1]
				c.agree([]string{"x"}, c.ids...)
				c.isolate(behind)
				c.put(old, "y")
				c.agree([]string{"x", "y"}, emptied)
				c.crash(old.id)
				c.returned(emptied, knows)
				c.isolate(old.id)
				time.Sleep(time.Minute)
				_, elected := c.nodes[behind].group.Leading()
				if elected == knows {
					t.Fatalf("a candidate without what was acknowledged was elected: %t", elected)
				}
				if !knows {
					return // that is the fault
				}
				if c.nodes[emptied].group.raft.State() == raft.Leader {
					t.Fatal("the empty replica leads")
				}

				c.heal()
				c.start(old.id)
				c.leader(old.id)
				c.agree([]string{"x", "y"}, c.ids...)
				time.Sleep(2 * LAN().Commit)
				c.crash(emptied)
				c.heal()
				c.start(emptied)
				c.isolate(old.id)
				next := c.leader(c.others(old.id)...)
				c.put(next, "z")
				if got := next.machine.values(); !slices.Equal(got, []string{"x", "y", "z"}) {
					t.Errorf("the new leader has %v", got)
				}
			})
		})
	}
}

// A replica that returned is caught up by what a leader says and not before, and
// stays so.
func TestWhenAReturningReplicaHasCaughtUp(t *testing.T) {
	type heard struct{ term, commit uint64 }
	for name, tc := range map[string]struct {
		heard       []heard
		term, index uint64
		want        bool
	}{
		"nothing was heard":                   {nil, 3, 9, false},
		"only a heartbeat":                    {[]heard{{3, 0}}, 3, 9, false},
		"all that is committed":               {[]heard{{3, 9}}, 3, 9, true},
		"an entry is missing":                 {[]heard{{3, 9}}, 3, 8, false},
		"more was committed since":            {[]heard{{3, 9}, {3, 12}}, 3, 9, false},
		"a heartbeat takes nothing back":      {[]heard{{3, 9}, {3, 0}}, 3, 8, false},
		"an old leader takes nothing back":    {[]heard{{3, 9}, {2, 4}}, 3, 8, false},
		"nothing of the leader's own term":    {[]heard{{3, 9}}, 2, 9, false},
		"a new leader, of whose term nothing": {[]heard{{3, 9}, {4, 9}}, 3, 9, false},
		"an entry of the new leader":          {[]heard{{3, 9}, {4, 10}}, 4, 10, true},
		"the new leader knows of less":        {[]heard{{3, 9}, {4, 2}}, 3, 8, false},
	} {
		t.Run(name, func(t *testing.T) {
			stores := memoryStores()
			stores.Returned = true
			_, trans := raft.NewInmemTransport("a")
			cfg := Config{Stores: stores, Transport: trans}
			r, err := newReturning(cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range tc.heard {
				r.heard(h.term, h.commit)
			}
			got, err := r.hasCaughtUp(func() (uint64, uint64) { return tc.term, tc.index })
			if got != tc.want || err != nil {
				t.Fatalf("it has caught up: %t, %v; want %t", got, err, tc.want)
			}
			again, err := newReturning(cfg)
			if err != nil || (again == nil) != tc.want {
				t.Errorf("after a restart it has to catch up: %t, %v", again != nil, err)
			}
		})
	}
}
