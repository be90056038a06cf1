package transport

import (
	"fmt"
	"net"
	"testing"

	"github.com/hashicorp/raft"
)

// staticPeers resolves from a map that does not change.
type staticPeers map[string]string

func (p staticPeers) PeerAddress(id string) (string, bool) { a, ok := p[id]; return a, ok }

// BenchmarkAppendEntries measures calls over loopback TCP to a follower that
// answers at once: what the transport itself costs. One call is under way for
// each group, as raft does without pipelining.
func BenchmarkAppendEntries(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	peers := staticPeers{"n2": l.Addr().String()}
	nets := map[string]*PeerNet{}
	for _, id := range []string{"n1", "n2"} {
		n, err := NewPeerNet(NetConfig{NodeID: id, ClusterID: func() string { return meshCluster }, Resolver: peers})
		if err != nil {
			b.Fatal(err)
		}
		nets[id] = n
	}
	srv := NewPeerServer(nets["n2"], nil)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	b.Cleanup(func() {
		_ = nets["n1"].Close()
		_ = nets["n2"].Close()
		srv.Stop()
		<-served
	})
	for _, groups := range []int{1, 16} {
		for _, size := range []int{0, 4 << 10, MaxEntryBytes, 16 * MaxEntryBytes} {
			entries, each := 1, size
			if size > MaxEntryBytes {
				entries, each = size/MaxEntryBytes, MaxEntryBytes
			}
			b.Run(fmt.Sprintf("groups=%d/bytes=%d", groups, size), func(b *testing.B) {
				benchAppend(b, nets["n1"], nets["n2"], groups, entriesOf("n1", entries, each), size)
			})
		}
	}
}

func benchAppend(b *testing.B, from, to *PeerNet, groups int, req *raft.AppendEntriesRequest, size int) {
	senders := make(chan *RaftTransport, groups)
	for g := range uint32(groups) {
		senders <- from.Raft(g)
		follower := to.Raft(g)
		go func() {
			for {
				select {
				case rpc := <-follower.Consumer():
					rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
				case <-follower.ctx.Done():
					return
				}
			}
		}()
	}
	b.SetBytes(int64(size))
	b.SetParallelism(groups) // At least one goroutine a group, whatever GOMAXPROCS.
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			t := <-senders
			err := t.AppendEntries("n2", "n2", req, &raft.AppendEntriesResponse{})
			senders <- t
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}
