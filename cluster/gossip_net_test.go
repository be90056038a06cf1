package cluster

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

var (
	errCutOff  = errors.New("cut off")
	errRefused = errors.New("connection refused")
)

// gossipNet is a network in memory for nodes in one synctest bubble, where waiting takes no
// real time and the load of the machine decides nothing. Like a real one, and unlike
// memberlist's mock, it never lets a sender wait for a receiver that has stopped.
type gossipNet struct {
	mu    sync.Mutex // guards what follows and the fields of the ends
	hosts int
	ends  map[string]*gossipEnd // by address
}

// gossipEnd is a node's end of a gossipNet: a memberlist.Transport.
type gossipEnd struct {
	net     *gossipNet
	address string
	packets chan *memberlist.Packet
	streams chan net.Conn
	closed  bool
	cut     bool       // from all others
	lossy   bool       // all datagrams from and to it are lost, streams work
	open    []net.Conn // its ends of all streams there were
}

// inGossipNet runs f in a bubble of its own with a network.
func inGossipNet(t *testing.T, f func(t *testing.T, network *gossipNet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// Runs last. memberlist's Shutdown does not wait for a probe under way, whose
		// end is a timer, and a bubble's time stands still once its function has returned.
		t.Cleanup(func() { time.Sleep(time.Minute) })
		f(t, &gossipNet{ends: make(map[string]*gossipEnd)})
	})
}

// attach gives a node a new address.
func (n *gossipNet) attach() *gossipEnd {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts++
	e := &gossipEnd{
		net: n, address: fmt.Sprintf("10.0.0.%d:7946", n.hosts),
		packets: make(chan *memberlist.Packet, 256), streams: make(chan net.Conn, 16),
	}
	n.ends[e.address] = e
	return e
}

// setCut cuts a node off from all others, or mends that.
func (e *gossipEnd) setCut(cut bool) {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	e.cut = cut
}

// setLossy makes the network lose all datagrams from and to a node, or mends that.
func (e *gossipEnd) setLossy(lossy bool) {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	e.lossy = lossy
}

func (e *gossipEnd) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	a, err := net.ResolveTCPAddr("tcp", e.address)
	if err != nil {
		return nil, 0, err
	}
	return a.IP, a.Port, nil
}

// WriteTo loses what nobody can receive, as UDP does.
func (e *gossipEnd) WriteTo(b []byte, addr string) (time.Time, error) {
	from, err := net.ResolveUDPAddr("udp", e.address)
	if err != nil {
		return time.Time{}, err
	}
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	now := time.Now()
	to := e.net.ends[addr]
	if to == nil || to.closed || e.closed || to.cut || e.cut || to.lossy || e.lossy {
		return now, nil
	}
	select {
	case to.packets <- &memberlist.Packet{Buf: slices.Clone(b), From: from, Timestamp: now}:
	default:
	}
	return now, nil
}

func (e *gossipEnd) PacketCh() <-chan *memberlist.Packet { return e.packets }

// DialTimeout takes its whole time across a cut, and none where nobody listens.
func (e *gossipEnd) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	conn, err := e.dial(addr)
	if errors.Is(err, errCutOff) {
		time.Sleep(timeout)
	}
	return conn, err
}

func (e *gossipEnd) dial(addr string) (net.Conn, error) {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	to := e.net.ends[addr]
	switch {
	case e.cut || to != nil && to.cut:
		return nil, errCutOff
	case to == nil || to.closed || e.closed || len(to.streams) == cap(to.streams):
		return nil, errRefused
	}
	here, there := net.Pipe()
	e.open, to.open = append(e.open, here), append(to.open, there)
	to.streams <- there // does not wait: there is room, and only dial sends
	return here, nil
}

func (e *gossipEnd) StreamCh() <-chan net.Conn { return e.streams }

// Shutdown ends what is under way on the streams too, also on those nobody has accepted.
func (e *gossipEnd) Shutdown() error {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	e.closed = true
	for _, c := range e.open {
		_ = c.Close() // of a pipe it cannot fail
	}
	return nil
}

// start starts a node with the timings of a real network that contacts the given others.
func (n *gossipNet) start(t *testing.T, id, clusterID string, change func(*GossipConfig), seeds ...*Gossip) *Gossip {
	t.Helper()
	return startGossip(t, id, clusterID, func(c *GossipConfig) {
		c.Transport, c.Timings = n.attach(), LANTimings()
		if change != nil {
			change(c)
		}
	}, seeds...)
}

// end returns the end of a node.
func (n *gossipNet) end(g *Gossip) *gossipEnd {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ends[g.Address()]
}
