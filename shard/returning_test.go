package shard

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// returned makes a node's replica again after it was deleted: empty but for its term,
// if it knows that it was here.
func (c *testCluster) returned(id string, knows bool) {
	c.t.Helper()
	c.crash(id)
	term := c.nodes[id].group.raft.CurrentTerm()
	c.nodes[id].stores = memoryStores()
	if c.nodes[id].stores.Returned = knows; knows {
		if err := c.nodes[id].stores.Stable.SetUint64(currentTermKey, term); err != nil {
			c.t.Fatal(err)
		}
	}
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
		current     uint64 // Raft's own
		want        bool
	}{
		"nothing was heard":                   {nil, 3, 9, 3, false},
		"only a heartbeat":                    {[]heard{{3, 0}}, 3, 9, 3, false},
		"all that is committed":               {[]heard{{3, 9}}, 3, 9, 3, true},
		"an entry is missing":                 {[]heard{{3, 9}}, 3, 8, 3, false},
		"more was committed since":            {[]heard{{3, 9}, {3, 12}}, 3, 9, 3, false},
		"a heartbeat takes nothing back":      {[]heard{{3, 9}, {3, 0}}, 3, 8, 3, false},
		"an old leader takes nothing back":    {[]heard{{3, 9}, {2, 4}}, 3, 8, 3, false},
		"nothing of the leader's own term":    {[]heard{{3, 9}}, 2, 9, 3, false},
		"a new leader, of whose term nothing": {[]heard{{3, 9}, {4, 9}}, 3, 9, 4, false},
		"an entry of the new leader":          {[]heard{{3, 9}, {4, 10}}, 4, 10, 4, true},
		"the new leader knows of less":        {[]heard{{3, 9}, {4, 2}}, 3, 8, 4, false},
		"a leader that Raft does not follow":  {[]heard{{3, 9}}, 3, 9, 5, false},
		"the one that it follows as well":     {[]heard{{3, 9}, {5, 10}}, 5, 10, 5, true},
		"Raft has not taken in the term yet":  {[]heard{{3, 9}}, 3, 9, 2, true},
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
			got, err := r.hasCaughtUp(tc.current, func() (uint64, uint64) { return tc.term, tc.index })
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

// A replica that was deleted, and made again, does not serve a leader that was
// deposed while it was here, whether it is the same process still or not: not by
// acknowledging what that leader writes, and not by confirming its reads.
func TestAReturnedReplicaObeysNoDeposedLeader(t *testing.T) {
	t.Parallel()
	d := newDiskCluster(t, testGroup, nil, "a", "b", "c")
	d.bootstrap(d.ids, nil)
	deposed := d.leader()
	stale, _ := deposed.group.Leading()
	d.put(deposed, "x")
	d.agree([]string{"x"}, d.ids...)
	if err := deposed.group.TransferLeadership(context.Background(), ""); err != nil {
		t.Fatal(err)
	}
	leader := d.leader(d.others(deposed.id)...)
	d.put(leader, "y")
	d.agree([]string{"x", "y"}, d.ids...)
	id := d.others(deposed.id, leader.id)[0]
	promised := d.nodes[id].group.raft.CurrentTerm()
	d.shut(deposed.id)
	d.shut(leader.id)
	d.remake(id)

	for _, restarted := range []bool{false, true} {
		if restarted {
			d.shut(id)
			d.open(id)
		}
		g := d.nodes[id].group
		_, back := raft.NewInmemTransportWithTimeout("", time.Second)
		back.Connect(raft.ServerAddress(id), d.nodes[id].trans.InmemTransport)
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(deposed.id), Addr: []byte(deposed.id)}
		for _, req := range []*raft.AppendEntriesRequest{
			{RPCHeader: header, Term: stale, LeaderCommitIndex: 1, Entries: []*raft.Log{{Index: 1, Term: stale, Type: raft.LogNoop}}},
			{RPCHeader: header, Term: stale, LeaderCommitIndex: 1, PrevLogEntry: 1, PrevLogTerm: stale},
		} {
			var resp raft.AppendEntriesResponse
			if err := back.AppendEntries(raft.ServerID(id), raft.ServerAddress(id), req, &resp); err != nil {
				t.Fatal(err)
			}
			if resp.Success || resp.Term < promised {
				t.Errorf("restarted %t: it acknowledged in term %d what a leader of term %d wrote (it promised %d): %t", restarted, resp.Term, stale, promised, resp.Success)
			}
		}
		if ok, current := g.ConfirmTerm(stale); ok || current < promised {
			t.Errorf("restarted %t: in term %d it confirmed a leader of term %d: %t", restarted, current, stale, ok)
		}
		if !g.voteless() {
			t.Errorf("restarted %t: a deposed leader gave it its vote back", restarted)
		}
		if err := back.Close(); err != nil {
			t.Fatal(err)
		}
	}

	d.open(deposed.id)
	d.open(leader.id)
	d.heal()
	d.agree([]string{"x", "y"}, d.ids...)
	d.eventually("its vote", func() bool { return !d.nodes[id].group.voteless() })
	d.put(d.leader(), "z")
	d.agree([]string{"x", "y", "z"}, d.ids...)
}

// What a leader says that Raft does not follow any more gives nobody a vote back,
// also when it is the first that is heard after a restart.
func TestALateMessageGivesNoVoteBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := emptyCluster(t, nil, "a")
		stores := memoryStores()
		stores.Returned = true
		if err := stores.Stable.SetUint64(currentTermKey, 5); err != nil {
			t.Fatal(err)
		}
		if err := stores.Logs.StoreLog(&raft.Log{Index: 1, Term: 3, Type: raft.LogNoop}); err != nil {
			t.Fatal(err)
		}
		c.nodes["a"] = &testNode{id: "a", stores: stores}
		g := c.start("a").group
		_, leader := raft.NewInmemTransport("")
		leader.Connect("a", c.nodes["a"].trans.InmemTransport)
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("b"), Addr: []byte("b")}
		for _, tc := range []struct {
			what string
			req  raft.AppendEntriesRequest
			want bool // it is taken in, and the replica votes
		}{
			{"late", raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 1, PrevLogTerm: 3, LeaderCommitIndex: 1}, false},
			{"of its leader", raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 1, PrevLogTerm: 3, LeaderCommitIndex: 2,
				Entries: []*raft.Log{{Index: 2, Term: 5, Type: raft.LogNoop}}}, true},
		} {
			tc.req.RPCHeader = header
			var resp raft.AppendEntriesResponse
			if err := leader.AppendEntries("a", "a", &tc.req, &resp); err != nil {
				t.Fatal(err)
			}
			if resp.Success != tc.want || g.voteless() == tc.want {
				t.Errorf("a message that is %s: taken in %t, votes %t; want %t", tc.what, resp.Success, !g.voteless(), tc.want)
			}
		}
	})
}
