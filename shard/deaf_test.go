package shard

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// deafTransport delivers what its node sends, and may keep the answers back until
// the call has waited for as long as it may.
type deafTransport struct {
	testTransport
	deaf *atomic.Bool
}

func (d deafTransport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	patience := 300 * time.Millisecond
	if len(req.Entries) > 0 {
		patience = 30 * time.Second
	}
	return d.answer(patience, d.testTransport.AppendEntries(id, addr, req, resp))
}

func (d deafTransport) RequestVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return d.answer(time.Second, d.testTransport.RequestVote(id, addr, req, resp))
}

func (d deafTransport) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return d.answer(time.Second, d.testTransport.RequestPreVote(id, addr, req, resp))
}

// answer is what becomes of an answer.
func (d deafTransport) answer(patience time.Duration, err error) error {
	if !d.deaf.Load() {
		return err
	}
	time.Sleep(patience)
	return errors.New("no answer")
}

// A leader that is heard, but hears nobody, is replaced soon after its lease has
// ended, though a call with entries is still under way, for the end of which Raft
// waits before it stops the heartbeats.
func TestADeafLeaderIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		deaf := map[string]*atomic.Bool{}
		c := newFormed(t, func(cfg *Config) {
			deaf[cfg.NodeID] = &atomic.Bool{}
			cfg.Transport = deafTransport{cfg.Transport.(testTransport), deaf[cfg.NodeID]}
		}, "a", "b", "c")
		old := c.leader()
		c.put(old, "x")
		deaf[old.id].Store(true)
		for _, id := range c.others(old.id) {
			c.block(id, old.id)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = old.group.Propose(ctx, put("y")) // entries that nobody answers
		begin := time.Now()
		next := c.leader(c.others(old.id)...)
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("the new leader took %v", took)
		}
		c.put(next, "z")
		deaf[old.id].Store(false)
		c.heal()
		time.Sleep(time.Minute) // the calls come back
		c.agree([]string{"x", "y", "z"}, c.ids...)
	})
}
