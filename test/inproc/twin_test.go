package inproc

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/transport"
)

// TestACopyOfADataDirectoryEnds: a server that is started with a copy of the data
// directory of another that runs has its id and its votes. It finds that out, says so,
// and ends; the other goes on. A node that only moved is not taken for its own copy:
// TestStaleJoinAddresses.
func TestACopyOfADataDirectoryEnds(t *testing.T) {
	t.Parallel()
	start := func(dir string, timing shard.Timing, join ...string) *transport.Server {
		s, err := transport.StartServer(transport.ServerConfig{
			Name: "n1", ClusterName: "twin", DataDir: dir, Listen: "127.0.0.1:0", PeerListen: "127.0.0.1:0", Gossip: "127.0.0.1:0", Join: join,
			Expect: 1, Shards: 2, Replicas: 1, Timing: timing, GossipTimings: cluster.TestTimings(), Version: "v0",
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	stop := func(s *transport.Server) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	dir, twin := filepath.Join(t.TempDir(), "n1"), filepath.Join(t.TempDir(), "copy")
	original := start(dir, shard.Test())
	if err := original.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	stop(original)
	if err := os.CopyFS(twin, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	original = start(dir, shard.Test())
	defer stop(original)
	if err := original.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	// Slow elections keep it from leading its own cluster of one before it has heard.
	second := start(twin, shard.WAN(), original.GossipAddr())
	defer stop(second)
	if err := second.Ready(ctx); err == nil || !strings.Contains(err.Error(), "another process runs as node "+original.NodeID()+", at "+original.PeerAddr()) {
		t.Errorf("the copy: %v", err)
	}
	if err := original.Err(); err != nil {
		t.Errorf("the original ended: %v", err)
	}
}
