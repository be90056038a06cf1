package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/memberlist"

	"github.com/spexio/spex/internal/signal"
	"github.com/spexio/spex/ring"
	"github.com/spexio/spex/shard/store"
)

// hintTransmits is how often a node sends a hint on, times the logarithm of the number
// of nodes, as memberlist does with its own news.
const hintTransmits = 4

// LeaderHint is what a node says when it begins to lead a shard.
type LeaderHint struct {
	Shard  uint32
	Term   uint64
	Leader string // a node id
}

// LeaderHints are the rumours about who leads the shards, the newest term of each. Gossip
// spreads them, and routers go by them where they have nothing better, so that a wrong or
// a lost one costs a request some time and nothing else. They hold a hint for each shard
// at most. Safe for concurrent use.
type LeaderHints struct {
	// nodes is among how many nodes hints are spread.
	nodes   atomic.Int32
	queue   memberlist.TransmitLimitedQueue
	changes signal.Broadcast

	mu      sync.Mutex // guards byShard
	byShard map[uint32]LeaderHint
}

// NewLeaderHints returns no hints.
func NewLeaderHints() *LeaderHints {
	h := &LeaderHints{byShard: map[uint32]LeaderHint{}}
	h.queue.RetransmitMult = hintTransmits
	h.queue.NumNodes = func() int { return int(h.nodes.Load()) }
	return h
}

// Of returns the newest hint about a shard; the zero value when there is none.
func (h *LeaderHints) Of(shard uint32) LeaderHint {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byShard[shard]
}

// Tell takes in a hint, and spreads it if it is news. Of two leaders of one term, which
// there never are, the first one stays.
func (h *LeaderHints) Tell(hint LeaderHint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if hint.Term <= h.byShard[hint.Shard].Term {
		return
	}
	h.byShard[hint.Shard] = hint
	h.queue.QueueBroadcast(hintBroadcast(hint))
	h.changes.Fire()
}

// hear takes in what gossip brought. Hints about nodes that this one does not know are
// dropped: those of another cluster are among them.
func (h *LeaderHints) hear(message []byte, known func(nodeID string) bool) error {
	hint, err := decodeHint(message)
	if err != nil || !known(hint.Leader) {
		return err
	}
	h.Tell(hint)
	return nil
}

// hintBroadcast is a hint that memberlist sends on. It takes the place of an older one of
// its shard, which has its name, in the queue.
type hintBroadcast LeaderHint

func (b hintBroadcast) Message() []byte                       { return encodeHint(LeaderHint(b)) }
func (b hintBroadcast) Name() string                          { return fmt.Sprint("shard ", b.Shard) }
func (b hintBroadcast) Invalidates(memberlist.Broadcast) bool { return false } // the name says it
func (b hintBroadcast) Finished()                             {}

// hintVersion changes only when older releases must not read what follows.
const hintVersion = 1

// encodeHint packs a hint: version, shard, term, and the leader's id behind its length.
// New fields go to the end.
func encodeHint(l LeaderHint) []byte {
	b := []byte{hintVersion}
	b = binary.AppendUvarint(b, uint64(l.Shard))
	b = binary.AppendUvarint(b, l.Term)
	b = binary.AppendUvarint(b, uint64(len(l.Leader)))
	return append(b, l.Leader...)
}

// decodeHint is the inverse of encodeHint. The input comes from the network.
func decodeHint(data []byte) (LeaderHint, error) {
	if len(data) == 0 || data[0] != hintVersion {
		return LeaderHint{}, errors.New("gossip: a message of an unknown kind")
	}
	rest := data[1:]
	var numbers [3]uint64 // shard, term, length of the id
	for i := range numbers {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return LeaderHint{}, errors.New("gossip: a hint of a leader is cut off")
		}
		numbers[i], rest = n, rest[size:]
	}
	shard, term, length := numbers[0], numbers[1], numbers[2]
	switch {
	case shard <= uint64(store.CatalogGroup) || shard > ring.MaxShards:
		return LeaderHint{}, fmt.Errorf("gossip: a hint of a leader of shard %d: shards have the numbers 1 to %d", shard, ring.MaxShards)
	case length == 0 || length > uint64(len(rest)):
		return LeaderHint{}, errors.New("gossip: a hint of a leader is cut off")
	}
	return LeaderHint{Shard: uint32(shard), Term: term, Leader: string(rest[:length])}, nil
}
