package shard

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// farTransport is a testTransport of a node that is far from all others.
type farTransport struct{ testTransport }

// oneWay is what a message takes from one site to another, with jitter: 300 ms to
// there and back at most, as the preset for distant nodes says of itself.
func oneWay() { time.Sleep(120*time.Millisecond + rand.N(30*time.Millisecond)) }

func far(call func() error) error {
	oneWay()
	defer oneWay()
	return call()
}

func (f farTransport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return far(func() error { return f.testTransport.AppendEntries(id, addr, req, resp) })
}

func (f farTransport) RequestVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return far(func() error { return f.testTransport.RequestVote(id, addr, req, resp) })
}

func (f farTransport) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return far(func() error { return f.testTransport.RequestPreVote(id, addr, req, resp) })
}

// farFailover is a testFailover of a node that is far from all others.
type farFailover struct{ testFailover }

func (f farFailover) AskLost(ctx context.Context, to string, group uint32, leader string, term uint64) (Lost, error) {
	var answer Lost
	err := far(func() (err error) {
		answer, err = f.testFailover.AskLost(ctx, to, group, leader, term)
		return err
	})
	return answer, err
}

func (f farFailover) Gone(ctx context.Context, id string) (gone bool) {
	_ = far(func() error { gone = f.testFailover.Gone(ctx, id); return nil })
	return gone
}

// Nodes on distant sites keep their leader with the preset for them, replace one
// whose process ended within four seconds, and one that fell silent within eight.
func TestDistantNodesReplaceALostLeader(t *testing.T) {
	for name, tc := range map[string]struct {
		lose func(c *testCluster, id string)
		max  time.Duration
	}{
		"its process ended": {(*testCluster).crash, 4 * time.Second},
		"it fell silent":    {(*testCluster).isolate, 8 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				bubble(t, func(t *testing.T) {
					c := emptyCluster(t, nil, "a", "b", "c")
					c.configure = func(cfg *Config) {
						cfg.Timing = WAN()
						cfg.Transport = farTransport{cfg.Transport.(testTransport)}
						cfg.Failover = farFailover{testFailover{c: c, from: cfg.NodeID}}
					}
					c.form()
					old := c.leader()
					term, _ := old.group.Leading()
					c.put(old, "x")
					time.Sleep(5 * time.Minute)
					if now, leads := old.group.Leading(); !leads || now != term {
						t.Fatalf("the leader of term %d leads: %t, term %d", term, leads, now)
					}
					begin := time.Now()
					tc.lose(c, old.id)
					closed := time.Since(begin)
					took := c.replaced(old.id) + closed
					if took > tc.max+closed {
						t.Errorf("a new leader took %v, want %v at most", took, tc.max)
					}
					c.put(c.leader(c.others(old.id)...), "y")
				})
			}
		})
	}
}
