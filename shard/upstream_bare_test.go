package shard

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// The same faults in hashicorp/raft alone, with nothing of ours around it: a test
// of these that fails says that the release in go.mod has mended its fault, and
// that what keeps it away here may go.

// A leader whose disk hangs keeps its followers for ever (#503, #612, #614, #666).
func TestRaft503BareLeaderWithAHungDiskStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBare(t, 3, 0)
		old := b.leader(b.all...)
		term := old.CurrentTerm()
		release := b.disks[old].hold()
		lost := old.Apply([]byte("x"), 0)
		time.Sleep(time.Minute)
		for _, r := range b.all {
			if _, id := r.LeaderWithID(); r.CurrentTerm() != term || string(id) != b.name(old) {
				t.Errorf("%s follows %q in term %d, not %s in term %d: raft no longer has the fault of #503",
					b.name(r), id, r.CurrentTerm(), b.name(old), term)
			}
		}
		release()
		if err := lost.Error(); err != nil {
			t.Error(err)
		}
	})
}

// Shutdown waits for a snapshot that does not arrive (#585).
func TestRaft585BareShutdownWaitsForASnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBare(t, 1, 0)
		arrives, stalled := io.Pipe()
		_, sender := raft.NewInmemTransportWithTimeout("sender", time.Hour)
		sender.Connect("0", b.trans[b.all[0]])
		req := raft.InstallSnapshotRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("sender"), Addr: []byte("sender")}, SnapshotVersion: raft.SnapshotVersionMax,
			Term: 100, LastLogIndex: 100, LastLogTerm: 100, Size: 10,
			Configuration: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "0", Address: "0"}}}), ConfigurationIndex: 1,
		}
		var sent, stopped sync.WaitGroup
		sent.Go(func() { _ = sender.InstallSnapshot("0", "0", &req, &raft.InstallSnapshotResponse{}, arrives) })
		synctest.Wait()
		down := make(chan struct{})
		stopped.Go(func() {
			_ = b.all[0].Shutdown().Error()
			close(down)
		})
		select {
		case <-down:
			t.Error("raft no longer has the fault of #585")
		case <-time.After(time.Minute):
		}
		_ = stalled.Close()
		sent.Wait()
		stopped.Wait()
	})
}

// VerifyLeader is content with non-voters (#359 asks for linearizable reads, and is told to use it).
func TestRaft359BareVerifyLeaderCountsNonVoters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBare(t, 3, 2)
		old := b.leader(b.all...)
		time.Sleep(time.Second)
		for _, r := range b.all[:3] {
			if r != old {
				b.cut(old, r)
			}
		}
		if err := old.VerifyLeader().Error(); err != nil {
			t.Errorf("%v: raft no longer counts non-voters", err)
		}
	})
}

// Pre-votes of one that was the leader do not keep the others from electing
// another (#609, mended). This one fails when the fault is back.
func TestRaft609BarePreVotesDelayNoElection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBare(t, 3, 0)
		old := b.leader(b.all...)
		time.Sleep(time.Second)
		var rest []*raft.Raft
		_, lone := raft.NewInmemTransportWithTimeout("lone", 200*time.Millisecond)
		for _, r := range b.all {
			if r != old {
				b.cut(old, r)
				lone.Connect(raft.ServerAddress(b.name(r)), b.trans[r])
				rest = append(rest, r)
			}
		}
		name := b.name(old)
		begin := time.Now()
		for granted := false; time.Since(begin) < 30*time.Second; time.Sleep(20 * time.Millisecond) {
			for _, r := range rest {
				if r.State() == raft.Leader {
					if !granted {
						t.Error("no pre-vote was granted, so that nothing was tried")
					}
					return
				}
				var resp raft.RequestPreVoteResponse
				_ = lone.RequestPreVote(raft.ServerID(b.name(r)), raft.ServerAddress(b.name(r)), &raft.RequestPreVoteRequest{
					RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(name), Addr: []byte(name)},
					Term:      r.CurrentTerm() + 1, LastLogIndex: 1 << 30, LastLogTerm: 1 << 30,
				}, &resp)
				granted = granted || resp.Granted
			}
		}
		t.Error("no new leader in 30 s")
	})
}

// bare are members of hashicorp/raft over its own stores and transport in memory.
type bare struct {
	all   []*raft.Raft
	disks map[*raft.Raft]*hungLog
	trans map[*raft.Raft]*raft.InmemTransport
}

// newBare starts so many voters, and after them members without a vote. They are stopped with the test.
func newBare(t *testing.T, voters, nonvoters int) *bare {
	b := &bare{disks: map[*raft.Raft]*hungLog{}, trans: map[*raft.Raft]*raft.InmemTransport{}}
	var cfg raft.Configuration
	for i := range voters + nonvoters {
		s := raft.Server{ID: raft.ServerID(fmt.Sprint(i)), Address: raft.ServerAddress(fmt.Sprint(i))}
		if i >= voters {
			s.Suffrage = raft.Nonvoter
		}
		cfg.Servers = append(cfg.Servers, s)
	}
	for _, s := range cfg.Servers {
		rc := raft.DefaultConfig()
		rc.LocalID, rc.Logger = s.ID, hclog.NewNullLogger()
		store := raft.NewInmemStore()
		disk := &hungLog{LogStore: store}
		_, trans := raft.NewInmemTransportWithTimeout(s.Address, 200*time.Millisecond)
		if err := raft.BootstrapCluster(rc, disk, store, raft.NewInmemSnapshotStore(), trans, cfg); err != nil {
			t.Fatal(err)
		}
		r, err := raft.NewRaft(rc, noFSM{}, disk, store, raft.NewInmemSnapshotStore(), trans)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range b.all {
			b.trans[other].Connect(s.Address, trans)
			trans.Connect(b.trans[other].LocalAddr(), b.trans[other])
		}
		b.all, b.disks[r], b.trans[r] = append(b.all, r), disk, trans
		t.Cleanup(func() {
			trans.DisconnectAll()
			if err := r.Shutdown().Error(); err != nil {
				t.Error(err)
			}
		})
	}
	return b
}

func (b *bare) name(r *raft.Raft) string { return string(b.trans[r].LocalAddr()) }

func (b *bare) cut(x, y *raft.Raft) {
	b.trans[x].Disconnect(b.trans[y].LocalAddr())
	b.trans[y].Disconnect(b.trans[x].LocalAddr())
}

// leader waits until one of those given leads, and all of them know.
func (b *bare) leader(among ...*raft.Raft) *raft.Raft {
	for {
		for _, r := range among {
			if r.State() == raft.Leader && !slices.ContainsFunc(among, func(o *raft.Raft) bool {
				_, id := o.LeaderWithID()
				return string(id) != b.name(r)
			}) {
				return r
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// noFSM keeps nothing.
type noFSM struct{}

func (noFSM) Apply(*raft.Log) any                 { return nil }
func (noFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("there is nothing to keep") }
func (noFSM) Restore(r io.ReadCloser) error       { return r.Close() }
