//go:build e2e && linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Proxies stand between nodes that share the loopback, where there are no network
// namespaces to be had: each node tells the others the addresses of its proxies,
// which know who calls, and drop, hold or delay what the rules say for that pair.
// Clients reach the nodes without them. It is not all as in a network: a connection
// that is cut off while it is made seems to be made, and what is lost of a stream
// comes later, as if TCP had sent it again.

// resend is how much later a part of a stream comes that was lost once.
const resend = 200 * time.Millisecond

// proxy stands before one node.
type proxy struct {
	w    *network
	host *host
	work sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	pid    int        // of the node, 0 while there is none
	open   []io.Closer
	conns  map[net.Conn]bool
	closed bool // no connection is taken any more, until begin
	udp    *net.UDPConn
}

// begin takes what is sent to the addresses that the host tells. The node's
// process must have been started.
func (p *proxy) begin(pid int) error {
	peer, err := net.Listen("tcp", p.host.at(p.host.peer))
	if err != nil {
		return err
	}
	gossip, err := net.Listen("tcp", p.host.at(p.host.gossip))
	if err != nil {
		_ = peer.Close()
		return err
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(p.host.at(p.host.gossip))))
	if err != nil {
		_, _ = peer.Close(), gossip.Close()
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid, p.udp, p.closed = pid, udp, false
	p.open = []io.Closer{peer, gossip, udp}
	p.work.Go(func() { p.accept(peer, p.host.at(p.host.peer+behind)) })
	p.work.Go(func() { p.accept(gossip, p.host.at(p.host.gossip+behind)) })
	p.work.Go(func() { p.packets(udp) })
	return nil
}

// end is called when the process has ended: from then on nobody listens. The
// connections end as their ends do. It may be called twice.
func (p *proxy) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
	p.pid, p.open, p.udp, p.closed = 0, nil, nil, true
}

// close ends all, and waits for it.
func (p *proxy) close() {
	p.end()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.work.Wait()
}

// keep takes note of a connection that close has to end; false means that it is too late.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) forget(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *proxy) accept(l net.Listener, to string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if !p.keep(c) {
			_ = c.Close()
			return
		}
		p.work.Go(func() {
			defer p.forget(c)
			p.connect(c, to)
		})
	}
}

// connect joins a connection with the node behind the proxy.
func (p *proxy) connect(c net.Conn, to string) {
	from := p.w.owner(c)
	if from == nil {
		return // whoever it was is gone
	}
	p.w.await(from, p.host)
	p.w.await(p.host, from)
	up, err := net.Dial("tcp", to)
	if err != nil || !p.keep(up) {
		reset(c)
		return
	}
	defer p.forget(up)
	back := make(chan struct{})
	go func() {
		defer close(back)
		p.w.pump(up, c, from, p.host)
	}()
	p.w.pump(c, up, p.host, from)
	<-back
}

// reset ends a connection as the system does for a process that was killed.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// pump takes what comes from src to dst, as the rules say, to the end of src.
func (w *network) pump(dst, src net.Conn, from, to *host) {
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		// Not before, since the cut may have come meanwhile; the end is not told either.
		w.await(from, to)
		r := w.link(from, to, "tcp")
		if lost(r.loss) {
			r.delay += resend
		}
		if r.delay > 0 {
			wait(r.delay)
		}
		if _, werr := dst.Write(buf[:n]); werr != nil {
			reset(src)
			reset(dst)
			return
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = dst.(*net.TCPConn).CloseWrite()
			return
		case err != nil:
			reset(dst)
			return
		}
	}
}

// packets takes what comes over UDP. It goes on with the sender's proxy as its
// source, which is where the answer has to go.
func (p *proxy) packets(udp *net.UDPConn) {
	to := netip.MustParseAddrPort(p.host.at(p.host.gossip + behind))
	buf := make([]byte, 64<<10)
	for {
		n, source, err := udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		from := p.w.sender(source)
		if from == nil {
			continue
		}
		r := p.w.link(from, p.host, "udp")
		if r.cut || lost(r.loss) {
			continue
		}
		packet := append([]byte(nil), buf[:n]...)
		send := func() {
			from.proxy.mu.Lock()
			defer from.proxy.mu.Unlock()
			if from.proxy.udp != nil {
				_, _ = from.proxy.udp.WriteToUDPAddrPort(packet, to)
			}
		}
		if r.delay > 0 {
			time.AfterFunc(r.delay, send)
			continue
		}
		send()
	}
}

func lost(percent int) bool { return rand.IntN(100) < percent }

// rule is what becomes of what one host sends to another.
type rule struct {
	cut   bool
	loss  int // percent
	delay time.Duration
}

// link is the rule for a pair of hosts and a protocol at this moment.
func (w *network) link(from, to *host, protocol string) rule {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.linkLocked(from, to, protocol)
}

func (w *network) linkLocked(from, to *host, protocol string) rule {
	var r rule
	for _, c := range w.cuts {
		if c.from != from || c.to != to || c.protocol != "" && c.protocol != protocol {
			continue
		}
		if c.loss == 0 {
			r.cut = true
		}
		r.loss = max(r.loss, c.loss)
	}
	if d := w.delays[from]; d > 0 {
		r.delay = d/2 + rand.N(d)
	}
	return r
}

// await waits until TCP gets from one host to the other.
func (w *network) await(from, to *host) {
	for {
		w.mu.Lock()
		changed, cut := w.changed, !w.over && w.linkLocked(from, to, "tcp").cut
		w.mu.Unlock()
		if !cut {
			return
		}
		<-changed
	}
}

// change replaces what the rules are made of.
func (w *network) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

// proxied are the hosts that have proxies.
func (w *network) proxied() []*host {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*host(nil), w.hosts...)
}

// sender is the host that a packet comes from: nodes send gossip from where they
// listen to it.
func (w *network) sender(source netip.AddrPort) *host {
	w.mu.Lock() // a host may move
	defer w.mu.Unlock()
	for _, h := range w.hosts {
		if h.at(h.gossip+behind) == source.String() {
			return h
		}
	}
	return nil
}

// owner is the host whose node made a connection to a proxy. All of them call from
// the same address, so that the system has to be asked whose the other end is.
func (w *network) owner(c net.Conn) *host {
	inode, err := inodeOf(c.RemoteAddr().(*net.TCPAddr), c.LocalAddr().(*net.TCPAddr))
	if err != nil {
		return nil
	}
	for _, h := range w.proxied() {
		h.proxy.mu.Lock()
		pid := h.proxy.pid
		h.proxy.mu.Unlock()
		if pid == 0 {
			continue
		}
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, file := range files {
			if target, err := os.Readlink(file); err == nil && target == "socket:["+inode+"]" {
				return h
			}
		}
	}
	return nil
}

// inodeOf is the inode of the socket of a connection on this machine.
func inodeOf(local, remote *net.TCPAddr) (string, error) {
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	want := []string{kernelAddress(local), kernelAddress(remote)}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 9 && f[1] == want[0] && f[2] == want[1] {
			return f[9], nil
		}
	}
	return "", fmt.Errorf("no connection from %s to %s", local, remote)
}

// kernelAddress is an address of IPv4 as /proc/net/tcp has it on a little-endian machine.
func kernelAddress(a *net.TCPAddr) string {
	ip := a.IP.To4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port)
}
