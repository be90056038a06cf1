package transport

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"maps"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
)

// raftMember is one node with one raft group over real transports.
type raftMember struct {
	id, address string
	node        *meshNode
	transport   *RaftTransport
	raft        *raft.Raft
	fsm         *setFSM
	calls       *callCounter
	chunks      atomic.Int64
}

// callCounter counts the unary calls that a server received, by method.
type callCounter struct {
	mu sync.Mutex // guards n
	n  map[string]int
}

func (c *callCounter) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	c.mu.Lock()
	c.n[path.Base(info.FullMethod)]++
	c.mu.Unlock()
	return next(ctx, req)
}

func (c *callCounter) count(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[method]
}

const raftTestGroup = 5

// startRaft starts the id-th of three members, n1 to n3.
func startRaft(t *testing.T, m *peerMesh, i int) *raftMember {
	t.Helper()
	r := &raftMember{
		id: fmt.Sprintf("n%d", i), address: fmt.Sprintf("host%d:1", i),
		fsm: &setFSM{set: map[string]int{}}, calls: &callCounter{n: map[string]int{}},
	}
	r.node = m.start(r.id, r.address, nil, nil, WithPeerGRPC(
		grpc.ChainUnaryInterceptor(r.calls.intercept), countingStreams(func() { r.chunks.Add(1) })))
	r.transport = r.node.Raft(raftTestGroup)

	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(r.id)
	cfg.HeartbeatTimeout, cfg.ElectionTimeout = 500*time.Millisecond, 500*time.Millisecond
	cfg.LeaderLeaseTimeout, cfg.CommitTimeout = 400*time.Millisecond, 20*time.Millisecond
	cfg.MaxAppendEntries = MaxAppendEntries
	cfg.TrailingLogs = 1
	cfg.SnapshotThreshold = 1 << 40 // Only when the test asks for one.
	cfg.Logger = hclog.NewNullLogger()
	store := raft.NewInmemStore()
	snapshots := raft.NewInmemSnapshotStore()
	servers := raft.Configuration{}
	for j := 1; j <= 3; j++ {
		id := fmt.Sprintf("n%d", j)
		servers.Servers = append(servers.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	if err := raft.BootstrapCluster(cfg, store, store, snapshots, r.transport, servers); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.raft, err = raft.NewRaft(cfg, r.fsm, store, store, snapshots, r.transport); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop is the order that RaftTransport prescribes.
func (r *raftMember) stop(t *testing.T) {
	f := r.raft.Shutdown()
	_ = r.transport.Close()
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("shutting raft down on %s: %v", r.id, err)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("raft on %s hangs in its shutdown", r.id)
	}
	r.node.stop(r.address)
}

// propose has data committed by whoever leads.
func propose(t *testing.T, members []*raftMember, data []byte) {
	t.Helper()
	eventually(t, "a command is committed", func() bool {
		for _, r := range members {
			if r.raft.State() == raft.Leader && r.raft.Apply(data, 5*time.Second).Error() == nil {
				return true
			}
		}
		return false
	})
}

func wantSame(t *testing.T, members []*raftMember, want map[string]int) {
	t.Helper()
	for _, r := range members {
		eventually(t, r.id+" has applied everything", func() bool { return maps.Equal(r.fsm.copy(), want) })
	}
}

func TestRaftElectsAndReplicatesOverGRPC(t *testing.T) {
	m := newPeerMesh(t)
	members := []*raftMember{startRaft(t, m, 1), startRaft(t, m, 2), startRaft(t, m, 3)}
	want := map[string]int{}
	for i := range 100 {
		// Of every size up to the largest entry.
		data := fmt.Appendf(nil, "command %d ", i)
		data = append(data, make([]byte, i*(MaxEntryBytes-len(data))/99)...)
		want[string(data[:12])] = len(data)
		propose(t, members, data)
	}
	wantSame(t, members, want)
	total := func(method string) (n int) {
		for _, r := range members {
			n += r.calls.count(method)
		}
		return n
	}
	for _, method := range []string{"RequestPreVote", "RequestVote", "AppendEntries", "Heartbeat"} {
		eventually(t, method+" is received", func() bool { return total(method) > 0 })
	}
}

func TestRaftTransfersLeadershipAndSurvivesALoss(t *testing.T) {
	m := newPeerMesh(t)
	members := []*raftMember{startRaft(t, m, 1), startRaft(t, m, 2), startRaft(t, m, 3)}
	propose(t, members, []byte("first command"))
	received := func() (n int) {
		for _, r := range members {
			n += r.calls.count("TimeoutNow")
		}
		return n
	}
	eventually(t, "a leadership is transferred", func() bool {
		for _, r := range members {
			if r.raft.State() == raft.Leader {
				return r.raft.LeadershipTransfer().Error() == nil && received() > 0
			}
		}
		return false
	})
	var leader int
	eventually(t, "there is a leader again", func() bool {
		for i, r := range members {
			if r.raft.State() == raft.Leader {
				leader = i
				return true
			}
		}
		return false
	})
	members[leader].stop(t)
	rest := append(members[:leader:leader], members[leader+1:]...)
	propose(t, rest, []byte("second command"))
	wantSame(t, rest, map[string]int{"first comman": 13, "second comma": 14})
}

func TestRaftInstallsASnapshotOnALaggingNode(t *testing.T) {
	m := newPeerMesh(t)
	m.announce("n3", "host3:1") // Known, but not there yet.
	members := []*raftMember{startRaft(t, m, 1), startRaft(t, m, 2)}
	want := map[string]int{}
	for i := range 14 {
		data := append(fmt.Appendf(nil, "command %4d", i), make([]byte, MaxEntryBytes-12)...)
		want[string(data[:12])] = len(data)
		propose(t, members, data)
	}
	wantSame(t, members, want)
	for _, r := range members { // Either may lead when the third arrives.
		if err := r.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	third := startRaft(t, m, 3)
	members = append(members, third)
	wantSame(t, members, want)
	if third.fsm.restored.Load() == 0 {
		t.Error("the third member caught up without a snapshot")
	}
	// The request and at least one chunk for each MiB of 14 entries of 256 KiB.
	if n := third.chunks.Load(); n < 1+14/4 {
		t.Errorf("the snapshot came in %d messages", n)
	}
	propose(t, members, []byte("after the snapshot"))
	want["after the sn"] = 18
	wantSame(t, members, want)
}

// setFSM keeps the commands that it has seen, so that one applied twice after a
// lost answer does no harm: their first 12 bytes and their size.
type setFSM struct {
	restored atomic.Int64
	mu       sync.Mutex // guards set
	set      map[string]int
}

func (f *setFSM) copy() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.set)
}

func (f *setFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set[string(l.Data[:12])] = len(l.Data)
	return nil
}

func (f *setFSM) Snapshot() (raft.FSMSnapshot, error) { return setSnapshot(f.copy()), nil }

func (f *setFSM) Restore(r io.ReadCloser) error {
	var padded struct {
		Set     map[string]int
		Padding []byte
	}
	if err := gob.NewDecoder(r).Decode(&padded); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = padded.Set
	f.restored.Add(1)
	return nil
}

type setSnapshot map[string]int

// Persist pads the snapshot to the size of what the commands carried.
func (s setSnapshot) Persist(sink raft.SnapshotSink) error {
	size := 0
	for _, n := range s {
		size += n
	}
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(struct {
		Set     map[string]int
		Padding []byte
	}{s, bytes.Repeat([]byte{1}, size)}); err != nil {
		return err
	}
	if _, err := sink.Write(buf.Bytes()); err != nil {
		return err
	}
	return sink.Close()
}

func (setSnapshot) Release() {}
