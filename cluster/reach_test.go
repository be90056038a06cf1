package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/ring"
)

// reachGroup is a group of which only its voters and its leader are known.
type reachGroup struct {
	group
	voters []string
	leader string
}

func (g *reachGroup) Leader() (string, bool)        { return g.leader, g.leader != "" }
func (g *reachGroup) Members() (voters, _ []string) { return g.voters, nil }
func (g *reachGroup) Changes() <-chan struct{}      { return nil }

type reachGroups struct {
	groups
	group *reachGroup
}

func (h reachGroups) Get(id uint32) (group, bool) { return h.group, id == 1 && h.group != nil }

// reachPeers are nodes that answer or hang for ever.
type reachPeers struct {
	Peers
	answer []string

	mu     sync.Mutex // guards the fields below
	leader string     // the one that leads, as all that answer say
	silent int        // how many questions get no answer yet
}

func (p *reachPeers) elect(leader string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leader = leader
}

func (p *reachPeers) Status(ctx context.Context, to string, req *peerv1.StatusRequest) (*peerv1.StatusResponse, error) {
	if len(req.GetGroups()) != 1 || req.GetGroups()[0] != 1 {
		return nil, errors.New("asked for another group")
	}
	p.mu.Lock()
	silent := p.silent > 0
	p.silent = max(p.silent-1, 0)
	p.mu.Unlock()
	if silent || !slices.Contains(p.answer, to) {
		<-ctx.Done()
		return nil, fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "node %s did not answer", to)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &peerv1.StatusResponse{Groups: []*peerv1.GroupStatus{{Group: 1, Term: 3, Leader: p.leader, Leading: to == p.leader}}}, nil
}

// TestCutOff: a node is cut off from a group when it knows no leader of it, none of
// the replicas that answer leads, and they could not elect one.
func TestCutOff(t *testing.T) {
	for _, tc := range []struct {
		name    string
		voters  string
		answer  string // those of the others that answer
		leader  string // the one of the others that says it leads
		known   string // the leader that the replica here knows
		nowhere bool   // no replica here, and the catalog has none either
		cut     string
	}{
		{name: "nobody answers", voters: "a b c", cut: "of the 3 replicas of shard 1 it reaches 1,"},
		{name: "two of five", voters: "a b c d e", answer: "b", cut: "of the 5 replicas of shard 1 it reaches 2,"},
		{name: "half", voters: "a b", cut: "of the 2 replicas of shard 1 it reaches 1,"},
		{name: "no replica here", voters: "b c d", answer: "c", cut: "of the 3 replicas of shard 1 it reaches 1,"},
		{name: "an election", voters: "a b c", answer: "b"},
		{name: "an election elsewhere", voters: "b c d", answer: "b d"},
		{name: "the leader is among the few", voters: "a b c d e", answer: "d", leader: "d"},
		{name: "a leader that is still believed in", voters: "a b c", known: "b"},
		{name: "no replica is known", nowhere: true},
		{name: "a group of this node alone", voters: "a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := reachGroups{}
				if !tc.nowhere {
					host.group = &reachGroup{voters: strings.Fields(tc.voters), leader: tc.known}
				}
				peers := &reachPeers{answer: strings.Fields(tc.answer), leader: tc.leader}
				n := newNode(NodeConfig{Self: &statev1.Node{Id: "a"}, Peers: peers, groups: host})
				defer n.stop()
				start := time.Now()
				cut := n.router.reach.cutOff(t.Context(), 1)
				if (cut != nil) != (tc.cut != "") || cut != nil && !strings.Contains(cut.Error(), tc.cut) {
					t.Errorf("got %v, want %q", cut, tc.cut)
				}
				if took := time.Since(start); took > 500*time.Millisecond {
					t.Errorf("it took %v to find out", took)
				}
			})
		})
	}
}

// TestCutOffOnItsWayOut: a replica that the shard has left behind does not take
// the voters of old for those that count now.
func TestCutOffOnItsWayOut(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer string
		cut    string
	}{
		{"those that count answer", "c d e", ""},
		{"most of them do not", "c", "of the 3 replicas of shard 1 it reaches 1,"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				peers := &reachPeers{answer: strings.Fields(tc.answer)}
				host := reachGroups{group: &reachGroup{voters: []string{"a", "b", "z"}}}
				n := newNode(NodeConfig{Self: &statev1.Node{Id: "a"}, Peers: peers, groups: host})
				defer n.stop()
				formCatalog(t, n, "c", "d", "e")
				cut := n.router.reach.cutOff(t.Context(), 1)
				if (cut != nil) != (tc.cut != "") || cut != nil && !strings.Contains(cut.Error(), tc.cut) {
					t.Errorf("got %v, want %q", cut, tc.cut)
				}
			})
		})
	}
}

