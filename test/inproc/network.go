package inproc

import (
	"context"
	"errors"
	"net"
	"sync"
)

// errCut is what a connection between separated nodes fails with.
var errCut = errors.New("the network between the nodes is cut")

// network stands between the nodes: it knows every connection that one opened to
// another, and breaks those that a partition separates. Gossip does not go
// through it: gossip decides nothing.
type network struct {
	mu sync.Mutex // guards the fields below
	// owner tells which node listens on a peer address.
	owner map[string]int
	// cut holds the ordered pairs of nodes that cannot talk.
	cut map[link]bool
	// silent holds the nodes whose connections carry nothing and do not break.
	silent map[int]bool
	conns  map[*peerConn]struct{}
}

type link struct{ from, to int }

// peerConn is a connection that the node from opened to the node to.
type peerConn struct {
	net.Conn
	link
	net *network
}

func newNetwork() *network {
	return &network{owner: map[string]int{}, cut: map[link]bool{}, silent: map[int]bool{}, conns: map[*peerConn]struct{}{}}
}

// listens notes where a node takes connections from its peers.
func (n *network) listens(node int, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.owner[address] = node
}

// dialer returns how a node reaches its peers.
func (n *network) dialer(from int) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		n.mu.Lock()
		to, known := n.owner[address]
		refused, silent := known && n.cut[link{from, to}], known && (n.silent[from] || n.silent[to])
		n.mu.Unlock()
		if silent {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if refused {
			return nil, errCut
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil || !known {
			return conn, err
		}
		c := &peerConn{Conn: conn, link: link{from, to}, net: n}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.cut[c.link] {
			_ = conn.Close()
			return nil, errCut
		}
		n.conns[c] = struct{}{}
		return c, nil
	}
}

// silence has the connections from and to a node, those that there are and those to
// come, carry nothing any more, for good, and break by nothing but deadlines: as if the
// cable had been pulled.
func (n *network) silence(node int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent[node] = true
}

func (c *peerConn) silenced() bool {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.net.silent[c.from] || c.net.silent[c.to]
}

// Read drops what comes over a silenced connection.
func (c *peerConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.silenced() {
			return n, err
		}
	}
}

// Write drops what is to go over a silenced connection.
func (c *peerConn) Write(b []byte) (int, error) {
	if c.silenced() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Close takes the connection out of the network.
func (c *peerConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}

// divide lets nodes talk only within their group; a node in no group is alone.
func (n *network) divide(nodes int, groups [][]int) {
	group := map[int]int{}
	for g, members := range groups {
		for _, i := range members {
			group[i] = g + 1
		}
	}
	n.mu.Lock()
	n.cut = map[link]bool{}
	for from := range nodes {
		for to := range nodes {
			if from != to && (group[from] == 0 || group[from] != group[to]) {
				n.cut[link{from, to}] = true
			}
		}
	}
	var broken []*peerConn
	for c := range n.conns {
		if n.cut[c.link] {
			broken = append(broken, c)
		}
	}
	n.mu.Unlock()
	for _, c := range broken {
		_ = c.Close()
	}
}
