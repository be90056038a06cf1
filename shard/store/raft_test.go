package store

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/internal/hclogslog"
)

// listFSM is a list of commands; its snapshot is the list, one per line.
type listFSM struct {
	mu   sync.Mutex // guards list
	list []string
}

func (f *listFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, string(l.Data))
	return nil
}

func (f *listFSM) Snapshot() (raft.FSMSnapshot, error) {
	return &listSnapshot{data: []byte(f.String())}, nil
}

func (f *listFSM) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = nil
	for line := range bytes.Lines(b) {
		f.list = append(f.list, string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	return nil
}

func (f *listFSM) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b bytes.Buffer
	for _, c := range f.list {
		fmt.Fprintln(&b, c)
	}
	return b.String()
}

type listSnapshot struct{ data []byte }

func (s *listSnapshot) Persist(sink raft.SnapshotSink) error {
	_, err := sink.Write(s.data)
	return err
}

func (s *listSnapshot) Release() {}

// raftNode is a real raft over a group.
type raftNode struct {
	*raft.Raft
	fsm   *listFSM
	trans *raft.InmemTransport
}

// startRaft starts raft on a group. A patient one never calls an election, so
// that the test can play its leader.
func startRaft(t *testing.T, g *Group, id string, patient bool, logs raft.LogStore) *raftNode {
	t.Helper()
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(id)
	conf.Logger = hclogslog.New(nil)
	conf.TrailingLogs = 5
	conf.HeartbeatTimeout, conf.ElectionTimeout = 50*time.Millisecond, 50*time.Millisecond
	conf.LeaderLeaseTimeout, conf.CommitTimeout = 50*time.Millisecond, time.Millisecond
	if patient {
		conf.HeartbeatTimeout, conf.ElectionTimeout = time.Hour, time.Hour
	}
	_, trans := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 5*time.Second)
	n := &raftNode{fsm: &listFSM{}, trans: trans}
	if !g.HasState() {
		must(t, raft.BootstrapCluster(conf, logs, g.Stable(), g.Snapshots(), trans,
			raft.Configuration{Servers: []raft.Server{{ID: conf.LocalID, Address: trans.LocalAddr()}}}))
	}
	var err error
	n.Raft, err = raft.NewRaft(conf, n.fsm, logs, g.Stable(), g.Snapshots(), trans)
	must(t, err)
	return n
}

func (n *raftNode) stop(t *testing.T) {
	t.Helper()
	must(t, n.Shutdown().Error())
	must(t, n.trans.Close())
}

// A whole life on our stores: bootstrap, commands, snapshot and compaction,
// restart from the snapshot and the log behind it.
func TestRaftRestartsFromSnapshotAndLog(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		dir := t.TempDir()
		want := ""
		for round := range 3 {
			s := mustOpen(t, dir, opts(t))
			g := mustGroup(t, s, id)
			n := startRaft(t, g, "n1", false, g.Logs())
			lead := <-n.LeaderCh()
			if !lead {
				t.Fatal("no leader")
			}
			for i := range 30 {
				cmd := fmt.Sprintf("round %d command %d", round, i)
				must(t, n.Apply([]byte(cmd), 5*time.Second).Error())
				want += cmd + "\n"
				if i == 19 {
					must(t, n.Snapshot().Error())
				}
			}
			if got := n.fsm.String(); got != want {
				t.Fatalf("round %d: state\n%s\nwant\n%s", round, got, want)
			}
			if first, _ := g.Logs().FirstIndex(); first < 10 {
				t.Fatalf("round %d: not compacted, the log begins at %d", round, first)
			}
			if _, n := g.LogBytes(); n != 10 {
				t.Fatalf("round %d: %d entries behind the snapshot", round, n)
			}
			n.stop(t)
			must(t, s.Close())
		}
	})
}

// leader plays the leader of a patient follower.
type leader struct {
	*raft.InmemTransport
	to *raftNode
}

func newLeader(t *testing.T, to *raftNode) *leader {
	_, trans := raft.NewInmemTransportWithTimeout("boss", 5*time.Second)
	trans.Connect(to.trans.LocalAddr(), to.trans)
	t.Cleanup(func() { must(t, trans.Close()) })
	return &leader{trans, to}
}

func (l *leader) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: 3, ID: []byte("boss"), Addr: l.EncodePeer("boss", "boss")}
}