// TestCutOffWithoutAReplica: where no replica misses a leader one slow moment of
// the others is not enough.
func TestCutOffWithoutAReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := &reachPeers{}
		n := newNode(NodeConfig{Self: &statev1.Node{Id: "a"}, Peers: peers, groups: reachGroups{}})
		defer n.stop()
		formCatalog(t, n, "c", "d", "e")
		if cut := n.router.reach.cutOff(t.Context(), 1); cut == nil {
			t.Error("nobody answers, and it is not cut off")
		}
		time.Sleep(time.Minute)
		n.router.reach.forget(1)
		peers.answer, peers.silent = []string{"c", "d", "e"}, 3
		if cut := n.router.reach.cutOff(t.Context(), 1); cut != nil {
			t.Errorf("after one slow moment: %v", cut)
		}
	})
}

// formCatalog has a node know of one shard, which is placed on some nodes.
func formCatalog(t *testing.T, n *Node, replicas ...string) {
	t.Helper()
	form := &statev1.FormCluster{ClusterId: "x", ClusterName: "x", Shards: 1, Replicas: uint32(len(replicas)), FeatureLevel: fsm.FeatureLevel,
		Slots: []*statev1.SlotRange{{Shard: 1, Last: ring.Slots - 1}}, Placements: []*statev1.ShardPlacement{{Shard: 1, Replicas: replicas}}}
	for _, id := range replicas {
		form.Nodes = append(form.Nodes, &statev1.Node{Id: id, Name: id})
	}
	data, err := proto.Marshal(&statev1.Entry{FeatureLevel: fsm.FeatureLevel, TimeUnixNano: 1, Commands: []*statev1.Command{{Kind: &statev1.Command_FormCluster{FormCluster: form}}}})
	if err != nil {
		t.Fatal(err)
	}
	results, err := n.catalog.machine.Apply(1, data)
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
}

// TestCutOffIsBelievedForAMoment: what was found is not asked for again at once, and
// is not believed when a leader is known, nor for long.
func TestCutOffIsBelievedForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := reachGroups{group: &reachGroup{voters: []string{"a", "b", "c"}}}
		peers := &reachPeers{}
		n := newNode(NodeConfig{Self: &statev1.Node{Id: "a"}, Peers: peers, groups: host})
		defer n.stop()
		r := n.router.reach
		want := func(when string, want bool, within time.Duration) {
			t.Helper()
			start := time.Now()
			if cut := r.cutOff(t.Context(), 1); (cut != nil) != want {
				t.Errorf("%s: %v", when, cut)
			}
			if took := time.Since(start); took > within {
				t.Errorf("%s: it took %v", when, took)
			}
		}
		want("at first", true, 500*time.Millisecond)
		want("right after it", true, 0)
		host.group.leader = "b"
		want("with a leader", false, 0)
		host.group.leader = ""
		want("without it again", true, 500*time.Millisecond)
		peers.answer = []string{"b"}
		want("before it is looked again", true, 0)
		time.Sleep(1100 * time.Millisecond)
		want("with one that answers", false, 500*time.Millisecond)

		// A request that ends while it looks has found nothing out.
		peers.answer = nil
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if cut := r.cutOff(ctx, 1); cut != nil {
			t.Errorf("without the time to ask: %v", cut)
		}
		want("after it", true, 500*time.Millisecond)
	})
}

// TestAHungLeaderIsLeftElsewhere: a router without a replica of the group leaves a
// leader that hangs when a replica knows its successor, goes straight to it;
// a leader that is merely slow is waited for.
func TestAHungLeaderIsLeftElsewhere(t *testing.T) {
	for _, tc := range []struct {
		name, leader string
		took         time.Duration
		asked        string
	}{
		{"replaced", "d", 3 * time.Second, "b d"},
		{"slow", "b", 4 * time.Second, "b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				peers := &reachPeers{answer: []string{"c", "d"}}
				n := newNode(NodeConfig{Self: &statev1.Node{Id: "a"}, Peers: peers, groups: reachGroups{group: &reachGroup{voters: []string{"b", "c", "d"}}}})
				defer n.stop()
				peers.leader = "b"
				go func() {
					time.Sleep(1800 * time.Millisecond)
					peers.elect(tc.leader)
				}()
				var asked []string
				start := time.Now()
				ask := func(ctx context.Context, target string) error {
					asked = append(asked, target)
					if target == "b" {
						return sleep(ctx, 4*time.Second)
					}
					return nil
				}
				err := n.router.attemptElsewhere(t.Context(), 1, "b", ask)
				if e := asError(err); e != nil && e.LeaderID != "" {
					err = n.router.attemptElsewhere(t.Context(), 1, e.LeaderID, ask)
				}
				if got := strings.Join(asked, " "); err != nil || got != tc.asked {
					t.Errorf("%v, asked %s, want %s", err, got, tc.asked)
				}
				if took := time.Since(start); took > tc.took {
					t.Errorf("it took %v, want at most %v", took, tc.took)
				}
			})
		})
	}
}
