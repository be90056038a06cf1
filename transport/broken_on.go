//go:build spexbroken

package transport

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/broken"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	"github.com/spexio/spex/shard/store"
)

func init() { fsm.Break(broken.Is(broken.DedupeOff), broken.Is(broken.VerdictTwice)) }

// earlyBy is how long entries that are acknowledged already wait before they are sent.
const earlyBy = 500 * time.Millisecond

// earlyPeer is a follower whose answers are made up.
type earlyPeer struct {
	mu      sync.Mutex // guards the fields below
	term    uint64     // the one in which the follower really had everything, 0 for none
	queue   []earlyAppend
	sending bool
}

type earlyAppend struct {
	args raft.AppendEntriesRequest
	due  time.Time
}

type earlyKey struct {
	t  *RaftTransport
	to raft.ServerAddress
}

var earlyPeers sync.Map // of earlyKey to *earlyPeer

// appendEarly answers for the follower, and sends it the entries later. A leader
// that dies meanwhile has acknowledged what nobody else has.
func appendEarly(t *RaftTransport, to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	found, _ := earlyPeers.LoadOrStore(earlyKey{t, to}, &earlyPeer{})
	p := found.(*earlyPeer)
	p.mu.Lock()
	if p.term != args.Term || t.group == store.CatalogGroup {
		p.mu.Unlock()
		err := t.appendNow(to, args, resp)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.term = 0; err == nil && resp.Success {
			p.term = args.Term
		}
		return err
	}
	p.queue = append(p.queue, earlyAppend{*args, time.Now().Add(earlyBy)})
	if !p.sending {
		p.sending = true
		go t.sendLate(p, to)
	}
	p.mu.Unlock()
	*resp = raft.AppendEntriesResponse{Term: args.Term, LastLog: args.PrevLogEntry + uint64(len(args.Entries)), Success: true}
	return nil
}

// sendLate delivers what was acknowledged, until nothing is left or the follower
// does not take it: then its next answer is a real one.
func (t *RaftTransport) sendLate(p *earlyPeer, to raft.ServerAddress) {
	for {
		p.mu.Lock()
		if len(p.queue) == 0 || p.term == 0 {
			p.queue, p.sending = nil, false
			p.mu.Unlock()
			return
		}
		next := p.queue[0]
		p.queue = p.queue[1:]
		p.mu.Unlock()
		time.Sleep(time.Until(next.due))
		var resp raft.AppendEntriesResponse
		if err := t.appendNow(to, &next.args, &resp); err != nil || !resp.Success {
			p.mu.Lock()
			p.term = 0
			p.mu.Unlock()
		}
	}
}

func (t *RaftTransport) appendNow(to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	req := func(tg *peerv1.Target) *peerv1.AppendEntriesRequest { return raftAppendToProto(args, tg) }
	return raftCall(t, "append entries", to, t.net.timing.AppendEntries, req, peerv1.RaftServiceClient.AppendEntries, raftAppendRespFromProto, resp)
}
