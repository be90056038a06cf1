package transport

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/shard"
)

// TestAServerIsNotItsOwnTwin: a node that gives another address as its own hears of
// itself at the one before, where it may still be reached. That is no copy of it.
func TestAServerIsNotItsOwnTwin(t *testing.T) {
	s, err := StartServer(ServerConfig{
		Name: "n1", ClusterName: "alone", DataDir: filepath.Join(t.TempDir(), "n1"), Listen: "127.0.0.1:0", PeerListen: "127.0.0.1:0", Gossip: "127.0.0.1:0",
		PeerAdvertise: "127.0.0.1:1", Expect: 1, Shards: 1, Replicas: 1, Timing: shard.Test(), GossipTimings: cluster.TestTimings(), Version: "v0",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	defer func() {
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	listens := s.peerListener.Addr().String()
	if s.twinAt(listens) {
		t.Error("it takes itself for its twin")
	}
	asker := &Server{ctx: s.ctx, self: s.self, net: s.net, process: "another"}
	if !asker.twinAt(listens) {
		t.Error("another process with its id is not seen")
	}
}
