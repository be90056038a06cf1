package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/spexio/spex/cluster/plan"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
)

// traffic is a group with a write now and then, as Raft spreads it at its slowest: a
// follower hears that an entry is committed with the next one, or after twice Commit.
type traffic struct{ every, commit time.Duration }

func (w traffic) applied(t time.Duration, leads bool) uint64 {
	n := int64(t / w.every)
	if !leads && t-time.Duration(n)*w.every < 2*w.commit {
		n--
	}
	return uint64(10 + n)
}

// TestFollowerKeepsUp: a replica that applies all that it hears of has kept up, however
// often there are writes and however often somebody looks; one that stays behind has not.
func TestFollowerKeepsUp(t *testing.T) {
	for _, commit := range []time.Duration{shard.LAN().Commit, shard.WAN().Commit} {
		for _, every := range []time.Duration{300 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 9 * time.Second} {
			for _, pause := range []time.Duration{250 * time.Millisecond, time.Second} {
				t.Run(fmt.Sprintf("commit %v, a write each %v, a look each %v", commit, every, pause), func(t *testing.T) {
					log := traffic{every, commit}
					begin := time.Unix(1_000_000, 0)
					var m memory
					var g plan.Group
					for at := time.Duration(0); at < 20*time.Second; at += pause {
						status := func(leads bool, applied uint64) *peerv1.GroupStatus {
							return &peerv1.GroupStatus{Group: 1, State: "follower", Leading: leads, Settled: leads, Leader: "a", Term: 3,
								Voters: []string{"a"}, Nonvoters: []string{"b", "c"}, AppliedIndex: applied}
						}
						l := &look{
							asked: begin.Add(at), now: begin.Add(at + time.Millisecond), ripens: 2 * commit,
							before: m, after: newMemory(),
							ids: []string{"a", "b", "c"}, facts: map[groupKey]*peerv1.GroupStatus{
								{"a", 1}: status(true, log.applied(at, true)),
								{"b", 1}: status(false, log.applied(at, false)),
								{"c", 1}: status(false, log.applied(max(0, at-10*time.Second), false)-1),
							},
						}
						g, m = l.group(plan.Group{ID: 1}), l.after
						if g.Replicas[2].CaughtUpFor != 0 {
							t.Fatalf("after %v: %+v has not kept up, the leader has applied %d", at, g.Replicas[2], log.applied(at, true))
						}
					}
					if b := g.Replicas[1]; b.CaughtUpFor < DefaultStabilise {
						t.Errorf("%+v has always kept up", b)
					}
				})
			}
		}
	}
}

// TestRoomIsRemembered: nothing is placed on a node before it has said how much room it has, and
// one that was short stays so while it does not answer.
func TestRoomIsRemembered(t *testing.T) {
	ok := &peerv1.StatusResponse{Space: &typesv1.Space{Level: typesv1.SpaceLevel_SPACE_LEVEL_OK}}
	unwatched := &peerv1.StatusResponse{}
	low := &peerv1.StatusResponse{Space: &typesv1.Space{Level: typesv1.SpaceLevel_SPACE_LEVEL_LOW}}
	m := newMemory()
	for i, tt := range []struct {
		answer         *peerv1.StatusResponse
		short, unheard bool
	}{
		{nil, false, true}, {nil, false, true}, {unwatched, false, false}, {nil, false, false},
		{low, true, false}, {nil, true, false}, {nil, true, false}, {ok, false, false}, {nil, false, false},
	} {
		l := &look{now: time.Unix(int64(1_000_000+i), 0), before: m, after: newMemory()}
		n := l.node(&statev1.Node{Id: "a"}, plan.Active, tt.answer)
		if m = l.after; n.Short != tt.short || n.Unheard != tt.unheard || !n.Alive {
			t.Errorf("look %d, answer %v: %+v", i, tt.answer, n)
		}
	}
}
