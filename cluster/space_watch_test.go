package cluster

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/shard/store"
)

// hangingGroup is led by node a of a, b and c, and does not get rid of that.
type hangingGroup struct {
	group
	host *hangingGroups
}

// hangingGroups are the groups of a node on which every transfer hangs.
type hangingGroups struct {
	groups
	list []group

	mu sync.Mutex // guards the fields below
	// to counts the transfers that were begun, by target.
	to        map[string]int
	now, most int
}

func (h *hangingGroups) Groups() []group { return h.list }

func (g *hangingGroup) ID() uint32              { return 1 }
func (g *hangingGroup) Leader() (string, bool)  { return "a", true }
func (g *hangingGroup) Leading() (uint64, bool) { return 1, true }
func (g *hangingGroup) RefuseGrowth(string)     {}
func (g *hangingGroup) Status() shard.Status    { return shard.Status{Voters: []string{"a", "b", "c"}} }

func (g *hangingGroup) TransferLeadership(ctx context.Context, to string) error {
	h := g.host
	h.mu.Lock()
	h.to[to]++
	h.now++
	h.most = max(h.most, h.now)
	h.mu.Unlock()
	<-ctx.Done()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now--
	return ctx.Err()
}

// roomyPeers all have room.
type roomyPeers struct{ Peers }

func (roomyPeers) Status(context.Context, string, *peerv1.StatusRequest) (*peerv1.StatusResponse, error) {
	return &peerv1.StatusResponse{Space: &typesv1.Space{Level: spaceOK}}, nil
}

// TestTransfersThatHangHoldNothingUp: the disk is measured every second while the
// leaderships of a node without room are handed away, a few at a time and evenly.
func TestTransfersThatHangHoldNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		measured := 0
		host := &hangingGroups{to: map[string]int{}}
		for range 64 {
			host.list = append(host.list, &hangingGroup{host: host})
		}
		n := newNode(NodeConfig{Self: &statev1.Node{Id: "a"}, Peers: roomyPeers{}, groups: host, Space: SpaceConfig{
			Limits: DefaultSpaceLimits(), Measure: func() (store.Usage, error) {
				measured++
				return store.Usage{FreeBytes: 10, TotalBytes: 100}, nil
			},
		}})
		n.task(n.space.run)
		time.Sleep(time.Minute + time.Millisecond)
		n.stop()
		n.tasks.Wait()
		if measured < 60 {
			t.Errorf("in a minute the disk was measured %d times", measured)
		}
		if host.most != handOvers || host.to["b"] < 20 || host.to["c"] < 20 || host.to["b"]-host.to["c"] > 1 {
			t.Errorf("at most %d leaderships were moved at a time, to %v", host.most, host.to)
		}
	})
}
