package shard

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// diskPatience is how long a write to the log may take before the leader falls
// silent. It is well above the syncs of a busy disk, and well below the deadline
// at which the store ends the process.
const diskPatience = 3 * time.Second

// What a heartbeat gets that is not sent.
var (
	errStalled     = errors.New("shard: no heartbeat while a write to the log hangs")
	errLeadsNoMore = errors.New("shard: no heartbeat of a leader that has stepped down")
)

// stall lets a leader whose disk hangs be replaced. Raft beats on a goroutine of
// its own, so that a leader which can write nothing keeps its followers from
// electing another, for ever (hashicorp/raft#503, #612, #614, #666). Here its
// heartbeats fail once a write to the log takes longer than diskPatience: the
// followers elect another leader, and the one with the hanging disk steps down
// when the write comes back, if its store has not ended the process before.
type stall struct {
	// start is a time from which the others are counted, whatever the clock is set to.
	start time.Time
	// since is when the write under way began, 0 when there is none. Raft writes
	// entries from one goroutine.
	since atomic.Int64
	// node is nil until Raft runs.
	node atomic.Pointer[raft.Raft]
}

func newStall() *stall { return &stall{start: time.Now().Add(-1)} }

func (s *stall) hangs() bool {
	since := s.since.Load()
	return since != 0 && time.Since(s.start)-time.Duration(since) > diskPatience
}

// write notes that a write of entries is under way.
func (s *stall) write(store func() error) error {
	s.since.Store(int64(time.Since(s.start)))
	defer s.since.Store(0)
	return store()
}

// stallLog notes the writes of entries.
type stallLog struct {
	raft.LogStore
	stall *stall
}

// IsMonotonic is what the store says; Raft asks for it with a type assertion.
func (l stallLog) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

func (l stallLog) StoreLog(log *raft.Log) error {
	return l.stall.write(func() error { return l.LogStore.StoreLog(log) })
}

func (l stallLog) StoreLogs(logs []*raft.Log) error {
	return l.stall.write(func() error { return l.LogStore.StoreLogs(logs) })
}

// ended reports whether the node leads no more.
func (s *stall) ended() bool {
	node := s.node.Load()
	return node != nil && node.State() != raft.Leader
}

// stallTransport sends no heartbeats while a write hangs, and none of a leadership
// that is over. Whoever closes the transport closes the one below.
type stallTransport struct {
	raft.Transport
	raft.WithPreVote
	stall *stall
}

// AppendEntries carries heartbeats and entries. A leader sends none of either
// while its disk hangs: it has nothing that its followers could commit with it.
func (t stallTransport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.stall.hangs() {
		return errStalled
	}
	// Raft beats on until its last call with entries comes back, which may take that
	// call's whole deadline: a leader that is heard, but hears nobody, would step down
	// and still keep its followers from electing another.
	if t.stall.ended() {
		return errLeadsNoMore
	}
	return t.Transport.AppendEntries(id, addr, req, resp)
}