func (l *leader) install(t *testing.T, index, term uint64, payload string) {
	t.Helper()
	conf := raft.Configuration{Servers: []raft.Server{{ID: "boss", Address: "boss"}, {ID: "n1", Address: "n1"}}}
	req := &raft.InstallSnapshotRequest{RPCHeader: l.header(), SnapshotVersion: 1, Term: term, LastLogIndex: index, LastLogTerm: term,
		Configuration: raft.EncodeConfiguration(conf), ConfigurationIndex: 1, Size: int64(len(payload))}
	var resp raft.InstallSnapshotResponse
	must(t, l.InstallSnapshot("n1", l.to.trans.LocalAddr(), req, &resp, bytes.NewBufferString(payload)))
	if !resp.Success {
		t.Fatal("the snapshot was not installed")
	}
}

// append sends one entry behind prev and returns the follower's answer.
func (l *leader) append(t *testing.T, prev, prevTerm, term, commit uint64) bool {
	t.Helper()
	req := &raft.AppendEntriesRequest{RPCHeader: l.header(), Term: term, PrevLogEntry: prev, PrevLogTerm: prevTerm,
		Entries: []*raft.Log{{Index: prev + 1, Term: term, Type: raft.LogCommand, Data: []byte("next")}}, LeaderCommitIndex: commit}
	var resp raft.AppendEntriesResponse
	must(t, l.AppendEntries("n1", l.to.trans.LocalAddr(), req, &resp))
	return resp.Success
}

// hidden is a log store that does not say that it is monotonic.
type hidden struct{ raft.LogStore }

// hashicorp/raft#697: a follower has an uncommitted tail that conflicts with
// the leader's snapshot. After the install raft still has the tail's end in
// memory and refuses every append. With a monotonic store the log was emptied,
// and a restart of raft alone heals; without, the tail outlives every restart.
func TestRaft697ConflictingTailAfterInstallHealsByRestart(t *testing.T) {
	run := func(t *testing.T, id uint32, monotonic bool) (healed bool) {
		s := mustOpen(t, t.TempDir(), opts(t))
		g := mustGroup(t, s, id)
		logs := g.Logs()
		if !monotonic {
			logs = hidden{logs}
		}
		n := startRaft(t, g, "n1", true, logs)
		boss := newLeader(t, n)
		for prev := uint64(1); prev < 120; prev++ { // the tail, in term 2
			if !boss.append(t, prev, min(prev, 2), 2, 1) {
				t.Fatalf("append behind %d was refused", prev)
			}
		}
		boss.install(t, 100, 3, "state\n")
		if boss.append(t, 100, 3, 3, 100) {
			t.Fatal("raft no longer has the fault of #697: the watchdog and this test can go")
		}
		n.stop(t)
		// The group stays open: raft's restart alone is tried, not our open.
		n = startRaft(t, g, "n1", true, logs)
		defer n.stop(t)
		if got := n.fsm.String(); got != "state\n" {
			t.Fatalf("restored %q", got)
		}
		return newLeader(t, n).append(t, 100, 3, 3, 100)
	}
	eachKind(t, func(t *testing.T, id uint32) {
		if !run(t, id, true) {
			t.Fatal("a restart did not heal")
		}
		if run(t, id, false) {
			t.Fatal("not monotonic, and yet a restart heals: the reason for IsMonotonic is gone")
		}
	})
}

// A follower that is merely behind takes the snapshot and goes on without a
// restart: the append right behind the snapshot is the one that is accepted.
func TestFollowerBehindTheSnapshotGoesOn(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		s := mustOpen(t, t.TempDir(), opts(t))
		g := mustGroup(t, s, id)
		n := startRaft(t, g, "n1", true, g.Logs())
		boss := newLeader(t, n)
		for prev := uint64(1); prev < 10; prev++ {
			if !boss.append(t, prev, min(prev, 2), 2, 1) {
				t.Fatalf("append behind %d was refused", prev)
			}
		}
		boss.install(t, 100, 2, "state\n")
		wantBounds(t, g.Logs(), 0, 0)
		for prev := uint64(100); prev < 105; prev++ {
			if !boss.append(t, prev, 2, 2, 100) {
				t.Fatalf("append behind %d was refused", prev)
			}
		}
		wantBounds(t, g.Logs(), 101, 105)
		n.stop(t)
		must(t, g.Close())
		g = mustGroup(t, s, id)
		wantBounds(t, g.Logs(), 101, 105)
		n = startRaft(t, g, "n1", true, g.Logs())
		defer n.stop(t)
		if got := n.fsm.String(); got != "state\n" {
			t.Fatalf("restored %q", got)
		}
	})
}
