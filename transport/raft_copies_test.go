package transport

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// copyRig has two nodes and groups of which the first node sends snapshots to the second.
type copyRig struct {
	from, to []*RaftTransport
	node     *meshNode // the first one
	other    *meshNode
}

// newCopyRig has to be called in a bubble, in which everything else happens in no time.
func newCopyRig(t *testing.T, groups int, perSecond int64) *copyRig {
	m := newPeerMesh(t)
	change := func(c *NetConfig) { c.CopyRate, c.Timing = perSecond, Timing{} }
	rig := &copyRig{node: m.start("n1", "a:1", nil, change)}
	rig.other = m.start("n2", "b:1", nil, change)
	for id := range uint32(groups) {
		rig.from, rig.to = append(rig.from, rig.node.Raft(id)), append(rig.to, rig.other.Raft(id))
		go answerAll(rig.to[id])
	}
	return rig
}

// answerAll takes whatever arrives, as raft does when all is well: one after the other.
func answerAll(b *RaftTransport) {
	b.SetHeartbeatHandler(func(rpc raft.RPC) { rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil) })
	for {
		select {
		case rpc := <-b.Consumer():
			switch c := rpc.Command.(type) {
			case *raft.InstallSnapshotRequest:
				n, err := io.Copy(io.Discard, rpc.Reader)
				rpc.Respond(&raft.InstallSnapshotResponse{Success: n == c.Size}, err)
			case *raft.AppendEntriesRequest:
				rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
			}
		case <-b.ctx.Done():
			return
		}
	}
}

// send has each of the groups send a snapshot of size bytes, and returns where they say how it went.
func send(from []*RaftTransport, size int64) <-chan error {
	sent := make(chan error, len(from))
	for _, a := range from {
		go func() {
			var resp raft.InstallSnapshotResponse
			err := a.InstallSnapshot("n2", "n2", &raft.InstallSnapshotRequest{Term: 1, Size: size}, &resp, io.LimitReader(zeroReader{}, size))
			if err == nil && !resp.Success {
				err = errors.New("not all of it arrived")
			}
			sent <- err
		}()
	}
	return sent
}

func wantAll(t *testing.T, groups int, sent <-chan error) {
	t.Helper()
	for range groups {
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
}

// The limit is one for all groups of the node, and no timeout has to do with how
// long a copy takes by it, nor with how many there are.
func TestCopyRate(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name            string
		groups          int
		size, perSecond int64
	}{
		{"one group", 1, 10 * mib, 4 * mib},
		{"several groups", 5, 8 * mib, 4 * mib},
		{"longer than any timeout", 1, 320 * mib, mib},
		{"more groups than have a turn with large pieces", 300, mib / 8, mib},
		{"less than a piece", 1, 1, mib},
		{"no limit", 5, 8 * mib, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rig := newCopyRig(t, tt.groups, tt.perSecond)
				begin := time.Now()
				wantAll(t, tt.groups, send(rig.from, tt.size))
				// What has gathered before the beginning goes at once.
				var want time.Duration
				if all := tt.size * int64(tt.groups); tt.perSecond > 0 {
					want = time.Duration(float64(max(all-MaxSnapshotChunkBytes, 0)) / float64(tt.perSecond) * float64(time.Second))
				}
				if took := time.Since(begin); took < want-time.Millisecond || took > want+want/100+time.Millisecond {
					t.Errorf("took %v, want %v", took, want)
				}
			})
		})
	}
}

// A slow copy holds up nothing else, not even to the same node.
func TestCopyRateIsForCopiesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newCopyRig(t, 3, MinCopyRate)
		sent := send(rig.from[:2], 20<<20)
		other := rig.from[2]
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			begin := time.Now()
			var resp raft.AppendEntriesResponse
			for _, a := range rig.from { // of a group that is being copied, too
				if err := a.AppendEntries("n2", "n2", &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{Addr: []byte("n1")}, Term: 1}, &resp); err != nil || !resp.Success {
					t.Fatalf("heartbeat: %v", err)
				}
			}
			entries := []*raft.Log{{Index: 1, Term: 1, Data: make([]byte, MaxEntryBytes)}}
			if err := other.AppendEntries("n2", "n2", &raft.AppendEntriesRequest{Term: 1, Entries: entries}, &resp); err != nil || !resp.Success {
				t.Fatalf("entries: %v", err)
			}
			if took := time.Since(begin); took != 0 {
				t.Fatalf("heartbeats and entries took %v", took)
			}
		}
		if len(sent) > 0 {
			t.Error("the copies have ended before, and did not disturb")
		}
		wantAll(t, 2, sent)
	})
}

// Nobody who stops waits for the limit, and what was kept for a copy that is given up is for the others.
func TestCopyRateDoesNotHoldUpClosing(t *testing.T) {
	stops := map[string]func(*copyRig){
		"groups": func(r *copyRig) {
			for _, a := range r.from {
				_ = a.Close()
			}
		},
		"node": func(r *copyRig) { r.node.stop("a:1") },
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const groups = 50
				rig := newCopyRig(t, groups, MinCopyRate)
				sent := send(rig.from, 1<<30)
				time.Sleep(10 * time.Second)
				synctest.Wait() // Every copy waits for its turn now.
				begin := time.Now()
				stop(rig)
				for range groups {
					if err := <-sent; !errors.Is(err, raft.ErrTransportShutdown) {
						t.Errorf("got %v", err)
					}
				}
				if took := time.Since(begin); took != 0 {
					t.Errorf("took %v", took)
				}
				if n := rig.node.copies.active.Load(); n != 0 {
					t.Errorf("%d copies count as under way", n)
				}
			})
		})
	}
}

// A receiver that takes nothing leaves the rate to the others.
func TestCopyRateIsNotSpentOnTheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		rig := newCopyRig(t, 7, 4*mib)
		for id := range uint32(3) {
			rig.other.Raft(id) // Nobody reads what is sent to it.
		}
		begin := time.Now()
		slow := send(rig.from[:3], 16*mib)
		wantAll(t, 4, send(rig.from[3:], 16*mib))
		// The first pieces to each of the three are lost: four at most, in buffers on the way.
		if took := time.Since(begin); took > 19*time.Second {
			t.Errorf("took %v, want about 16 s", took)
		}
		for range 3 {
			wantStalled(t, <-slow)
		}
	})
}
