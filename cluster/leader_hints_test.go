package cluster

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	"github.com/spexio/spex/ring"
)

// TestHintsComeBack: what is encoded is decoded, and fits into a packet many times.
func TestHintsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hint := LeaderHint{
			Shard:  rapid.Uint32Range(1, ring.MaxShards).Draw(t, "shard"),
			Term:   rapid.Uint64().Draw(t, "term"),
			Leader: rapid.StringN(1, 100, 100).Draw(t, "leader"),
		}
		data := encodeHint(hint)
		if got, err := decodeHint(data); err != nil || got != hint {
			t.Fatalf("%+v came back as %+v, %v", hint, got, err)
		}
		// A later release may add fields.
		if got, err := decodeHint(append(data, 1, 2, 3)); err != nil || got != hint {
			t.Fatalf("%+v with more behind it came back as %+v, %v", hint, got, err)
		}
		for n := range data {
			if got, err := decodeHint(data[:n]); err == nil {
				t.Fatalf("%d of %d bytes were read as %+v", n, len(data), got)
			}
		}
	})
}

func FuzzHint(f *testing.F) {
	f.Add(encodeHint(LeaderHint{Shard: 7, Term: 1 << 40, Leader: "a-1b2c"}))
	f.Add([]byte{hintVersion, 1, 1, 200})
	f.Add([]byte{hintVersion + 1, 1, 1, 1, 'a'})
	f.Fuzz(func(t *testing.T, data []byte) {
		hint, err := decodeHint(data)
		if err != nil {
			return
		}
		if hint.Shard < 1 || hint.Shard > ring.MaxShards || hint.Leader == "" {
			t.Errorf("%v was read as %+v", data, hint)
		}
		if again, err := decodeHint(encodeHint(hint)); err != nil || again != hint {
			t.Errorf("%+v came back as %+v, %v", hint, again, err)
		}
	})
}

// TestNewestHintStays: a hint of an earlier term, of an unknown node, of a shard that
// cannot be, or that cannot be read changes nothing.
func TestNewestHintStays(t *testing.T) {
	h := NewLeaderHints()
	known := func(id string) bool { return id != "stranger" }
	newest := LeaderHint{Shard: 1, Term: 5, Leader: "b"}
	for _, hint := range []LeaderHint{{1, 4, "a"}, newest, {1, 3, "c"}, {1, 5, "d"}, {1, math.MaxUint64, "stranger"}} {
		if err := h.hear(encodeHint(hint), known); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range [][]byte{nil, {hintVersion}, {9, 1, 9, 1, 'x'}, encodeHint(LeaderHint{0, 9, "x"}), encodeHint(LeaderHint{ring.MaxShards + 1, 9, "x"})} {
		if err := h.hear(bad, known); err == nil || !strings.HasPrefix(err.Error(), "gossip: ") {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if got := h.Of(1); got != newest {
		t.Errorf("the hint is %+v, want %+v", got, newest)
	}
	if got := h.queue.NumQueued(); got != 1 {
		t.Errorf("%d hints wait to be sent, want the newest alone", got)
	}
}

// TestGossipSpreadsHints: a hint comes to all nodes, also where the one that gave it
// cannot send, and a later one takes its place.
func TestGossipSpreadsHints(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		var nodes []*Gossip
		var hints []*LeaderHints
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			h := NewLeaderHints()
			hints = append(hints, h)
			nodes = append(nodes, startGossip(t, id, clusterX, func(c *GossipConfig) {
				c.Hints, c.Transport, c.Timings = h, network.attach(), LANTimings()
			}, nodes...))
		}
		time.Sleep(5 * time.Second)
		for term, leader := range []string{"a", "e", "c"} {
			hint := LeaderHint{Shard: 3, Term: uint64(term + 1), Leader: leader}
			hints[strings.Index("abcde", leader)].Tell(hint)
			time.Sleep(time.Second)
			for i, h := range hints {
				if got := h.Of(3); got != hint {
					t.Errorf("after a second node %d has %+v, want %+v", i, got, hint)
				}
			}
		}
		time.Sleep(time.Minute)
		for i, h := range hints {
			if n := h.queue.NumQueued(); n != 0 {
				t.Errorf("after a minute node %d still sends %d hints", i, n)
			}
		}
	})
}

// TestAHintEndsAWait: a request that waits for a leader that hangs, or for one to be
// elected, goes to the one that a hint names, at once; a hint that was there before,
// or that names the node that is being asked, does not disturb it.
func TestAHintEndsAWait(t *testing.T) {
	for _, tc := range []struct {
		name  string
		hangs bool // otherwise it answers that nobody leads, as the others do
		hint  LeaderHint
		took  time.Duration
		last  string
	}{
		{"it hangs", true, LeaderHint{1, 8, "d"}, 100 * time.Millisecond, "d"},
		{"nobody leads", false, LeaderHint{1, 8, "d"}, 100 * time.Millisecond, "d"},
		{"an old hint", true, LeaderHint{1, 7, "d"}, 4 * time.Second, "b"},
		{"the same leader", true, LeaderHint{1, 8, "b"}, 4 * time.Second, "b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hints := NewLeaderHints()
				hints.Tell(LeaderHint{1, 7, "b"})
				// Nobody can be asked who leads: all others are silent.
				n := newNode(NodeConfig{Self: &statev1.Node{Id: "a"}, Hints: hints, Peers: &reachPeers{}, groups: reachGroups{}, RouteBudget: time.Minute,
					jitter: func(d time.Duration) time.Duration { return d }})
				defer n.stop()
				formCatalog(t, n, "b", "c", "d")
				start := time.Now()
				time.AfterFunc(100*time.Millisecond, func() { hints.Tell(tc.hint) })
				last := ""
				err := n.router.toLeader(t.Context(), 1, writes, func(ctx context.Context, target string) error {
					last = target
					switch {
					case target == "d" && time.Since(start) >= 100*time.Millisecond:
						return nil
					case target == "b" && tc.hangs:
						return sleep(ctx, 4*time.Second)
					}
					return n.unavailable("nobody leads")
				})
				if took := time.Since(start); err != nil || took != tc.took || last != tc.last {
					t.Errorf("%v after %v from %s, want the answer of %s after %v", err, took, last, tc.last, tc.took)
				}
			})
		})
	}
}
