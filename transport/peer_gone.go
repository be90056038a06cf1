package transport

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// goneTimeout bounds one look at a peer. A refusal comes within a round trip.
	goneTimeout = 250 * time.Millisecond
	// goneFresh is how long a look counts: many groups lose their leader at once.
	goneFresh = 100 * time.Millisecond
)

// look is the newest attempt to connect to a peer.
type look struct {
	done chan struct{} // closed when the fields below are written
	at   time.Time
	gone bool
}

// Gone reports whether the process of a peer is certain not to run: its machine
// answers, and refuses connections to the peer's address. It makes a connection of
// its own for that, since those in use may be waiting. A process that hangs, a
// machine that is off and a network that drops packets are not certain.
func (n *PeerNet) Gone(ctx context.Context, nodeID string) bool {
	n.mu.Lock()
	l := n.looks[nodeID]
	mine := l == nil || l.ended() && n.cfg.Now().Sub(l.at) > goneFresh
	if mine {
		l = &look{done: make(chan struct{})}
		n.looks[nodeID] = l
	}
	n.mu.Unlock()
	if mine {
		// The others wait for it, so it does not end with the caller's context.
		l.gone = n.refuses(nodeID)
		l.at = n.cfg.Now()
		close(l.done)
		return l.gone
	}
	select {
	case <-l.done:
		return l.gone
	case <-ctx.Done():
		return false
	}
}

func (l *look) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// refuses tries to connect to a peer.
func (n *PeerNet) refuses(nodeID string) bool {
	address, ok := n.address(nodeID)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(n.ctx, goneTimeout)
	defer cancel()
	dial := n.cfg.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	conn, err := dial(ctx, address)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = conn.Close() // nothing was sent
	return false
}

// Deliver hands a message to a group's Raft on this node as if it had come from a
// peer, and returns what Raft answers.
func (n *PeerNet) Deliver(ctx context.Context, group uint32, message any) (any, error) {
	t, err := n.open(group)
	if err != nil {
		return nil, err
	}
	if n.retired.Load() {
		return nil, fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "node %s is stopping", n.cfg.NodeID)
	}
	return t.deliver(ctx, message, nil)
}
